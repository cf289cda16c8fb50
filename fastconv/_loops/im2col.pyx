"""Convolution as a matrix product without the matrix: the im2col rows or columns that a block of the product
needs are lowered (csrc/kernels/lower.c) straight into the block and multiplied by the macro-kernel of
gemm.pyx. Called by the "im2col" row of fastconv/algorithms.py; lowering.pyx makes the whole matrix.

Per group, with C, K the channels of one group, two forms of the same sum over k = R*S*C:

    channels-last, or few pixels:  y[pixel, K] = lowered[pixel, k] @ weights[k, K]      (m = pixels, n = K)
    channels-first:                y[K, pixel] = weights[K, k] @ lowered[k, pixel]      (m = K, n = pixels)

so that the vectors of a tile always lie along what is contiguous in y. With few pixels or a long sum channels-first
results go through a block of scratch and are transposed on the way out, and the image is transposed on the way in: a
phase before, once, into scratch that all threads share; under 1x1 filters that is the matrix. 1x1 filters at stride 1
read channels-first x as the matrix too, in place if they are few; very few take whole rows of it, without a tile.

A chunk is (image and group, block of pixels, part of K), cut by shape alone."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, STRIP_GAP, balanced, ceil_div, least, round_up, span_start, take_strides
from fastconv._loops.gemm cimport Blocks, by_whole_rows, default_blocks, macro_kernel
from fastconv._loops.kernels cimport FC_RELU, fc_geometry, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.rows cimport write_planes
from fastconv._loops.team cimport Operands, compile, followed_by, run
from fastconv._loops.tiles cimport collide

cnp.import_array()

# A block of pixels: 56 rows of A as in gemm.pyx; 256 columns of B, which with k = 1024 are 1 MB and are
# fetched ahead of use, or fewer for 8 chunks, but LEAST_STRIPS of them (384 -> 96 at 14 pixels had one chunk: 77 GF/s
# on two threads, 75 and 130 now on one and two; Zen 3, 2026-11). K is cut as well while there are fewer than 8 chunks,
# but not below 256 channels: each part lowers its pixels again, which costs up to a tenth of the product there (Zen 4,
# 2026-11); down to LEAST_STRIPS of filters where pixels are ready (960 -> 320 at 7: 93 and 150). ROUND_BYTES: of
# images that are transposed together. One may be larger, as long as a call takes less than CALL_BYTES; else images are
# lowered by columns (128 -> 128 at 56 pixels, stride 2: 1.6 MB, 88 GF/s, by columns 68; Zen 3, 2026-11). SHARES as in
# direct.pyx.
cdef enum:
    PIXEL_COLUMNS = 256
    ROUND_BYTES = 1 << 20
    CALL_BYTES = 2 << 20
    SHARES = 4
    REORDERED = 256       # rows of weights that are transposed together, into L1; at least all taps of a channel
    LEAST_CHUNKS = 8
    LEAST_STRIPS = 2
    LEAST_CHANNELS = 256
    SHORT_SUM = 512
    FEW_FILTERS = 32      # x is read in place: a copy of it would be used a few times only (192 -> 32 at 28 pixels: 86
    FEW_COLLIDING = 16    # GF/s and 81); by rows 2 KB apart fewer (64 -> 24 at 64 pixels: 59 and 74; Zen 3, 2026-11)
    ROW_COLUMNS = 4096    # of whole rows of pixels, READ_TOGETHER of which stay in L2; 2048 to 8192 do the same
    LEAST_COLUMNS = 1024
    READ_TOGETHER = 8
    LONG_SUM = 1024       # 512 -> 512 at 14 pixels: 98 against 79 GF/s; 64 -> 64 at 224: 83 against 91

cdef struct Im2col:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t depth, images, pixels              # k = R*S*C; pixels of one image, or of all at once
    Py_ssize_t kc, blocks, block, k_parts         # pixel blocks of at most `block`
    Py_ssize_t filter_bytes                       # from a filter to the next, where vectors lie along the pixels
    bint along_k, transposed                      # vectors along K; y is channels-first all the same
    bint plain, in_place                          # x itself is lowered[k, pixel]; and is read where it lies
    bint shared, ready                            # x is transposed first; and then is the matrix, under 1x1 filters
    Py_ssize_t pitch, copied                      # bytes from a pixel of it to the next; of an image and group
    Py_ssize_t units, together                    # images times groups; in a round
    intptr_t x_strides[4]                         # of (n, c, h, w)
    Py_ssize_t y_image
    bint relu


cdef inline double filled(Py_ssize_t n, Py_ssize_t lanes) noexcept nogil:
    return <double>n / round_up(n, lanes)


cdef void set_up(Im2col *p, bytes geometry, Py_ssize_t itemsize, blocking):
    """Everything that shape, dtype, ISA and block sizes decide."""
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    cdef Blocks blocks = default_blocks(kernels)
    cdef Py_ssize_t parts
    p.kernels = kernels
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    blocks.nc = PIXEL_COLUMNS
    # A short sum leaves room for more pixels, and small chunks would be mostly overhead.
    blocks.mc *= max(1, min(8, SHORT_SUM // max(1, p.g.R * p.g.S * p.g.C)))
    if blocking is not None:
        blocks.mc, blocks.nc, blocks.kc = blocking.mc, blocking.nc, blocking.kc
    p.depth = p.g.R * p.g.S * p.g.C
    p.kc = balanced(p.depth, blocks.kc)
    p.filter_bytes = p.depth * itemsize
    if collide(kernels, p.filter_bytes):
        p.filter_bytes += LINE
    # Vectors along the pixels, unless the sum is so long that transposing the result at its end costs less
    # than the macro-kernel gains, or that leaves more of them empty than vectors along K do.
    p.along_k = p.g.channels_last or p.depth >= LONG_SUM or (
        filled(p.g.P * p.g.Q, kernels.lanes) < 0.9 * filled(p.g.K, kernels.lanes))
    p.transposed = p.along_k and not p.g.channels_last
    p.images = 1 if p.along_k and not p.transposed else max(1, p.g.N)
    p.pixels = p.g.N * p.g.P * p.g.Q // p.images
    if p.along_k:
        p.block = balanced(p.pixels, blocks.mc)
    else:
        if blocking is None:
            parts = ceil_div(LEAST_CHUNKS, max(1, p.images * p.g.groups))
            blocks.nc = least(blocks.nc, max(LEAST_STRIPS * kernels.NR, ceil_div(p.pixels, parts)))
        p.block = ceil_div(balanced(p.pixels, blocks.nc), kernels.NR) * kernels.NR
    p.blocks = ceil_div(p.pixels, p.block) if p.block > 0 else 0
    p.plain = p.in_place = p.shared = p.ready = False
    p.units = p.images * p.g.groups
    p.k_parts = max(1, min(LEAST_CHUNKS // max(1, p.images * p.g.groups * p.blocks), p.g.K // LEAST_CHANNELS))
    # A transposed chunk holds its results in scratch: 512 channels of them at most.
    if p.transposed:
        p.k_parts = max(p.k_parts, ceil_div(p.g.K, 512))


cdef Py_ssize_t weight_group_bytes(const Im2col *p) noexcept nogil:
    cdef Py_ssize_t size = p.kernels.itemsize
    if p.along_k:
        return p.depth * ceil_div(p.g.K, p.kernels.NR) * p.kernels.NR * size
    return p.g.K * p.filter_bytes


cdef bint all_pixels(const Im2col *p) noexcept nogil:
    """Whether a filter sees one pixel, and each in turn. As many results as pixels may be those of padding: with a
    stride, or where a single result has lost its stride (shapes.py)."""
    return (p.g.R == 1 and p.g.S == 1 and p.g.stride_h == 1 and p.g.stride_w == 1 and p.g.pad_top == 0
            and p.g.pad_left == 0 and p.g.P == p.g.H and p.g.Q == p.g.W)


cdef void share(Im2col *p) noexcept:
    """Has images transposed in a phase of their own, if that is what they need. Parts of K then cost nothing, where
    pixels need not be lowered as well."""
    cdef Py_ssize_t size = p.kernels.itemsize
    p.pitch = p.g.C * size + (LINE if all_pixels(p) else 0)
    p.copied = p.g.H * p.g.W * p.pitch
    p.shared = p.transposed and p.copied > 0 and p.copied + scratch_bytes(p) < CALL_BYTES
    p.ready = p.shared and all_pixels(p)
    if p.shared:
        p.together = balanced(p.units, max(1, ROUND_BYTES // p.copied))
    if p.ready:
        p.k_parts = max(p.k_parts, min(LEAST_CHUNKS // max(1, p.units * p.blocks),
                                       p.g.K // (LEAST_STRIPS * p.kernels.NR)))


cdef Py_ssize_t shared_bytes(const Im2col *p) noexcept nogil:
    return p.together * p.copied if p.shared else 0


cdef Py_ssize_t lowered_bytes(const Im2col *p) noexcept nogil:
    """Of a block of pixels, vectors along K: as rows or as columns."""
    cdef Py_ssize_t size = p.kernels.itemsize
    return max(p.block * (p.kc * size + LINE), p.kc * (p.block * size + LINE))


cdef Py_ssize_t scratch_bytes(const Im2col *p) noexcept nogil:
    cdef Py_ssize_t size = p.kernels.itemsize, lowered
    if not p.along_k:
        return p.block // p.kernels.NR * (p.kc * p.kernels.NR * size + STRIP_GAP)
    lowered = lowered_bytes(p)
    if p.transposed:
        lowered += p.block * (ceil_div(p.g.K, p.k_parts) + p.kernels.NR) * size
    return lowered


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the packed weights."""
    cdef Im2col p
    set_up(&p, geometry, itemsize, blocking)
    return p.g.groups * weight_group_bytes(&p)


