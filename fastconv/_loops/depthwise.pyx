"""Depthwise convolution, one filter a channel: the "direct" row of fastconv/algorithms.py where every group has one
channel and one filter. Small filters read the image as it lies, depthwise_in_place.pyx; the rest is here. Vectors run
over channels (csrc/kernels/depthwise.c).

Channels-last x is read in place; other x is copied, a few rows of some channels at a time, to channels-last scratch,
and channels-first y leaves through scratch in the same way. Taps outside the image are left out of a pixel's list, so
there is no padding: per output row one list for the pixels that have all columns of the filter inside, and one for
each of the few that have not.

Where x and y are channels-first and pixels of a row are neighbours, vectors run along the rows instead, of planes with
zeros around (csrc/kernels/split.c).

A chunk is (image, block of output rows, block of channels), cut by shape alone."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops import depthwise_in_place

from fastconv._loops.cut cimport balanced, ceil_div, least, take_strides
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.planes cimport Planes, copy_channel, place_x, plane_row, size_planes, tap_at
from fastconv._loops.rows cimport columns_inside, write_planes
from fastconv._loops.team cimport Operands, compile

cnp.import_array()

# ROWS_BYTES: what x and y of a chunk may take in scratch, a third of Zen 4's L2. CHANNEL_VECTORS: channels that a
# chunk of channels-first data takes, so that each is still a stream of its own while it is copied (a guess).
# PLANES_BYTES: half of L1 for the planes of one or more channels, which are all copied before the first is used: the
# processor does not forward what was just stored in other pieces.
cdef enum:
    ROWS_BYTES = 384 << 10
    PLANES_BYTES = 16 << 10
    CHANNEL_VECTORS = 4
    LEAST_CHUNKS = 8
    LEAST_ROW_CHUNKS = 16

cdef struct Depthwise:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t rows, row_parts, channels, channel_parts
    bint in_place, channels_last_y
    Py_ssize_t x_bytes, y_bytes               # scratch
    intptr_t x_strides[4]                     # of (n, c, h, w)
    bint relu


cdef inline Py_ssize_t list_bytes(const Depthwise *p) noexcept nogil:
    return 2 * p.g.R * p.g.S * sizeof(intptr_t)


cdef void set_up(Depthwise *p, bytes geometry, Py_ssize_t itemsize, bint in_place):
    """Everything that shape, dtype and ISA decide, and whether x can be read in place."""
    cdef Py_ssize_t row_bytes, C
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    C = p.g.groups
    p.in_place, p.channels_last_y = in_place, p.g.channels_last
    p.channels = C if in_place and p.channels_last_y else least(C, CHANNEL_VECTORS * p.kernels.lanes)
    p.channel_parts = ceil_div(C, p.channels)
    row_bytes = (p.g.W * p.g.stride_h * (not in_place) + p.g.Q * (not p.channels_last_y)) * p.channels * itemsize
    p.rows = p.g.P if row_bytes == 0 else max(1, least(p.g.P, ROWS_BYTES // row_bytes))
    p.rows = least(p.rows, ceil_div(p.g.P, ceil_div(LEAST_CHUNKS, max(1, p.g.N * p.channel_parts))))
    p.rows = balanced(p.g.P, p.rows)
    p.row_parts = ceil_div(p.g.P, p.rows)
    p.x_bytes = p.y_bytes = 0
    if not in_place:
        p.x_bytes = least(p.g.H, (p.rows - 1) * p.g.stride_h + (p.g.R - 1) * p.g.dilation_h + 1) * p.g.W
        p.x_bytes *= p.channels * itemsize
    if not p.channels_last_y:
        p.y_bytes = p.rows * p.g.Q * p.channels * itemsize


cdef struct Rows:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t rows, row_parts, channels, channel_parts, batch    # of a chunk; channels copied at a time
    Planes planes
    bint relu


cdef bint set_up_rows(Rows *p, bytes geometry, Py_ssize_t itemsize):
    """Everything that shape, dtype and ISA decide; false where the planes of one output row are too much to copy."""
    cdef Py_ssize_t C, reach, row, limit
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    C, reach = p.g.groups, (p.g.R - 1) * p.g.dilation_h + 1
    row = plane_row(&p.g, itemsize)
    if max(reach, row, p.g.stride_h, p.g.stride_w) > ROWS_BYTES or (    # as products of them may be too large
            p.g.stride_w * p.g.stride_h > ROWS_BYTES or reach * row * p.g.stride_w > ROWS_BYTES):
        return False
    limit = max(reach, PLANES_BYTES // (row * p.g.stride_w))
    p.rows = balanced(p.g.P, least(p.g.P, (limit - reach) // p.g.stride_h + 1))
    p.row_parts = ceil_div(p.g.P, p.rows)
    size_planes(&p.planes, &p.g, p.kernels, p.rows)
    p.channels = balanced(C, ceil_div(C, ceil_div(LEAST_ROW_CHUNKS, max(1, p.g.N * p.row_parts))))
    p.channel_parts = ceil_div(C, p.channels)
    p.batch = max(1, least(p.channels, PLANES_BYTES // p.planes.channel))
    return True


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the weights, channels last."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    return g.R * g.S * g.groups * itemsize


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch that each thread uses at most: less where x is read in place."""
    cdef Depthwise p
    cdef Rows q
    cdef Py_ssize_t most = 0
    for in_place in (True, False):
        set_up(&p, geometry, itemsize, in_place)
        most = max(most, p.x_bytes + p.y_bytes)
    if not p.channels_last_y and not depthwise_in_place.takes(geometry) and set_up_rows(&q, geometry, itemsize):
        most = max(most, q.batch * q.planes.channel)
    return list_bytes(&p) + most


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Puts the channels of a C-contiguous weight (K, taps, in either layout) last."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    cdef const fc_kernels *kernels = kernels_for(weight.itemsize)
    cdef Py_ssize_t taps = g.R * g.S
    kernels.pack(taps, g.groups, cnp.PyArray_BYTES(weight), weight.itemsize, taps * weight.itemsize,
                 cnp.PyArray_BYTES(packed), g.groups * weight.itemsize, g.groups, 0)


