# What the nests of products do around the register tile (csrc/kernels/tile.c): how high each is, which function
# computes it, who fetches what comes next, and which rows it may read where they lie.
from fastconv._loops.cut cimport ceil_div
from fastconv._loops.kernels cimport fc_kernels, fc_tile


# How high the tiles are that some rows are cut into: nearly equally, 49 are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
cdef struct Heights:
    Py_ssize_t count, height, higher


# Of tiles with so many columns. It divides, so nests ask once for many strips (between tiles the divisions took a tenth
# of 16 -> 96 channels, 1x1: 67 and 74 GF/s; AVX2 on Zen 3, 2026-11).
cdef inline Heights heights_of(const fc_kernels *kernels, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    cdef Heights t
    t.count = ceil_div(rows, kernels.rows[cols > kernels.lanes])
    t.height, t.higher = rows // max(1, t.count), rows % max(1, t.count)
    return t


cdef inline Py_ssize_t height_of(const Heights *t, Py_ssize_t i) noexcept nogil:
    return t.height + (i < t.higher)


cdef inline fc_tile *tile_of(const fc_kernels *kernels, int kind, Py_ssize_t rows, Py_ssize_t cols) noexcept nogil:
    return kernels.tile[kind][cols > kernels.lanes][rows - 1]


# Of n columns, those before a single vector that is left over. Its tiles may be taller, and then it has a turn of its
# own.
cdef inline Py_ssize_t before_last_vector(const fc_kernels *kernels, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t rest = n % kernels.NR
    return n - rest if rest <= kernels.lanes and kernels.rows[0] > kernels.MR else n


# Of the tiles that multiply with a strip of B, how many share the fetching of the next one, each so many times less of
# a row for each of its own rows: evenly, because a strip that the first tile fetches alone keeps it waiting (512 -> 512
# at 14 pixels by Winograd, 37 MB of weights from memory: 306 and 372 GF/s; Emerald Rapids, 2026-11). A power of two.
cdef inline Py_ssize_t fetchers(Py_ssize_t tiles) noexcept nogil:
    return 4 if tiles >= 4 else 2 if tiles >= 2 else 1


# Whether a tile's rows of A, so many bytes apart, take most ways of some sets of L1 from B. Of eight ways six do no
# harm, so tiles of six rows are never copied for this (1x1 filters, 1024 -> 256 at 14 pixels 99 GF/s in place, copied
# 96; 2048 -> 512 at 7 99 and 85; AVX2 on Zen 3, 2026-11).
cdef inline bint collide(const fc_kernels *kernels, Py_ssize_t row) noexcept:
    cdef Py_ssize_t sets = 4096, apart = row | sets    # whose lowest bit is row's, or 4096
    return kernels.MR > 6 * sets // (apart & -apart)
