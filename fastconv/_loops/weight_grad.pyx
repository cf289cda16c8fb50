"""The weight gradient of a convolution, a product whose sum runs over the pixels. Called by fastconv/gradients.py
and by networks.

    dw[k, r, s, c] = sum_{n, p, q} grad[n, p, q, k] * x[n, p*stride_h - pad_top + r*dilation_h, ..., c]

A tile is up to MR channels c by NR filters k; an output row is a tap of it, so one call sums over many rows.

    chunk: (part of the pixels, group, block of K, block of C), cut by shape alone
      for output rows, some PIXELS pixels at a time
        rows of x -> scratch    strips of channels, with zeros around
        grad -> scratch         strips [pixel][NR]
        for jr in K by NR       a strip stays in L1
          for r, s
            for c by MR         the tile
      the panel [r, s][c][k] is transposed and delivered, a tap at a time

Where a chunk sums over all pixels, its panel is the result; else each part of the pixels has sums of its own, which a
second phase adds in order. A network's nests take panels of one image, through a `deliver` of their own.

Depthwise, the vectors run over channels: a sum for each tap, with pixels where the forward kernel has taps."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, round_up, span_start, take_strides
from fastconv._loops.kernels cimport FC_TAPS_IN_A, fc_geometry, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.row_sums cimport add_rows
from fastconv._loops.rows cimport copy_rows, input_rows, row_width
from fastconv._loops.team cimport Compiled, Operands, compile, followed_by
from fastconv._loops.tiles cimport Heights, height_of, heights_of, tile_of

cnp.import_array()

# PIXELS: the strips of grad and x under a tile stream from L2, and the tile of the panel is read and written once for
# so many; with 160 of them, whose strips fit L1, the nest was 10 % slower (Zen 3, 2026-11). STRIP: vectors of channels
# in a strip of x, whole tiles of 6 rows on AVX2 and SSE2 and of 12 on AVX-512. PANEL_BYTES: what L2 has room for.
# CHANNELS: taps times channels of a panel, so that copied values of grad and of x are used about equally often. Pixels
# of few channels are joined, as in direct.pyx. LEAST_CHUNKS: as there.
cdef enum:
    PIXELS = 512
    STRIP = 3
    PANEL_BYTES = 256 << 10
    CHANNELS = 576
    LEAST_CHANNELS = 16
    MOST_CHANNELS = 256
    JOINED = 128
    LEAST_CHUNKS = 16
    DEPTHWISE_BYTES = 256

cdef struct WeightGrad:
    const fc_kernels *kernels
    fc_geometry g
    deliver_function deliver
    Py_ssize_t images, rows, row_blocks           # a block of pixels: so many images of so many output rows
    Py_ssize_t blocks, parts                      # blocks of the batch, cut in parts
    Py_ssize_t channels, c_parts, k_parts         # channels of a chunk
    Py_ssize_t groups                             # that chunks tell apart
    bint depthwise, joined                        # joined: the taps of a filter row as one run
    Py_ssize_t width, strips                      # channels of a strip of x
    Py_ssize_t pitch, row_pitch, image_pitch, strip_pitch
    bint in_parts, reordered                      # y is added up from parts; is not [K][R][S][C]
    intptr_t x_strides[4]                         # of (n, c, h, w)
    intptr_t grad_strides[4]                      # of (n, k, p, q)


cdef void set_up(WeightGrad *p, bytes geometry, Py_ssize_t itemsize, tuple x_strides, tuple grad_strides):
    """Everything that shape, dtype and ISA decide."""
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    cdef Py_ssize_t taps, filters
    p.kernels = kernels
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    take_strides(x_strides, p.g.channels_last, p.x_strides)
    take_strides(grad_strides, p.g.channels_last, p.grad_strides)
    p.depthwise = p.g.groups > 1 and p.g.C == 1 and p.g.K == 1
    taps = p.g.R * p.g.S
    if p.depthwise:
        p.groups = p.k_parts = 1
        p.channels = least(p.g.groups, DEPTHWISE_BYTES // itemsize)
        p.c_parts = ceil_div(p.g.groups, p.channels)
    else:
        p.groups = p.g.groups
        p.channels = balanced(p.g.C, max(LEAST_CHANNELS, least(CHANNELS // taps, MOST_CHANNELS)))
        p.c_parts = ceil_div(p.g.C, p.channels)
        filters = max(1, PANEL_BYTES // (taps * p.channels * itemsize * kernels.NR)) * kernels.NR
        p.k_parts = ceil_div(p.g.K, filters)
    p.joined = not p.depthwise and p.g.dilation_w == 1 and p.c_parts == 1 and p.channels * itemsize <= JOINED
    p.width = p.channels if p.joined or p.depthwise else least(p.channels, STRIP * kernels.lanes)
    p.strips = ceil_div(p.channels, p.width)
    p.pitch = p.width * itemsize
    p.row_pitch = row_width(&p.g) * p.pitch
    p.rows = balanced(p.g.P, max(1, PIXELS // p.g.Q))
    p.row_blocks = ceil_div(p.g.P, p.rows)
    p.images = max(1, least(p.g.N, PIXELS // (p.g.P * p.g.Q)))
    p.image_pitch = input_rows(&p.g, p.rows) * p.row_pitch
    p.strip_pitch = p.images * p.image_pitch
    p.blocks = ceil_div(p.g.N, p.images) * p.row_blocks
    p.parts = 1


cdef inline Py_ssize_t filter_bytes(const WeightGrad *p) noexcept nogil:
    return p.g.R * p.g.S * p.g.C * p.kernels.itemsize


cdef inline Py_ssize_t copied_bytes(const WeightGrad *p) noexcept nogil:
    """The list of rows or pixels, and the rows of x."""
    cdef Py_ssize_t entries = 2 * p.images * p.rows * p.g.Q if p.depthwise else p.images * p.rows
    return entries * sizeof(intptr_t) + LINE + p.strips * p.strip_pitch


cdef Py_ssize_t scratch_bytes(const WeightGrad *p) noexcept nogil:
    cdef Py_ssize_t pixels = p.images * p.rows * p.g.Q, taps = p.g.R * p.g.S, filters
    if p.depthwise:
        return copied_bytes(p) + (pixels + 3 * taps) * p.channels * p.kernels.itemsize
    filters = ceil_div(ceil_div(p.g.K, p.kernels.NR), p.k_parts) * p.kernels.NR
    return copied_bytes(p) + filters * (pixels + (taps + (p.g.S if p.joined else 1)) * p.channels) * p.kernels.itemsize


cdef void add_panel(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row,
                    char *target, Py_ssize_t target_row, Py_ssize_t rows, Py_ssize_t count,
                    const void *to) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(rows):
        add_rows(kernels, 1, count, 1, panel + row * panel_row, 0, target + row * target_row)


cdef void store_panel(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row,
                      char *target, Py_ssize_t target_row, Py_ssize_t rows, Py_ssize_t count,
                      const void *to) noexcept nogil:
    kernels.pack(rows, count, panel, panel_row, kernels.itemsize, target, target_row, count, 0)


cdef Py_ssize_t copy_block(const WeightGrad *p, const Operands *at, Py_ssize_t block,
                           Py_ssize_t c0, Py_ssize_t channels, Py_ssize_t k0, Py_ssize_t filters, Py_ssize_t width,
                           intptr_t *row_offsets, char *x, char *grad) noexcept nogil:
    """A block of pixels: its rows of x, and grad in strips of `width` filters. Gives the number of output rows and
    where, in the copy, each finds the first of its pixels of x."""
    cdef Py_ssize_t size = p.kernels.itemsize, image = block // p.row_blocks * p.images
    cdef Py_ssize_t images = least(p.images, p.g.N - image)
    cdef Py_ssize_t p0 = block % p.row_blocks * p.rows, rows = least(p.rows, p.g.P - p0), i, row
    # Rows of grad whose pixels follow one another are one.
    cdef Py_ssize_t together = rows if p.grad_strides[2] == p.g.Q * p.grad_strides[3] else 1
    for i in range(images):
        copy_rows(p.kernels, &p.g, p.x_strides, at.x + (image + i) * p.x_strides[0] + c0 * p.x_strides[1], channels,
                  p0 * p.g.stride_h, input_rows(&p.g, rows), x + i * p.image_pitch, p.pitch, p.row_pitch,
                  p.width, p.strip_pitch)
        for row in range(rows):
            row_offsets[i * rows + row] = i * p.image_pitch + row * p.g.stride_h * p.row_pitch
        for row from 0 <= row < rows by together:
            p.kernels.pack(together * p.g.Q, filters, at.weights + (image + i) * p.grad_strides[0]
                           + k0 * p.grad_strides[1] + (p0 + row) * p.grad_strides[2], p.grad_strides[3],
                           p.grad_strides[1], grad + (i * rows + row) * p.g.Q * width * size, width * size, width,
                           images * rows * p.g.Q * width * size)
    return images * rows


cdef inline char *delivered_to(const WeightGrad *p, const Operands *at, Py_ssize_t part) noexcept nogil:
    if p.in_parts:
        return at.shared + part * p.g.groups * p.g.K * filter_bytes(p)
    return at.y


cdef void panel_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const WeightGrad *p = <const WeightGrad *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR
    cdef Py_ssize_t c_part = index % p.c_parts, k_part = index // p.c_parts % p.k_parts
    cdef Py_ssize_t group = index // p.c_parts // p.k_parts % p.groups
    cdef Py_ssize_t part = index // p.c_parts // p.k_parts // p.groups
    cdef Py_ssize_t c0 = c_part * p.channels, channels = least(p.channels, p.g.C - c0)
    cdef Py_ssize_t k0 = span_start(p.g.K, p.k_parts, NR, k_part)
    cdef Py_ssize_t n = span_start(p.g.K, p.k_parts, NR, k_part + 1) - k0
    cdef Py_ssize_t first = span_start(p.blocks, p.parts, 1, part), last = span_start(p.blocks, p.parts, 1, part + 1)
    cdef Py_ssize_t taps = p.g.R if p.joined else p.g.R * p.g.S, run = p.g.S * channels if p.joined else channels
    cdef Py_ssize_t strips = ceil_div(channels, p.width)    # of this block, which may be smaller than others
    cdef Py_ssize_t block, rows, strip_bytes, jr, cols, tap, tap_offset, strip, i, c, m, c_row = n * size
    cdef Heights full, rest
    cdef const Heights *heights
    cdef intptr_t *row_offsets = <intptr_t *>scratch
    cdef char *x = scratch + p.images * p.rows * sizeof(intptr_t) + LINE
    cdef char *grad = scratch + copied_bytes(p)
    cdef char *panel = grad + round_up(n, NR) * p.images * p.rows * p.g.Q * size
    cdef char *transposed = panel + taps * run * c_row
    cdef char *target = delivered_to(p, at, part) + (group * p.g.K + k0) * filter_bytes(p) + c0 * size
    cdef fc_store store
    for block in range(first, last):
        rows = copy_block(p, at, block, group * p.g.C + c0, channels, group * p.g.K + k0, n, NR, row_offsets, x, grad)
        strip_bytes = rows * p.g.Q * NR * size
        store = fc_store_of(1, 0 if block == first else 1, 0)
        for jr from 0 <= jr < n by NR:
            cols = least(NR, n - jr)
            full = heights_of(kernels, least(p.width, run), cols)
            rest = heights_of(kernels, run - (strips - 1) * p.width, cols)
            for tap in range(taps):
                tap_offset = (tap * p.g.dilation_h * p.row_pitch if p.joined else
                              tap // p.g.S * p.g.dilation_h * p.row_pitch + tap % p.g.S * p.g.dilation_w * p.pitch)
                for strip in range(strips):
                    c = strip * p.width
                    heights = &full if strip < strips - 1 else &rest
                    for i in range(heights.count):
                        m = height_of(heights, i)
                        tile_of(kernels, FC_TAPS_IN_A, m, cols)(
                            rows, row_offsets, p.g.Q, x + tap_offset + strip * p.strip_pitch
                            + (c - strip * p.width) * size, size, p.g.stride_w * p.pitch,
                            grad + jr // NR * strip_bytes, NR * size, grad, 0,
                            panel + (tap * run + c) * c_row + jr * size, c_row, cols, &store)
                        c += m
    # end: for block, for jr, for tap, for c
    for tap in range(taps):
        kernels.pack(n, run, panel + tap * run * c_row, size, c_row, transposed, run * size, run, 0)
        p.deliver(kernels, transposed, run * size, target + tap * (p.g.S if p.joined else 1) * p.g.C * size,
                  filter_bytes(p), n, run, at.bias)


cdef void depthwise_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A part of the pixels, a block of channels."""
    cdef const WeightGrad *p = <const WeightGrad *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, taps = p.g.R * p.g.S, part = index // p.c_parts
    cdef Py_ssize_t c0 = index % p.c_parts * p.channels, channels = least(p.channels, p.g.groups - c0)
    cdef Py_ssize_t first = span_start(p.blocks, p.parts, 1, part), last = span_start(p.blocks, p.parts, 1, part + 1)
    cdef Py_ssize_t block, rows, pixels, row, q, r
    cdef intptr_t *x_offsets = <intptr_t *>scratch
    cdef intptr_t *grad_offsets = x_offsets + p.images * p.rows * p.g.Q
    cdef char *x = <char *>(grad_offsets + p.images * p.rows * p.g.Q) + LINE
    cdef char *grad = scratch + copied_bytes(p)
    cdef char *panel = grad + p.images * p.rows * p.g.Q * channels * size
    cdef char *more = panel + taps * channels * size
    cdef char *transposed = more + taps * channels * size
    for block in range(first, last):
        # The offsets of the rows, in the list that those of the pixels fill next.
        rows = copy_block(p, at, block, c0, channels, c0, channels, channels, grad_offsets, x, grad)
        pixels = rows * p.g.Q
        for row in range(rows):
            for q in range(p.g.Q):
                x_offsets[row * p.g.Q + q] = grad_offsets[row] + q * p.g.stride_w * p.pitch
        for q in range(pixels):
            grad_offsets[q] = q * channels * size
        for r in range(p.g.R):
            kernels.depthwise(p.g.S, channels, pixels, x_offsets, grad_offsets, x + r * p.g.dilation_h * p.row_pitch,
                              p.g.dilation_w * p.pitch, grad, NULL, 0,
                              (panel if block == first else more) + r * p.g.S * channels * size, channels * size)
        if block > first:
            add_panel(kernels, more, 0, panel, 0, 1, taps * channels, NULL)
    # end: for block, for r
    kernels.pack(channels, taps, panel, size, channels * size, transposed, taps * size, taps, 0)
    p.deliver(kernels, transposed, taps * size, delivered_to(p, at, part) + c0 * taps * size, taps * size, channels,
              taps, at.bias)