def as_it_comes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Whether `prepare` only copies."""
    cdef Im2col p
    set_up(&p, geometry, itemsize, blocking)
    return not p.along_k and p.filter_bytes == p.depth * itemsize


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch of a call on one thread at most: less where x is read in place."""
    cdef Im2col p
    cdef Py_ssize_t of_one_part
    set_up(&p, geometry, itemsize, blocking)
    of_one_part = scratch_bytes(&p)    # x that lies channels-last is not shared, and K not cut
    share(&p)
    return max(of_one_part, scratch_bytes(&p) + shared_bytes(&p))


def transposes(bytes geometry, Py_ssize_t itemsize):
    """Whether channels-first x and y are transposed on their way in and out."""
    cdef Im2col p
    set_up(&p, geometry, itemsize, None)
    share(&p)
    return p.shared


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A share of one block of k of one group: strips of NR columns [k][NR], k counting (r, s, c); or rows [K][k] as
    they come, but apart where they would collide."""
    cdef const Im2col *p = <const Im2col *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, k_blocks = ceil_div(p.depth, p.kc)
    cdef Py_ssize_t shares = ceil_div(LEAST_CHUNKS, p.g.groups), j0 = span_start(p.g.K, shares, NR, index % shares)
    cdef Py_ssize_t filters = span_start(p.g.K, shares, NR, index % shares + 1) - j0
    cdef Py_ssize_t block = index // shares % k_blocks, group = index // shares // k_blocks
    cdef Py_ssize_t pc = block * p.kc, k = least(p.kc, p.depth - pc)
    cdef const char *w = at.weights + ((group * p.g.K + j0) * p.depth + pc) * size
    cdef char *packed = at.y + group * weight_group_bytes(p)
    if p.along_k:
        packed += (pc * ceil_div(p.g.K, NR) * NR + j0 * k) * size
        p.kernels.pack(k, filters, w, size, p.depth * size, packed, NR * size, NR, k * NR * size)
    else:
        packed += j0 * p.filter_bytes + pc * size
        p.kernels.pack(filters, k, w, p.depth * size, size, packed, p.filter_bytes, k, 0)


cdef inline Py_ssize_t reordered(const Im2col *p) noexcept nogil:
    """So many channels at a time."""
    return max(1, REORDERED // (p.g.R * p.g.S))


cdef void reorder_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """One strip of one group, as prepare_chunk has it, of weights whose k counts (c, r, s): transposed some channels at
    a time, then tap by tap to where its runs of channels belong."""
    cdef const Im2col *p = <const Im2col *>problem
    cdef Py_ssize_t NR = p.kernels.NR, strips = ceil_div(p.g.K, NR), group = index // strips, strip = index % strips
    cdef Py_ssize_t size = p.kernels.itemsize, taps = p.g.R * p.g.S, row = NR * size, c, channels
    cdef Py_ssize_t tap, done, k, pc, rows
    cdef const char *w = at.weights + (group * p.g.K + strip * NR) * p.depth * size
    cdef char *packed = at.y + group * weight_group_bytes(p)
    for c from 0 <= c < p.g.C by reordered(p):
        channels = least(reordered(p), p.g.C - c)
        p.kernels.pack(channels * taps, least(NR, p.g.K - strip * NR), w + c * taps * size, size, p.depth * size,
                       scratch, row, NR, 0)
        for tap in range(taps):
            done = 0
            while done < channels:      # a run ends with a block of k
                k = tap * p.g.C + c + done
                pc = k // p.kc * p.kc
                rows = least(channels - done, pc + p.kc - k)
                p.kernels.pack(rows, NR, scratch + (done * taps + tap) * row, taps * row, size,
                               packed + (pc * strips + strip * least(p.kc, p.depth - pc) + k - pc) * row, row, NR, 0)
                done += rows
    # end: for c, for tap, while done


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Packs a C-contiguous weight into `packed`, prepared_bytes long."""
    cdef Im2col p
    cdef Operands at
    set_up(&p, geometry, weight.itemsize, blocking)
    at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
    if p.along_k and not p.g.channels_last and p.g.R * p.g.S > 1:
        run(reorder_chunk, &p, p.g.groups * ceil_div(p.g.K, p.kernels.NR),
            reordered(&p) * p.g.R * p.g.S * p.kernels.NR * weight.itemsize, team, &at)
    else:
        run(prepare_chunk, &p, p.g.groups * ceil_div(LEAST_CHUNKS, p.g.groups) * ceil_div(p.depth, p.kc), 0, team, &at)


