"""Max and mean pooling and their gradients, vectors over channels (csrc/kernels/pool.c). Called by fastconv/pooling.py
and by networks.

    y[n, p, q, c] = max or mean over r < R, s < S of x[n, p*stride_h - pad_top + r, q*stride_w - pad_left + s, c]

Channels-last arrays are read in place; others are copied, some channels at a time, to channels-last scratch, and
channels-first results leave through scratch in the same way. Taps outside the image are left out of a pixel's list, so
padding is never read: per output row one list for the pixels that have all columns of the window inside, and one for
each of the few that have not.

A chunk of pooling is (image, block of output rows, block of channels), one of a gradient is (image, block of channels):
windows overlap, so all that is added to a pixel has to be added by one thread."""
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport ceil_div, least, take_strides
from fastconv._loops.image_blocks cimport CHANNEL_VECTORS, ImageBlock, ImageBlocks, cut_images, image_block
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.rows cimport columns_inside, end_of_run, list_taps, write_planes
from fastconv._loops.team cimport Operands, compile

cdef enum Kind:
    MAX
    MEAN
    MAX_GRAD
    MEAN_GRAD

cdef struct Pool:
    const fc_kernels *kernels
    fc_geometry g                             # of one filter over all channels
    Kind kind
    bint count_padding, in_place, channels_last
    ImageBlocks blocks                        # x_bytes are those of dx as well, y_bytes those of grad
    intptr_t x_strides[4]                     # of (n, c, h, w): of x, or of dx where there is no x
    intptr_t y_strides[4]                     # of y, or of grad


cdef void pool_row(const Pool *p, Py_ssize_t row, Py_ssize_t channels, const char *x, char *dx, Py_ssize_t x_row,
                   Py_ssize_t x_pixel, char *y, Py_ssize_t y_pixel, intptr_t *tap) noexcept nogil:
    """One output row: x and dx are where pixel (0, 0) of the image is, y (or grad) is where the row is."""
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t h = row * p.g.stride_h - p.g.pad_top, w, q = 0, low, high, end, taps, count, at, step
    columns_inside(&p.g, &low, &high)
    step = p.g.stride_w * x_pixel
    while q < p.g.Q:
        end = end_of_run(q, low, high)
        w = q * p.g.stride_w - p.g.pad_left
        taps = list_taps(&p.g, h, w, x_row, x_pixel, 0, tap, NULL)
        count = p.g.R * p.g.S if p.count_padding else taps
        at = h * x_row + w * x_pixel
        if p.kind == MAX:
            kernels.max_pool(end - q, channels, taps, tap, x + at, step, y + q * y_pixel, y_pixel)
        elif p.kind == MEAN:
            kernels.mean_pool(end - q, channels, taps, tap, x + at, step, count, y + q * y_pixel, y_pixel)
        elif p.kind == MAX_GRAD:
            kernels.max_pool_grad(end - q, channels, taps, tap, x + at, step, y + q * y_pixel, y_pixel, dx + at)
        else:
            kernels.mean_pool_grad(end - q, channels, taps, tap, y + q * y_pixel, y_pixel, count, dx + at, step)
        q = end


cdef void gather(const fc_kernels *kernels, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t channels, const char *src,
                 const intptr_t *strides, char *dst) noexcept nogil:
    """Some channels of some rows, to channels-last pixels without a gap."""
    cdef Py_ssize_t row, pixel = channels * kernels.itemsize
    for row in range(rows):
        kernels.pack(width, channels, src + row * strides[2], strides[3], strides[1], dst + row * width * pixel,
                     pixel, channels, 0)


cdef void scatter(const fc_kernels *kernels, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t channels, const char *src,
                  const intptr_t *strides, char *dst) noexcept nogil:
    """The way back, to an array whose rows or whose pixels are without a gap."""
    cdef Py_ssize_t size = kernels.itemsize, pixel = channels * size
    if strides[1] == size:
        kernels.pack(rows * width, channels, src, pixel, size, dst, strides[3], channels, 0)
        return
    write_planes(kernels, channels, rows * width, src, pixel, dst, strides[1])