cdef Py_ssize_t list_taps(const Depthwise *p, Py_ssize_t h, Py_ssize_t w, Py_ssize_t x_row, Py_ssize_t x_pixel,
                          intptr_t *tap, intptr_t *weight) noexcept nogil:
    """The taps of the filter at (h, w) that lie inside the image: offsets from its corner, and into the weights."""
    cdef Py_ssize_t r, s, taps = 0
    for r in range(p.g.R):
        if not 0 <= h + r * p.g.dilation_h < p.g.H:
            continue
        for s in range(p.g.S):
            if not 0 <= w + s * p.g.dilation_w < p.g.W:
                continue
            tap[taps] = r * p.g.dilation_h * x_row + s * p.g.dilation_w * x_pixel
            weight[taps] = (r * p.g.S + s) * p.g.groups * p.kernels.itemsize
            taps += 1
    return taps


cdef void depthwise_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Depthwise *p = <const Depthwise *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, C = p.g.groups
    cdef Py_ssize_t c0 = index % p.channel_parts * p.channels, channels = least(p.channels, C - c0)
    cdef Py_ssize_t p0 = index // p.channel_parts % p.row_parts * p.rows, rows = least(p.rows, p.g.P - p0)
    cdef Py_ssize_t image = index // p.channel_parts // p.row_parts
    cdef Py_ssize_t first = max(0, p0 * p.g.stride_h - p.g.pad_top), last, h, w, row, q, q_end, low, high, taps
    cdef Py_ssize_t x_row = p.x_strides[2], x_pixel = p.x_strides[3], y_row, y_pixel
    cdef intptr_t *tap = <intptr_t *>scratch
    cdef intptr_t *weight = tap + p.g.R * p.g.S
    cdef const char *x = at.x + image * p.x_strides[0] + c0 * p.x_strides[1]
    cdef const char *bias = NULL if at.bias == NULL else at.bias + c0 * size
    cdef char *copied = scratch + list_bytes(p)
    cdef char *y
    if p.in_place:
        x += first * x_row
    else:
        last = least(p.g.H - 1, (p0 + rows - 1) * p.g.stride_h - p.g.pad_top + (p.g.R - 1) * p.g.dilation_h)
        x_row, x_pixel = p.g.W * channels * size, channels * size
        for h in range(first, last + 1):
            kernels.pack(p.g.W, channels, x + h * p.x_strides[2], p.x_strides[3], p.x_strides[1],
                         copied + (h - first) * x_row, x_pixel, channels, 0)
        x = copied
    if p.channels_last_y:
        y_pixel = C * size
        y = at.y + ((image * p.g.P + p0) * p.g.Q) * y_pixel + c0 * size
    else:
        y_pixel = channels * size
        y = copied + p.x_bytes
    y_row = p.g.Q * y_pixel
    columns_inside(&p.g, &low, &high)
    for row in range(rows):
        h = (p0 + row) * p.g.stride_h - p.g.pad_top
        q = 0
        while q < p.g.Q:
            q_end = high if q == low and high > low else q + 1
            w = q * p.g.stride_w - p.g.pad_left
            taps = list_taps(p, h, w, x_row, x_pixel, tap, weight)
            kernels.depthwise(q_end - q, channels, taps, tap, weight, x + (h - first) * x_row + w * x_pixel,
                              p.g.stride_w * x_pixel, at.weights + c0 * size, bias, p.relu,
                              y + row * y_row + q * y_pixel, y_pixel)
            q = q_end
    # end: for row, while q
    if not p.channels_last_y:
        write_planes(kernels, channels, rows * p.g.Q, y, y_pixel,
                     at.y + ((image * C + c0) * p.g.P + p0) * p.g.Q * size, p.g.P * p.g.Q * size)