cdef void transpose_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """First phase of a round: a share of the pixels of one image and group, to [h][w][c]."""
    cdef const Im2col *p = <const Im2col *>problem
    # Rows that follow one another are one long row.
    cdef bint one_row = p.x_strides[2] == p.g.W * p.x_strides[3]
    cdef Py_ssize_t rows = 1 if one_row else p.g.H, width = p.g.H * p.g.W if one_row else p.g.W
    cdef Py_ssize_t unit = index // SHARES, row, first = span_start(width, SHARES, p.kernels.lanes, index % SHARES)
    cdef Py_ssize_t pixels = span_start(width, SHARES, p.kernels.lanes, index % SHARES + 1) - first
    cdef const char *x = at.x + unit // p.g.groups * p.x_strides[0] + unit % p.g.groups * p.g.C * p.x_strides[1]
    cdef char *to = at.shared + unit % p.together * p.copied
    if unit < p.units:
        for row in range(rows):
            p.kernels.pack(pixels, p.g.C, x + row * p.x_strides[2] + first * p.x_strides[3], p.x_strides[3],
                           p.x_strides[1], to + (row * width + first) * p.pitch, p.pitch, p.g.C, 0)


cdef struct Lowered:
    const char *a
    Py_ssize_t row, col


cdef Lowered lower_block(const Im2col *p, const char *x, const intptr_t *x_strides, Py_ssize_t image, Py_ssize_t pixel,
                         Py_ssize_t first, Py_ssize_t m, Py_ssize_t pc, Py_ssize_t k, char *scratch) noexcept nogil:
    """Rows of the im2col matrix, m pixels by k from `pc` on: where they are ready, or lowered to scratch. `pixel` is
    the first of them counted through all images of x, `first` through its own."""
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize
    cdef Lowered block
    block.a, block.row, block.col = scratch, k * size + LINE, size
    if p.ready:
        block.a, block.row = x + first * p.pitch + pc * size, p.pitch
    elif p.plain:
        kernels.pack(m, k, x + image * p.x_strides[0] + pc * p.x_strides[1] + first * size, size, p.x_strides[1],
                     scratch, block.row, k, 0)
    elif x_strides[1] == size:
        kernels.lower_rows(&p.g, x, x_strides, pixel, m, pc, pc + k, scratch, block.row)
    else:
        block.row, block.col = size, m * size + LINE
        kernels.lower_columns(&p.g, x, x_strides, pixel, m, pc, pc + k, scratch, block.col, m, 0)
    return block


