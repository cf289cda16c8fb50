"""Convolution by spectra where every group has one channel and one filter: the "fft" row of fastconv/algorithms.py for
depthwise shapes and for images of one channel. A tile goes there and back in one kernel (`filter` of csrc/kernels.h).

A lane of a vector is a tile of one channel. Neighbouring lanes are, whatever fills vectors better,

    channels   the same tile of neighbouring channels; each lane has a filter of its own. Channels-last arrays are read
               and written in place
    tiles      neighbouring tiles (counted through all images) of one channel; the lanes share a filter

Otherwise x is transposed to a tile [pixel][lane], a row at a time, and y out of one. A chunk is one vector of lanes."""
cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport ceil_div, least, take_strides
from fastconv._loops.kernels cimport (
    FC_FFT_16,
    FC_FFT_32,
    FC_FFT_64,
    FC_FFT_128,
    fc_geometry,
    fc_kernels,
    fc_transform,
    fc_window,
    kernels_for,
)
from fastconv._loops.team cimport Operands, compile, run

cnp.import_array()

cdef struct Depthwise:
    const fc_kernels *kernels
    const fc_transform *transform
    fc_geometry g
    Py_ssize_t rows, cols                         # of y in a tile
    Py_ssize_t tiles_h, tiles_w, tiles            # of an image, of all images
    Py_ssize_t vectors                            # of channels for each tile, or of tiles for each channel
    Py_ssize_t tile_bytes                         # scratch
    bint lanes_are_tiles, in_place, channels_last_y, relu
    intptr_t x_strides[4]                         # of (n, c, h, w)

# Where lanes lie: `lanes` tiles from `tile` on, or channels from `channel` on.
cdef struct Lanes:
    Py_ssize_t channel, tile, lanes


cdef void set_up(Depthwise *p, int transform, bytes geometry, Py_ssize_t itemsize, bint channels_last_x):
    """Everything that shape, dtype and ISA decide, and whether x can be read in place."""
    cdef Py_ssize_t lanes, T
    p.kernels = kernels_for(itemsize)
    p.transform = &p.kernels.transforms[transform]
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    lanes, T = p.kernels.lanes, p.transform.tile_h
    p.rows, p.cols = T - p.g.R + 1, T - p.g.S + 1
    p.tiles_h, p.tiles_w = ceil_div(p.g.P, p.rows), ceil_div(p.g.Q, p.cols)
    p.tiles = p.g.N * p.tiles_h * p.tiles_w
    p.lanes_are_tiles = p.g.groups * ceil_div(p.tiles, lanes) < p.tiles * ceil_div(p.g.groups, lanes)
    p.vectors = ceil_div(p.tiles if p.lanes_are_tiles else p.g.groups, lanes)
    p.in_place = channels_last_x and not p.lanes_are_tiles
    p.channels_last_y = p.g.channels_last and not p.lanes_are_tiles
    p.tile_bytes = 0 if p.in_place and p.channels_last_y else T * T * lanes * itemsize


cdef inline Py_ssize_t scratch_bytes(const Depthwise *p) noexcept nogil:
    return p.transform.scratch_bytes + p.tile_bytes


cdef inline Py_ssize_t spectrum_bytes(const Depthwise *p) noexcept nogil:
    """Of one filter."""
    return p.transform.frequencies * 2 * p.kernels.itemsize


cdef inline Py_ssize_t first_row(const Depthwise *p, Py_ssize_t tile) noexcept nogil:
    """Of y; so are the pixels of first_pixel."""
    return tile // p.tiles_w % p.tiles_h * p.rows


cdef inline Py_ssize_t first_pixel(const Depthwise *p, Py_ssize_t tile) noexcept nogil:
    return tile % p.tiles_w * p.cols


cdef inline Py_ssize_t image_of(const Depthwise *p, Py_ssize_t tile) noexcept nogil:
    return tile // p.tiles_w // p.tiles_h


