"""Convolution with fewer multiplications: transform tiles, multiply them frequency by frequency, transform back. Called
by the "winograd" and "fft" rows of fastconv/algorithms.py; what a transform is, csrc/kernels.h says (fc_transform).

    V[f][tile][c] = input transform of x's tile            f < frequencies, c < C of the group
    M[f][tile][k] = sum_c V[f][tile][c] * U[f][c][k]       a product of the register tile, V read in place
    y's tile      = act(output transform of M + bias)

Tiles are counted through all images; in V and M they lie as tile_order.pxd says. Two schedules, chosen by shape:

    fused       chunk: a group of tiles and all of K, a block of K at a time. V and M stay in L2, and U is read again
                by every group: for weights that fit L2 or L3, and groups of enough tiles to pay for reading them.
    streamed    first phase: the tiles of a round are transformed into a V that all threads share. Second phase, chunk:
                a block of K, for all these tiles: U is read once a round. For larger weights, many channels (few tiles
                fill a group: 362 -> 49 at 9 x 11 pixels 159 -> 189 GF/s, Zen 3, 2026-11), and too few tiles for groups
                that threads could share (64 at 14 pixels, two threads: 149 -> 267), if there are filters to share.

A filter longer than half a tile is cut into pieces; the sum over them is the sum over channels run on: the C of V and U
above is `depth`, pieces times channels, and each piece's V is the transform of x shifted by its place in the filter.

x is read in place where it is channels-last and the tile lies inside the image; other tiles are copied to channels-last
scratch with zeros around, a run of tiles of one row at a time. Channels-first y leaves through scratch."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, round_up, take_strides
from fastconv._loops.kernels cimport (
    FC_FFT_16,
    FC_FFT_32,
    FC_FFT_64,
    FC_FFT_128,
    FC_PRODUCT,
    FC_TAPS_IN_A,
    FC_WINOGRAD_2,
    FC_WINOGRAD_4,
    FC_WINOGRAD_5,
    FC_WINOGRAD_6,
    fc_geometry,
    fc_kernels,
    fc_store,
    fc_store_of,
    fc_transform,
    kernels_for,
)
from fastconv._loops.rows cimport copy_window, write_planes
from fastconv._loops.team cimport Operands, compile, followed_by, run
from fastconv._loops.tile_order cimport ALL_POINTS, Order, Run, Tiles, order_of, place_in, run_from, taking_part
from fastconv._loops.tiles cimport Heights, fetchers, height_of, heights_of, tile_of

cnp.import_array()

cdef enum:
    FUSED_WEIGHTS = 5 << 19      # bytes of U up to which every group reads it again
    GROUP_BYTES = 384 << 10      # V and M of a fused group
    LEAST_GROUP = 12             # tiles whose V fills a fused group, times parts: they share a reading of U
    K_BLOCK = 64                 # filters whose M is in cache at a time
    LEAST_CHUNKS = 4             # groups, or blocks of K in a streamed round: threads share them
    ROUND_BYTES = 4 << 20        # V of a streamed round
    PREPARED_CHANNELS = 16       # channels whose filters are gathered at a time

cdef struct Tiled:
    const fc_kernels *kernels
    const fc_transform *transform
    fc_geometry g
    Py_ssize_t piece_r, piece_s                   # taps of a piece of the filter, at most
    Py_ssize_t pieces_h, pieces_w, depth          # pieces; what a product sums: pieces times channels
    Py_ssize_t rows, cols                         # of y in a tile
    Py_ssize_t last_h, last_w                     # pixels of x in a tile of the last row, column
    Tiles of_image
    Py_ssize_t tiles                              # of all images
    Py_ssize_t group, groups                      # tiles of a fused chunk, or of a streamed round; how many
    Py_ssize_t k_block, k_blocks                  # a multiple of NR
    Py_ssize_t run_tiles                          # neighbouring tiles that are copied, or leave, together
    Py_ssize_t v_row, v_plane, m_row, m_plane     # bytes between tiles, between planes
    Py_ssize_t staged_bytes, left_bytes           # scratch of a run's pixels of x, of y
    bint streamed, in_place, channels_last_y, relu
    intptr_t x_strides[4]                         # of (n, c, h, w)


cdef inline Py_ssize_t v_planes(const Tiled *p) noexcept nogil:
    return p.transform.frequencies * (2 * p.transform.parts - 1)


cdef inline Py_ssize_t spread(Py_ssize_t stride, Py_ssize_t period) noexcept nogil:
    """A stride that does not lead to the same sets of a cache again and again."""
    return stride + LINE if stride % period == 0 else stride


cdef (intptr_t, Py_ssize_t) points_of_rest(const fc_transform *transform, Py_ssize_t results, Py_ssize_t of_tile,
                                           Py_ssize_t pixels) noexcept nogil:
    """Along an axis of so many results: the points of the last tile, and its pixels, which are as many."""
    cdef Py_ssize_t rest = results % of_tile, place, needed = 0
    cdef intptr_t points
    if transform.points == NULL or rest == 0:
        return ALL_POINTS, pixels
    points = transform.points(rest)
    for place in range(pixels):
        needed += points >> place & 1
    return ALL_POINTS if needed == pixels else points, needed


cdef void block_k(Tiled *p, Py_ssize_t strips) noexcept nogil:
    """Blocks of K of at most so many strips, even ones."""
    cdef Py_ssize_t all_strips = ceil_div(p.g.K, p.kernels.NR)
    p.k_block = balanced(all_strips, strips) * p.kernels.NR if all_strips else 0
    p.k_blocks = ceil_div(p.g.K, max(1, p.k_block))


cdef void set_up(Tiled *p, int transform, bytes geometry, Py_ssize_t itemsize, bint in_place):
    """Everything that shape, dtype and ISA decide, and whether x can be read in place. How U lies depends on N too, so
    prepared weights belong to one shape."""
    cdef Py_ssize_t v_row, per_tile, weight_bytes, chunks, strips, NR, F
    cdef bint few
    p.kernels = kernels_for(itemsize)
    p.transform = &p.kernels.transforms[transform]
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    NR, F = p.kernels.NR, p.transform.frequencies
    p.piece_r = balanced(p.g.R, p.transform.tile_h // 2 + 1)
    p.piece_s = balanced(p.g.S, p.transform.tile_w // 2 + 1)
    p.pieces_h, p.pieces_w = ceil_div(p.g.R, p.piece_r), ceil_div(p.g.S, p.piece_s)
    p.depth = p.pieces_h * p.pieces_w * p.g.C
    p.rows, p.cols = p.transform.tile_h - p.piece_r + 1, p.transform.tile_w - p.piece_s + 1
    p.of_image.high, p.of_image.wide = ceil_div(p.g.P, p.rows), ceil_div(p.g.Q, p.cols)
    p.of_image.below, p.last_h = points_of_rest(p.transform, p.g.P, p.rows, p.transform.tile_h)
    p.of_image.right, p.last_w = points_of_rest(p.transform, p.g.Q, p.cols, p.transform.tile_w)
    p.tiles = p.g.N * p.of_image.high * p.of_image.wide
    p.in_place, p.channels_last_y = in_place, p.g.channels_last
    weight_bytes = F * p.transform.parts * p.depth * p.g.K * itemsize
    # Winograd's kernels store whole vectors of channels, Fourier's, of a piece of the filter each, no more than those.
    v_row = (p.depth if p.transform.points == NULL else round_up(p.depth, p.kernels.lanes)) * itemsize
    per_tile = v_planes(p) * v_row
    block_k(p, ceil_div(K_BLOCK, NR))
    p.group = max(p.kernels.MR, GROUP_BYTES // (per_tile + F * p.transform.parts * p.k_block * itemsize))
    chunks, strips = p.g.groups * ceil_div(p.tiles, p.group), ceil_div(p.g.K, NR)
    few = chunks < LEAST_CHUNKS or GROUP_BYTES // per_tile * p.transform.parts < LEAST_GROUP
    p.streamed = weight_bytes > FUSED_WEIGHTS or (few and strips > least(chunks, 2))
    if p.streamed:
        block_k(p, max(1, least(ceil_div(K_BLOCK, NR), strips // LEAST_CHUNKS)))
        p.group = max(p.kernels.MR, ROUND_BYTES // per_tile)
    p.group = balanced(p.tiles, p.group) if p.tiles else 1
    p.groups = ceil_div(p.tiles, p.group)
    p.v_row, p.m_row = spread(v_row, 1024), p.k_block * itemsize
    p.v_plane, p.m_plane = spread(p.group * p.v_row, 4096), spread(p.group * p.m_row, 4096)
    p.run_tiles = min(p.of_image.wide, p.group)
    p.staged_bytes = p.transform.tile_h * (p.run_tiles * p.cols + p.piece_s - 1) * p.g.C * itemsize
    p.left_bytes = 0 if p.channels_last_y else p.rows * p.run_tiles * p.cols * p.k_block * itemsize


cdef Py_ssize_t v_bytes(const Tiled *p) noexcept nogil:
    return v_planes(p) * p.v_plane + LINE


cdef Py_ssize_t m_bytes(const Tiled *p) noexcept nogil:
    return p.transform.frequencies * p.transform.parts * p.m_plane + LINE


cdef Py_ssize_t scratch_bytes(const Tiled *p) noexcept nogil:
    """Of each thread: the run that is copied, the transform's own, M, and V if it is not shared."""
    cdef Py_ssize_t bytes_ = max(p.staged_bytes, p.left_bytes) + p.transform.scratch_bytes + m_bytes(p)
    return bytes_ if p.streamed else bytes_ + v_bytes(p)