cdef void along_k_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Im2col *p = <const Im2col *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR
    cdef Py_ssize_t part = index % p.k_parts, block = index // p.k_parts % p.blocks
    cdef Py_ssize_t unit = index // p.k_parts // p.blocks, group = unit % p.g.groups, image = unit // p.g.groups
    cdef Py_ssize_t first = block * p.block, m = least(p.block, p.pixels - first)
    cdef Py_ssize_t j0 = span_start(p.g.K, p.k_parts, NR, part)
    cdef Py_ssize_t n = span_start(p.g.K, p.k_parts, NR, part + 1) - j0
    cdef Py_ssize_t pixel = image * p.pixels + first, channel = group * p.g.K + j0
    cdef Py_ssize_t pc, k, j, c_row
    cdef const char *x = at.x + group * p.g.C * p.x_strides[1]
    cdef intptr_t x_strides[4]
    cdef Lowered lowered
    cdef const char *b
    cdef char *c
    cdef fc_store store
    if unit >= p.units:
        return
    for j in range(4):
        x_strides[j] = p.x_strides[j]
    if p.shared:
        x, pixel = at.shared + unit % p.together * p.copied, first
        x_strides[0], x_strides[1], x_strides[3], x_strides[2] = 0, size, p.g.C * size, p.g.W * p.g.C * size
    if p.transposed:
        c = scratch + lowered_bytes(p)
        c_row = n * size
    else:
        c_row = p.g.groups * p.g.K * size
        c = at.y + pixel * c_row + channel * size
    for pc from 0 <= pc < p.depth by p.kc:
        k = least(p.kc, p.depth - pc)
        lowered = lower_block(p, x, x_strides, image, pixel, first, m, pc, k, scratch)
        b = (at.weights + group * weight_group_bytes(p) + pc * ceil_div(p.g.K, NR) * NR * size
             + j0 * k * size)
        store = fc_store_of(1, 0 if pc == 0 else 1, p.relu and pc + k == p.depth)
        if at.bias != NULL and pc == 0:
            store.col_bias = at.bias + channel * size
        macro_kernel(kernels, m, n, k, lowered.a, lowered.row, lowered.col, b, NR * size, k * NR * size, c, c_row,
                     &store)
    if p.transposed:
        write_planes(kernels, n, m, c, c_row, at.y + image * p.y_image + (channel * p.pixels + first) * size,
                     p.pixels * size)


