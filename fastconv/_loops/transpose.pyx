"""A matrix for each image, transposed: channels-last activations to channels-first features and back. Called by
networks (fastconv/nn/program.py) at their input, at Flatten and behind it."""
from fastconv._loops.kernels cimport fc_kernels, kernels_for
from fastconv._loops.team cimport Operands, compile

cdef struct Transpose:
    const fc_kernels *kernels
    Py_ssize_t rows, columns


cdef void transpose_chunk(const void *problem, const Operands *at, Py_ssize_t image, char *scratch) noexcept nogil:
    cdef const Transpose *p = <const Transpose *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, from_start = image * p.rows * p.columns * size
    p.kernels.pack(p.columns, p.rows, at.x + from_start, size, p.columns * size, at.y + from_start, p.rows * size,
                   p.rows, 0)


def compiled(Py_ssize_t images, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t itemsize):
    """y (images, columns, rows) = x (images, rows, columns), both contiguous. One row: a copy."""
    cdef Transpose p
    p.kernels, p.rows, p.columns = kernels_for(itemsize), rows, columns
    return compile(&p, sizeof(p), transpose_chunk, images, 0)


cdef void zero_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Transpose *p = <const Transpose *>problem
    p.kernels.scale(p.columns, 0, at.y)


def zeros(Py_ssize_t count, Py_ssize_t itemsize):
    """y (count) = 0."""
    cdef Transpose p
    p.kernels, p.rows, p.columns = kernels_for(itemsize), 1, count
    return compile(&p, sizeof(p), zero_chunk, 1, 0)
