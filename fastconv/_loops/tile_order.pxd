"""The order of a group of tiles in memory, in which those that take part in a product are neighbours; transformed.pyx
lays them out by it.

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

cdef struct Tile:
    Py_ssize_t image, row, column

cdef struct Order:
    Py_ssize_t start[KINDS + 1]            # of each kind in the group
    Py_ssize_t origin[KINDS]               # where the first such tile of all images would be

# Neighbours in a row of tiles, in the places at, at + 1, ... of a group; but the last one may be of another kind.
cdef struct Run:
    Tile first
    Py_ssize_t tiles, at, last             # how many; places: of the first one, of the last one


cdef inline Tile tile_at(const Tiles *tiles, Py_ssize_t index) noexcept nogil:
    cdef Tile tile
    cdef Py_ssize_t row = index // tiles.wide
    tile.image, tile.row, tile.column = row // tiles.high, row % tiles.high, index - row * tiles.wide
    return tile


cdef inline void count_kinds(const Tiles *tiles, const Tile *tile, Py_ssize_t *count) noexcept nogil:
    """How many of each kind come before a tile."""
    cdef Py_ssize_t rows = tile.image * tiles.high + tile.row, right = 0, below = 0
    count[CORNER] = 0
    if tiles.right != ALL_POINTS:
        right = rows
    if tiles.below != ALL_POINTS:
        below = tile.image * tiles.wide + (tile.column if tile.row == tiles.high - 1 else 0)
        if tiles.right != ALL_POINTS:
            count[CORNER] = tile.image
    count[RIGHT], count[BELOW] = right - count[CORNER], below - count[CORNER]
    count[INNER] = rows * tiles.wide + tile.column - right - below + count[CORNER]


cdef inline Order order_of(const Tiles *tiles, Py_ssize_t first, Py_ssize_t group) noexcept nogil:
    """Of `group` tiles from the first on."""
    cdef Tile tile = tile_at(tiles, first), end = tile_at(tiles, first + group)
    cdef Py_ssize_t before[KINDS]
    cdef Py_ssize_t after[KINDS]
    cdef Order order
    cdef int kind
    count_kinds(tiles, &tile, before)
    count_kinds(tiles, &end, after)
    order.start[0] = 0
    for kind in range(KINDS):
        order.origin[kind] = order.start[kind] - before[kind]
        order.start[kind + 1] = order.start[kind] + after[kind] - before[kind]
    return order


cdef inline Py_ssize_t place_of(const Tiles *tiles, const Order *order, const Tile *tile) noexcept nogil:
    """Where a tile is in the group."""
    cdef Py_ssize_t count[KINDS]
    cdef bint right = tiles.right != ALL_POINTS and tile.column == tiles.wide - 1
    cdef bint below = tiles.below != ALL_POINTS and tile.row == tiles.high - 1
    cdef int kind = CORNER if below and right else BELOW if below else RIGHT if right else INNER
    count_kinds(tiles, tile, count)
    return order.origin[kind] + count[kind]


cdef inline Run run_from(const Tiles *tiles, const Order *order, Py_ssize_t index, Py_ssize_t most) noexcept nogil:
    """The run that begins with the index-th tile, of at most so many."""
    cdef Run run_
    cdef Tile last
    run_.first = last = tile_at(tiles, index)
    run_.tiles = min(tiles.wide - run_.first.column, most)
    last.column += run_.tiles - 1
    run_.at, run_.last = place_of(tiles, order, &run_.first), place_of(tiles, order, &last)
    return run_


cdef inline Py_ssize_t place_in(const Run *run_, Py_ssize_t j) noexcept nogil:
    """The place of its j-th tile."""
    return run_.last if j == run_.tiles - 1 else run_.at + j


cdef inline void taking_part(const Tiles *tiles, const Order *order, Py_ssize_t row, Py_ssize_t column,
                             Py_ssize_t *start, Py_ssize_t *end) noexcept nogil:
    """The tiles that the frequency of this row and column multiplies with."""
    cdef bint below = tiles.below == ALL_POINTS or tiles.below >> row & 1
    cdef bint right = tiles.right == ALL_POINTS or tiles.right >> column & 1
    start[0] = order.start[RIGHT if right else INNER]
    end[0] = order.start[KINDS if below and right else CORNER if below else BELOW]
