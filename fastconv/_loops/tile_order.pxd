"""The order of a group of tiles in memory, in which those that take part in a product are neighbours. Included by
transformed.pyx.

A tile of an image's last row or column of tiles may have fewer results, and then it is left out of some products
(fc_transform's `points`): of some rows of frequencies if it is of the last row, of some columns if it is of the last
column. So there are four kinds of tiles, and in this order any product's tiles follow each other:

    RIGHT, INNER, BELOW, CORNER      all columns need no RIGHT and CORNER, all rows no BELOW and CORNER

Tiles are counted along the rows of tiles, through all images."""
from libc.stdint cimport intptr_t

cdef enum:
    RIGHT, INNER, BELOW, CORNER, KINDS
    ALL_POINTS = -1

cdef struct Tiles:
    Py_ssize_t high, wide                  # of an image
    intptr_t below, right                  # bits: the rows, the columns of frequencies of the last row, column of tiles

cdef struct Order:
    Py_ssize_t start[KINDS + 1]            # of each kind in the group
    Py_ssize_t origin[KINDS]               # where the first such tile of all images would be

# Neighbours in a row of tiles, in the places at, at + 1, ... of a group; but the last one may be of another kind.
cdef struct Run:
    Py_ssize_t image, th, tw, tiles        # the first tile's image, row and column of tiles; how many
    Py_ssize_t at, last                    # places: of the first one, of the last one


cdef inline bint is_right(const Tiles *tiles, Py_ssize_t tile) noexcept nogil:
    return tiles.right != ALL_POINTS and tile % tiles.wide == tiles.wide - 1


cdef inline void count_kinds(const Tiles *tiles, Py_ssize_t tile, Py_ssize_t *count) noexcept nogil:
    """How many of each kind come before `tile`."""
    cdef Py_ssize_t rows = tile // tiles.wide, images = rows // tiles.high
    cdef Py_ssize_t right = 0 if tiles.right == ALL_POINTS else rows, below = 0
    if tiles.below != ALL_POINTS:
        below = images * tiles.wide
        if rows % tiles.high == tiles.high - 1:
            below += tile % tiles.wide
    count[CORNER] = 0 if tiles.right == ALL_POINTS or tiles.below == ALL_POINTS else images
    count[RIGHT], count[BELOW] = right - count[CORNER], below - count[CORNER]
    count[INNER] = tile - count[RIGHT] - count[BELOW] - count[CORNER]


cdef inline Order order_of(const Tiles *tiles, Py_ssize_t first, Py_ssize_t group) noexcept nogil:
    """Of `group` tiles from `first` on."""
    cdef Py_ssize_t before[KINDS]
    cdef Py_ssize_t after[KINDS]
    cdef Order order
    cdef int kind
    count_kinds(tiles, first, before)
    count_kinds(tiles, first + group, after)
    order.start[0] = 0
    for kind in range(KINDS):
        order.origin[kind] = order.start[kind] - before[kind]
        order.start[kind + 1] = order.start[kind] + after[kind] - before[kind]
    return order


cdef inline Py_ssize_t place_of(const Tiles *tiles, const Order *order, Py_ssize_t tile) noexcept nogil:
    """Where `tile` is in the group."""
    cdef Py_ssize_t count[KINDS]
    cdef int kind = RIGHT if is_right(tiles, tile) else INNER
    if tiles.below != ALL_POINTS and tile // tiles.wide % tiles.high == tiles.high - 1:
        kind = CORNER if kind == RIGHT else BELOW
    count_kinds(tiles, tile, count)
    return order.origin[kind] + count[kind]


cdef inline Run run_from(const Tiles *tiles, const Order *order, Py_ssize_t tile, Py_ssize_t most) noexcept nogil:
    """The run that begins with `tile`, of at most so many tiles."""
    cdef Run run_
    run_.tw = tile % tiles.wide
    run_.th = tile // tiles.wide % tiles.high
    run_.image = tile // tiles.wide // tiles.high
    run_.tiles = min(tiles.wide - run_.tw, most)
    run_.at = place_of(tiles, order, tile)
    run_.last = run_.at + run_.tiles - 1
    if is_right(tiles, tile + run_.tiles - 1):
        run_.last = place_of(tiles, order, tile + run_.tiles - 1)
    return run_


cdef inline Py_ssize_t place_in(const Run *run_, Py_ssize_t j) noexcept nogil:
    """The place of its j-th tile."""
    return run_.last if j == run_.tiles - 1 else run_.at + j


cdef inline void taking_part(const Tiles *tiles, const Order *order, Py_ssize_t row, Py_ssize_t column,
                             Py_ssize_t *start, Py_ssize_t *end) noexcept nogil:
    """The tiles that the frequency of this row and column multiplies with."""
    cdef bint below = tiles.below >> row & 1, right = tiles.right >> column & 1
    start[0] = order.start[RIGHT if right else INNER]
    end[0] = order.start[KINDS if below and right else CORNER if below else BELOW]
