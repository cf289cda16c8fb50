"""Direct convolution of many small channels-last images, as a network for 8 x 8 digits has them in a mini-batch: the
seven-loop sum with images as the rows of a tile. Called by the "direct" row of fastconv/algorithms.py.

    y[n, p, q, k] = act(bias[k] + sum_{r, s, c} x[n, p*stride_h - pad_top + r*dilation_h, ..., c] * w[k, r, s, c])

A row of few pixels does not fill a tile whose rows are pixels (direct.pyx), and a small image's padding is a good part
of what that multiplies. Here a tile is the pixel (p, q) of up to MR images by NR filters. Its taps are the rows of the
filter that lie inside the image, each one run of the columns that do: padding is neither copied nor multiplied. The
runs of a pixel need weights that are runs as well, so these are packed once for each distinct range of columns: 3 + 4
+ 5 + 4 + 3 columns of a filter of 5 for 5 pixels and more.

    chunk: the images of a tile (or the user's mc), and a band of output rows where images are few; cut by shape alone
      images -> scratch       channels-last, a line apart, so that they do not share the sets of L1, where they stay
      for p in the band
        for q in Q
          for jr in K by NR   a strip of the weights [r][s][c][NR] of the range of q; all of them stay in L2
            for n by MR       the tile, or a taller one of one vector

Heights of pixels and of images, 32 images, 5x5: 6 -> 16 filters at 4 x 4 pixels 70 and 151 GF/s of the definition, 1 ->
6 at 8 x 8 12 and 21 (AVX2 on Zen 3, 2026-11). All images for a strip, instead of all weights for a few images, were
slower: tap by tap an image is read in short runs, which nothing fetches ahead."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, balanced, ceil_div, least, span_start, take_strides
from fastconv._loops.kernels cimport FC_TAPS_IN_A, fc_geometry, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.team cimport Operands, compile, run
from fastconv._loops.tiles cimport Heights, height_of, heights_of, tile_of

cnp.import_array()

# MOST_COLUMNS, MOST_ROWS: of y; columns each have a place in the problem, and the cost counts both one by one.
# WEIGHT_BYTES: of floats, half of Zen 3's L2. IMAGES_BYTES: what it has beside them.
cdef enum:
    MOST_COLUMNS = 16
    MOST_ROWS = 64
    WEIGHT_BYTES = 256 << 10
    IMAGES_BYTES = 128 << 10
    LEAST_CHUNKS = 4

# The columns of the filter that meet the image at one column of y, and where the weights of that range are.
cdef struct Range:
    Py_ssize_t first, count
    Py_ssize_t weights

cdef struct Images:
    const fc_kernels *kernels
    fc_geometry g
    Range ranges[MOST_COLUMNS]                    # of each q
    Py_ssize_t prepared                           # bytes of the packed weights
    Py_ssize_t images, parts, bands               # images of a chunk at most; how many chunks of them, and of rows
    Py_ssize_t image, row, pixel                  # bytes from one to the next in scratch
    bint one_run                                  # an image of x
    intptr_t x_strides[4]                         # of (n, c, h, w)
    bint relu


cdef Range taps_inside(Py_ssize_t start, Py_ssize_t step, Py_ssize_t taps, Py_ssize_t size) noexcept nogil:
    """Of taps at start, start + step, ..., those inside range(size)."""
    cdef Range inside
    cdef Py_ssize_t last = ceil_div(size - start, step) if start < size else 0
    inside.first = ceil_div(-start, step) if start < 0 else 0
    inside.count = max(0, least(taps, last) - inside.first)
    inside.weights = 0
    return inside


cdef bint same(const Range *one, const Range *other) noexcept nogil:
    return one.first == other.first and one.count == other.count


cdef Py_ssize_t strip_bytes(const Images *p, const Range *columns) noexcept nogil:
    return p.g.R * columns.count * p.g.C * p.kernels.NR * p.kernels.itemsize


cdef void set_up(Images *p, bytes geometry, Py_ssize_t itemsize, blocking):
    """Everything that shape, dtype, ISA and block sizes decide."""
    cdef Py_ssize_t q, rows
    cdef Range *columns
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.prepared = 0
    for q in range(p.g.Q):
        columns = &p.ranges[q]
        columns[0] = taps_inside(q * p.g.stride_w - p.g.pad_left, 1, p.g.S, p.g.W)
        if q > 0 and same(columns, &p.ranges[q - 1]):
            columns.weights = p.ranges[q - 1].weights
        else:
            columns.weights = p.prepared
            p.prepared += ceil_div(p.g.K, p.kernels.NR) * strip_bytes(p, columns)
    p.pixel = p.g.C * itemsize
    p.row = p.g.W * p.pixel
    p.image = p.g.H * p.row + LINE
    rows = p.kernels.rows[(p.g.K - 1) % p.kernels.NR >= p.kernels.lanes]
    if rows * p.image > IMAGES_BYTES:
        rows = p.kernels.MR
    p.images = balanced(p.g.N, rows if blocking is None else blocking.mc)
    p.parts = ceil_div(p.g.N, p.images)
    p.bands = least(p.g.P, ceil_div(LEAST_CHUNKS, p.parts))


cdef Py_ssize_t scratch_bytes(const Images *p) noexcept nogil:
    return p.g.R * sizeof(intptr_t) + LINE + p.images * p.image


def takes(bytes geometry):
    """Whether a shape can be computed like this."""
    cdef Images p
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    if not g.channels_last or g.groups > 1 or g.dilation_w > 1 or g.N < 1:
        return False
    if not (1 <= g.P <= MOST_ROWS and 1 <= g.Q <= MOST_COLUMNS):
        return False
    set_up(&p, geometry, 4, None)
    return p.images * p.image <= IMAGES_BYTES and p.prepared <= WEIGHT_BYTES


def share_inside(bytes geometry):
    """The share of the taps, over all pixels of y, that meet the image."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    cdef Py_ssize_t p, q, rows = 0, columns = 0
    for p in range(g.P):
        rows += taps_inside(p * g.stride_h - g.pad_top, g.dilation_h, g.R, g.H).count
    for q in range(g.Q):
        columns += taps_inside(q * g.stride_w - g.pad_left, 1, g.S, g.W).count
    return rows * columns / <double>(g.P * g.R * g.Q * g.S)


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the packed weights."""
    cdef Images p
    set_up(&p, geometry, itemsize, blocking)
    return p.prepared


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch of each thread."""
    cdef Images p
    set_up(&p, geometry, itemsize, blocking)
    return scratch_bytes(&p)


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """The weights of the range of one column of y, unless the column before has the same."""
    cdef const Images *p = <const Images *>problem
    cdef const Range *columns = &p.ranges[index]
    cdef Py_ssize_t size = p.kernels.itemsize, NR = p.kernels.NR, depth = columns.count * p.g.C, r
    if index > 0 and same(columns, &p.ranges[index - 1]):
        return
    for r in range(p.g.R):
        p.kernels.pack(depth, p.g.K, at.weights + (r * p.g.S + columns.first) * p.pixel, size,
                       p.g.R * p.g.S * p.pixel, at.y + columns.weights + r * depth * NR * size, NR * size, NR,
                       strip_bytes(p, columns))


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Packs a C-contiguous weight into `packed`, prepared_bytes long."""
    cdef Images p
    cdef Operands at
    set_up(&p, geometry, weight.itemsize, blocking)
    at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
    run(prepare_chunk, &p, p.g.Q, 0, team, &at)


cdef void copy_images(const Images *p, const char *x, Py_ssize_t images, char *to) noexcept nogil:
    cdef Py_ssize_t size = p.kernels.itemsize, items = p.g.H * p.g.W * p.g.C, i, h
    if p.one_run:
        p.kernels.pack(images, items, x, p.x_strides[0], size, to, p.image, items, 0)
        return
    for i in range(images):
        for h in range(p.g.H):
            p.kernels.pack(p.g.W, p.g.C, x + i * p.x_strides[0] + h * p.x_strides[2], p.x_strides[3], p.x_strides[1],
                           to + i * p.image + h * p.row, p.pixel, p.g.C, 0)


cdef void images_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Images *p = <const Images *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, NR = kernels.NR, part = index // p.bands, band = index % p.bands
    cdef Py_ssize_t first = span_start(p.g.N, p.parts, 1, part)
    cdef Py_ssize_t images = span_start(p.g.N, p.parts, 1, part + 1) - first
    cdef Py_ssize_t c_row = p.g.P * p.g.Q * p.g.K * size, row, q, jr, cols, i, m, n, r, depth
    cdef Heights heights
    cdef intptr_t *offsets = <intptr_t *>scratch
    cdef const Range *columns
    cdef Range rows
    cdef char *x = scratch + p.g.R * sizeof(intptr_t) + LINE
    cdef const char *pixel
    cdef const char *weights
    cdef char *y
    cdef fc_store store = fc_store_of(1, 0, p.relu)
    copy_images(p, at.x + first * p.x_strides[0], images, x)
    for r in range(p.g.R):
        offsets[r] = r * p.g.dilation_h * p.row
    for row in range(span_start(p.g.P, p.bands, 1, band), span_start(p.g.P, p.bands, 1, band + 1)):
        rows = taps_inside(row * p.g.stride_h - p.g.pad_top, p.g.dilation_h, p.g.R, p.g.H)
        for q in range(p.g.Q):
            columns = &p.ranges[q]
            depth = columns.count * p.g.C
            pixel = (x + (row * p.g.stride_h - p.g.pad_top + rows.first * p.g.dilation_h) * p.row
                     + (q * p.g.stride_w - p.g.pad_left + columns.first) * p.pixel)
            y = at.y + first * c_row + (row * p.g.Q + q) * p.g.K * size
            for jr from 0 <= jr < p.g.K by NR:
                cols = least(NR, p.g.K - jr)
                if jr == 0 or cols <= kernels.lanes:
                    heights = heights_of(kernels, images, cols)
                weights = (at.weights + columns.weights + jr // NR * strip_bytes(p, columns)
                           + rows.first * depth * NR * size)
                if at.bias != NULL:
                    store.col_bias = at.bias + jr * size
                n = 0
                for i in range(heights.count):
                    m = height_of(&heights, i)
                    tile_of(kernels, FC_TAPS_IN_A, m, cols)(
                        rows.count, offsets, depth, pixel + n * p.image, p.image, size, weights, NR * size, weights, 0,
                        y + n * c_row + jr * size, c_row, cols, &store)
                    n += m
    # end: for row, for q, for jr, for i


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Images p
    set_up(&p, geometry, itemsize, blocking)
    take_strides(strides, p.g.channels_last, p.x_strides)
    p.one_run = ((p.x_strides[1] == itemsize or p.g.C == 1) and (p.x_strides[3] == p.pixel or p.g.W == 1)
                 and (p.x_strides[2] == p.row or p.g.H == 1))
    p.relu = relu
    return compile(&p, sizeof(p), images_chunk, p.parts * p.bands, scratch_bytes(&p))
