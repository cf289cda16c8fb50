"""Functions of single elements, y = f(x, weights): one nest, which function is a slot of the kernel table
(csrc/kernels/elementwise.c). And dropout, whose mask is a function of where an element stands. Called by
fastconv/activations.py and by networks."""
from libc.stdint cimport uint64_t

from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport (
    FC_ADD,
    FC_RELU,
    FC_RELU_GRAD,
    FC_SIGMOID,
    FC_SIGMOID_GRAD,
    fc_kernels,
    kernels_for,
)
from fastconv._loops.team cimport Operands, compile

cdef enum:
    BLOCK_BYTES = 64 << 10     # of a chunk: two or three of them in L2

MAPS = {
    "relu": FC_RELU,
    "relu_grad": FC_RELU_GRAD,
    "sigmoid": FC_SIGMOID,
    "sigmoid_grad": FC_SIGMOID_GRAD,
    "add": FC_ADD,
}

cdef struct Pointwise:
    const fc_kernels *kernels
    int slot
    Py_ssize_t n, block

cdef struct Dropout:
    const fc_kernels *kernels
    Py_ssize_t n
    double p


cdef void pointwise_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Pointwise *p = <const Pointwise *>problem
    cdef Py_ssize_t first = index * p.block, start = first * p.kernels.itemsize
    cdef const char *weights = at.weights
    if weights != NULL:
        weights += start
    p.kernels.map[p.slot](least(p.block, p.n - first), at.x + start, weights, 0, at.y + start)


def compiled(str name, Py_ssize_t n, Py_ssize_t itemsize):
    """y = f(x, weights) for n contiguous elements; y may be x or weights.

    "relu" of x, "sigmoid" of x; "relu_grad", "sigmoid_grad": x is the gradient, weights the function's result;
    "add": x + weights."""
    cdef Pointwise p
    p.kernels, p.slot = kernels_for(itemsize), MAPS[name]
    p.n, p.block = n, BLOCK_BYTES // itemsize
    return compile(&p, sizeof(p), pointwise_chunk, ceil_div(n, p.block), 0)


cdef void dropout_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One image."""
    cdef const Dropout *p = <const Dropout *>problem
    cdef const uint64_t *numbers = <const uint64_t *>at.weights
    cdef Py_ssize_t start = index * p.n * p.kernels.itemsize
    p.kernels.dropout(p.n, numbers[0], numbers[1], numbers[2] + index, p.p, at.x + start, at.y + start)


def dropout(Py_ssize_t images, Py_ssize_t n, double p, Py_ssize_t itemsize):
    """y = x / (1 - p), or 0 with probability p, for images of n contiguous elements; y may be x.

    weights: three uint64, a seed, the number of the step and that of the first image. The same three numbers give
    the same mask, so the gradient is this nest on the gradient."""
    cdef Dropout d
    d.kernels, d.n, d.p = kernels_for(itemsize), n, p
    return compile(&d, sizeof(d), dropout_chunk, images, 0)
