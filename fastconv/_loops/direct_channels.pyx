"""Direct convolution of channels-last arrays by few filters, a network's last layer: the seven-loop sum with vectors
along the channels that are summed. Called by the "direct" row of fastconv/algorithms.py.

    y[n, p, q, k] = act(bias[k] + sum_{r, s, c} x[n, p*stride_h - pad_top + r*dilation_h, ..., c] * w[k, r, s, c])

Vectors along filters (direct.pyx) leave most lanes empty where a group has few. Here x and w are both read along
their channels, and along the columns of a filter row as well, where these are neighbours: dot products of a few pixels
with all filters of the group (csrc/kernels/vector.c), whose lanes are summed at the end. Taps outside the image are
left out, so padding is neither copied nor multiplied: per output row one list of taps for the pixels that have all
columns of the filter inside, and one for each of the few that have not.

A chunk is (image, group, block of output rows), cut by shape alone. x is read in place if its channels are neighbours;
others are copied, the rows of a chunk at a time."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport ceil_div, least, span_start, take_strides
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, fc_store, fc_store_of, kernels_for
from fastconv._loops.rows cimport columns_inside, end_of_run, input_rows, row_width
from fastconv._loops.team cimport Operands, compile

cnp.import_array()

# MOST_FILTERS: of a group, fewer than a vector of AVX2 holds. ROWS_BYTES as in image_blocks.pxd.
cdef enum:
    MOST_FILTERS = 7
    ROWS_BYTES = 384 << 10
    LEAST_CHUNKS = 16

cdef struct Channels:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t row_parts
    bint in_place, joined                     # the columns of a filter row are one run
    Py_ssize_t rows_in, columns               # of x, at most, that a chunk reads
    intptr_t x_strides[4]                     # of (n, c, h, w)
    bint relu


cdef void set_up(Channels *p, bytes geometry, Py_ssize_t itemsize, blocking):
    """Everything that shape, dtype, ISA and block sizes decide."""
    cdef Py_ssize_t rows, most
    p.kernels = kernels_for(itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.columns = max(0, least(p.g.W, row_width(&p.g) - p.g.pad_left))
    most = ROWS_BYTES // max(1, p.columns * p.g.C * itemsize) // p.g.stride_h
    rows = least(ceil_div(p.g.P * p.g.N * p.g.groups, LEAST_CHUNKS), max(1, most))
    if blocking is not None:
        rows = least(rows, blocking.mc // p.g.Q)
    p.row_parts = ceil_div(p.g.P, max(1, rows))
    rows = ceil_div(p.g.P, p.row_parts)
    p.rows_in = least(p.g.H, input_rows(&p.g, rows))


cdef Py_ssize_t scratch_bytes(const Channels *p) noexcept nogil:
    cdef Py_ssize_t lists = 2 * p.g.R * p.g.S * sizeof(intptr_t)
    return lists + (0 if p.in_place else p.rows_in * p.columns * p.g.C * p.kernels.itemsize)


def takes(bytes geometry):
    """Whether a shape can be computed like this."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    return g.channels_last and 1 <= g.K <= MOST_FILTERS and g.C > 0 and g.N > 0 and g.P > 0 and g.Q > 0


def prepared_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of the weights, as they come."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    return g.groups * g.K * g.R * g.S * g.C * itemsize


def as_it_comes(bytes geometry, Py_ssize_t itemsize, blocking):
    """`prepare` only copies."""
    return True


def workspace_bytes(bytes geometry, Py_ssize_t itemsize, blocking):
    """Bytes of scratch of each thread at most: less where x is read in place."""
    cdef Channels p
    set_up(&p, geometry, itemsize, blocking)
    p.in_place = False
    return scratch_bytes(&p)