cdef void gather_tiles(const Depthwise *p, const char *x, Lanes first, char *to) noexcept nogil:
    """Tiles of one channel as [row][pixel][lane], neighbours that are all image at once; zeros where there is none."""
    cdef Py_ssize_t T = p.transform.tile_h, size = p.kernels.itemsize, lanes = p.kernels.lanes, pixel = p.x_strides[3]
    cdef Py_ssize_t lane = 0, tile, together, h, w, left, right, row
    cdef const char *image
    p.kernels.scale(T * T * lanes, 0, to)
    while lane < first.lanes:
        tile = first.tile + lane
        h, w = first_row(p, tile) - p.g.pad_top, first_pixel(p, tile) - p.g.pad_left
        left, right, together = max(-w, 0), least(T, p.g.W - w), 1
        if left == 0 and right == T:
            together = least(least(first.lanes - lane, p.tiles_w - tile % p.tiles_w), (p.g.W - T - w) // p.cols + 1)
        image = (x + image_of(p, tile) * p.x_strides[0] + first.channel * p.x_strides[1] + h * p.x_strides[2]
                 + (w + left) * pixel)
        for row in range(max(0, -h), least(T, p.g.H - h)):
            p.kernels.pack(max(0, right - left), together, image + row * p.x_strides[2], pixel, p.cols * pixel,
                           to + ((row * T + left) * lanes + lane) * size, lanes * size, together, 0)
        lane += together


cdef void scatter_tiles(const Depthwise *p, char *y, Lanes first, const char *tiles) noexcept nogil:
    """y of these tiles from [row][pixel][lane], rows of `cols` pixels."""
    cdef Py_ssize_t size = p.kernels.itemsize, lanes = p.kernels.lanes, lane = 0, tile, together, p0, q0, cols, row
    cdef Py_ssize_t y_pixel = size * (p.g.groups if p.g.channels_last else 1), y_row = p.g.Q * y_pixel
    cdef const char *src
    cdef char *to
    y += first.channel * (size if p.g.channels_last else p.g.P * y_row)
    while lane < first.lanes:
        tile = first.tile + lane
        p0, q0, together = first_row(p, tile), first_pixel(p, tile), 1
        cols = least(p.cols, p.g.Q - q0)
        if y_pixel == size and cols == p.cols:
            together = least(least(first.lanes - lane, p.tiles_w - tile % p.tiles_w), (p.g.Q - q0) // cols)
        to = y + image_of(p, tile) * p.g.P * p.g.groups * p.g.Q * size + p0 * y_row + q0 * y_pixel
        for row in range(least(p.rows, p.g.P - p0)):
            src = tiles + (row * p.cols * lanes + lane) * size
            if y_pixel == size:
                p.kernels.pack(together, cols, src, size, lanes * size, to + row * y_row, cols * size, cols, 0)
            else:
                p.kernels.pack(cols, 1, src, lanes * size, 0, to + row * y_row, y_pixel, 1, 0)
        lane += together


cdef void filter_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Depthwise *p = <const Depthwise *>problem
    cdef const fc_kernels *kernels = p.kernels
    cdef Py_ssize_t T = p.transform.tile_h, size = kernels.itemsize, lanes = kernels.lanes, C = p.g.groups
    cdef Py_ssize_t x_row = T * lanes * size, x_pixel = lanes * size, y_row = p.cols * x_pixel, y_pixel = x_pixel
    cdef Py_ssize_t rows = least(p.rows, p.g.P), cols = least(p.cols, p.g.Q), h, w, row
    cdef char *tile = scratch + p.transform.scratch_bytes    # of x, and then of y
    cdef const char *x = tile
    cdef const char *image
    cdef char *y = tile
    cdef Lanes first
    cdef fc_window inside
    inside.top, inside.bottom, inside.left, inside.right = 0, T, 0, T
    if p.lanes_are_tiles:
        first.channel, first.tile = index // p.vectors, index % p.vectors * lanes
        first.lanes = least(lanes, p.tiles - first.tile)
    else:
        first.channel, first.tile = index // p.tiles * lanes, index % p.tiles
        first.lanes = least(lanes, C - first.channel)
        rows = least(rows, p.g.P - first_row(p, first.tile))
        cols = least(cols, p.g.Q - first_pixel(p, first.tile))
    if p.lanes_are_tiles:
        gather_tiles(p, at.x, first, tile)
    else:
        h, w = first_row(p, first.tile) - p.g.pad_top, first_pixel(p, first.tile) - p.g.pad_left
        inside.top, inside.bottom = max(0, -h), least(T, p.g.H - h)
        inside.left, inside.right = max(0, -w), least(T, p.g.W - w)
        image = (at.x + image_of(p, first.tile) * p.x_strides[0] + first.channel * p.x_strides[1]
                 + h * p.x_strides[2] + w * p.x_strides[3])
        if p.in_place:
            x, x_row, x_pixel = image, p.x_strides[2], p.x_strides[3]
        else:
            for row in range(inside.top, inside.bottom):
                kernels.pack(max(0, inside.right - inside.left), first.lanes,
                             image + row * p.x_strides[2] + inside.left * p.x_strides[3], p.x_strides[3],
                             p.x_strides[1], tile + row * x_row + inside.left * x_pixel, x_pixel, lanes, 0)
    if p.channels_last_y:
        y_pixel = C * size
        y_row = p.g.Q * y_pixel
        y = (at.y + (image_of(p, first.tile) * p.g.P + first_row(p, first.tile)) * y_row
             + first_pixel(p, first.tile) * y_pixel + first.channel * size)
    p.transform.filter(x, x_row, x_pixel, &inside, lanes if p.lanes_are_tiles else first.lanes,
                       at.weights + first.channel * spectrum_bytes(p), p.lanes_are_tiles,
                       NULL if at.bias == NULL else at.bias + first.channel * size, p.relu, rows, cols, y, y_row,
                       y_pixel, scratch)
    if p.lanes_are_tiles:
        scatter_tiles(p, at.y, first, tile)
    elif not p.channels_last_y:
        for row in range(rows):
            kernels.pack(first.lanes, cols, tile + row * y_row, size, y_pixel, at.y + (
                ((image_of(p, first.tile) * C + first.channel) * p.g.P + first_row(p, first.tile) + row) * p.g.Q
                + first_pixel(p, first.tile)) * size, p.g.P * p.g.Q * size, cols, 0)


cdef void prepare_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    """The spectra of a vector of channels, or of one."""
    cdef const Depthwise *p = <const Depthwise *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, lanes = p.kernels.lanes, taps = p.g.R * p.g.S
    cdef Py_ssize_t step = 1 if p.lanes_are_tiles else lanes, tap = step * size
    cdef const char *w = at.weights + index * step * taps * size
    cdef char *gathered = scratch + p.transform.scratch_bytes
    if not p.lanes_are_tiles:
        p.kernels.pack(taps, least(lanes, p.g.groups - index * lanes), w, size, taps * size, gathered, tap, lanes, 0)
        w = gathered
    p.transform.weights(p.g.R, p.g.S, w, p.g.S * tap, tap, step, at.y + index * step * spectrum_bytes(p), 2 * tap, tap,
                        scratch)


cdef class FftDepthwise:
    """The nest of one size of tile, as fastconv/algorithms.py calls it."""
    cdef int transform

    def __init__(self, int transform):
        self.transform = transform

    def vectors(self, bytes geometry, Py_ssize_t itemsize):
        """How many vectors of lanes there are: the cost, in transforms there and back."""
        cdef Depthwise p
        set_up(&p, self.transform, geometry, itemsize, True)
        return p.vectors * (p.g.groups if p.lanes_are_tiles else p.tiles)

    def copied_bytes(self, bytes geometry, Py_ssize_t itemsize):
        """Bytes of x that are copied to tiles, x being a C-contiguous array of the layout; tiles are zeroed before."""
        cdef Depthwise p
        set_up(&p, self.transform, geometry, itemsize, (<const fc_geometry *><const char *>geometry).channels_last)
        times = 2 * p.g.groups if p.lanes_are_tiles else p.tiles
        return <object>times * p.vectors * p.tile_bytes    # of shapes too large to compute, beyond 64 bits

    def prepared_bytes(self, bytes geometry, Py_ssize_t itemsize, blocking):
        """Bytes of the spectra of the filters, whole vectors of them."""
        cdef Depthwise p
        set_up(&p, self.transform, geometry, itemsize, True)
        return (p.g.groups if p.lanes_are_tiles else p.vectors * p.kernels.lanes) * spectrum_bytes(&p)

    def workspace_bytes(self, bytes geometry, Py_ssize_t itemsize, blocking):
        """Bytes of scratch that each thread uses at most: less where x is read in place."""
        cdef Depthwise p
        set_up(&p, self.transform, geometry, itemsize, False)
        return scratch_bytes(&p)

    def prepare(self, bytes geometry, cnp.ndarray weight, cnp.ndarray packed, blocking, int team):
        """Transforms a C-contiguous weight (K, taps, in either layout) into `packed`, prepared_bytes long."""
        cdef Depthwise p
        cdef Operands at
        set_up(&p, self.transform, geometry, weight.itemsize, True)
        at.weights, at.y = cnp.PyArray_BYTES(weight), cnp.PyArray_BYTES(packed)
        run(prepare_chunk, &p, p.g.groups if p.lanes_are_tiles else p.vectors,
            p.transform.scratch_bytes + p.g.R * p.g.S * p.kernels.lanes * p.kernels.itemsize, team, &at)

    def compiled(self, bytes geometry, Py_ssize_t itemsize, tuple strides, bint relu, blocking):
        """y = act(conv(x, weights) + bias) for x of these strides, weights by `prepare`, y C-contiguous."""
        cdef Depthwise p
        cdef bint channels_last = (<const fc_geometry *><const char *>geometry).channels_last
        set_up(&p, self.transform, geometry, itemsize, (strides[3] if channels_last else strides[1]) == itemsize)
        take_strides(strides, channels_last, p.x_strides)
        p.relu = relu
        return compile(&p, sizeof(p), filter_chunk, p.vectors * (p.g.groups if p.lanes_are_tiles else p.tiles),
                       scratch_bytes(&p))


FFT_DEPTHWISE = {16: FftDepthwise(FC_FFT_16), 32: FftDepthwise(FC_FFT_32), 64: FftDepthwise(FC_FFT_64),
                 128: FftDepthwise(FC_FFT_128)}
