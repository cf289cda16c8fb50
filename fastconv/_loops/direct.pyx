"""Direct convolution, register-tiled: the seven-loop sum with no matrix in between. Called by the "direct" row of
fastconv/algorithms.py.

    y[n, p, q, k] = act(bias[k] + sum_{r, s, c} x[n, c, p*stride_h - pad_top + r*dilation_h, ...] * w[k, c, r, s])

A tile is up to MR neighbouring pixels q of y, those of one row as a rule, by NR filters k, or more of them by one
vector; a filter tap is an offset into the same rows of x, so the sum over taps and channels runs in registers and y is
written once (once per block of channels).

    chunk: (image, group, block of output rows, part of K), cut by shape alone
      rows of x -> scratch    channels-last, padded with zeros, pixels `pitch` bytes apart; skipped where x
                              already lies like that (channels-last, no padding); done in a phase before, into scratch
                              that all threads share, where several parts of K read the same rows
      for cb in C by CB       CB * R * S is at most 1024: as KC in gemm.pyx
        for jr in K by NR     a strip of weights [tap][c][NR] stays in L2 while the rows pass it
          for p in the block
            for q by MR       the tile

Where all weights stay in L2 the loop over strips is the innermost, so that y is written from one end to the other (a
single vector of filters that is left over comes after the others: its tiles are taller). 1x1
filters that read x in place, with rows that follow one another, run through all pixels of the block: then tiles are
equally high, and y is written at one stride, which is what fetches it ahead (128 -> 512 at 28 pixels, 8 images in
memory: 62 and 87 GF/s). Where both hold, each tile fetches pixels of the next instead of weights (144 -> 24 channels at
56 pixels, 8 images: 50 and 82; AVX2 on Zen 3, 2026-11). Fetching y like x helped 16 -> 96 channels and hurt 32 -> 192.

Bytes per FLOP, with all of it in L2: a tile of m pixels reads (m + NR) items and does 2*m*NR FLOPs per k, 0.2 bytes a
FLOP at 14 x 32 floats; the copy into scratch moves each pixel once for 2*R*S*K FLOPs."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, span_start, take_strides
from fastconv._loops.kernels cimport (
    FC_PRODUCT,
    FC_TAPS_IN_A,
    fc_geometry,
    fc_kernels,
    fc_store,
    fc_store_of,
    kernels_for,
)
from fastconv._loops.rows cimport copy_rows, input_rows, row_width, write_planes
from fastconv._loops.team cimport Operands, compile, followed_by, run
from fastconv._loops.tiles cimport Heights, before_last_vector, collide, fetchers, height_of, heights_of, tile_of

cnp.import_array()

# SUM: taps times channels between two visits to y, as KC in gemm.pyx. ROWS_BYTES: rows of x in scratch, a third of
# Zen 4's L2, beside two strips of weights of 128 KB. Pixels a power of two apart would share the sets of L1: they
# are kept a line apart from JOINED bytes on; below, the S taps of a filter row are one run of neighbours. Results that
# are transposed on the way out wait in scratch of ROWS_BYTES as well, TRANSPOSED_CHANNELS of them or fewer at a time.
# BY_PIXELS: weights that stay in L2 beside all else (16 -> 96 channels, 1x1, 112 pixels: 58 and 65 GF/s by AVX-512,
# 35 and 43 by AVX2; Emerald Rapids, 2026-11). SHARED_BYTES: rows that threads share, as ROUND_BYTES in
# transformed.pyx; SHARES: of a block's rows, to copy. TALL: rows from which on LEAST_CHUNKS blocks of them copy few
# rows twice; with fewer K is cut instead, unless its parts would meet within a cache line of each pixel (4x1x15x37 ->
# 138, 3x3, on two threads: 55 and 110 GF/s; Zen 4, 2026-11): into a power of two of parts, as strips mostly are: 5
# blocks or 9 chunks keep two threads waiting (512 -> 128 at 28 pixels: 171 and 197; 256 -> 256, stride 2: 160 and 175;
# Zen 3, 2026-11).
cdef enum:
    SUM = 1024
    ROWS_BYTES = 384 << 10
    SHARED_BYTES = 4 << 20
    SHARES = 4
    JOINED = 512
    LEAST_CHUNKS = 8
    LEAST_STRIPS = 2
    BY_PIXELS = 128 << 10
    TALL = 48
    TRANSPOSED_CHANNELS = 256
    REORDERED = 256      # as in im2col.pyx

cdef struct Direct:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t row_step                           # rows of x from one of g's to the next
    Py_ssize_t channels, blocks_c                 # channels per block, and how many blocks
    Py_ssize_t rows, row_parts, k_parts           # output rows of a block at most; a chunk is a part of K of a block
    Py_ssize_t blocks, together                   # of rows, in all images and groups; of a round
    bint in_place, joined, transposed             # x as it lies; taps of a row as one run; y is channels-first
    bint flat                                     # pixels follow one another from row to row, as those of y do
    bint by_pixels                                # all filters of a tile's pixels follow one another
    bint shared                                   # rows of x are copied once for all parts of K
    Py_ssize_t pitch, row_pitch, copied           # bytes between pixels, between rows; bytes of the rows
    intptr_t x_strides[4]                         # of (n, c, h, w)
    bint relu


cdef void set_up(Direct *p, bytes geometry, Py_ssize_t itemsize, blocking):
    """Everything that shape, dtype, ISA and block sizes decide; x counts as channels-first, so as copied."""
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    cdef Py_ssize_t pixel, y_row
    p.kernels = kernels
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.row_step = 1
    if p.g.R == 1 and p.g.pad_top == 0:      # rows that the stride skips are not there
        p.row_step, p.g.stride_h, p.g.H = p.g.stride_h, 1, ceil_div(p.g.H, p.g.stride_h)
    p.channels = balanced(p.g.C, max(1, (SUM if blocking is None else blocking.kc) // (p.g.R * p.g.S)))
    p.blocks_c = ceil_div(p.g.C, p.channels)
    p.transposed = not p.g.channels_last
    pixel = p.g.C * itemsize
    p.joined = p.g.dilation_w == 1 and pixel < JOINED and p.blocks_c == 1
    p.pitch = pixel if p.joined else pixel + LINE
    p.row_pitch = row_width(&p.g) * p.pitch + LINE
    p.rows = 1
    y_row = p.g.Q * least(p.g.K, TRANSPOSED_CHANNELS) * itemsize if p.transposed else 0
    while p.rows < p.g.P and (p.rows + 1) * y_row <= ROWS_BYTES and (
            input_rows(&p.g, p.rows + 1) <= ROWS_BYTES // p.row_pitch) and (
            blocking is None or (p.rows + 1) * p.g.Q <= blocking.mc):
        p.rows += 1
    p.row_parts = ceil_div(p.g.P, p.rows)
    if p.g.P >= TALL or (not p.transposed and p.g.groups * p.g.K * itemsize % LINE != 0):
        p.row_parts = max(p.row_parts, least(p.g.P, LEAST_CHUNKS // max(1, p.g.N * p.g.groups)))
    p.rows = ceil_div(p.g.P, max(1, p.row_parts))
    p.k_parts = 1
    while p.k_parts * p.g.N * p.g.groups * p.row_parts < LEAST_CHUNKS and (
            2 * p.k_parts <= p.g.K // (LEAST_STRIPS * kernels.NR)):
        p.k_parts *= 2
    if p.transposed:
        p.k_parts = max(p.k_parts, ceil_div(p.rows * p.g.Q * p.g.K * itemsize, ROWS_BYTES))
        p.k_parts = max(1, min(p.k_parts, ceil_div(p.g.K, kernels.NR)))
    p.copied = input_rows(&p.g, p.rows) * p.row_pitch
    p.blocks = p.g.N * p.g.groups * p.row_parts
    p.by_pixels = p.blocks_c == 1 and group_bytes(p) // p.k_parts <= BY_PIXELS
    p.in_place = p.flat = False
    p.shared = p.k_parts > 1
    p.together = balanced(p.blocks, max(1, SHARED_BYTES // p.copied))


cdef void place(Direct *p) noexcept:
    """Reads x in place where it is channels-last and needs no padding."""
    cdef Py_ssize_t size = p.kernels.itemsize
    cdef bint inside = (
        p.g.pad_top == 0 and p.g.pad_left == 0
        and (p.g.P - 1) * p.g.stride_h + (p.g.R - 1) * p.g.dilation_h < p.g.H
        and (p.g.Q - 1) * p.g.stride_w + (p.g.S - 1) * p.g.dilation_w < p.g.W)
    if not inside or p.x_strides[1] != size or collide(p.kernels, p.x_strides[3] * p.g.stride_w):
        return
    if p.joined and p.x_strides[3] != p.g.C * size:
        return
    p.in_place, p.pitch, p.row_pitch, p.copied = True, p.x_strides[3], p.x_strides[2], 0
    p.shared = False
    p.flat = p.g.R == 1 and p.g.S == 1 and p.g.stride_h * p.row_pitch == p.g.Q * p.g.stride_w * p.pitch


cdef Py_ssize_t group_bytes(const Direct *p) noexcept nogil:
    return p.g.C * p.g.R * p.g.S * ceil_div(p.g.K, p.kernels.NR) * p.kernels.NR * p.kernels.itemsize


cdef Py_ssize_t scratch_bytes(const Direct *p) noexcept nogil:
    """Of each thread: the offsets of the taps, its own rows of x, results that wait to be transposed."""
    cdef Py_ssize_t bytes_ = p.g.R * p.g.S * sizeof(intptr_t) + LINE + (0 if p.shared else p.copied)
    if p.transposed:
        bytes_ += p.rows * p.g.Q * (ceil_div(p.g.K, p.k_parts) + p.kernels.NR) * p.kernels.itemsize
    return bytes_


cdef Py_ssize_t shared_bytes(const Direct *p) noexcept nogil:
    return p.together * p.copied if p.shared else 0


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the packed weights."""
    cdef Direct p
    set_up(&p, geometry, itemsize, blocking)
    return p.g.groups * group_bytes(&p)


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch of a call on one thread at most: less where x is read in place."""
    cdef Direct p
    set_up(&p, geometry, itemsize, blocking)
    return scratch_bytes(&p) + shared_bytes(&p)


def copied_bytes(bytes geometry, Py_ssize_t itemsize):
    """Bytes of x that are copied to scratch, x being a C-contiguous array of the layout."""
    cdef Direct p
    cdef Py_ssize_t pixel
    set_up(&p, geometry, itemsize, None)
    if p.g.channels_last:
        pixel = p.g.groups * p.g.C * itemsize
        p.x_strides[1], p.x_strides[2], p.x_strides[3] = itemsize, p.row_step * p.g.W * pixel, pixel
        place(&p)
    return p.copied * p.blocks


cdef inline Py_ssize_t first_row(const Direct *p, Py_ssize_t part) noexcept nogil:
    return span_start(p.g.P, p.row_parts, 1, part)


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A share of the strips [tap][c][NR] of one block of channels of one group."""
    cdef const Direct *p = <const Direct *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, taps = p.g.R * p.g.S, tap
    cdef Py_ssize_t shares = ceil_div(LEAST_CHUNKS, p.g.groups), j0 = span_start(p.g.K, shares, NR, index % shares)
    cdef Py_ssize_t filters = span_start(p.g.K, shares, NR, index % shares + 1) - j0
    cdef Py_ssize_t cb = index // shares % p.blocks_c * p.channels, group = index // shares // p.blocks_c
    cdef Py_ssize_t channels = least(p.channels, p.g.C - cb), filter_bytes = taps * p.g.C * size
    cdef const char *w = at.weights + (group * p.g.K + j0) * filter_bytes + cb * size
    cdef char *packed = at.y + group * group_bytes(p) + (cb * ceil_div(p.g.K, NR) * NR + j0 * channels) * taps * size
    for tap in range(taps):
        p.kernels.pack(channels, filters, w + tap * p.g.C * size, size, filter_bytes,
                       packed + tap * channels * NR * size, NR * size, NR, taps * channels * NR * size)


