"""The lecture's own nests, plain and readable, each with its prange in sight: the product in three loops and
in six, the convolution in seven. They are what the others are measured against and checked with."""
import numpy as np

from cython cimport floating
from cython.parallel cimport parallel, prange

from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp
from fastconv._loops.team cimport flushing

from fastconv._loops.team import note_parallel


def _aligned(array):
    """Memoryviews want whole elements at their natural alignment: `array`, or a copy that has it."""
    whole = all(stride % array.itemsize == 0 for stride in array.strides)
    return array if array.flags.aligned and whole else array.copy()


def gemm(a, b, out, double alpha, double beta, int team):
    """out = alpha * a @ b + beta * out by the definition, parallel over the rows."""
    if team > 1:
        note_parallel()
    target = _aligned(out)
    if out.dtype == np.float32:
        _gemm[float](_aligned(a), _aligned(b), target, alpha, beta, team)
    else:
        _gemm[double](_aligned(a), _aligned(b), target, alpha, beta, team)
    if target is not out:
        out[...] = target


cdef void _gemm(const floating[:, :] a, const floating[:, :] b, floating[:, :] out, double alpha, double beta,
                int team) noexcept:
    cdef Py_ssize_t m = out.shape[0], n = out.shape[1], depth = a.shape[1] if alpha != 0 else 0
    cdef Py_ssize_t i, j, k
    cdef floating total
    cdef fc_fp_state state
    cdef bint flush = flushing()
    with nogil, parallel(num_threads=team):
        state = fc_flush_subnormals(flush)
        for i in prange(m):
            for j in range(n):
                total = 0
                for k in range(depth):
                    total = total + a[i, k] * b[k, j]
                total = <floating>alpha * total if depth > 0 else 0
                if beta != 0:
                    total = total + <floating>beta * out[i, j]
                out[i, j] = total
        fc_restore_fp(state)


def gemm_blocked(a, b, out, double alpha, double beta, blocking, int team):
    """The same in six loops: blocks of mc x kc and kc x nc that stay in cache, parallel over rows of blocks."""
    if team > 1:
        note_parallel()
    target = _aligned(out)
    mc, nc, kc = blocking.mc, blocking.nc, blocking.kc
    if out.dtype == np.float32:
        _gemm_blocked[float](_aligned(a), _aligned(b), target, alpha, beta, mc, nc, kc, team)
    else:
        _gemm_blocked[double](_aligned(a), _aligned(b), target, alpha, beta, mc, nc, kc, team)
    if target is not out:
        out[...] = target


cdef void _gemm_blocked(const floating[:, :] a, const floating[:, :] b, floating[:, ::1] out, double alpha,
                        double beta, Py_ssize_t mc, Py_ssize_t nc, Py_ssize_t kc, int team) noexcept:
    cdef Py_ssize_t m = out.shape[0], n = out.shape[1], depth = a.shape[1] if alpha != 0 else 0
    cdef Py_ssize_t row_blocks = (m + mc - 1) // mc
    cdef Py_ssize_t block, ib, jb, kb, i, j, k, i_end, j_end, k_end
    cdef floating factor
    cdef fc_fp_state state
    cdef bint flush = flushing()
    with nogil, parallel(num_threads=team):
        state = fc_flush_subnormals(flush)
        for block in prange(row_blocks):
            ib = block * mc
            i_end = min(ib + mc, m)
            for i in range(ib, i_end):
                for j in range(n):
                    out[i, j] = <floating>beta * out[i, j] if beta != 0 else 0
            for jb from 0 <= jb < n by nc:
                j_end = min(jb + nc, n)
                for kb from 0 <= kb < depth by kc:
                    k_end = min(kb + kc, depth)
                    # j innermost: rows of b and out are contiguous, and the compiler can use vectors.
                    for i in range(ib, i_end):
                        for k in range(kb, k_end):
                            factor = <floating>alpha * a[i, k]
                            for j in range(jb, j_end):
                                out[i, j] = out[i, j] + factor * b[k, j]
            # end: for jb, for kb
        fc_restore_fp(state)


class SevenLoops:
    """The convolution as the other nests compile it (fastconv/algorithms.py), on the caller's own weights."""

    def __init__(self, shape, relu):
        self.shape, self.relu = shape, relu

    def run(self, x, weights, bias, y, team):
        """Fills y."""
        if self.shape.layout == "NHWC":
            x, weights, y = (array.transpose(0, 3, 1, 2) for array in (x, weights, y))
        conv2d(self.shape, x, weights, bias, y, self.relu, team)


def conv2d(shape, x, weight, bias, y, bint relu, int team):
    """y by the definition. x (N,C,H,W), weight (K,C/groups,R,S), y (N,K,P,Q): views in that order of axes,
    whatever the layout; bias (K,) or None; shape a fastconv.shapes.ConvShape."""
    if team > 1:
        note_parallel()
    target = _aligned(y)
    if bias is None:
        bias = np.zeros(y.shape[1], y.dtype)
    if y.dtype == np.float32:
        _conv2d[float](_aligned(x), _aligned(weight), _aligned(bias), target, shape.stride[0], shape.stride[1],
                       shape.padding[0][0], shape.padding[1][0], shape.dilation[0], shape.dilation[1],
                       shape.groups, relu, team)
    else:
        _conv2d[double](_aligned(x), _aligned(weight), _aligned(bias), target, shape.stride[0], shape.stride[1],
                        shape.padding[0][0], shape.padding[1][0], shape.dilation[0], shape.dilation[1],
                        shape.groups, relu, team)
    if target is not y:
        y[...] = target


cdef void _conv2d(const floating[:, :, :, :] x, const floating[:, :, :, :] weight, const floating[:] bias,
                  floating[:, :, :, :] y, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
                  Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups,
                  bint relu, int team) noexcept:
    cdef Py_ssize_t H = x.shape[2], W = x.shape[3], C = weight.shape[1], R = weight.shape[2], S = weight.shape[3]
    cdef Py_ssize_t N = y.shape[0], K = y.shape[1], P = y.shape[2], Q = y.shape[3]
    cdef Py_ssize_t row, n, p, q, k, c, r, s, h, w, first
    cdef floating total
    cdef fc_fp_state state
    cdef bint flush = flushing()
    with nogil, parallel(num_threads=team):
        state = fc_flush_subnormals(flush)
        for row in prange(N * P):                        # image and row
            n = row // P
            p = row % P
            for q in range(Q):                           # column
                for k in range(K):                       # filter
                    total = bias[k]
                    first = k // (K // groups) * C       # the group's first channel
                    for c in range(C):                   # channel
                        for r in range(R):               # filter row
                            h = p * stride_h - pad_top + r * dilation_h
                            if h < 0 or h >= H:
                                continue
                            for s in range(S):           # filter column
                                w = q * stride_w - pad_left + s * dilation_w
                                if 0 <= w and w < W:
                                    total = total + x[n, first + c, h, w] * weight[k, c, r, s]
                    if relu and total <= 0:              # keeps NaN
                        total = 0
                    y[n, k, p, q] = total
        # end: for row, q, k, c, r, s
        fc_restore_fp(state)
