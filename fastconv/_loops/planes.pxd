# Channels-first rows for vectors that run along them: direct_rows.pyx, and depthwise.pyx. Each channel is copied as
# stride_w planes with zeros around (csrc/kernels/split.c), so that what a filter tap meets along a row of y lies side
# by side.
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport least, take_strides
from fastconv._loops.kernels cimport fc_geometry, fc_kernels
from fastconv._loops.rows cimport input_rows

cdef struct Planes:
    Py_ssize_t rows                          # of padded x
    Py_ssize_t row, plane, channel           # bytes of a row, of a plane, of a channel's planes
    intptr_t x_strides[4]                    # of (n, c, h, w)
    Py_ssize_t x_bytes                       # from x to the end of its last element


# Bytes of a row of a plane.
cdef inline Py_ssize_t plane_row(const fc_geometry *g, Py_ssize_t itemsize) noexcept nogil:
    return (g.Q + (g.S - 1) * g.dilation_w // g.stride_w) * itemsize


# For so many rows of y at a time. A vector may reach beyond a plane's end.
cdef inline void size_planes(Planes *p, const fc_geometry *g, const fc_kernels *kernels,
                             Py_ssize_t rows) noexcept nogil:
    p.rows, p.row = input_rows(g, rows), plane_row(g, kernels.itemsize)
    p.plane = p.rows * p.row + kernels.lanes * kernels.itemsize
    p.channel = p.plane * g.stride_w


cdef inline void place_x(Planes *p, const fc_geometry *g, tuple strides, Py_ssize_t itemsize):
    cdef Py_ssize_t axis
    take_strides(strides, g.channels_last, p.x_strides)
    p.x_bytes = itemsize
    for axis, last in enumerate((g.N - 1, g.groups * g.C - 1, g.H - 1, g.W - 1)):
        p.x_bytes += max(0, last * p.x_strides[axis])


# Where the s-th tap of a filter row begins, from the filter's corner.
cdef inline Py_ssize_t tap_at(const Planes *p, const fc_geometry *g, Py_ssize_t s, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t column = s * g.dilation_w
    return column % g.stride_w * p.plane + column // g.stride_w * itemsize


# One channel of an image, from row h0 of it on, to planes that are all zeros; nothing is read from `end` on.
cdef inline void copy_channel(const Planes *p, const fc_geometry *g, const fc_kernels *kernels, const char *channel,
                              Py_ssize_t h0, const char *end, char *planes) noexcept nogil:
    cdef Py_ssize_t first = least(p.rows, max(0, -h0)), last = max(first, least(p.rows, g.H - h0))
    cdef Py_ssize_t columns = max(0, least(g.W, p.row // kernels.itemsize * g.stride_w - g.pad_left))
    kernels.split(last - first, columns, channel + (h0 + first) * p.x_strides[2], p.x_strides[2], p.x_strides[3], end,
                  g.pad_left, g.stride_w, planes + first * p.row, p.row, p.plane)