cdef void pool_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Pool *p = <const Pool *>problem
    cdef ImageBlock block = image_block(&p.blocks, &p.g, p.g.C, index)
    cdef Py_ssize_t size = p.kernels.itemsize, c0 = block.c0, channels = block.channels
    cdef Py_ssize_t p0 = block.p0, rows = block.rows, image = block.image, row
    cdef Py_ssize_t first = max(0, p0 * p.g.stride_h - p.g.pad_top)
    cdef Py_ssize_t last = least(p.g.H, (p0 + rows - 1) * p.g.stride_h - p.g.pad_top + p.g.R)
    cdef Py_ssize_t x_row = p.x_strides[2], x_pixel = p.x_strides[3], y_pixel = p.y_strides[3]
    cdef intptr_t *tap = <intptr_t *>scratch
    cdef char *copied = scratch + p.g.R * p.g.S * sizeof(intptr_t)
    cdef const char *x = at.x + image * p.x_strides[0] + c0 * p.x_strides[1]
    cdef char *result = at.y + image * p.y_strides[0] + c0 * p.y_strides[1] + p0 * p.y_strides[2]
    cdef char *y = result
    if not p.in_place:
        gather(p.kernels, last - first, p.g.W, channels, x + first * p.x_strides[2], p.x_strides, copied)
        x_row, x_pixel = p.g.W * channels * size, channels * size
        x = copied - first * x_row
    if not p.channels_last:
        y, y_pixel = copied + p.blocks.x_bytes, channels * size
    for row in range(rows):
        pool_row(p, p0 + row, channels, x, NULL, x_row, x_pixel, y + row * p.g.Q * y_pixel, y_pixel, tap)
    if not p.channels_last:
        scatter(p.kernels, rows, p.g.Q, channels, y, p.y_strides, result)


cdef void pool_grad_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Pool *p = <const Pool *>problem
    cdef ImageBlock block = image_block(&p.blocks, &p.g, p.g.C, index)
    cdef Py_ssize_t size = p.kernels.itemsize, c0 = block.c0, channels = block.channels, image = block.image, row, i
    cdef Py_ssize_t x_row = p.g.W * p.g.C * size, x_pixel = p.g.C * size
    cdef Py_ssize_t y_row = p.y_strides[2], y_pixel = p.y_strides[3]
    cdef intptr_t dx_strides[4]
    cdef intptr_t *tap = <intptr_t *>scratch
    cdef char *copied = scratch + p.g.R * p.g.S * sizeof(intptr_t)
    cdef const char *x = NULL
    cdef const char *grad = at.x if p.kind == MEAN_GRAD else at.weights
    cdef char *result = at.y + image * p.g.H * x_row + c0 * size
    cdef char *dx = result
    dx_strides[1], dx_strides[3] = size, x_pixel
    if not p.channels_last:
        result = at.y + (image * p.g.C + c0) * p.g.H * p.g.W * size
        dx_strides[1], dx_strides[3] = p.g.H * p.g.W * size, size
    grad += image * p.y_strides[0] + c0 * p.y_strides[1]
    if p.kind == MAX_GRAD:
        x = at.x + image * p.x_strides[0] + c0 * p.x_strides[1]
    if not p.in_place:
        x_row, x_pixel = p.g.W * channels * size, channels * size
        y_row, y_pixel = p.g.Q * channels * size, channels * size
        dx = copied
        gather(p.kernels, p.g.P, p.g.Q, channels, grad, p.y_strides, copied + p.blocks.x_bytes)
        grad = copied + p.blocks.x_bytes
        if p.kind == MAX_GRAD:
            gather(p.kernels, p.g.H, p.g.W, channels, x, p.x_strides, copied + p.blocks.x_bytes + p.blocks.y_bytes)
            x = copied + p.blocks.x_bytes + p.blocks.y_bytes
    if x_pixel == channels * size:
        p.kernels.scale(p.g.H * p.g.W * channels, 0, dx)
    else:
        for i in range(p.g.H * p.g.W):
            p.kernels.scale(channels, 0, dx + i * x_pixel)
    for row in range(p.g.P):
        pool_row(p, row, channels, x, dx, x_row, x_pixel, <char *>grad + row * y_row, y_pixel, tap)
    if not p.in_place:
        scatter(p.kernels, p.g.H, p.g.W, channels, dx, dx_strides, result)