cdef void rows_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Rows *p = <const Rows *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, C = p.g.groups, R = p.g.R, S = p.g.S
    cdef Py_ssize_t c0 = index % p.channel_parts * p.channels, c1 = least(c0 + p.channels, C)
    cdef Py_ssize_t p0 = index // p.channel_parts % p.row_parts * p.rows, rows = least(p.rows, p.g.P - p0)
    cdef Py_ssize_t image = index // p.channel_parts // p.row_parts, y_row = p.g.Q * size, c, i, batch, t
    cdef intptr_t *tap = <intptr_t *>scratch
    cdef intptr_t *weight = tap + R * S
    cdef char *planes = scratch + 2 * R * S * sizeof(intptr_t)
    cdef const char *x = at.x + image * p.planes.x_strides[0]
    cdef char *y = at.y + (image * C * p.g.P + p0) * y_row
    for t in range(R * S):
        tap[t] = t // S * p.g.dilation_h * p.planes.row + tap_at(&p.planes, &p.g, t % S, size)
        weight[t] = t * C * size
    kernels.scale(p.batch * p.planes.channel // size, 0, planes)
    for c from c0 <= c < c1 by p.batch:
        batch = least(p.batch, c1 - c)
        for i in range(batch):
            copy_channel(&p.planes, &p.g, kernels, x + (c + i) * p.planes.x_strides[1],
                         p0 * p.g.stride_h - p.g.pad_top, at.x + p.planes.x_bytes, planes + i * p.planes.channel)
        for i in range(batch):
            kernels.depthwise_rows(rows, p.g.Q, R * S, tap, weight, planes + i * p.planes.channel,
                                   p.g.stride_h * p.planes.row, at.weights + (c + i) * size,
                                   NULL if at.bias == NULL else at.bias + (c + i) * size, p.relu,
                                   y + (c + i) * p.g.P * y_row, y_row)
    # end: for c, for i


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Depthwise p
    cdef Rows q
    cdef bint channels_last = (<const fc_geometry *><const char *>geometry).channels_last
    made = depthwise_in_place.compiled(geometry, itemsize, strides, relu)
    if made is not None:
        return made
    if not channels_last and strides[3] == itemsize and set_up_rows(&q, geometry, itemsize):
        place_x(&q.planes, &q.g, strides, itemsize)
        q.relu = relu
        return compile(&q, sizeof(q), rows_chunk, q.g.N * q.row_parts * q.channel_parts,
                       2 * q.g.R * q.g.S * sizeof(intptr_t) + q.batch * q.planes.channel)
    set_up(&p, geometry, itemsize, (strides[3] if channels_last else strides[1]) == itemsize)
    take_strides(strides, channels_last, p.x_strides)
    p.relu = relu
    return compile(&p, sizeof(p), depthwise_chunk, p.g.N * p.row_parts * p.channel_parts,
                   list_bytes(&p) + p.x_bytes + p.y_bytes)
