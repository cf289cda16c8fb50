"""The im2col matrix as a whole, and its adjoint: fc.im2col and fc.col2im. Called by fastconv/convolution.py. (The
convolution of that name, im2col.pyx, never makes it.)

    matrix[(n, p, q), k] = x[n, c, p*stride_h - pad_top + r*dilation_h, q*stride_w - pad_left + s*dilation_w]

k counts (r, s, c) if the geometry is channels-last, else (c, r, s). Rows that are not runs of channels are lowered as
columns, runs of pixels, and transposed on their way (4 channels-first images of 64x56x56, 3x3: 69 ms one by one, 9 so;
AVX2 on Zen 3, 2026-11)."""
import numpy as np

from cython cimport floating
from cython.parallel cimport parallel, prange

cimport numpy as cnp
from libc.stdint cimport intptr_t

from fastconv._loops.cut cimport LINE, ceil_div, least
from fastconv._loops.kernels cimport fc_geometry, fc_kernels, kernels_for
from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp
from fastconv._loops.team cimport Operands, flushing, run

from fastconv._loops.team import note_parallel

cnp.import_array()

# COLUMNS: so many of 64 pixels stay in L2.
cdef enum:
    ROWS_PER_CHUNK = 64
    COLUMNS = 576

cdef struct Lowering:
    const fc_kernels *kernels
    fc_geometry g
    Py_ssize_t pixels, depth
    intptr_t x_strides[4]                     # of (n, c, h, w)


cdef void rows_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const Lowering *p = <const Lowering *>problem
    cdef Py_ssize_t size = p.kernels.itemsize, first = index * ROWS_PER_CHUNK, row = p.depth * size, k, some
    cdef Py_ssize_t pixels = least(ROWS_PER_CHUNK, p.pixels - first), column = ROWS_PER_CHUNK * size + LINE
    if p.g.channels_last and p.x_strides[1] == size:
        p.kernels.lower_rows(&p.g, at.x, p.x_strides, first, pixels, 0, p.depth, at.y + first * row, row)
        return
    for k from 0 <= k < p.depth by COLUMNS:
        some = least(COLUMNS, p.depth - k)
        p.kernels.lower_columns(&p.g, at.x, p.x_strides, first, pixels, k, k + some, scratch, column, pixels, 0)
        p.kernels.pack(pixels, some, scratch, size, column, at.y + first * row + k * size, row, some, 0)


def im2col(bytes geometry, cnp.ndarray x, cnp.ndarray out, int team):
    """The whole matrix (N*P*Q, k) of a convolution with one group; x in (n, c, h, w) order of axes."""
    cdef Lowering p
    cdef Operands at
    p.kernels = kernels_for(out.itemsize)
    p.g = (<const fc_geometry *><const char *>geometry)[0]
    p.pixels, p.depth = p.g.N * p.g.P * p.g.Q, p.g.R * p.g.S * p.g.C
    at.x, at.y = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(out)
    for i in range(4):
        p.x_strides[i] = cnp.PyArray_STRIDES(x)[i]
    run(rows_chunk, &p, ceil_div(p.pixels, ROWS_PER_CHUNK),
        least(COLUMNS, p.depth) * (ROWS_PER_CHUNK * out.itemsize + LINE), team, &at)


def col2im(bytes geometry, cols, x, int team):
    """The adjoint of im2col: x (n, c, h, w) is the sum of the entries of `cols` that come from it. cols
    (N, P, Q, C, R, S) in that order of axes, whatever the layout."""
    cdef const fc_geometry *g = <const fc_geometry *><const char *>geometry
    if team > 1:
        note_parallel()
    if x.dtype == np.float32:
        _col2im[float](cols, x, g, team)
    else:
        _col2im[double](cols, x, g, team)


cdef void _col2im(const floating[:, :, :, :, :, :] cols, floating[:, :, :, :] x, const fc_geometry *g,
                  int team) noexcept:
    cdef Py_ssize_t N = x.shape[0], H = x.shape[2], row
    cdef fc_fp_state state
    cdef bint flush = flushing()
    with nogil, parallel(num_threads=team):
        state = fc_flush_subnormals(flush)
        for row in prange(N * H):
            add_row(cols, x, g, row // H, row % H)
        fc_restore_fp(state)


cdef void add_row(const floating[:, :, :, :, :, :] cols, floating[:, :, :, :] x, const fc_geometry *g, Py_ssize_t n,
                  Py_ssize_t h) noexcept nogil:
    """A row of pixels of x, each the sum over the taps that have met it, in order."""
    cdef Py_ssize_t C = x.shape[1], W = x.shape[3], w, c, r, s, p, q
    for w in range(W):
        for c in range(C):
            x[n, c, h, w] = 0
        for r in range(g.R):
            p = h + g.pad_top - r * g.dilation_h
            if p < 0 or p % g.stride_h or p // g.stride_h >= g.P:
                continue
            for s in range(g.S):
                q = w + g.pad_left - s * g.dilation_w
                if q < 0 or q % g.stride_w or q // g.stride_w >= g.Q:
                    continue
                for c in range(C):
                    x[n, c, h, w] += cols[n, p // g.stride_h, q // g.stride_w, c, r, s]
    # end: for w, r, s, c