cdef void sum_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One filter: the sum of its parts, in order."""
    cdef const WeightGrad *p = <const WeightGrad *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, taps = p.g.R * p.g.S, filter_at = index * filter_bytes(p), part
    cdef char *y = at.y + filter_at
    cdef char *sums = scratch if p.reordered else y
    store_panel(p.kernels, at.shared + filter_at, 0, sums, 0, 1, taps * p.g.C, NULL)
    for part in range(1, p.parts):
        add_panel(p.kernels, delivered_to(p, at, part) + filter_at, 0, sums, 0, 1, taps * p.g.C, NULL)
    if p.reordered:
        p.kernels.pack(p.g.C, taps, sums, size, p.g.C * size, y, taps * size, taps, 0)


cdef Compiled compile_phases(WeightGrad *p):
    cdef Py_ssize_t chunks = p.parts * p.groups * p.k_parts * p.c_parts
    cdef Compiled made = compile(p, sizeof(WeightGrad), depthwise_chunk if p.depthwise else panel_chunk, chunks,
                                 max(scratch_bytes(p), filter_bytes(p)))
    if not p.in_parts:
        return made
    return followed_by(made, sum_chunk, p.g.groups * p.g.K, p.parts * p.g.groups * p.g.K * filter_bytes(p))


def compiled(bytes geometry, Py_ssize_t itemsize, tuple x_strides, tuple grad_strides, size_t deliver=0):
    """run(x, grad, None, dw, team) fills dw, C-contiguous in the layout; there is at least one pixel, filter and
    channel. deliver: the address of a deliver_function, to which panels of the channels-last gradient go instead, each
    once, from any number of threads; no two panels overlap."""
    cdef WeightGrad p
    set_up(&p, geometry, itemsize, x_strides, grad_strides)
    if deliver:
        p.deliver, p.in_parts = <deliver_function><void *>deliver, False
        return compile_phases(&p)
    p.parts = least(p.blocks, ceil_div(LEAST_CHUNKS, p.groups * p.k_parts * p.c_parts))
    p.reordered = not p.g.channels_last and p.g.C > 1 and p.g.R * p.g.S > 1
    p.in_parts = p.parts > 1 or p.reordered
    p.deliver = store_panel
    return compile_phases(&p)
