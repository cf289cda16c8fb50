"""Depthwise convolution, one filter a channel: the "direct" row of fastconv/algorithms.py where every group has one
channel and one filter. Small filters read the image as it lies, depthwise_in_place.pyx; in channels-first rows vectors
run along these, depthwise_rows.pyx; the rest is here. Vectors run over channels (csrc/kernels/depthwise.c).

Channels-last x is read in place; other x is copied, a few rows of some channels at a time, to channels-last scratch,
and channels-first y leaves through scratch in the same way. Taps outside the image are left out of a pixel's list, so
there is no padding: per output row one list for the pixels that have all columns of the filter inside, and one for
each of the few that have not.

A chunk is (image, block of output rows, block of channels), cut by shape alone."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops import depthwise_in_place, depthwise_rows

from fastconv._loops.cut cimport least, take_strides
from fastconv._loops.image_blocks cimport ImageBlock, ImageBlocks, cut_images, image_block
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.rows cimport columns_inside, end_of_run, list_taps, write_planes
from fastconv._loops.team cimport Operands, compile

cnp.import_array()

cdef struct Depthwise:
    const fc_kernels *kernels
    fc_geometry g
    ImageBlocks blocks
    bint in_place, channels_last_y
    intptr_t x_strides[4]                     # of (n, c, h, w)
    bint relu


cdef inline Py_ssize_t list_bytes(const Depthwise *p) noexcept nogil:
    return 2 * p.g.R * p.g.S * sizeof(intptr_t)


cdef void set_up(Depthwise *p, bytes geometry, Py_ssize_t itemsize, bint in_place):
    """Everything that shape, dtype and ISA decide, and whether x can be read in place."""
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.in_place, p.channels_last_y = in_place, p.g.channels_last
    cut_images(&p.blocks, p.kernels, &p.g, p.g.groups, not in_place, not p.channels_last_y)


cdef Py_ssize_t scratch_bytes(const Depthwise *p) noexcept nogil:
    return list_bytes(p) + p.blocks.x_bytes + p.blocks.y_bytes


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the weights, channels last."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    return g.R * g.S * g.groups * itemsize


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch that each thread uses at most: less where x is read in place."""
    cdef Depthwise p
    cdef Py_ssize_t most = 0
    for in_place in (True, False):
        set_up(&p, geometry, itemsize, in_place)
        most = max(most, scratch_bytes(&p))
    if not p.channels_last_y and not depthwise_in_place.takes(geometry):
        most = max(most, depthwise_rows.workspace_bytes(geometry, itemsize))
    return most


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Puts the channels of a C-contiguous weight (K, taps, in either layout) last."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    cdef const fc_kernels *kernels = kernels_for(weight.itemsize)
    cdef Py_ssize_t taps = g.R * g.S
    kernels.pack(taps, g.groups, cnp.PyArray_BYTES(weight), weight.itemsize, taps * weight.itemsize,
                 cnp.PyArray_BYTES(packed), g.groups * weight.itemsize, g.groups, 0)


cdef void depthwise_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Depthwise *p = <const Depthwise *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef ImageBlock block = image_block(&p.blocks, &p.g, p.g.groups, index)
    cdef Py_ssize_t size = kernels.itemsize, C = p.g.groups, c0 = block.c0, channels = block.channels
    cdef Py_ssize_t p0 = block.p0, rows = block.rows, image = block.image
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
        y = copied + p.blocks.x_bytes
    y_row = p.g.Q * y_pixel
    columns_inside(&p.g, &low, &high)
    for row in range(rows):
        h = (p0 + row) * p.g.stride_h - p.g.pad_top
        q = 0
        while q < p.g.Q:
            q_end = end_of_run(q, low, high)
            w = q * p.g.stride_w - p.g.pad_left
            taps = list_taps(&p.g, h, w, x_row, x_pixel, C * size, tap, weight)
            kernels.depthwise(q_end - q, channels, taps, tap, weight, x + (h - first) * x_row + w * x_pixel,
                              p.g.stride_w * x_pixel, at.weights + c0 * size, bias, p.relu,
                              y + row * y_row + q * y_pixel, y_pixel)
            q = q_end
    # end: for row, while q
    if not p.channels_last_y:
        write_planes(kernels, channels, rows * p.g.Q, y, y_pixel,
                     at.y + ((image * C + c0) * p.g.P + p0) * p.g.Q * size, p.g.P * p.g.Q * size)


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Depthwise p
    cdef bint channels_last = (<const fc_geometry *><const char *>geometry).channels_last
    for nest in (depthwise_in_place, depthwise_rows):
        made = nest.compiled(geometry, itemsize, strides, relu)
        if made is not None:
            return made
    set_up(&p, geometry, itemsize, (strides[3] if channels_last else strides[1]) == itemsize)
    take_strides(strides, channels_last, p.x_strides)
    p.relu = relu
    return compile(&p, sizeof(p), depthwise_chunk, p.g.N * p.blocks.row_parts * p.blocks.channel_parts,
                   scratch_bytes(&p))