def prepare(bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
    """Copies a C-contiguous weight to `packed`, prepared_bytes long."""
    kernels_for(weight.itemsize).pack(1, weight.size, cnp.PyArray_BYTES(weight), 0, weight.itemsize,
                                      cnp.PyArray_BYTES(packed), 0, weight.size, 0)


cdef Py_ssize_t list_runs(const Channels *p, Py_ssize_t h, Py_ssize_t w, Py_ssize_t x_row, Py_ssize_t x_pixel,
                          intptr_t *tap, intptr_t *weight, Py_ssize_t *depth) noexcept nogil:
    """The runs of the filter at (h, w) that lie inside the image: offsets from its corner, and into the weights."""
    cdef Py_ssize_t channels = p.g.C * p.kernels.itemsize, r, s, taps = 0
    cdef Py_ssize_t first = max(0, -w) if p.joined else 0, end = least(p.g.S, p.g.W - w) if p.joined else p.g.S
    depth[0] = (end - first if p.joined else 1) * p.g.C
    for r in range(p.g.R):
        if not 0 <= h + r * p.g.dilation_h < p.g.H:
            continue
        for s in range(first, end):
            if not 0 <= w + s * p.g.dilation_w < p.g.W:
                continue
            tap[taps] = r * p.g.dilation_h * x_row + s * p.g.dilation_w * x_pixel
            weight[taps] = (r * p.g.S + s) * channels
            taps += 1
            if p.joined:
                break
    return taps


cdef void channels_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Channels *p = <const Channels *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t size = kernels.itemsize, channels = p.g.C * size, filter = p.g.R * p.g.S * channels
    cdef Py_ssize_t part = index % p.row_parts, group = index // p.row_parts % p.g.groups
    cdef Py_ssize_t image = index // p.row_parts // p.g.groups
    cdef Py_ssize_t p0 = span_start(p.g.P, p.row_parts, 1, part), p1 = span_start(p.g.P, p.row_parts, 1, part + 1)
    cdef Py_ssize_t x_row = p.x_strides[2], x_pixel = p.x_strides[3], y_pixel = p.g.groups * p.g.K * size
    cdef Py_ssize_t first = max(0, p0 * p.g.stride_h - p.g.pad_top), last, h, w, row, q, q_end, low, high, taps, depth
    cdef intptr_t *tap = <intptr_t *>scratch
    cdef intptr_t *weight = tap + p.g.R * p.g.S
    cdef const char *x = at.x + image * p.x_strides[0] + group * p.g.C * p.x_strides[1] + first * x_row
    cdef char *copied = scratch + 2 * p.g.R * p.g.S * sizeof(intptr_t)
    cdef char *y = at.y + (image * p.g.P + p0) * p.g.Q * y_pixel + group * p.g.K * size
    cdef fc_store store = fc_store_of(1, 0, p.relu)
    if at.bias != NULL:
        store.col_bias = at.bias + group * p.g.K * size
    if not p.in_place:
        last = least(p.g.H - 1, (p1 - 1) * p.g.stride_h - p.g.pad_top + (p.g.R - 1) * p.g.dilation_h)
        for h in range(last + 1 - first):
            kernels.pack(p.columns, p.g.C, x + h * x_row, x_pixel, p.x_strides[1], copied + h * p.columns * channels,
                         channels, p.g.C, 0)
        x, x_row, x_pixel = copied, p.columns * channels, channels
    columns_inside(&p.g, &low, &high)
    for row in range(p0, p1):
        h = row * p.g.stride_h - p.g.pad_top
        q = 0
        while q < p.g.Q:
            q_end = end_of_run(q, low, high)
            w = q * p.g.stride_w - p.g.pad_left
            taps = list_runs(p, h, w, x_row, x_pixel, tap, weight, &depth)
            kernels.dot(q_end - q, p.g.K, taps, tap, weight, depth, x + (h - first) * x_row + w * x_pixel,
                        p.g.stride_w * x_pixel, at.weights + group * p.g.K * filter, filter, y, y_pixel, &store)
            y += (q_end - q) * y_pixel
            q = q_end
    # end: for row, while q


def compiled(bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
    """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
    cdef Channels p
    set_up(&p, geometry, itemsize, blocking)
    take_strides(strides, p.g.channels_last, p.x_strides)
    p.relu = relu
    p.in_place = p.x_strides[1] == itemsize
    p.joined = p.g.dilation_w == 1 and (not p.in_place or p.x_strides[3] == p.g.C * itemsize)
    return compile(&p, sizeof(p), channels_chunk, p.g.N * p.g.groups * p.row_parts, scratch_bytes(&p))
