# Rows of the padded image, as the nests read them whose filter taps are offsets: direct.pyx, weight_grad.pyx; and the
# pixels of tiles, for those that transform them: transformed.pyx, winograd_grad.pyx.
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels


# Pixels between the first that an output row reads and the last.
cdef inline Py_ssize_t row_width(const fc_geometry *g) noexcept nogil:
    return (g.Q - 1) * g.stride_w + (g.S - 1) * g.dilation_w + 1


# The same for so many output rows of an image.
cdef inline Py_ssize_t input_rows(const fc_geometry *g, Py_ssize_t rows) noexcept nogil:
    return (rows - 1) * g.stride_h + (g.R - 1) * g.dilation_h + 1


# Copies rows first.. of the padded image in strips of `width` channels, `strip` bytes apart, pixels `pitch` bytes
# apart, zeros where there is no image.
cdef inline void copy_rows(const fc_kernels *kernels, const fc_geometry *g, const intptr_t *x_strides,
                           const char *image, Py_ssize_t channels, Py_ssize_t first, Py_ssize_t rows,   # IN
                           char *to, Py_ssize_t pitch, Py_ssize_t row_pitch,                            # OUT
                           Py_ssize_t width, Py_ssize_t strip) noexcept nogil:
    cdef Py_ssize_t size = kernels.itemsize, pixels = row_width(g), h, row, c
    cdef Py_ssize_t left, inside
    cdef const char *src
    cdef char *at
    for row in range(rows):
        h = first + row - g.pad_top
        if h < 0 or h >= g.H:
            left, inside = pixels, 0
        else:
            left, inside = least(g.pad_left, pixels), max(0, least(g.W, pixels - g.pad_left))
        at = to + row * row_pitch
        for c from 0 <= c < channels by width:
            kernels.scale(left * pitch // size, 0, at + c // width * strip)
            kernels.scale((pixels - left - inside) * pitch // size, 0,
                          at + c // width * strip + (left + inside) * pitch)
        src, at = image + h * x_strides[2], at + left * pitch
        if x_strides[1] == size and x_strides[3] == channels * size and pitch == channels * size:
            kernels.pack(1, inside * channels, src, 0, size, at, 0, inside * channels, 0)
        else:
            kernels.pack(inside, channels, src, x_strides[3], x_strides[1], at, pitch, width, strip)


# A window of height x width pixels from (h, w) on of an image of H x W pixels, channels-last, zeros outside of it.
cdef inline void copy_window(const fc_kernels *kernels, const intptr_t *strides, Py_ssize_t channels, Py_ssize_t H,
                             Py_ssize_t W, const char *image, Py_ssize_t h, Py_ssize_t w,                # IN
                             Py_ssize_t height, Py_ssize_t width, char *to) noexcept nogil:              # OUT
    cdef Py_ssize_t size = kernels.itemsize, pixel = channels * size, row
    cdef Py_ssize_t left = min(max(-w, 0), width), inside = max(0, min(W - w, width) - left)
    cdef const char *src
    for row in range(h, h + height):
        if row < 0 or row >= H or inside == 0:
            kernels.scale(width * channels, 0, to)
        else:
            src = image + row * strides[2] + (w + left) * strides[3]
            kernels.scale(left * channels, 0, to)
            if strides[1] == size and strides[3] == pixel:
                kernels.pack(1, inside * channels, src, 0, size, to + left * pixel, 0, inside * channels, 0)
            else:
                kernels.pack(inside, channels, src, strides[3], strides[1], to + left * pixel, pixel, channels, 0)
            kernels.scale((width - left - inside) * channels, 0, to + (left + inside) * pixel)
        to += width * pixel
