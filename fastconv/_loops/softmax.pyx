"""Softmax along contiguous rows, and the two losses, fused with their gradients. Called by fastconv/activations.py,
fastconv/losses.py and by networks.

    softmax               y[i] = exp(x[i] - max(x)) / sum_j exp(x[j] - max(x))
    softmax_grad          dx[i] = y[i] * (grad[i] - sum_j grad[j] * y[j])
    cross_entropy         loss = log(sum_j exp(x[j])) - x[label];  dx = (softmax(x) - one_hot(label)) / count
    binary_cross_entropy  loss = sum_i log(1 + exp(x[i])) - t[i] * x[i];  dx = (sigmoid(x) - t) / count

A chunk is a row. Losses are doubles, one for each row and not divided by count: the caller adds them up in order."""
from libc.math cimport exp, fabs, log, log1p
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastconv._loops.cut cimport span_start
from fastconv._loops.kernels cimport (
    FC_EXP_MINUS,
    FC_SCALED_DIFFERENCE,
    FC_SIGMOID,
    FC_SOFTMAX_GRAD,
    fc_kernels,
    fc_store,
    fc_store_of,
    kernels_for,
)
from fastconv._loops.team cimport Operands, chunk_function, compile

cdef struct Rows:
    const fc_kernels *kernels
    Py_ssize_t rows, n
    double count


cdef inline double value(const char *p, Py_ssize_t size) noexcept nogil:
    cdef float f32
    cdef double f64
    if size == 4:
        memcpy(&f32, p, 4)
        return f32
    memcpy(&f64, p, 8)
    return f64


cdef inline void set_value(char *p, Py_ssize_t size, double to) noexcept nogil:
    cdef float f32 = <float>to
    memcpy(p, <const char *>&f32 if size == 4 else <const char *>&to, size)


cdef double exponentials(const Rows *p, const char *x, double most, char *y) noexcept nogil:
    """y = exp(x - most); their sum."""
    p.kernels.map[FC_EXP_MINUS](p.n, x, NULL, most, y)
    return p.kernels.read_sum(y, p.n * p.kernels.itemsize)


cdef void softmax_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef Py_ssize_t start = index * p.n * p.kernels.itemsize
    cdef double total = exponentials(p, at.x + start, p.kernels.largest(p.n, at.x + start), at.y + start)
    p.kernels.scale(p.n, 1 / total, at.y + start)


cdef void softmax_grad_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, start = index * p.n * size
    cdef double product
    cdef fc_store store = fc_store_of(1, 0, 0)
    p.kernels.dot(1, 1, 1, NULL, NULL, p.n, at.x + start, 0, at.weights + start, 0, &product, 0, &store)
    p.kernels.map[FC_SOFTMAX_GRAD](p.n, at.x + start, at.weights + start, value(<char *>&product, size), at.y + start)


cdef void cross_entropy_chunk(const void *problem, const Operands *at, Py_ssize_t index,
                              char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, start = index * p.n * size
    cdef Py_ssize_t label = (<const int64_t *>at.weights)[index]
    cdef const char *x = at.x + start
    cdef double most = p.kernels.largest(p.n, x), of_label = value(x + label * size, size)
    cdef char *y = scratch if at.y == NULL else at.y + start
    cdef double total = exponentials(p, x, most, y)
    (<double *>at.bias)[index] = log(total) + (most - of_label)
    if at.y != NULL:
        p.kernels.scale(p.n, 1 / (total * p.count), y)
        set_value(y + label * size, size, value(y + label * size, size) - 1 / p.count)


cdef void binary_cross_entropy_chunk(const void *problem, const Operands *at, Py_ssize_t index,
                                     char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, first = span_start(p.n, p.rows, 1, index)
    cdef Py_ssize_t last = span_start(p.n, p.rows, 1, index + 1), i
    cdef double x, sum = 0
    for i in range(first, last):
        x = value(at.x + i * size, size)
        # log(1 + exp(x)), which must not overflow.
        sum += (x if x > 0 or x != x else 0) + log1p(exp(-fabs(x))) - x * value(at.weights + i * size, size)
    (<double *>at.bias)[index] = sum
    if at.y != NULL:
        p.kernels.map[FC_SIGMOID](last - first, at.x + first * size, NULL, 0, at.y + first * size)
        p.kernels.map[FC_SCALED_DIFFERENCE](last - first, at.y + first * size, at.weights + first * size,
                                            1 / p.count, at.y + first * size)


cdef compile_rows(chunk_function chunk, Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize, double count=1,
                  size_t scratch_bytes=0):
    cdef Rows p
    p.kernels, p.rows, p.n, p.count = kernels_for(itemsize), rows, n, count
    return compile(&p, sizeof(p), chunk, rows, scratch_bytes)


def softmax(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize):
    """y = softmax of each row of x (rows, n); y may be x. n >= 1."""
    return compile_rows(softmax_chunk, rows, n, itemsize)


def softmax_grad(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize):
    """x is the gradient, weights are the softmax, y becomes the gradient of its argument; y may be x or weights."""
    return compile_rows(softmax_grad_chunk, rows, n, itemsize)


def cross_entropy(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize, double count):
    """x: logits (rows, n); weights: int64 labels, checked; bias: doubles, written: the losses; y: the gradient, or
    NULL for the losses alone."""
    return compile_rows(cross_entropy_chunk, rows, n, itemsize, count, n * itemsize)


def binary_cross_entropy(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize, double count):
    """x: n logits, weights: as many targets, in `rows` even spans; bias: doubles, written: the sum of each span's
    losses; y: the gradient, or NULL."""
    return compile_rows(binary_cross_entropy_chunk, rows, n, itemsize, count)
