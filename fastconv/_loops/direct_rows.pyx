"""Direct convolution of channels-first arrays with few channels, a network's first layer: the seven-loop sum with
vectors along the rows of pixels. Called by the "direct" row of fastconv/algorithms.py.

    y[n, k, p, q] = act(bias[k] + sum_{r, s, c} x[n, c, p*stride_h - pad_top + r*dilation_h, ...] * w[k, c, r, s])

A tile is up to MR filters k by NR neighbouring pixels q of an output row. What a filter tap meets along the row lies
side by side once x is copied as `stride_w` planes with zeros around (csrc/kernels/split.c), so a tap is an offset into
them, the sum runs in registers, and y is written where it belongs: nothing is lowered and nothing transposed. The
tile's own loop runs over the channels or down the rows of the filter, whichever are more; the rest are its taps.

    chunk: (image, group, block of output rows, part of K), cut by shape alone
      rows of x -> planes in scratch
      for k in the part by MR    the tile's filters stay in L1
        for p in the block       planes of y are written from one end to the other
          for q by NR            the tile
      the same for a single vector of pixels that rows leave over: its tiles may have more filters"""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, span_start
from fastconv._loops.kernels cimport FC_TAPS_IN_B, fc_geometry, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.planes cimport Planes, copy_channel, place_x, plane_row, size_planes, tap_at
from fastconv._loops.rows cimport input_rows
from fastconv._loops.team cimport Operands, compile, run
from fastconv._loops.tiles cimport before_last_vector, tile_of

cnp.import_array()

# PLANES_BYTES: half of Zen 3's L2; the filters lie beside them. LEAST_CHUNKS as in direct.pyx.
cdef enum:
    PLANES_BYTES = 256 << 10
    LEAST_CHUNKS = 8
    LEAST_TILES = 2

cdef struct Rows:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t rows, row_parts, k_parts              # output rows of a chunk
    Planes planes
    bint down                                        # the tile's own loop runs over filter rows, not channels
    Py_ssize_t depth, taps                           # its length, and how often it runs
    Py_ssize_t filter_bytes
    bint relu


