"""Batch normalisation, channels last: every channel less its mean over the rows (the pixels of all images), divided by
its standard deviation; and the gradient. Called by networks.

    statistics   mean[c], inv_std[c] = 1 / sqrt(variance[c] + epsilon) over the rows of x
    normalise    y = (x - mean) * inv_std * gamma + beta
    grad_sums    dgamma = sum over rows of grad * (x - mean) * inv_std;  dbeta = sum of grad
    grad         dx = gamma * inv_std * (grad - (dbeta + (x - mean) * inv_std * dgamma) / rows)

What a layer keeps from the first to the last is its state, 4 * C items: mean, inv_std, dgamma, dbeta. The two sums run
in two phases: each part of the rows into the team's scratch, then the parts together, in order. Parts of the variance
are squares around the part's own mean, put together by the formula of Chan, Golub and LeVeque (1979)."""
from libc.math cimport sqrt

from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport fc_kernels, kernels_for
from fastconv._loops.row_sums cimport CHAIN, add_rows, rows_of_parts, sum_part
from fastconv._loops.team cimport Compiled, Operands, chunk_function, compile, followed_by

cdef struct BatchNorm:
    const fc_kernels *kernels
    Py_ssize_t rows, C, part_rows, parts
    double epsilon


cdef inline double get(const BatchNorm *p, const char *items, Py_ssize_t index) noexcept nogil:
    return (<const float *>items)[index] if p.kernels.itemsize == 4 else (<const double *>items)[index]


cdef inline void put(const BatchNorm *p, char *items, Py_ssize_t index, double value) noexcept nogil:
    if p.kernels.itemsize == 4:
        (<float *>items)[index] = <float>value
    else:
        (<double *>items)[index] = value


cdef inline Py_ssize_t rows_of(const BatchNorm *p, Py_ssize_t part) noexcept nogil:
    return least(p.part_rows, p.rows - part * p.part_rows)


cdef void sum_products(const BatchNorm *p, Py_ssize_t rows, const char *a, const char *a_mean, const char *b,
                       const char *b_mean, char *sum, char *piece) noexcept nogil:
    """sum = the sum over rows of (a - a_mean) * (b - b_mean), as sum_part makes it; no a_mean is 0."""
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, i
    p.kernels.scale(p.C, 0, sum)
    for i from 0 <= i < rows by CHAIN:
        p.kernels.scale(p.C, 0, piece)
        p.kernels.covariance(least(CHAIN, rows - i), p.C, a + i * row, a_mean, b + i * row, b_mean, piece)
        add_rows(p.kernels, 1, p.C, 1, piece, 0, sum)


