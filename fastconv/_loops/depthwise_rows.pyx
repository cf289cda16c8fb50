"""Depthwise convolution of channels-first arrays, called by depthwise.pyx: vectors along the rows, of planes with zeros
around, one for each step of the stride (csrc/kernels/split.c), where pixels of a row are neighbours.

A chunk is (image, block of output rows, block of channels), cut by shape alone; it copies and computes some channels at
a time."""
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport balanced, ceil_div, least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.planes cimport Planes, copy_channel, place_x, plane_row, size_planes, tap_at
from fastconv._loops.team cimport Operands, compile

# PLANES_BYTES: half of L1 for the planes of one or more channels, which are all copied before the first is used: the
# processor does not forward what was just stored in other pieces. MOST_BYTES: of the planes of one output row.
cdef enum:
    PLANES_BYTES = 16 << 10
    MOST_BYTES = 384 << 10
    LEAST_CHUNKS = 16

cdef struct PlaneRows:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t rows, row_parts, channels, channel_parts, batch    # of a chunk; channels copied at a time
    Planes planes
    bint relu


cdef bint set_up(PlaneRows *p, bytes geometry, Py_ssize_t itemsize):
    """Everything that shape, dtype and ISA decide; false where the planes of one output row are too much to copy."""
    cdef Py_ssize_t C, reach, row, limit
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    C, reach = p.g.groups, (p.g.R - 1) * p.g.dilation_h + 1
    row = plane_row(&p.g, itemsize)
    if max(reach, row, p.g.stride_h, p.g.stride_w) > MOST_BYTES or (    # as products of them may be too large
            p.g.stride_w * p.g.stride_h > MOST_BYTES or reach * row * p.g.stride_w > MOST_BYTES):
        return False
    limit = max(reach, PLANES_BYTES // (row * p.g.stride_w))
    p.rows = balanced(p.g.P, least(p.g.P, (limit - reach) // p.g.stride_h + 1))
    p.row_parts = ceil_div(p.g.P, p.rows)
    size_planes(&p.planes, &p.g, p.kernels, p.rows)
    p.channels = balanced(C, ceil_div(C, ceil_div(LEAST_CHUNKS, max(1, p.g.N * p.row_parts))))
    p.channel_parts = ceil_div(C, p.channels)
    p.batch = max(1, least(p.channels, PLANES_BYTES // p.planes.channel))
    return True


cdef Py_ssize_t scratch_bytes(const PlaneRows *p) noexcept nogil:
    return 2 * p.g.R * p.g.S * sizeof(intptr_t) + p.batch * p.planes.channel


def workspace_bytes(bytes geometry, Py_ssize_t itemsize):
    """Bytes of scratch that each thread uses; 0 of what is not computed like this."""
    cdef PlaneRows p
    return scratch_bytes(&p) if set_up(&p, geometry, itemsize) else 0


cdef void rows_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const PlaneRows *p = <const PlaneRows *>problem
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


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu):
    """As depthwise.pyx's, or None of what is not computed like this."""
    cdef PlaneRows p
    if (<const fc_geometry *><const char *>geometry).channels_last or strides[3] != itemsize:
        return None
    if not set_up(&p, geometry, itemsize):
        return None
    place_x(&p.planes, &p.g, strides, itemsize)
    p.relu = relu
    return compile(&p, sizeof(p), rows_chunk, p.g.N * p.row_parts * p.channel_parts, scratch_bytes(&p))