cdef inline Py_ssize_t u_row(const Tiled *p) noexcept nogil:
    """From a frequency to the next: preparing writes a line of each in turn (64 -> 64, 15x15 by FFT: 25 and 14 ms; 256
    filters of 256 channels by F(4x4): 2.3 and 1.4; Zen 3, 2026-11)."""
    return spread(p.transform.parts * p.depth * p.k_block * p.kernels.itemsize, 4096)


cdef Py_ssize_t block_bytes(const Tiled *p) noexcept nogil:
    """U of a block of K."""
    return p.transform.frequencies * u_row(p)


cdef void transform_run(const Tiled *p, const char *image, const Run *run_, Py_ssize_t r0, Py_ssize_t s0, char *v,
                        char *scratch) noexcept nogil:
    """V of a run for the piece of the filter that begins at (r0, s0); `v` is the group's."""
    cdef Py_ssize_t pixel = p.g.C * p.kernels.itemsize, x_row, x_pixel, width
    cdef Py_ssize_t p0 = run_.first.row * p.rows, q0 = run_.first.column * p.cols, cols, wide, j
    cdef Py_ssize_t rows = least(p.rows, p.g.P - p0), h = p0 - p.g.pad_top + r0, w = q0 - p.g.pad_left + s0
    cdef Py_ssize_t high = p.last_h if run_.first.row == p.of_image.high - 1 else p.transform.tile_h
    cdef char *staged = scratch + p.transform.scratch_bytes
    cdef const char *x
    wide = p.last_w if run_.first.column + run_.tiles == p.of_image.wide else p.transform.tile_w
    width = (run_.tiles - 1) * p.cols + wide
    if not p.in_place:
        copy_window(p.kernels, p.x_strides, p.g.C, p.g.H, p.g.W, image, h, w, high, width, staged)
    for j in range(run_.tiles):
        wide = p.last_w if run_.first.column + j == p.of_image.wide - 1 else p.transform.tile_w
        cols = least(p.cols, p.g.Q - q0 - j * p.cols)
        x_row, x_pixel = p.x_strides[2], p.x_strides[3]
        if not p.in_place:
            x, x_row, x_pixel = staged + j * p.cols * pixel, width * pixel, pixel
        elif h >= 0 and h + high <= p.g.H and w >= 0 and w + wide <= p.g.W:
            x = image + h * x_row + w * x_pixel
        else:
            copy_window(p.kernels, p.x_strides, p.g.C, p.g.H, p.g.W, image, h, w, high, wide, staged)
            x, x_row, x_pixel = staged, wide * pixel, pixel
        p.transform.input(x, x_row, x_pixel, p.g.C, rows, cols, v + place_in(run_, j) * p.v_row, p.v_plane, scratch)
        w += p.cols