cdef void statistics_part(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """The mean of a part's rows, and the sum of their squares around it."""
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, rows = rows_of(p, index)
    cdef const char *x = at.x + index * p.part_rows * row
    cdef char *mean = at.shared + 2 * index * row
    cdef char *squares = mean + row
    sum_part(p.kernels, rows, p.C, 1.0 / rows, x, mean, scratch)
    sum_products(p, rows, x, mean, x, mean, squares, scratch)


cdef void statistics_whole(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, part, c
    cdef const char *means
    cdef double mean, squares, seen, more, off
    for c in range(p.C):
        mean = squares = seen = 0
        for part in range(p.parts):
            means, more = at.shared + 2 * part * row, rows_of(p, part)
            off = get(p, means, c) - mean
            mean += off * (more / (seen + more))
            squares += get(p, means + row, c) + off * off * (seen * more / (seen + more))
            seen += more
        put(p, at.y, c, mean)
        put(p, at.y + row, c, 1 / sqrt(squares / p.rows + p.epsilon))


cdef void normalise_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One part of the rows, as x * factor + shift."""
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, start = index * p.part_rows * row, c
    cdef double factor
    for c in range(p.C):
        factor = get(p, at.weights, c) * get(p, at.bias + row, c)
        put(p, scratch, c, factor)
        put(p, scratch + row, c, get(p, at.weights + row, c) - get(p, at.bias, c) * factor)
    p.kernels.combine(rows_of(p, index), p.C, at.x + start, scratch, NULL, NULL, scratch + row, at.y + start)


cdef void grad_sums_part(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """Of a part's rows: the sums of grad * (x - mean) and of grad."""
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, start = index * p.part_rows * row, rows = rows_of(p, index)
    cdef char *sums = at.shared + 2 * index * row
    sum_products(p, rows, at.weights + start, NULL, at.x + start, at.y, sums, scratch)
    sum_part(p.kernels, rows, p.C, 1, at.weights + start, sums + row, scratch)


cdef void grad_sums_whole(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, part, c
    cdef double dgamma, dbeta
    for c in range(p.C):
        dgamma = dbeta = 0
        for part in range(p.parts):
            dgamma += get(p, at.shared + 2 * part * row, c)
            dbeta += get(p, at.shared + (2 * part + 1) * row, c)
        put(p, at.y + 2 * row, c, dgamma * get(p, at.y + row, c))
        put(p, at.y + 3 * row, c, dbeta)


cdef void grad_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One part of the rows, as grad * a + x * b + d."""
    cdef const BatchNorm *p = <const BatchNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, start = index * p.part_rows * row, c
    cdef double a, b
    for c in range(p.C):
        a = get(p, at.weights, c) * get(p, at.bias + row, c)
        b = -a * get(p, at.bias + row, c) * get(p, at.bias + 2 * row, c) / p.rows
        put(p, scratch, c, a)
        put(p, scratch + row, c, b)
        put(p, scratch + 2 * row, c, -a * get(p, at.bias + 3 * row, c) / p.rows - b * get(p, at.bias, c))
    p.kernels.combine(rows_of(p, index), p.C, at.y + start, scratch, at.x + start, scratch + row, scratch + 2 * row,
                      at.y + start)


cdef Compiled compile_parts(chunk_function chunk, chunk_function whole, Py_ssize_t rows, Py_ssize_t C,
                            Py_ssize_t itemsize, Py_ssize_t vectors, double epsilon=0):
    """Parts of the rows with so many vectors of scratch; or, with a second phase, two vectors a part, shared."""
    cdef BatchNorm p
    cdef Compiled made
    p.kernels, p.rows, p.C, p.epsilon = kernels_for(itemsize), rows, C, epsilon
    p.part_rows = rows_of_parts(rows)
    p.parts = ceil_div(rows, p.part_rows)
    made = compile(&p, sizeof(p), chunk, p.parts, vectors * C * itemsize)
    return made if whole == NULL else followed_by(made, whole, 1, p.parts * 2 * C * itemsize)


def statistics(Py_ssize_t rows, Py_ssize_t C, Py_ssize_t itemsize, double epsilon):
    """x (rows, C); y: the state, whose mean and inv_std are written. The variance is that of the rows (biased)."""
    return compile_parts(statistics_part, statistics_whole, rows, C, itemsize, 1, epsilon)


def normalise(Py_ssize_t rows, Py_ssize_t C, Py_ssize_t itemsize):
    """x (rows, C), weights: gamma and beta (2 * C), bias: mean and inv_std (2 * C), y (rows, C); y may be x."""
    return compile_parts(normalise_chunk, NULL, rows, C, itemsize, 2)


def grad_sums(Py_ssize_t rows, Py_ssize_t C, Py_ssize_t itemsize):
    """x (rows, C), weights: the gradient, y: the state, whose dgamma and dbeta are written."""
    return compile_parts(grad_sums_part, grad_sums_whole, rows, C, itemsize, 1)


def grad(Py_ssize_t rows, Py_ssize_t C, Py_ssize_t itemsize):
    """x (rows, C), weights: gamma, bias: the state, y: the gradient, which dx replaces."""
    return compile_parts(grad_chunk, NULL, rows, C, itemsize, 3)
