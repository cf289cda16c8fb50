"""What an input gradient needs besides convolutions (fastconv/shapes.py, input_grad_parts): filters turned around, and
results spread over the pixels of one parity. Called by fastconv/gradients.py."""
from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.team cimport Operands, compile

cdef enum:
    CHANNELS = 16    # of a chunk of filters
    ROWS = 8         # of a chunk of results

cdef struct Turn:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t r, r_step, rows, s, s_step, columns    # the taps: the last of each axis, the step down, how many


cdef void turn_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A block of channels of one group."""
    cdef const Turn *p = <const Turn *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, blocks = ceil_div(p.g.C, CHANNELS), taps = p.rows * p.columns
    cdef Py_ssize_t filter_bytes = p.g.C * p.g.R * p.g.S * size, turned_bytes = p.g.K * taps * size
    cdef Py_ssize_t group = index // blocks, c0 = index % blocks * CHANNELS, channels = least(CHANNELS, p.g.C - c0)
    cdef Py_ssize_t tap, r, s, c
    cdef const char *w = at.weights + group * p.g.K * filter_bytes
    cdef char *turned = at.y + (group * p.g.C + c0) * turned_bytes
    if p.g.channels_last:
        for tap in range(taps):
            r, s = p.r - tap // p.columns * p.r_step, p.s - tap % p.columns * p.s_step
            p.kernels.pack(channels, p.g.K, w + ((r * p.g.S + s) * p.g.C + c0) * size, size, filter_bytes,
                           turned + tap * p.g.K * size, turned_bytes, p.g.K, 0)
        return
    for c in range(channels):
        for tap from 0 <= tap < taps by p.columns:
            r = p.r - tap // p.columns * p.r_step
            p.kernels.pack(p.g.K, p.columns, w + (((c0 + c) * p.g.R + r) * p.g.S + p.s) * size, filter_bytes,
                           -p.s_step * size, turned + c * turned_bytes + tap * size, taps * size, p.columns, 0)


def turning(bytes geometry, Py_ssize_t itemsize, tuple taps):
    """run(x, weights, None, y, team): a forward convolution's weights, C-contiguous, to those of the part of its input
    gradient that has these taps ((first, step, count) of each axis): taps turned around, C and K exchanged. x is not
    used."""
    cdef Turn p
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    (p.r, p.r_step, p.rows), (p.s, p.s_step, p.columns) = taps
    p.r += (p.rows - 1) * p.r_step
    p.s += (p.columns - 1) * p.s_step
    return compile(&p, sizeof(p), turn_chunk, p.g.groups * ceil_div(p.g.C, CHANNELS), 0)


cdef struct Spread:
    const fc_kernels *kernels
    Py_ssize_t planes, rows, columns, pixel           # of the results; bytes of a pixel of a plane
    Py_ssize_t height, width                          # of the planes of dx
    Py_ssize_t top, row_step, left, column_step       # where in them


cdef void spread_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """Some rows of a plane."""
    cdef const Spread *p = <const Spread *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, blocks = ceil_div(p.rows, ROWS), plane = index // blocks
    cdef Py_ssize_t first = index % blocks * ROWS, row
    for row in range(first, least(first + ROWS, p.rows)):
        p.kernels.pack(p.columns, p.pixel // size, at.x + (plane * p.rows + row) * p.columns * p.pixel, p.pixel, size,
                       at.y + ((plane * p.height + p.top + row * p.row_step) * p.width + p.left) * p.pixel,
                       p.column_step * p.pixel, p.pixel // size, 0)


def spreading(bytes geometry, Py_ssize_t itemsize, tuple size, tuple target):
    """run(x, None, None, y, team): x, the result of the convolution of that geometry, to its pixels of y, whose height
    and width are `size`; target is (first, step) of its rows and of its columns."""
    cdef Spread p
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    p.kernels = kernels_for(itemsize)
    p.rows, p.columns = g.P, g.Q
    p.planes = g.N if g.channels_last else g.N * g.groups * g.K
    p.pixel = itemsize * (g.groups * g.K if g.channels_last else 1)
    p.height, p.width = size
    (p.top, p.row_step), (p.left, p.column_step) = target
    return compile(&p, sizeof(p), spread_chunk, p.planes * ceil_div(p.rows, ROWS), 0)
