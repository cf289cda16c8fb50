"""Depthwise convolution that reads the image where it lies, called by depthwise.pyx: square filters of a few taps with
steps of 1 or 2, in either layout. Taps outside the image are left out, or masked (csrc/kernels/depthwise_in_place.c).

Channels-last: 3x3 and 5x5, vectors over channels (144 channels at 56 pixels, 3x3: 33 GF/s by lists of taps, 48 in
place, and 13 and 34 with 8 images in memory; AVX2 on Zen 3, 2026-11). Channels-first: 3x3, vectors along the rows (14
pixels: 23 GF/s from copies with zeros around, 55 in place; AVX-512 on Zen 4, 2026-11).

A chunk is (image, block of output rows, block of channels), cut by shape alone."""
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport ceil_div, least, span_start, take_strides
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, fc_window, kernels_for
from fastconv._loops.team cimport Operands, compile

# ROW_UNIT, CHANNEL_UNIT: rows of a whole block of depthwise_last, and channels of a cache line, which are not cut.
cdef enum:
    LEAST_CHUNKS = 16
    ROW_UNIT = 4
    CHANNEL_UNIT = 16

cdef struct InPlace:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t row_parts, channel_parts
    intptr_t x_strides[4]                                         # of (n, c, h, w)
    bint relu


cdef void in_place_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const InPlace *p = <const InPlace *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, C = p.g.groups, P = p.g.P, Q = p.g.Q, step = p.g.stride_h, c
    cdef Py_ssize_t unit = CHANNEL_UNIT if p.g.channels_last else 1, part = index % p.channel_parts
    cdef Py_ssize_t c0 = span_start(C, p.channel_parts, unit, part)
    cdef Py_ssize_t c1 = span_start(C, p.channel_parts, unit, part + 1)
    cdef Py_ssize_t band = index // p.channel_parts % p.row_parts, image = index // p.channel_parts // p.row_parts
    cdef Py_ssize_t p0 = span_start(P, p.row_parts, ROW_UNIT, band)
    cdef Py_ssize_t rows = span_start(P, p.row_parts, ROW_UNIT, band + 1) - p0, h0 = p0 * step - p.g.pad_top
    cdef const char *x = at.x + image * p.x_strides[0] + h0 * p.x_strides[2] - p.g.pad_left * p.x_strides[3]
    cdef fc_window inside
    inside.top, inside.bottom, inside.left, inside.right = -h0, p.g.H - h0, p.g.pad_left, p.g.pad_left + p.g.W
    if p.g.channels_last:
        p.kernels.depthwise_last[p.g.R == 5][step - 1](
            rows, Q, c1 - c0, x + c0 * size, p.x_strides[2], p.x_strides[3], &inside, at.weights + c0 * size, C * size,
            NULL if at.bias == NULL else at.bias + c0 * size, p.relu,
            at.y + ((image * P + p0) * Q * C + c0) * size, Q * C * size, C * size)
        return
    for c in range(c0, c1):
        p.kernels.depthwise_3x3[step - 1](rows, Q, x + c * p.x_strides[1], p.x_strides[2], &inside,
                                          at.weights + c * size, C * size,
                                          NULL if at.bias == NULL else at.bias + c * size, p.relu,
                                          at.y + ((image * C + c) * P + p0) * Q * size)


def takes(bytes geometry):
    """Whether this is how a shape is computed, given that channels, or pixels of a row, are neighbours."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    return (g.R == g.S and (g.R == 3 or (g.R == 5 and g.channels_last)) and g.dilation_h == 1 and g.dilation_w == 1
            and g.stride_h == g.stride_w and g.stride_h <= 2)


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu):
    """As depthwise.pyx's, or None of what cannot be done in place: then copies or lists of taps are made."""
    cdef InPlace p
    cdef Py_ssize_t parts
    p.kernels, p.relu = kernels_for(itemsize), relu
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    if strides[3] != itemsize or not takes(geometry):
        return None
    take_strides(strides, p.g.channels_last, p.x_strides)
    parts = ceil_div(LEAST_CHUNKS, max(1, p.g.N * (1 if p.g.channels_last else p.g.groups)))
    p.row_parts = least(ceil_div(p.g.P, ROW_UNIT), parts)
    parts = ceil_div(LEAST_CHUNKS, max(1, p.g.N * p.row_parts))
    p.channel_parts = least(ceil_div(p.g.groups, CHANNEL_UNIT if p.g.channels_last else 1), parts)
    return compile(&p, sizeof(p), in_place_chunk, p.g.N * p.row_parts * p.channel_parts, 0)