cdef void transform_tiles(const Tiled *p, const Operands *at, const Order *order, Py_ssize_t group, Py_ssize_t first,
                          Py_ssize_t tiles, char *v, char *scratch) noexcept nogil:
    """V of `tiles` tiles from `first` on, a run and a piece at a time."""
    cdef Py_ssize_t i = 0, piece
    cdef const char *image
    cdef Run run_
    while i < tiles:
        run_ = run_from(&p.of_image, order, first + i, least(p.run_tiles, tiles - i))
        image = at.x + run_.first.image * p.x_strides[0] + group * p.g.C * p.x_strides[1]
        for piece in range(p.pieces_h * p.pieces_w):
            transform_run(p, image, &run_, piece // p.pieces_w * p.piece_r, piece % p.pieces_w * p.piece_s,
                          v + piece * p.g.C * p.kernels.itemsize, scratch)
        i += run_.tiles


cdef void multiply(const Tiled *p, const Order *order, Py_ssize_t filters, const char *v, const char *u,
                   char *m) noexcept nogil:
    """M of a group for one block of K."""
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t NR = kernels.NR, size = kernels.itemsize, parts = p.transform.parts
    cdef Py_ssize_t strip_bytes = parts * p.depth * NR * size, start, end, sharing, share, ahead_row
    cdef Py_ssize_t f, part, jr, cols, i, ir, rows
    cdef Heights heights
    cdef intptr_t taps[2]
    cdef const char *a
    cdef fc_store store = fc_store_of(1, 0, 0)
    taps[0], taps[1] = 0, p.v_plane
    for f in range(p.transform.frequencies):
        taking_part(&p.of_image, order, f // p.transform.tile_w, f % p.transform.tile_w, &start, &end)
        for jr from 0 <= jr < filters by NR:
            # Whole vectors, which take the short way out of a tile: M has room for them, and U has zeros.
            cols = round_up(least(NR, filters - jr), kernels.lanes)
            if jr == 0 or cols < NR:
                heights = heights_of(kernels, end - start, cols)
                sharing = fetchers(parts * heights.count)
                share, ahead_row = strip_bytes // sharing, NR * size // sharing
            for part in range(parts):
                a = v + (f * (2 * parts - 1) + part) * p.v_plane
                ir = start
                for i in range(heights.count):
                    rows = height_of(&heights, i)
                    tile_of(kernels, FC_PRODUCT if parts == 1 else FC_TAPS_IN_A, rows, cols)(
                        parts, taps, p.depth, a + ir * p.v_row, p.v_row, size, u, NR * size,
                        u + strip_bytes + (part * heights.count + i & sharing - 1) * share, ahead_row,
                        m + (f * parts + part) * p.m_plane + ir * p.m_row + jr * size, p.m_row, cols, &store)
                    ir += rows
            u += strip_bytes
        # Over what a block of K that ends early leaves out, and the gap behind a frequency.
        u += u_row(p) - round_up(filters, NR) // NR * strip_bytes
    # end: for f, for jr, for part, for i


cdef void leave(const Tiled *p, const Operands *at, const Order *order, Py_ssize_t group, Py_ssize_t first,
                Py_ssize_t tiles, Py_ssize_t k0, Py_ssize_t filters, const char *m, char *scratch) noexcept nogil:
    """y of `tiles` tiles from `first` on, for one block of K; `m` is the group's."""
    cdef Py_ssize_t size = p.kernels.itemsize, i = 0, j, row, rows, cols, p0, q0, y_row, wide, together
    cdef Py_ssize_t channel = group * p.g.K + k0, channels = p.g.groups * p.g.K, pixel = channels * size
    cdef const char *bias = NULL if at.bias == NULL else at.bias + channel * size
    cdef char *left = scratch + p.transform.scratch_bytes
    cdef char *y
    cdef Run run_
    while i < tiles:
        run_ = run_from(&p.of_image, order, first + i, least(p.run_tiles, tiles - i))
        p0, q0 = run_.first.row * p.rows, run_.first.column * p.cols
        rows, wide = least(p.rows, p.g.P - p0), least(run_.tiles * p.cols, p.g.Q - q0)
        if p.channels_last_y:
            y_row = p.g.Q * pixel
            y = at.y + ((run_.first.image * p.g.P + p0) * p.g.Q + q0) * pixel + channel * size
        else:
            pixel, y_row = p.m_row, wide * p.m_row
            y = left
        for j in range(run_.tiles):
            cols = least(p.cols, p.g.Q - q0 - j * p.cols)
            p.transform.output(m + place_in(&run_, j) * p.m_row, p.m_plane, filters, bias, p.relu, rows, cols,
                               y + j * p.cols * pixel, y_row, pixel, scratch)
        if not p.channels_last_y:
            together = rows if wide == p.g.Q else 1    # whole rows are one long row
            for row from 0 <= row < rows by together:
                write_planes(p.kernels, filters, together * wide, left + row * y_row, pixel,
                             at.y + (((run_.first.image * channels + channel) * p.g.P + p0 + row) * p.g.Q + q0) * size,
                             p.g.P * p.g.Q * size)
        i += run_.tiles
    # end: while i


cdef void fused_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Tiled *p = <const Tiled *>problem
    cdef Py_ssize_t group = index // p.groups, first = index % p.groups * p.group
    cdef Py_ssize_t tiles = least(p.group, p.tiles - first), k0, filters
    cdef char *m = scratch + p.transform.scratch_bytes + max(p.staged_bytes, p.left_bytes)
    cdef char *v = m + m_bytes(p)
    cdef const char *u = at.weights + group * p.k_blocks * block_bytes(p)
    cdef Order order = order_of(&p.of_image, first, tiles)
    transform_tiles(p, at, &order, group, first, tiles, v, scratch)
    for k0 from 0 <= k0 < p.g.K by p.k_block:
        filters = least(p.k_block, p.g.K - k0)
        multiply(p, &order, filters, v, u, m)
        leave(p, at, &order, group, first, tiles, k0, filters, m, scratch)
        u += block_bytes(p)


cdef void transform_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """First phase of a streamed round: the tiles of one run_tiles."""
    cdef const Tiled *p = <const Tiled *>problem
    cdef Py_ssize_t parts = ceil_div(p.group, p.run_tiles), round_ = index // parts
    cdef Py_ssize_t start = index % parts * p.run_tiles, first = round_ % p.groups * p.group
    cdef Py_ssize_t tiles = min(p.run_tiles, p.group - start, p.tiles - first - start)
    cdef Order order
    if tiles > 0:
        order = order_of(&p.of_image, first, least(p.group, p.tiles - first))
        transform_tiles(p, at, &order, round_ // p.groups, first + start, tiles, at.shared, scratch)


cdef void streamed_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """Second phase: a block of K for all tiles of the round."""
    cdef const Tiled *p = <const Tiled *>problem
    cdef Py_ssize_t round_ = index // p.k_blocks, block = index % p.k_blocks, group = round_ // p.groups
    cdef Py_ssize_t first = round_ % p.groups * p.group, tiles = least(p.group, p.tiles - first)
    cdef Py_ssize_t k0 = block * p.k_block, filters = least(p.k_block, p.g.K - k0)
    cdef char *m = scratch + p.transform.scratch_bytes + max(p.staged_bytes, p.left_bytes)
    cdef Order order = order_of(&p.of_image, first, tiles)
    multiply(p, &order, filters, at.shared, at.weights + (group * p.k_blocks + block) * block_bytes(p), m)
    leave(p, at, &order, group, first, tiles, k0, filters, m, scratch)


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """U of one strip of NR filters: [block of K][f][strip][part][piece][c][NR], frequencies u_row apart."""
    cdef const Tiled *p = <const Tiled *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, parts = p.transform.parts, taps = p.g.R * p.g.S
    cdef Py_ssize_t strips = ceil_div(p.g.K, NR), group = index // strips, j0 = index % strips * NR
    cdef Py_ssize_t filters = least(NR, p.g.K - j0), filter_bytes = taps * p.g.C * size, c, channels, i, tap
    cdef Py_ssize_t piece, r0, s0, w_channel, w_tap, strip_bytes = parts * p.depth * NR * size
    cdef const char *w = at.weights + (group * p.g.K + j0) * filter_bytes
    cdef char *gathered = scratch + p.transform.scratch_bytes
    cdef char *u = at.y + (group * p.k_blocks + j0 // p.k_block) * block_bytes(p) + j0 % p.k_block // NR * strip_bytes
    for c from 0 <= c < p.g.C by PREPARED_CHANNELS:
        channels = least(PREPARED_CHANNELS, p.g.C - c)
        if p.g.channels_last:
            w_tap, w_channel = channels * NR * size, NR * size
            for tap in range(taps):
                p.kernels.pack(channels, filters, w + (tap * p.g.C + c) * size, size, filter_bytes,
                               gathered + tap * w_tap, NR * size, NR, 0)
        else:
            w_tap, w_channel = NR * size, taps * NR * size
            p.kernels.pack(channels * taps, filters, w + c * taps * size, size, filter_bytes, gathered, NR * size,
                           NR, 0)
        for piece in range(p.pieces_h * p.pieces_w):
            r0, s0 = piece // p.pieces_w * p.piece_r, piece % p.pieces_w * p.piece_s
            for i in range(channels):
                p.transform.weights(least(p.piece_r, p.g.R - r0), least(p.piece_s, p.g.S - s0),
                                    gathered + i * w_channel + (r0 * p.g.S + s0) * w_tap, p.g.S * w_tap, w_tap, NR,
                                    u + (piece * p.g.C + c + i) * NR * size, u_row(p),
                                    p.depth * NR * size, scratch)
    # end: for c, for piece, for i


cdef class Transformed:
    """The nest of one transform, as fastconv/algorithms.py calls it."""
    cdef int transform

    def __init__(self, int transform):
        self.transform = transform

    def prepared_bytes(self, bytes geometry, Py_ssize_t itemsize, blocking):
        """Bytes of the transformed weights."""
        cdef Tiled p
        set_up(&p, self.transform, geometry, itemsize, True)
        return p.g.groups * p.k_blocks * block_bytes(&p)

    def workspace_bytes(self, bytes geometry, Py_ssize_t itemsize, blocking):
        """Scratch of a call on one thread: the transformed tiles of a group or a round, and their products."""
        cdef Tiled p
        set_up(&p, self.transform, geometry, itemsize, False)
        return scratch_bytes(&p) + (v_bytes(&p) if p.streamed else 0)

    def prepare(self, bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
        """Transforms a C-contiguous weight into `packed`, prepared_bytes long."""
        cdef Tiled p
        cdef Operands at
        set_up(&p, self.transform, geometry, weight.itemsize, True)
        at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
        run(prepare_chunk, &p, p.g.groups * ceil_div(p.g.K, p.kernels.NR),
            p.transform.scratch_bytes + p.g.R * p.g.S * PREPARED_CHANNELS * p.kernels.NR * p.kernels.itemsize, team,
            &at)

    def compiled(self, bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
        """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
        cdef Tiled p
        cdef bint channels_last = (<const fc_geometry *><const char *>geometry).channels_last
        set_up(&p, self.transform, geometry, itemsize, (strides[3] if channels_last else strides[1]) == itemsize)
        take_strides(strides, channels_last, p.x_strides)
        p.relu = relu
        if not p.streamed:
            return compile(&p, sizeof(p), fused_chunk, p.g.groups * p.groups, scratch_bytes(&p))
        return followed_by(
            compile(&p, sizeof(p), transform_chunk, ceil_div(p.group, p.run_tiles), scratch_bytes(&p)),
            streamed_chunk, p.k_blocks, v_bytes(&p), p.g.groups * p.groups)

    def input(self, cnp.ndarray x, cnp.ndarray v, cnp.ndarray scratch):
        """For tests, the kernels one by one: a tile x (T, T, C) to the planes v (planes, C), FFT's only."""
        cdef const fc_transform *t = &kernels_for(x.itemsize).transforms[self.transform]
        t.input(cnp.PyArray_BYTES(x), x.strides[0], x.strides[1], x.shape[2], x.shape[0], x.shape[1],
                cnp.PyArray_BYTES(v), v.strides[0], cnp.PyArray_BYTES(scratch))

    def weights(self, cnp.ndarray w, cnp.ndarray u, cnp.ndarray scratch):
        """For tests: filters w (R, S, K) to u (frequencies, parts, K)."""
        cdef const fc_transform *t = &kernels_for(w.itemsize).transforms[self.transform]
        t.weights(w.shape[0], w.shape[1], cnp.PyArray_BYTES(w), w.strides[0], w.strides[1], w.shape[2],
                  cnp.PyArray_BYTES(u), u.strides[0], u.strides[1], cnp.PyArray_BYTES(scratch))

    def output(self, cnp.ndarray m, cnp.ndarray bias, bint relu, cnp.ndarray y, cnp.ndarray scratch):
        """For tests: products m (planes, K) to results y (rows, cols, K)."""
        cdef const fc_transform *t = &kernels_for(m.itemsize).transforms[self.transform]
        t.output(cnp.PyArray_BYTES(m), m.strides[0], m.shape[1], cnp.PyArray_BYTES(bias), relu, y.shape[0], y.shape[1],
                 cnp.PyArray_BYTES(y), y.strides[0], y.strides[1], cnp.PyArray_BYTES(scratch))


# By m and the filter's shape.
WINOGRAD = {(m, shape): Transformed(row + place)
            for m, row in ((2, FC_WINOGRAD_2), (4, FC_WINOGRAD_4), (5, FC_WINOGRAD_5), (6, FC_WINOGRAD_6))
            for place, shape in enumerate(((3, 3), (3, 1), (1, 3)))}
FFT = {16: Transformed(FC_FFT_16), 32: Transformed(FC_FFT_32), 64: Transformed(FC_FFT_64),
       128: Transformed(FC_FFT_128)}
