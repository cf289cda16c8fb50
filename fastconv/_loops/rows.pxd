# Rows of the padded image, as the nests read them whose filter taps are offsets: direct.pyx, weight_grad.pyx; the
# pixels of tiles, for those that transform them: transformed.pyx, winograd_grad.pyx; which pixels have the filter
# inside, for those that leave taps out: depthwise.pyx, direct_channels.pyx, pooling.pyx; and the way out of
# channels-first results.
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels


# Pixels between the first that an output row reads and the last.
cdef inline Py_ssize_t row_width(const fc_geometry *g) noexcept nogil:
    return (g.Q - 1) * g.stride_w + (g.S - 1) * g.dilation_w + 1


# The same for so many output rows of an image.
cdef inline Py_ssize_t input_rows(const fc_geometry *g, Py_ssize_t rows) noexcept nogil:
    return (rows - 1) * g.stride_h + (g.R - 1) * g.dilation_h + 1


# The pixels of an output row, from `low` up to `high`, that have every column of the filter inside the image.
cdef inline void columns_inside(const fc_geometry *g, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil:    # OUT
    cdef Py_ssize_t last = g.W - 1 + g.pad_left - (g.S - 1) * g.dilation_w
    low[0] = least(g.Q, ceil_div(g.pad_left, g.stride_w))
    high[0] = max(low[0], least(g.Q, last // g.stride_w + 1)) if last >= 0 else low[0]


# The end of the pixels from q on, of an output row, that have the same taps inside.
cdef inline Py_ssize_t end_of_run(Py_ssize_t q, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
    return high if q == low and high > low else q + 1


# The taps of the filter at (h, w) that lie inside the image: offsets from its corner, and, where these are wanted, into
# the weights, whose taps are so many bytes apart. How many there are.
cdef inline Py_ssize_t list_taps(const fc_geometry *g, Py_ssize_t h, Py_ssize_t w, Py_ssize_t x_row, Py_ssize_t x_pixel,
                                 Py_ssize_t weight_tap, intptr_t *tap, intptr_t *weight) noexcept nogil:
    cdef Py_ssize_t r, s, taps = 0
    for r in range(g.R):
        if not 0 <= h + r * g.dilation_h < g.H:
            continue
        for s in range(g.S):
            if not 0 <= w + s * g.dilation_w < g.W:
                continue
            tap[taps] = r * g.dilation_h * x_row + s * g.dilation_w * x_pixel
            if weight != NULL:
                weight[taps] = (r * g.S + s) * weight_tap
            taps += 1
    return taps


# Channels-last results in scratch to planes of y: a few at a time, which may all fall into the same sets of L1, each
# written from one end to the other.
cdef inline void write_planes(const fc_kernels *kernels, Py_ssize_t channels, Py_ssize_t pixels, const char *src,
                              Py_ssize_t src_pixel, char *dst, Py_ssize_t dst_plane) noexcept nogil:
    cdef Py_ssize_t c
    for c from 0 <= c < channels by kernels.lanes:
        kernels.pack(least(kernels.lanes, channels - c), pixels, src + c * kernels.itemsize, kernels.itemsize,
                     src_pixel, dst + c * dst_plane, dst_plane, pixels, 0)


# Copies rows first.. of the padded image in strips of `width` channels, `strip` bytes apart, pixels `pitch` bytes
# apart, zeros where there is no image: in one piece from the end of a row's pixels to the first of the next, as calls
# are what small images cost.
cdef inline void copy_rows(const fc_kernels *kernels, const fc_geometry *g, const intptr_t *x_strides,
                           const char *image, Py_ssize_t channels, Py_ssize_t first, Py_ssize_t rows,   # IN
                           char *to, Py_ssize_t pitch, Py_ssize_t row_pitch,                            # OUT
                           Py_ssize_t width, Py_ssize_t strip) noexcept nogil:
    cdef Py_ssize_t size = kernels.itemsize, pixels = row_width(g), row, c
    cdef Py_ssize_t above = least(rows, max(0, g.pad_top - first)), h = first + above - g.pad_top
    cdef Py_ssize_t left = least(g.pad_left, pixels), inside = max(0, least(g.W, pixels - left))
    cdef Py_ssize_t lines = max(0, least(rows - above, g.H - h)) if inside > 0 else 0    # that meet the image
    cdef Py_ssize_t start = above * row_pitch + left * pitch, end = (rows - 1) * row_pitch + pixels * pitch
    cdef Py_ssize_t gap, line = inside * pitch
    cdef const char *src = image + h * x_strides[2]
    if rows < 1:    # a share of few rows
        return
    for c from 0 <= c < channels by width:
        kernels.scale((start if lines > 0 else end) // size, 0, to + c // width * strip)
        for row in range(lines):
            gap = start + row * row_pitch + line
            kernels.scale(((end if row == lines - 1 else gap - line + row_pitch) - gap) // size, 0,
                          to + c // width * strip + gap)
    if x_strides[1] == size and x_strides[3] == channels * size and pitch == channels * size:
        kernels.pack(lines, inside * channels, src, x_strides[2], size, to + start, row_pitch, inside * channels, 0)
        return
    for row in range(lines):
        kernels.pack(inside, channels, src + row * x_strides[2], x_strides[3], x_strides[1],
                     to + start + row * row_pitch, pitch, width, strip)


# A window of height x width pixels from (h, w) on of an image of H x W pixels, channels-last, zeros outside of it.
cdef inline void copy_window(const fc_kernels *kernels, const intptr_t *strides, Py_ssize_t channels, Py_ssize_t H,
                             Py_ssize_t W, const char *image, Py_ssize_t h, Py_ssize_t w,                # IN
                             Py_ssize_t height, Py_ssize_t width, char *to) noexcept nogil:              # OUT
    cdef Py_ssize_t size = kernels.itemsize, pixel = channels * size, row
    cdef Py_ssize_t left = min(max(-w, 0), width), inside = max(0, min(W - w, width) - left)
    # Rows that follow one another, here and there, are one long row.
    cdef Py_ssize_t together = height if inside == W == width and strides[2] == W * strides[3] else 1, rows, pixels
    cdef const char *src
    row = h
    while row < h + height:
        rows = 1
        if row < 0 or row >= H or inside == 0:
            kernels.scale(width * channels, 0, to)
        else:
            rows = least(together, min(h + height, H) - row)
            src = image + row * strides[2] + (w + left) * strides[3]
            kernels.scale(left * channels, 0, to)
            pixels = rows * inside
            if strides[1] == size and strides[3] == pixel:
                kernels.pack(1, pixels * channels, src, 0, size, to + left * pixel, 0, pixels * channels, 0)
            else:
                kernels.pack(pixels, channels, src, strides[3], strides[1], to + left * pixel, pixel, channels, 0)
            kernels.scale((width - left - inside) * channels, 0, to + (left + inside) * pixel)
        row += rows
        to += rows * width * pixel
