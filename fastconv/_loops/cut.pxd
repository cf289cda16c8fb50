# How the nests cut ranges into blocks, and the order in which they take the axes of an image.
from libc.stdint cimport intptr_t

# Bytes of a cache line. Rows a power of two apart would share the sets of L1: they are kept a line apart, and strips
# two, for which it is while they are written.
cdef enum:
    LINE = 64
    STRIP_GAP = 128


cdef inline Py_ssize_t least(Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    return x if x < y else y


cdef inline Py_ssize_t ceil_div(Py_ssize_t x, Py_ssize_t y) noexcept nogil:
    return (x + y - 1) // y


cdef inline Py_ssize_t round_up(Py_ssize_t x, Py_ssize_t step) noexcept nogil:
    return ceil_div(x, step) * step


# The size of equal blocks of at most `most` that cover `total`: 300 by 256 is 150 + 150.
cdef inline Py_ssize_t balanced(Py_ssize_t total, Py_ssize_t most) noexcept nogil:
    cdef Py_ssize_t parts = ceil_div(total, most)
    return ceil_div(total, parts) if parts > 0 else most


# Where the index-th of `parts` spans of range(total) starts; they are even, in units of `unit`.
cdef inline Py_ssize_t span_start(Py_ssize_t total, Py_ssize_t parts, Py_ssize_t unit,
                                  Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t at = (ceil_div(total, unit) * index // parts) * unit
    return at if at < total else total


# The strides of (n, c, h, w), whatever the layout of x.
cdef inline void take_strides(tuple s, bint channels_last, intptr_t *strides):
    strides[0] = s[0]
    strides[1] = s[3] if channels_last else s[1]
    strides[2] = s[1] if channels_last else s[2]
    strides[3] = s[2] if channels_last else s[3]