cdef void set_up(Rows *p, bytes geometry, Py_ssize_t itemsize, blocking):
    """Everything that shape, dtype, ISA and block sizes decide."""
    cdef Py_ssize_t room, row
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    room = p.kernels.lanes * itemsize
    row = plane_row(&p.g, itemsize)
    p.rows = 1
    while p.rows < p.g.P and (
            input_rows(&p.g, p.rows + 1) <= (PLANES_BYTES // (p.g.C * p.g.stride_w) - room) // row) and (
            blocking is None or (p.rows + 1) * p.g.Q <= blocking.nc):
        p.rows += 1
    p.rows = balanced(p.g.P, least(p.rows, ceil_div(p.g.P, max(1, LEAST_CHUNKS // max(1, p.g.N * p.g.groups)))))
    p.row_parts = ceil_div(p.g.P, p.rows)
    p.k_parts = max(1, min(LEAST_CHUNKS // max(1, p.g.N * p.g.groups * p.row_parts),
                           p.g.K // (LEAST_TILES * p.kernels.MR)))
    size_planes(&p.planes, &p.g, p.kernels, p.rows)
    p.down = p.g.R > p.g.C
    p.depth = p.g.R if p.down else p.g.C
    p.taps = (p.g.C if p.down else p.g.R) * p.g.S
    p.filter_bytes = p.g.C * p.g.R * p.g.S * itemsize + LINE


cdef Py_ssize_t scratch_bytes(const Rows *p) noexcept nogil:
    return p.taps * sizeof(intptr_t) + LINE + p.g.C * p.planes.channel + p.kernels.NR * p.kernels.itemsize


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the packed weights."""
    cdef Rows p
    set_up(&p, geometry, itemsize, blocking)
    return p.g.groups * p.g.K * p.filter_bytes


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch that each thread uses."""
    cdef Rows p
    set_up(&p, geometry, itemsize, blocking)
    return scratch_bytes(&p)


def copied_bytes(bytes geometry, Py_ssize_t itemsize):
    """Bytes of x that the chunks copy to scratch together: each part of K copies its rows again."""
    cdef Rows p
    set_up(&p, geometry, itemsize, None)
    return p.g.C * p.planes.channel * p.g.N * p.g.groups * p.row_parts * p.k_parts


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A share of the filters of one group, a cache line apart: [k][r][s][c], or [k][c][s][r] if the tile runs down."""
    cdef const Rows *p = <const Rows *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, S = p.g.S, filter = p.g.C * p.g.R * S * size, tap, start
    cdef Py_ssize_t shares = ceil_div(LEAST_CHUNKS, p.g.groups), k = span_start(p.g.K, shares, 1, index % shares)
    cdef Py_ssize_t filters = span_start(p.g.K, shares, 1, index % shares + 1) - k
    cdef const char *w = at.weights + (index // shares * p.g.K + k) * filter
    cdef char *packed = at.y + (index // shares * p.g.K + k) * p.filter_bytes
    for tap in range(p.taps):
        start = tap // S * (p.g.R if p.down else 1) * S + tap % S
        p.kernels.pack(filters, p.depth, w + start * size, filter, (1 if p.down else p.g.R) * S * size,
                       packed + tap * p.depth * size, p.filter_bytes, p.depth, 0)


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Packs a C-contiguous weight into `packed`, prepared_bytes long."""
    cdef Rows p
    cdef Operands at
    set_up(&p, geometry, weight.itemsize, blocking)
    at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
    run(prepare_chunk, &p, p.g.groups * ceil_div(LEAST_CHUNKS, p.g.groups), 0, team, &at)


cdef void rows_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, row_step = p.g.dilation_h * p.planes.row
    cdef Py_ssize_t part = index % p.k_parts, row_part = index // p.k_parts % p.row_parts
    cdef Py_ssize_t group = index // p.k_parts // p.row_parts % p.g.groups
    cdef Py_ssize_t image = index // p.k_parts // p.row_parts // p.g.groups
    cdef Py_ssize_t p0 = row_part * p.rows, rows = least(p.rows, p.g.P - p0)
    cdef Py_ssize_t k0 = span_start(p.g.K, p.k_parts, 1, part), filters = span_start(p.g.K, p.k_parts, 1, part + 1) - k0
    cdef Py_ssize_t plane = p.g.P * p.g.Q * size, tap, tiles, tile, k, m, row, q0, q, cols, c
    cdef Py_ssize_t whole = before_last_vector(kernels, p.g.Q), step = whole or p.g.Q
    cdef intptr_t *offsets = <intptr_t *>scratch
    cdef char *planes = scratch + p.taps * sizeof(intptr_t) + LINE
    cdef const char *x = at.x + image * p.planes.x_strides[0]
    cdef const char *a
    cdef char *y
    cdef fc_store store = fc_store_of(1, 0, p.relu)
    for tap in range(p.taps):
        offsets[tap] = (tap // p.g.S * (p.planes.channel if p.down else row_step)
                        + tap_at(&p.planes, &p.g, tap % p.g.S, size))
    kernels.scale(p.g.C * p.planes.channel // size, 0, planes)
    for c in range(p.g.C):
        copy_channel(&p.planes, &p.g, kernels, x + (group * p.g.C + c) * p.planes.x_strides[1],
                     p0 * p.g.stride_h - p.g.pad_top, at.x + p.planes.x_bytes, planes + c * p.planes.channel)
    for q0 from 0 <= q0 < p.g.Q by step:
        tiles = ceil_div(filters, kernels.rows[q0 < whole])
        for tile in range(tiles):
            k = group * p.g.K + k0 + span_start(filters, tiles, 1, tile)
            m = group * p.g.K + k0 + span_start(filters, tiles, 1, tile + 1) - k
            a = at.weights + k * p.filter_bytes
            y = at.y + (image * p.g.groups * p.g.K + k) * plane + p0 * p.g.Q * size
            if at.bias != NULL:
                store.row_bias = at.bias + k * size
            for row in range(rows):
                for q from q0 <= q < least(p.g.Q, q0 + step) by kernels.NR:
                    cols = least(kernels.NR, p.g.Q - q)
                    tile_of(kernels, FC_TAPS_IN_B, m, cols)(
                        p.taps, offsets, p.depth, a, p.filter_bytes, size,
                        planes + row * p.g.stride_h * p.planes.row + q * size,
                        row_step if p.down else p.planes.channel,
                        a, 0, y + (row * p.g.Q + q) * size, plane, cols, &store)
    # end: for q0, for tile, for row, for q


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Rows p
    set_up(&p, geometry, itemsize, blocking)
    place_x(&p.planes, &p.g, strides, itemsize)
    p.relu = relu
    return compile(&p, sizeof(p), rows_chunk, p.g.N * p.g.groups * p.row_parts * p.k_parts, scratch_bytes(&p))