cdef inline Py_ssize_t reordered(const Direct *p) noexcept nogil:
    """So many channels at a time."""
    return max(1, REORDERED // (p.g.R * p.g.S))


cdef void reorder_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One strip of the same, of weights whose taps are neighbours: transposed some channels at a time, then tap by
    tap to where its channels belong."""
    cdef const Direct *p = <const Direct *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, row = NR * size, taps = p.g.R * p.g.S
    cdef Py_ssize_t strips = ceil_div(p.g.K, NR), strip = index % strips, c, some, tap
    cdef Py_ssize_t cb = index // strips % p.blocks_c * p.channels, group = index // strips // p.blocks_c
    cdef Py_ssize_t channels = least(p.channels, p.g.C - cb)
    cdef Py_ssize_t filter_bytes = taps * p.g.C * size
    cdef const char *w = at.weights + (group * p.g.K + strip * NR) * filter_bytes + cb * taps * size
    cdef char *packed = at.y + group * group_bytes(p) + (cb * strips + strip * channels) * taps * row
    for c from 0 <= c < channels by reordered(p):
        some = least(reordered(p), channels - c)
        p.kernels.pack(some * taps, least(NR, p.g.K - strip * NR), w + c * taps * size, size, filter_bytes, scratch,
                       row, NR, 0)
        for tap in range(taps):
            p.kernels.pack(some, NR, scratch + tap * row, taps * row, size, packed + (tap * channels + c) * row, row,
                           NR, 0)
    # end: for c, for tap


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Packs a C-contiguous weight into `packed`, prepared_bytes long."""
    cdef Direct p
    cdef Operands at
    set_up(&p, geometry, weight.itemsize, blocking)
    at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
    if p.g.channels_last or p.g.R * p.g.S == 1:
        run(prepare_chunk, &p, p.g.groups * ceil_div(LEAST_CHUNKS, p.g.groups) * p.blocks_c, 0, team, &at)
    else:
        run(reorder_chunk, &p, p.g.groups * p.blocks_c * ceil_div(p.g.K, p.kernels.NR),
            reordered(&p) * p.g.R * p.g.S * p.kernels.NR * weight.itemsize, team, &at)


cdef void copy_block(const Direct *p, const Operands *at, Py_ssize_t block, Py_ssize_t share, Py_ssize_t shares,
                     char *copied) noexcept nogil:
    """The share-th of `shares` equal shares of a block's rows of x."""
    cdef Py_ssize_t p0 = first_row(p, block % p.row_parts)
    cdef Py_ssize_t rows = input_rows(&p.g, first_row(p, block % p.row_parts + 1) - p0)
    cdef Py_ssize_t group = block // p.row_parts % p.g.groups, image = block // p.row_parts // p.g.groups
    cdef Py_ssize_t first = span_start(rows, shares, 1, share)
    copy_rows(p.kernels, &p.g, p.x_strides, at.x + image * p.x_strides[0] + group * p.g.C * p.x_strides[1], p.g.C,
              p0 * p.g.stride_h + first, span_start(rows, shares, 1, share + 1) - first, copied + first * p.row_pitch,
              p.pitch, p.row_pitch, p.g.C, 0)


cdef void copy_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """First phase of a round: a share of the rows of one block."""
    cdef const Direct *p = <const Direct *>problem
    cdef Py_ssize_t block = index // SHARES
    if block < p.blocks:
        copy_block(p, at, block, index % SHARES, SHARES, at.shared + block % p.together * p.copied)


cdef const char *rows_of(const Direct *p, const Operands *at, Py_ssize_t block, char *own) noexcept nogil:
    """Where the rows of x for a block are; `own`, if this thread copies them there."""
    cdef Py_ssize_t group = block // p.row_parts % p.g.groups, image = block // p.row_parts // p.g.groups
    if p.shared:
        return at.shared + block % p.together * p.copied
    if p.in_place:
        return (at.x + image * p.x_strides[0] + group * p.g.C * p.x_strides[1]
                + first_row(p, block % p.row_parts) * p.g.stride_h * p.row_pitch)
    copy_block(p, at, block, 0, 1, own)
    return own


cdef Py_ssize_t list_offsets(const Direct *p, intptr_t *offsets) noexcept nogil:
    """The taps that a tile runs through, as offsets into these rows; how many there are."""
    cdef Py_ssize_t taps = p.g.R if p.joined else p.g.R * p.g.S, S = 1 if p.joined else p.g.S, tap
    for tap in range(taps):
        offsets[tap] = tap // S * p.g.dilation_h * p.row_pitch + tap % S * p.g.dilation_w * p.pitch
    return taps


cdef void direct_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Direct *p = <const Direct *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef bint fetch_x = p.by_pixels and p.flat
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR, R = p.g.R, S = p.g.S
    cdef Py_ssize_t part = index % p.k_parts, block = index // p.k_parts
    cdef Py_ssize_t group = block // p.row_parts % p.g.groups, image = block // p.row_parts // p.g.groups
    cdef Py_ssize_t p0 = first_row(p, block % p.row_parts), rows = first_row(p, block % p.row_parts + 1) - p0
    cdef Py_ssize_t j0 = span_start(p.g.K, p.k_parts, NR, part)
    cdef Py_ssize_t n = span_start(p.g.K, p.k_parts, NR, part + 1) - j0
    cdef Py_ssize_t channel = group * p.g.K + j0, y_row, c_row
    cdef Py_ssize_t lines = 1 if p.flat else rows, width = rows * p.g.Q if p.flat else p.g.Q    # of pixels, for tiles
    cdef Py_ssize_t cb, channels, jr, cols, line, q, i, m, depth = S if p.joined else 1, strip_bytes, done
    cdef Py_ssize_t a_row = p.g.stride_w * p.pitch, ahead_row
    cdef Py_ssize_t whole = before_last_vector(kernels, n), outer, step = NR if not p.by_pixels else whole or n
    cdef Py_ssize_t sharing, share
    cdef Heights heights
    cdef intptr_t *offsets = <intptr_t *>scratch
    cdef char *own = scratch + R * S * sizeof(intptr_t) + LINE
    cdef Py_ssize_t taps = list_offsets(p, offsets), kind = FC_PRODUCT if taps == 1 else FC_TAPS_IN_A
    cdef const char *x
    cdef const char *a
    cdef const char *strip
    cdef const char *weights
    cdef const char *ahead
    cdef char *y
    cdef char *c
    cdef fc_store store
    if block >= p.blocks:
        return
    x = rows_of(p, at, block, own)
    if p.transposed:
        y, c_row = own + (0 if p.shared else p.copied), n * size
    else:
        c_row = p.g.groups * p.g.K * size
        y = at.y + (image * p.g.P + p0) * p.g.Q * c_row + channel * size
    y_row = width * c_row
    for cb from 0 <= cb < p.g.C by p.channels:
        channels = least(p.channels, p.g.C - cb)
        strip_bytes = R * S * channels * NR * size
        store = fc_store_of(1, 0 if cb == 0 else 1, p.relu and cb + channels == p.g.C)
        strip = (at.weights + group * group_bytes(p) + cb * R * S * ceil_div(p.g.K, NR) * NR * size
                 + j0 // NR * strip_bytes)
        for outer from 0 <= outer < n by step:
            heights = heights_of(kernels, width, least(NR, n - outer))
            sharing = fetchers(lines * heights.count)
            share, ahead_row = strip_bytes // sharing, NR * size // sharing
            done = 0
            for line in range(lines):
                a = x + line * p.g.stride_h * p.row_pitch + cb * size
                q = 0
                for i in range(heights.count):
                    m = height_of(&heights, i)
                    c = y + line * y_row + q * c_row
                    weights = strip + outer // NR * strip_bytes
                    ahead = weights + strip_bytes + (done & sharing - 1) * share
                    if fetch_x:
                        ahead, ahead_row = a + (q + m) * a_row, m * a_row // (depth * channels)
                    for jr from outer <= jr < least(outer + step, n) by NR:
                        cols = least(NR, n - jr)
                        if at.bias != NULL and cb == 0:
                            store.col_bias = at.bias + (channel + jr) * size
                        tile_of(kernels, kind, m, cols)(
                            taps, offsets, depth * channels, a + q * a_row, a_row, size, weights, NR * size, ahead,
                            ahead_row, c + jr * size, c_row, cols, &store)
                        weights += strip_bytes
                        if not fetch_x:
                            ahead += strip_bytes
                    q += m
                    done += 1
    # end: for cb, for outer, for line, for i, for jr
    if p.transposed:
        write_planes(kernels, n, rows * p.g.Q, y, c_row,
                     at.y + ((image * p.g.groups * p.g.K + channel) * p.g.P + p0) * p.g.Q * size,
                     p.g.P * p.g.Q * size)


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Direct p
    set_up(&p, geometry, itemsize, blocking)
    take_strides(strides, p.g.channels_last, p.x_strides)
    p.x_strides[2] *= p.row_step
    place(&p)
    p.relu = relu
    if not p.shared:
        return compile(&p, sizeof(p), direct_chunk, p.blocks * p.k_parts, scratch_bytes(&p))
    return followed_by(compile(&p, sizeof(p), copy_chunk, p.together * SHARES, scratch_bytes(&p)),
                       direct_chunk, p.together * p.k_parts, shared_bytes(&p), ceil_div(p.blocks, p.together))
