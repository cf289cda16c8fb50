"""The sum over rows, per column: the gradient of a bias. Called by fastconv/fully_connected.py and by networks.

    y[c] (+)= sum_i x[i, c]

Rows are cut into parts by shape alone; each part's sum goes to the team's scratch, and the parts are added in order."""
from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport fc_kernels, kernels_for
from fastconv._loops.row_sums cimport add_rows, rows_of_parts, sum_part
from fastconv._loops.team cimport Operands, compile, followed_by

cdef struct Sums:
    const fc_kernels *kernels
    Py_ssize_t rows, n, part_rows, parts
    bint accumulate


cdef void part_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Sums *p = <const Sums *>problem
    cdef Py_ssize_t first = index * p.part_rows, row = p.n * p.kernels.itemsize
    sum_part(p.kernels, least(p.part_rows, p.rows - first), p.n, 1, at.x + first * row, at.shared + index * row,
             scratch)


cdef void finish_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Sums *p = <const Sums *>problem
    if not p.accumulate:
        p.kernels.scale(p.n, 0, at.y)
    add_rows(p.kernels, p.parts, p.n, 1, at.shared, p.n * p.kernels.itemsize, at.y)


def sum_rows(Py_ssize_t rows, Py_ssize_t n, Py_ssize_t itemsize, bint accumulate=False):
    """y (n) = the sum of the rows of x (rows, n), contiguous; added to y if `accumulate`."""
    cdef Sums p
    p.kernels, p.rows, p.n, p.accumulate = kernels_for(itemsize), rows, n, accumulate
    p.part_rows = rows_of_parts(rows)
    p.parts = ceil_div(rows, p.part_rows)
    return followed_by(compile(&p, sizeof(p), part_chunk, p.parts, n * itemsize), finish_chunk, 1,
                       max(1, p.parts * n * itemsize))
