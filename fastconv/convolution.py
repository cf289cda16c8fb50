"""conv2d and what belongs to it: the face of the convolutions. Check, choose, allocate, delegate to a row of
fastconv/algorithms.py."""

import numpy as np

from fastconv import threads
from fastconv._loops import lowering
from fastconv.algorithms import choose, convolve
from fastconv.arrays import as_array, check_same_dtype, empty, to_dtype, to_out
from fastconv.blocking import check_blocking
from fastconv.checks import to_flag
from fastconv.explanation import explain
from fastconv.shapes import conv_shape, to_shape, window_shape


def check_activation(activation):
    """Whether the activation is a ReLU; ValueError for a name that fastconv does not have."""
    if activation is None:
        return False
    if isinstance(activation, str) and activation == "relu":
        return True
    kind = ValueError if isinstance(activation, str) else TypeError
    raise kind(f"activation must be None or 'relu', got {activation!r}")


def check_bias(bias, weight, filters):
    """The bias as a contiguous array of shape (filters,) and weight's dtype, or None."""
    if bias is None:
        return None
    bias = as_array(bias, "bias")
    check_same_dtype("weight", weight, "bias", bias)
    if bias.shape != (filters,):
        raise ValueError(f"bias must have shape ({filters},), one value per filter, got {bias.shape}")
    return np.ascontiguousarray(bias)


def conv2d(x, weight, bias=None, *, activation=None, stride=1, padding=0, dilation=1, groups=1,
           layout="NCHW", algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """2-D convolution (cross-correlation, as in torch) of a batch of images, plus bias, then the activation:

        y[n,k,p,q] = act(bias[k] + sum_{c,r,s} x[n, c, p*stride_h - pad_top + r*dilation_h, ...] * weight[k,c,r,s])

    layout "NCHW": x (N,C,H,W), weight (K,C/groups,R,S), result (N,K,P,Q); "NHWC": x (N,H,W,C), weight
    (K,R,S,C/groups), result (N,P,Q,K). The layout names the axes; strides may be any. bias (K,) or None;
    all of one dtype, float32 or float64. activation: None or "relu" (which keeps NaN).
    stride, dilation: an integer or (h, w). padding: an integer, (h, w), ((top, bottom), (left, right)), "valid"
    or "same" (stride 1 only; the odd pixel at the end); padded pixels are 0 and never make a NaN.

    algorithm: a name of those that explain_conv2d lists, as "direct" or "winograd4x4", or "auto", which depends on
    shape, dtype, layout, parameters and ISA only. A named algorithm that cannot do the shape raises; nothing falls
    back. strict=True admits only algorithms that multiply what the definition multiplies. blocking: fastconv.Blocking.
    out: a C-contiguous array for the result. num_threads: at most so many; any number gives the same bits.

    N = 0 gives an empty result, C = 0 the bias. Raises ValueError for shapes and values that do not fit,
    TypeError for types and dtypes, MemoryError; the message names the argument."""
    x, weight = as_array(x, "x"), as_array(weight, "weight")
    if x.dtype != weight.dtype:
        check_same_dtype("x", x, "weight", weight)
    shape = conv_shape(x.shape, weight.shape, stride, padding, dilation, groups, layout)
    bias = check_bias(bias, weight, shape.K)
    relu = check_activation(activation)
    check_blocking(blocking)
    row = choose(shape, x.itemsize, algorithm, strict, False, blocking)
    team = threads.team_size(shape.work, num_threads)
    out = to_out(out, shape.output_shape, x.dtype, (("x", x), ("weight", weight), ("bias", bias)))
    if out.size:
        convolve(row, shape, x, weight, bias, relu, blocking, out, team)
    return out


def explain_conv2d(input_shape, weight_shape, *, dtype="float32", stride=1, padding=0, dilation=1, groups=1,
                   layout="NCHW", algorithm="auto", strict=False, blocking=None, prepared=False):  # fmt: skip
    """What every algorithm would do with a convolution of these shapes: print it, or read .rows and .chosen.

    Each row says why the algorithm refuses, or its estimated seconds on one nominal core, its workspace per
    thread and its weights in bytes. prepared: whether weights are prepared beforehand, as a plan does. The
    parameters and errors are conv2d's."""
    dtype, prepared = to_dtype(dtype), to_flag(prepared, "prepared")
    check_blocking(blocking)
    shape = conv_shape(to_shape(input_shape, "input_shape"), to_shape(weight_shape, "weight_shape"),
                       stride, padding, dilation, groups, layout)  # fmt: skip
    return explain(shape, dtype, algorithm, strict, prepared, blocking)


def in_nchw_order(array, layout):
    """A view with the axes (n, c, h, w), whatever the layout."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def im2col(x, kernel_size, *, stride=1, padding=0, dilation=1, layout="NCHW", num_threads=None):
    """The im2col matrix: one row per output pixel, (N*P*Q, C*R*S) for "NCHW", (N*P*Q, R*S*C) for "NHWC".

    A convolution is this matrix times the flattened filters; it holds every pixel up to R*S times, which
    conv2d avoids. kernel_size: an integer or (R, S). x, the other parameters and errors as conv2d's."""
    x = as_array(x, "x")
    shape = window_shape(x.shape, kernel_size, stride, padding, dilation, layout)
    rows, columns = shape.N * shape.P * shape.Q, shape.C * shape.R * shape.S
    team = threads.team_size(threads.ELEMENT_WORK * rows * columns, num_threads)
    out = empty((rows, columns), x.dtype)
    if out.size:
        lowering.im2col(shape.packed, in_nchw_order(x, layout), out, team)
    return out


def col2im(cols, input_shape, kernel_size, *, stride=1, padding=0, dilation=1, layout="NCHW", num_threads=None):
    """The adjoint of im2col: an array of input_shape in which each pixel is the sum of its entries in `cols`.

    cols as im2col returns it. Sums run over the filter in order, so any number of threads gives the same bits.
    Parameters and errors as im2col's."""
    cols = as_array(cols, "cols")
    input_shape = to_shape(input_shape, "input_shape")
    shape = window_shape(input_shape, kernel_size, stride, padding, dilation, layout)
    expected = (shape.N * shape.P * shape.Q, shape.C * shape.R * shape.S)
    if cols.shape != expected:
        raise ValueError(f"cols must have shape {expected} for this input_shape and kernel_size, got {cols.shape}")
    team = threads.team_size(threads.ELEMENT_WORK * cols.size, num_threads)
    x = empty(input_shape, cols.dtype)
    if x.size:
        pixels, taps = (shape.N, shape.P, shape.Q), (shape.R, shape.S)
        cols = np.ascontiguousarray(cols)
        if layout == "NHWC":
            cols = cols.reshape(*pixels, *taps, shape.C).transpose(0, 1, 2, 5, 3, 4)
        else:
            cols = cols.reshape(*pixels, shape.C, *taps)
        lowering.col2im(shape.packed, cols, in_nchw_order(x, layout), team)
    return x