cdef void begin(Pool *p, bytes geometry, Py_ssize_t itemsize, Kind kind, bint count_padding):
    p.kernels, p.kind, p.count_padding = kernels_for(itemsize), kind, count_padding
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.channels_last = p.g.channels_last


cdef Py_ssize_t taps_bytes(const Pool *p):
    return p.g.R * p.g.S * sizeof(intptr_t)


cdef compile_pool(bytes geometry, Py_ssize_t itemsize, tuple strides, Kind kind, bint count_padding):
    cdef Pool p
    begin(&p, geometry, itemsize, kind, count_padding)
    take_strides(strides, p.channels_last, p.x_strides)
    contiguous(&p, p.g.P, p.g.Q, p.y_strides)
    p.in_place = p.x_strides[1] == itemsize
    cut_images(&p.blocks, p.kernels, &p.g, p.g.C, not p.in_place, not p.channels_last)
    return compile(&p, sizeof(p), pool_chunk, p.g.N * p.blocks.row_parts * p.blocks.channel_parts,
                   taps_bytes(&p) + p.blocks.x_bytes + p.blocks.y_bytes)


cdef void contiguous(const Pool *p, Py_ssize_t height, Py_ssize_t width, intptr_t *strides):
    """The strides of a C-contiguous array of so many pixels in the layout."""
    cdef Py_ssize_t size = p.kernels.itemsize
    strides[0] = p.g.C * height * width * size
    if p.channels_last:
        strides[1], strides[2], strides[3] = size, width * p.g.C * size, p.g.C * size
    else:
        strides[1], strides[2], strides[3] = height * width * size, width * size, size


cdef compile_grad(bytes geometry, Py_ssize_t itemsize, strides, tuple grad_strides, Kind kind, bint count_padding):
    cdef Pool p
    cdef Py_ssize_t vectors
    begin(&p, geometry, itemsize, kind, count_padding)
    contiguous(&p, p.g.H, p.g.W, p.x_strides)
    # x has to lie as dx does, for one list of taps to serve both.
    p.in_place = p.channels_last and (strides is None or tuple(strides)[1:] == (
        p.x_strides[2], p.x_strides[3], p.x_strides[1]))
    if strides is not None:
        take_strides(strides, p.channels_last, p.x_strides)
    take_strides(grad_strides, p.channels_last, p.y_strides)
    p.in_place = p.in_place and p.y_strides[1] == itemsize
    vectors = CHANNEL_VECTORS if p.in_place else 1
    p.blocks.channels = max(1, least(p.g.C, vectors * p.kernels.lanes))
    p.blocks.channel_parts = ceil_div(p.g.C, p.blocks.channels)
    p.blocks.row_parts, p.blocks.rows = 1, p.g.P
    p.blocks.x_bytes = 0 if p.in_place else p.g.H * p.g.W * p.blocks.channels * itemsize
    p.blocks.y_bytes = 0 if p.in_place else p.g.P * p.g.Q * p.blocks.channels * itemsize
    return compile(&p, sizeof(p), pool_grad_chunk, p.g.N * p.blocks.channel_parts,
                   taps_bytes(&p) + (2 if kind == MAX_GRAD else 1) * p.blocks.x_bytes + p.blocks.y_bytes)


def max_pool(bytes geometry, Py_ssize_t itemsize, tuple strides):
    """x of these strides, y C-contiguous in the layout. geometry: that of shapes.window_shape."""
    return compile_pool(geometry, itemsize, strides, MAX, False)


def mean_pool(bytes geometry, Py_ssize_t itemsize, tuple strides, bint count_include_pad):
    """As max_pool; the mean of the whole window, or of the part of it inside the image."""
    return compile_pool(geometry, itemsize, strides, MEAN, count_include_pad)


def max_pool_grad(bytes geometry, Py_ssize_t itemsize, tuple strides, tuple grad_strides):
    """x and weights, the gradient, of these strides; y becomes dx, C-contiguous."""
    return compile_grad(geometry, itemsize, strides, grad_strides, MAX_GRAD, False)


def mean_pool_grad(bytes geometry, Py_ssize_t itemsize, tuple grad_strides, bint count_include_pad):
    """x is the gradient, of these strides; y becomes dx, C-contiguous."""
    return compile_grad(geometry, itemsize, None, grad_strides, MEAN_GRAD, count_include_pad)
