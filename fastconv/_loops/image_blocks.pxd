# How depthwise.pyx and pooling.pyx cut images into chunks, and what of a chunk goes through scratch: pixels whose
# channels are not neighbours are copied to channels-last rows, and channels-first results leave from such.
from fastconv._loops.cut cimport balanced, ceil_div, least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels
from fastconv._loops.rows cimport input_rows

# ROWS_BYTES: what x and y of a chunk may take in scratch, a third of Zen 4's L2. CHANNEL_VECTORS: channels that a chunk
# takes where it copies, so that each is still a stream of its own (a guess).
cdef enum:
    ROWS_BYTES = 384 << 10
    CHANNEL_VECTORS = 4
    LEAST_CHUNKS = 8

cdef struct ImageBlocks:
    Py_ssize_t rows, row_parts, channels, channel_parts    # of y, of a chunk, and how many there are in an image
    Py_ssize_t x_bytes, y_bytes                            # scratch


# Blocks of images of C channels; copies_x, copies_y: whether these go through scratch.
cdef inline void cut_images(ImageBlocks *b, const fc_kernels *kernels, const fc_geometry *g, Py_ssize_t C,
                            bint copies_x, bint copies_y) noexcept:
    cdef Py_ssize_t row_bytes, size = kernels.itemsize
    b.channels = max(1, least(C, CHANNEL_VECTORS * kernels.lanes) if copies_x or copies_y else C)
    b.channel_parts = ceil_div(C, b.channels)
    row_bytes = (g.W * g.stride_h * copies_x + g.Q * copies_y) * b.channels * size
    b.rows = g.P if row_bytes == 0 else max(1, least(g.P, ROWS_BYTES // row_bytes))
    b.rows = least(b.rows, ceil_div(g.P, ceil_div(LEAST_CHUNKS, max(1, g.N * b.channel_parts))))
    b.rows = balanced(g.P, b.rows)
    b.row_parts = ceil_div(g.P, b.rows)
    b.x_bytes = least(g.H, input_rows(g, b.rows)) * g.W * b.channels * size if copies_x else 0
    b.y_bytes = b.rows * g.Q * b.channels * size if copies_y else 0


cdef struct ImageBlock:
    Py_ssize_t image, p0, rows, c0, channels


# What the index-th chunk computes.
cdef inline ImageBlock image_block(const ImageBlocks *b, const fc_geometry *g, Py_ssize_t C,
                                   Py_ssize_t index) noexcept nogil:
    cdef ImageBlock it
    it.c0, it.p0 = index % b.channel_parts * b.channels, index // b.channel_parts % b.row_parts * b.rows
    it.channels, it.rows = least(b.channels, C - it.c0), least(b.rows, g.P - it.p0)
    it.image = index // b.channel_parts // b.row_parts
    return it