cdef void along_pixels_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Im2col *p = <const Im2col *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR
    cdef Py_ssize_t part = index % p.k_parts, block = index // p.k_parts % p.blocks
    cdef Py_ssize_t group = index // p.k_parts // p.blocks % p.g.groups
    cdef Py_ssize_t image = index // p.k_parts // p.blocks // p.g.groups
    cdef Py_ssize_t first = block * p.block, n = least(p.block, p.pixels - first)
    cdef Py_ssize_t i0 = span_start(p.g.K, p.k_parts, 1, part)
    cdef Py_ssize_t m = span_start(p.g.K, p.k_parts, 1, part + 1) - i0
    cdef Py_ssize_t channel = group * p.g.K + i0, pc, k
    # The columns that fill no vector are copied even if the others are read in place.
    cdef Py_ssize_t whole = n // kernels.lanes * kernels.lanes if p.in_place else 0
    cdef const char *x = at.x + group * p.g.C * p.x_strides[1]
    cdef const char *lowered
    cdef const char *a
    cdef char *c
    cdef fc_store store
    for pc from 0 <= pc < p.depth by p.kc:
        k = least(p.kc, p.depth - pc)
        lowered = x + image * p.x_strides[0] + pc * p.x_strides[1] + first * size
        a = at.weights + group * weight_group_bytes(p) + i0 * p.filter_bytes + pc * size
        c = at.y + image * p.y_image + (channel * p.pixels + first) * size
        if whole < n and p.plain:
            kernels.pack(k, n - whole, lowered + whole * size, p.x_strides[1], size, scratch, NR * size, NR,
                         k * NR * size + STRIP_GAP)
        elif whole < n:
            kernels.lower_columns(&p.g, x, p.x_strides, image * p.pixels + first, n, pc, pc + k, scratch,
                                  NR * size, NR, k * NR * size + STRIP_GAP)
        store = fc_store_of(1, 0 if pc == 0 else 1, p.relu and pc + k == p.depth)
        if at.bias != NULL and pc == 0:
            store.row_bias = at.bias + channel * size
        if whole > 0:
            macro_kernel(kernels, m, whole, k, a, p.filter_bytes, size, lowered, p.x_strides[1], NR * size, c,
                         p.pixels * size, &store)
        if whole < n:
            macro_kernel(kernels, m, n - whole, k, a, p.filter_bytes, size, scratch, NR * size,
                         k * NR * size + STRIP_GAP, c + whole * size, p.pixels * size, &store)
    # end: for pc


