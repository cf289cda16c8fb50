"""The weight gradient of 3x3 filters with fewer multiplications: Winograd's F(3x3, 4x4), after Lavin and Gray (2016).
The weight gradient of the "winograd4x4" row of fastconv/algorithms.py, called by gradients.py and by networks.

    V[f][tile][c] = input transform of x's tile of 6x6 pixels           f < 36
    G[f][tile][k] = "filter" transform of grad's tile of 4x4 pixels
    M[f][c][k]    = sum_tile V[f][tile][c] * G[f][tile][k]              a product of the register tile
    dw[k][c]      = output transform of M: 3x3 taps

Where weight_grad.pyx multiplies 9 times for each pixel of grad, this does 36 times for 16. Rounds of two phases:

    rows of tiles are transformed into V and G, which all threads share
    chunk: (block of C, block of K)    its panel of M is summed over the tiles of the round; after the last one it is
                                       transformed and delivered

A panel stays in L2. Where there are several rounds, panels wait in memory in between: a round is as large as the M of
all panels, or ROUND_BYTES, so that reading M again costs less than making V and G did. For a network's threads, each of
which runs nests of its own, no more than WAITING_BYTES wait: else there is one round."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, round_up, take_strides
from fastconv._loops.kernels cimport (
    FC_PRODUCT,
    FC_WINOGRAD_GRAD,
    fc_geometry,
    fc_kernels,
    fc_store,
    fc_store_of,
    fc_transform,
    kernels_for,
)
from fastconv._loops.rows cimport copy_window
from fastconv._loops.team cimport Operands, compile, followed_by
from fastconv._loops.tiles cimport Heights, fetchers, height_of, heights_of, tile_of
from fastconv._loops.weight_grad cimport deliver_function, store_panel

cnp.import_array()

# STRIP: vectors of channels in a block of C, whole tiles of 6 rows on AVX2 and SSE2 and of 12 on AVX-512, as in
# weight_grad.pyx. LEAST_CHUNKS: panels, if there are channels and filters for so many. RUN: neighbouring tiles that
# are copied together. SUM: tiles that are summed in registers, and such sums in M: in one sum, 224 x 224 pixels had 9
# times the error of weight_grad.pyx, now at most 2.9 times.
cdef enum:
    TAPS = 9
    STRIP = 3
    PANEL_BYTES = 256 << 10
    ROUND_BYTES = 8 << 20
    WAITING_BYTES = 1 << 20
    LEAST_CHUNKS = 4
    RUN = 8
    SUM = 128

cdef struct WinogradGrad:
    const fc_kernels *kernels
    const fc_transform *transform
    fc_geometry g
    deliver_function deliver
    Py_ssize_t step, frequencies                  # pixels of grad from tile to tile; F
    Py_ssize_t tile_rows, tiles_w                 # of all images; tiles of a row
    Py_ssize_t rows, rounds                       # rows of tiles in a round; rounds of a group
    Py_ssize_t channels, c_parts, filters, k_parts     # of a panel; how many
    Py_ssize_t v_row, v_strip, v_plane, g_strip, g_plane, g_at, panels_at, panel     # bytes
    bint delivers                                 # to a channels-last gradient, through `deliver`
    intptr_t x_strides[4]                         # of (n, c, h, w)
    intptr_t grad_strides[4]                      # of (n, k, p, q)


cdef void set_up(WinogradGrad *p, bytes geometry, Py_ssize_t itemsize, tuple x_strides, tuple grad_strides,
                 size_t deliver):
    """Everything that shape, dtype and ISA decide."""
    cdef Py_ssize_t NR, strips, per_row, m_bytes
    p.kernels = kernels_for(itemsize)
    p.transform = &p.kernels.transforms[FC_WINOGRAD_GRAD]
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    take_strides(x_strides, p.g.channels_last, p.x_strides)
    take_strides(grad_strides, p.g.channels_last, p.grad_strides)
    NR = p.kernels.NR
    p.step, p.frequencies = p.transform.tile_h - p.g.R + 1, p.transform.frequencies
    p.tile_rows, p.tiles_w = p.g.N * ceil_div(p.g.P, p.step), ceil_div(p.g.Q, p.step)
    p.channels = least(p.g.C, STRIP * p.kernels.lanes)
    strips = max(1, PANEL_BYTES // (p.frequencies * p.channels * NR * itemsize))
    p.filters = balanced(ceil_div(p.g.K, NR), strips) * NR
    p.k_parts = ceil_div(p.g.K, p.filters)
    p.c_parts = max(ceil_div(p.g.C, p.channels), min(ceil_div(LEAST_CHUNKS, p.k_parts), p.g.C // p.kernels.MR))
    p.channels = ceil_div(p.g.C, p.c_parts)
    p.c_parts = ceil_div(p.g.C, p.channels)
    p.panel = p.frequencies * p.channels * p.filters * itemsize + LINE
    m_bytes = p.c_parts * p.k_parts * p.panel
    p.v_row = round_up(p.channels, p.kernels.lanes) * itemsize    # the kernels store whole vectors
    per_row = p.frequencies * p.tiles_w * (p.c_parts * p.v_row + p.g.K * itemsize)
    p.delivers = deliver != 0 or p.g.channels_last
    p.deliver = <deliver_function><void *>deliver if deliver else store_panel
    p.rows = balanced(p.tile_rows, max(1, max(ROUND_BYTES, m_bytes) // per_row))
    if deliver and m_bytes > WAITING_BYTES:
        p.rows = p.tile_rows
    p.rounds = ceil_div(p.tile_rows, p.rows)
    p.v_strip = p.rows * p.tiles_w * p.v_row + LINE
    p.v_plane = p.c_parts * p.v_strip
    p.g_strip = p.rows * p.tiles_w * NR * itemsize + LINE
    p.g_plane = ceil_div(p.g.K, NR) * p.g_strip
    p.g_at = p.frequencies * p.v_plane
    p.panels_at = p.g_at + p.frequencies * p.g_plane


cdef inline Py_ssize_t taps_bytes(const WinogradGrad *p) noexcept nogil:
    """A panel of dw."""
    return TAPS * p.channels * p.filters * p.kernels.itemsize


cdef Py_ssize_t scratch_bytes(const WinogradGrad *p) noexcept nogil:
    cdef Py_ssize_t copied = p.transform.tile_h * (RUN * p.step + p.g.S - 1) * max(p.g.C, p.g.K) * p.kernels.itemsize
    return p.transform.scratch_bytes + max(copied, p.panel + 2 * taps_bytes(p)) + LINE


cdef Py_ssize_t waiting_bytes(const WinogradGrad *p) noexcept nogil:
    """Panels between two rounds."""
    return p.c_parts * p.k_parts * p.panel if p.rounds > 1 else 0


cdef inline const char *window(const WinogradGrad *p, const intptr_t *strides, Py_ssize_t channels, Py_ssize_t H,
                               Py_ssize_t W, const char *image, Py_ssize_t h, Py_ssize_t w, Py_ssize_t height,
                               Py_ssize_t width, char *copied, intptr_t *row, intptr_t *pixel) noexcept nogil:
    """Where a window of pixels lies, channels side by side: in place, or copied with zeros around."""
    cdef Py_ssize_t size = p.kernels.itemsize
    if strides[1] == size and h >= 0 and w >= 0 and h + height <= H and w + width <= W:
        row[0], pixel[0] = strides[2], strides[3]
        return image + h * strides[2] + w * strides[3]
    copy_window(p.kernels, strides, channels, H, W, image, h, w, height, width, copied)
    row[0], pixel[0] = width * channels * size, channels * size
    return copied


cdef void transform_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """First phase: V and G of one row of tiles, RUN neighbours at a time."""
    cdef const WinogradGrad *p = <const WinogradGrad *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, round_ = index // p.rows
    cdef Py_ssize_t group = round_ // p.rounds, tile_row = round_ % p.rounds * p.rows + index % p.rows
    cdef Py_ssize_t rows = ceil_div(p.g.P, p.step), image = tile_row // rows, first = tile_row % rows * p.step
    cdef Py_ssize_t tile, i, neighbours, part, c, k, place
    cdef intptr_t row, pixel
    cdef char *copied = scratch + p.transform.scratch_bytes
    cdef char *to
    cdef const char *x = at.x + image * p.x_strides[0] + group * p.g.C * p.x_strides[1]
    cdef const char *grad = at.weights + image * p.grad_strides[0] + group * p.g.K * p.grad_strides[1]
    cdef const char *src
    if tile_row >= p.tile_rows:
        return
    for tile from 0 <= tile < p.tiles_w by RUN:
        neighbours = least(RUN, p.tiles_w - tile)
        src = window(p, p.x_strides, p.g.C, p.g.H, p.g.W, x, first - p.g.pad_top, tile * p.step - p.g.pad_left,
                     p.transform.tile_h, neighbours * p.step + p.g.S - 1, copied, &row, &pixel)
        for i in range(neighbours):
            place = index % p.rows * p.tiles_w + tile + i
            for part in range(p.c_parts):
                c = part * p.channels
                p.transform.input(src + i * p.step * pixel + c * size, row, pixel, least(p.channels, p.g.C - c),
                                  p.g.R, p.g.S, at.shared + part * p.v_strip + place * p.v_row, p.v_plane,
                                  scratch)
        src = window(p, p.grad_strides, p.g.K, p.g.P, p.g.Q, grad, first, tile * p.step, p.step, neighbours * p.step,
                     copied, &row, &pixel)
        for i in range(neighbours):
            place = index % p.rows * p.tiles_w + tile + i
            for k from 0 <= k < p.g.K by NR:
                to = at.shared + p.g_at + k // NR * p.g_strip + place * NR * size
                p.transform.weights(p.step, p.step, src + i * p.step * pixel + k * size, row, pixel,
                                    least(NR, p.g.K - k), to, p.g_plane, 0, scratch)
    # end: for tile, for i


cdef void multiply(const WinogradGrad *p, const char *shared, Py_ssize_t part, Py_ssize_t channels, Py_ssize_t k0,
                   Py_ssize_t n, Py_ssize_t first, Py_ssize_t tiles, bint again, char *panel) noexcept nogil:
    """A panel of M plus the products of so many tiles of the round; `again`: there is a sum already."""
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR, f, jr, cols, c, m, i, row = p.filters * size
    cdef Py_ssize_t sharing, share, ahead_row
    cdef Heights heights
    cdef const char *v
    cdef const char *strip
    cdef fc_store store = fc_store_of(1, again, 0)
    for f in range(p.frequencies):
        v = shared + f * p.v_plane + part * p.v_strip + first * p.v_row
        for jr from 0 <= jr < n by NR:
            cols = least(NR, n - jr)
            if jr == 0 or cols <= kernels.lanes:
                heights = heights_of(kernels, channels, cols)
                sharing = fetchers(heights.count)
                share, ahead_row = tiles * NR * size // sharing, NR * size // sharing
            strip = shared + p.g_at + f * p.g_plane + (k0 + jr) // NR * p.g_strip + first * NR * size
            c = 0
            for i in range(heights.count):
                m = height_of(&heights, i)
                tile_of(kernels, FC_PRODUCT, m, cols)(
                    1, NULL, tiles, v + c * size, size, p.v_row, strip, NR * size,
                    strip + p.g_strip + (i & sharing - 1) * share, ahead_row,
                    panel + f * p.channels * row + c * row + jr * size, row, cols, &store)
                c += m
    # end: for f, for jr, for i


cdef void panel_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """Second phase: a panel of M, and with the last round its part of dw."""
    cdef const WinogradGrad *p = <const WinogradGrad *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, panels = p.c_parts * p.k_parts, which = index % panels
    cdef Py_ssize_t round_ = index // panels % p.rounds, group = index // panels // p.rounds
    cdef Py_ssize_t part = which % p.c_parts, c0 = part * p.channels, channels = least(p.channels, p.g.C - c0)
    cdef Py_ssize_t k0 = which // p.c_parts * p.filters, n = least(p.filters, p.g.K - k0)
    cdef Py_ssize_t tiles = least(p.rows, p.tile_rows - round_ * p.rows) * p.tiles_w
    cdef Py_ssize_t row = p.filters * size, tap_bytes = p.channels * row, filter_bytes = TAPS * p.g.C * size
    cdef Py_ssize_t first, c, tap
    cdef char *own = scratch + p.transform.scratch_bytes
    cdef char *panel = own if p.rounds == 1 else at.shared + p.panels_at + which * p.panel
    cdef char *taps = own + p.panel
    cdef char *transposed = taps + taps_bytes(p)
    cdef char *filters = at.y + (group * p.g.K + k0) * filter_bytes
    for first from 0 <= first < tiles by SUM:
        multiply(p, at.shared, part, channels, k0, n, first, least(SUM, tiles - first), round_ + first > 0, panel)
    if round_ < p.rounds - 1:
        return
    for c in range(channels):
        p.transform.output(panel + c * row, tap_bytes, n, NULL, 0, p.g.R, p.g.S, taps + c * row, p.g.S * tap_bytes,
                           tap_bytes, scratch)
    if p.delivers:
        for tap in range(TAPS):
            kernels.pack(n, channels, taps + tap * tap_bytes, size, row, transposed, channels * size, channels, 0)
            p.deliver(kernels, transposed, channels * size, filters + (tap * p.g.C + c0) * size, filter_bytes, n,
                      channels, at.bias)
        return
    for c in range(channels):
        kernels.pack(n, TAPS, taps + c * row, size, tap_bytes, filters + (c0 + c) * TAPS * size, filter_bytes, TAPS, 0)


def compiled(bytes geometry, Py_ssize_t itemsize, tuple x_strides, tuple grad_strides, size_t deliver=0):
    """As that of weight_grad.pyx."""
    cdef WinogradGrad p
    set_up(&p, geometry, itemsize, x_strides, grad_strides, deliver)
    return followed_by(compile(&p, sizeof(p), transform_chunk, p.rows, scratch_bytes(&p)), panel_chunk,
                       p.c_parts * p.k_parts, p.panels_at + waiting_bytes(&p), p.g.groups * p.rounds)


def waiting(bytes geometry, Py_ssize_t itemsize, tuple x_strides, tuple grad_strides, size_t deliver):
    """For tests: bytes of sums that wait between rounds."""
    cdef WinogradGrad p
    set_up(&p, geometry, itemsize, x_strides, grad_strides, deliver)
    return waiting_bytes(&p)
