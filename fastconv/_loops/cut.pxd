# How the nests cut ranges into blocks, which rows a tile may read where they lie, and the order in which the nests take
# the axes of an image.
from libc.stdint cimport intptr_t

from fastconv._loops.kernels cimport fc_kernels


cdef inline Py_ssize_t least(Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    return x if x < y else y


cdef inline Py_ssize_t ceil_div(Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    return (x + y - 1) // y


cdef inline Py_ssize_t round_up(Py_ssize_t x, Py_ssize_t step) noexcept nogil:
    return ceil_div(x, step) * step


# The size of equal blocks of at most `most` that cover `total`: 300 by 256 is 150 + 150.
cdef inline Py_ssize_t balanced(Py_ssize_t total, Py_ssize_t most) noexcept nogil:
    cdef Py_ssize_t parts = ceil_div(total, most)
    return ceil_div(total, parts) if parts > 0 else most


# Where the index-th of `parts` spans of range(total) starts; they are even, in units of `unit`.
cdef inline Py_ssize_t span_start(Py_ssize_t total, Py_ssize_t parts, Py_ssize_t unit,
                                  Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t at = (ceil_div(total, unit) * index // parts) * unit
    return at if at < total else total


# Of n columns, those before a single vector that is left over. Its tiles may be taller, and then it has a turn of its
# own.
cdef inline Py_ssize_t before_last_vector(const fc_kernels *kernels, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t rest = n % kernels.NR
    return n - rest if rest <= kernels.lanes and kernels.rows[0] > kernels.MR else n


# Whether a tile's rows of A, so many bytes apart, take most ways of some sets of L1 from B. Of eight ways six do no
# harm, so tiles of six rows are never copied for this (1x1 filters, 1024 -> 256 at 14 pixels 99 GF/s in place, copied
# 96; 2048 -> 512 at 7 99 and 85; AVX2 on Zen 3, 2026-11).
cdef inline bint collide(const fc_kernels *kernels, Py_ssize_t row) noexcept:
    cdef Py_ssize_t sets = 4096, apart = row | sets    # whose lowest bit is row's, or 4096
    return kernels.MR > 6 * sets // (apart & -apart)


# Of the tiles that multiply with a strip of B, how many share the fetching of the next one, each so many times less of
# a row for each of its own rows: evenly, because a strip that the first tile fetches alone keeps it waiting (512 -> 512
# at 14 pixels by Winograd, 37 MB of weights from memory: 306 and 372 GF/s; Emerald Rapids, 2026-11).
cdef inline Py_ssize_t fetchers(Py_ssize_t tiles) noexcept nogil:
    return 4 if tiles >= 4 else 2 if tiles >= 2 else 1


# The strides of (n, c, h, w), whatever the layout of x.
cdef inline void take_strides(tuple s, bint channels_last, intptr_t *strides):
    strides[0] = s[0]
    strides[1] = s[3] if channels_last else s[1]
    strides[2] = s[1] if channels_last else s[2]
    strides[3] = s[2] if channels_last else s[3]