cdef void whole_rows_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """A few 1x1 filters on x where it lies: rows of pixels, each read from one end to the other, are added to y, some
    at a time while they are in L2. A tile would take NR pixels of every row in turn, and make few sums: 64 -> 1, 2, 3
    or 4 filters at 256 pixels 5, 13, 12, 10 and 28, 24, 27, 16 GF/s (AVX2 on Zen 3, 2026-11)."""
    cdef const Im2col *p = <const Im2col *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, block = index % p.blocks, unit = index // p.blocks
    cdef Py_ssize_t group = unit % p.g.groups, image = unit // p.g.groups, first = block * p.block
    cdef Py_ssize_t n = least(p.block, p.pixels - first), channel = group * p.g.K, y_row = p.pixels * size
    cdef Py_ssize_t row, i
    cdef const char *x = at.x + image * p.x_strides[0] + group * p.g.C * p.x_strides[1] + first * size
    cdef const char *filters = at.weights + group * weight_group_bytes(p)
    cdef char *y = at.y + image * p.y_image + channel * y_row + first * size
    for i in range(p.g.K):
        if at.bias == NULL:
            kernels.scale(n, 0, y + i * y_row)
        else:
            kernels.pack(1, n, at.bias + (channel + i) * size, 0, 0, y + i * y_row, 0, n, 0)
    for row from 0 <= row < p.depth by READ_TOGETHER:
        for i in range(p.g.K):
            kernels.axpy(least(READ_TOGETHER, p.depth - row), n, 1,
                         filters + i * p.filter_bytes + row * size, size,
                         x + row * p.x_strides[1], p.x_strides[1], y + i * y_row)
    if p.relu:
        for i in range(p.g.K):
            kernels.map[FC_RELU](n, y + i * y_row, NULL, 0, y + i * y_row)


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Im2col p
    cdef bint by_rows = False
    cdef Py_ssize_t wide
    set_up(&p, geometry, itemsize, blocking)
    take_strides(strides, p.g.channels_last, p.x_strides)
    p.g.channels_last = p.along_k    # from here on: whether k counts (r, s, c)
    if all_pixels(&p) and p.x_strides[2] == p.g.W * p.x_strides[3]:
        p.g.W = p.g.Q = p.g.H * p.g.W
        p.g.H = p.g.P = 1
        p.plain = p.x_strides[3] == itemsize and p.images == p.g.N    # pixels are counted through each image alone
        p.in_place = p.plain and p.g.K <= (FEW_COLLIDING if p.x_strides[1] % 2048 == 0 else FEW_FILTERS)
        by_rows = (p.in_place and not p.along_k and p.kc == p.depth and blocking is None
                   and by_whole_rows(p.g.K, p.pixels * p.depth * itemsize))
        if by_rows:
            wide = max(LEAST_COLUMNS, ceil_div(p.pixels, ceil_div(LEAST_CHUNKS, max(1, p.units))))
            p.block = ceil_div(balanced(p.pixels, least(ROW_COLUMNS, wide)), p.kernels.NR) * p.kernels.NR
            p.blocks = ceil_div(p.pixels, p.block)
    p.y_image = p.g.groups * p.g.K * p.pixels * p.kernels.itemsize
    p.relu = relu
    if p.x_strides[1] != itemsize:
        share(&p)
    if by_rows:
        return compile(&p, sizeof(p), whole_rows_chunk, p.units * p.blocks, 0)
    if not p.shared:
        return compile(&p, sizeof(p), along_k_chunk if p.along_k else along_pixels_chunk,
                       p.units * p.blocks * p.k_parts, scratch_bytes(&p))
    return followed_by(compile(&p, sizeof(p), transpose_chunk, p.together * SHARES, scratch_bytes(&p)), along_k_chunk,
                       p.together * p.blocks * p.k_parts, shared_bytes(&p), ceil_div(p.units, p.together))
