# Sums over the rows of a matrix, of either dtype: for sums.pyx and batch_norm.pyx, which cut long ones into parts, and
# for those who add up the parts of other sums.
from fastconv._loops.cut cimport balanced, ceil_div, least
from fastconv._loops.kernels cimport fc_kernels

cdef extern from *:
    """
    static const float fc_one_f32 = 1;
    static const double fc_one_f64 = 1;
    """
    const float fc_one_f32
    const double fc_one_f64

# CHAIN: no addition in float32 is the last of more than that in a row. MOST_PARTS keeps the second phase short.
cdef enum:
    CHAIN = 256
    MOST_PARTS = 64


# sum += factor * every row, rows so many bytes apart.
cdef inline void add_rows(const fc_kernels *kernels, Py_ssize_t rows, Py_ssize_t n, double factor, const char *x,
                          Py_ssize_t x_row, char *sum) noexcept nogil:
    kernels.axpy(rows, n, factor, &fc_one_f32 if kernels.itemsize == 4 else <const void *>&fc_one_f64, 0, x, x_row, sum)


# Rows of each of the parts that are summed on their own.
cdef inline Py_ssize_t rows_of_parts(Py_ssize_t rows) noexcept nogil:
    return max(1, balanced(rows, max(CHAIN, ceil_div(rows, MOST_PARTS))))


# sum = factor * the sum of contiguous rows, CHAIN of them at a time in `piece`, n items.
cdef inline void sum_part(const fc_kernels *kernels, Py_ssize_t rows, Py_ssize_t n, double factor, const char *x,
                          char *sum, char *piece) noexcept nogil:
    cdef Py_ssize_t row = n * kernels.itemsize, i
    kernels.scale(n, 0, sum)
    for i from 0 <= i < rows by CHAIN:
        kernels.scale(n, 0, piece)
        add_rows(kernels, least(CHAIN, rows - i), n, 1, x + i * row, row, piece)
        add_rows(kernels, 1, n, factor, piece, 0, sum)
