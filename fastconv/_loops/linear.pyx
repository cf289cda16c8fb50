"""The fully connected layer and its gradients. Called by fastconv/fully_connected.py and by networks.

    linear                 y[i, o] = bias[o] + sum_k x[i, k] * w[o, k]
    linear_input_grad      dx[i, k] = sum_o grad[i, o] * w[o, k]
    linear_weight_grad     dw[o, k] (+)= sum_i grad[i, o] * x[i, k]

With few rows it is the weights that cost, so they are read once, as they lie: by dot products along k, or row by row
into the result. More rows go through the register tile; a chunk packs the columns of the second matrix that no other
chunk needs. A chunk is a block of columns of the result or, with few rows, a panel of rows of dw; cut by shape."""
from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.gemm cimport product_bytes, product_here
from fastconv._loops.kernels cimport fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.team cimport Operands, chunk_function, compile

# MOST_ROWS is DOT_ROWS of gemm.pyx, and right for the gradients too (AlexNet's 9216 x 4096 layer, Zen 3, 2026-11).
# Columns of a chunk: of y and dw strips of the tile; of dx two pages of a row (14 GB/s with one page, 20 with two).
# PANEL_BYTES of dw stay in L2 while they are added up.
cdef enum:
    MOST_ROWS = 8
    Y_COLUMNS = 64
    DX_COLUMNS = 2048
    DW_COLUMNS = 256
    ROWS_IN_L2 = 16
    PANEL_BYTES = 256 << 10

cdef struct Linear:
    const fc_kernels *kernels
    Py_ssize_t rows, n_in, n_out
    Py_ssize_t columns            # of a chunk; of dw with few rows it is rows of weights
    bint tiled, accumulate


cdef void linear_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Linear *p = <const Linear *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, first = index * p.columns, n = least(p.columns, p.n_out - first), i
    cdef Py_ssize_t x_row = p.n_in * size, y_row = p.n_out * size
    cdef const char *weights = at.weights + first * x_row
    cdef char *y = at.y + first * size
    cdef fc_store onto = fc_store_of(1, 1, 0)
    for i in range(p.rows):
        if at.bias == NULL:
            p.kernels.scale(n, 0, y + i * y_row)
        else:
            p.kernels.pack(1, n, at.bias + first * size, 0, size, y + i * y_row, 0, n, 0)
    if p.tiled:
        product_here(p.kernels, p.rows, n, p.n_in, at.x, x_row, size, weights, size, x_row, 1, y, y_row, scratch)
        return
    p.kernels.dot(p.rows, n, 1, NULL, NULL, p.n_in, at.x, x_row, weights, x_row, y, y_row, &onto)


cdef void input_grad_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Linear *p = <const Linear *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, first = index * p.columns, n = least(p.columns, p.n_in - first), i, k
    cdef Py_ssize_t grad_row = p.n_out * size, w_row = p.n_in * size
    cdef const char *weights = at.weights + first * size
    cdef char *dx = at.y + first * size
    for i in range(p.rows):
        p.kernels.scale(n, 0, dx + i * w_row)
    if p.tiled:
        product_here(p.kernels, p.rows, n, p.n_out, at.x, grad_row, size, weights, w_row, size, 1, dx, w_row, scratch)
        return
    for k from 0 <= k < p.n_out by ROWS_IN_L2:
        for i in range(p.rows):
            p.kernels.axpy(least(ROWS_IN_L2, p.n_out - k), n, 1, at.x + i * grad_row + k * size, size,
                           weights + k * w_row, w_row, dx + i * w_row)


cdef void weight_grad_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Linear *p = <const Linear *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, first = index * p.columns, n, o
    cdef Py_ssize_t grad_row = p.n_out * size, row = p.n_in * size
    if p.tiled:
        n = least(p.columns, p.n_in - first)
        product_here(p.kernels, p.n_out, n, p.rows, at.weights, size, grad_row, at.x + first * size, row, size,
                     1 if p.accumulate else 0, at.y + first * size, row, scratch)
        return
    for o in range(first, least(first + p.columns, p.n_out)):
        if not p.accumulate:
            p.kernels.scale(p.n_in, 0, at.y + o * row)
        p.kernels.axpy(p.rows, p.n_in, 1, at.weights + o * size, grad_row, at.x, row, at.y + o * row)


def panel_rows(Py_ssize_t n_in, Py_ssize_t itemsize):
    """Rows of dw that one chunk of linear_weight_grad computes for up to MOST_ROWS rows of x."""
    return max(1, PANEL_BYTES // max(1, n_in * itemsize))


cdef compile_linear(chunk_function chunk, Py_ssize_t rows, Py_ssize_t n_in, Py_ssize_t n_out, Py_ssize_t itemsize,
                    Py_ssize_t width, Py_ssize_t columns, bint accumulate=False):
    """Chunks of so many columns of `width`."""
    cdef Linear p
    p.kernels, p.rows, p.n_in, p.n_out, p.accumulate = kernels_for(itemsize), rows, n_in, n_out, accumulate
    p.tiled, p.columns = rows > MOST_ROWS, columns
    return compile(&p, sizeof(p), chunk, ceil_div(width, columns), product_bytes(p.kernels) if p.tiled else 0)


def linear(Py_ssize_t rows, Py_ssize_t n_in, Py_ssize_t n_out, Py_ssize_t itemsize):
    """x (rows, n_in), weights (n_out, n_in), bias (n_out) or none, y (rows, n_out)."""
    return compile_linear(linear_chunk, rows, n_in, n_out, itemsize, n_out, Y_COLUMNS)


def linear_input_grad(Py_ssize_t rows, Py_ssize_t n_in, Py_ssize_t n_out, Py_ssize_t itemsize):
    """x is the gradient (rows, n_out), weights (n_out, n_in), y becomes dx (rows, n_in)."""
    return compile_linear(input_grad_chunk, rows, n_in, n_out, itemsize, n_in, DX_COLUMNS)


def linear_weight_grad(Py_ssize_t rows, Py_ssize_t n_in, Py_ssize_t n_out, Py_ssize_t itemsize,
                       bint accumulate=False):
    """x (rows, n_in), weights are the gradient (rows, n_out), y becomes dw (n_out, n_in), or has it added."""
    if rows > MOST_ROWS:
        return compile_linear(weight_grad_chunk, rows, n_in, n_out, itemsize, n_in, DW_COLUMNS, accumulate)
    return compile_linear(weight_grad_chunk, rows, n_in, n_out, itemsize, n_out, panel_rows(n_in, itemsize), accumulate)
