"""conv1d and its gradients: a signal is an image of one row, so this is conv2d with H = R = 1. Check, insert the axis,
delegate."""

import numpy as np

from fastconv.arrays import as_array, check_out, check_same_dtype
from fastconv.checks import to_count
from fastconv.convolution import conv2d
from fastconv.gradients import (
    check_shape,
    conv2d_bias_grad,
    conv2d_input_grad,
    conv2d_weight_grad,
    weight_grad_shape,
)
from fastconv.shapes import conv_shape, to_layout, to_pair, to_shape


def conv1d(x, weight, bias=None, *, activation=None, stride=1, padding=0, dilation=1, groups=1,
           layout="NCHW", algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """1-D convolution (cross-correlation, as in torch) of a batch of signals, plus bias, then the activation:

        y[n,k,q] = act(bias[k] + sum_{c,s} x[n, c, q*stride - left + s*dilation] * weight[k,c,s])

    layout "NCHW": x (N,C,L), weight (K,C/groups,S), result (N,K,Q); "NHWC": x (N,L,C), weight (K,S,C/groups), result
    (N,Q,K). stride, dilation: an integer. padding: an integer, (left, right), "valid" or "same" (stride 1 only). The
    other parameters, and the errors, are conv2d's, whose W is L here."""
    x, weight = _rows(layout, x=x, weight=weight)
    geometry = {**row_geometry(stride, padding, dilation), "groups": groups, "layout": layout}
    axis = row_axis(layout)
    shape = conv_shape(x.shape, weight.shape, **geometry).output_shape
    row_out = _row_of(out, _without(shape, axis), axis, (("x", x), ("weight", weight)))
    y = conv2d(x, weight, bias, activation=activation, algorithm=algorithm, strict=strict, blocking=blocking,
               out=row_out, num_threads=num_threads, **geometry)  # fmt: skip
    return y.squeeze(axis) if out is None else out


def conv1d_input_grad(grad, weight, input_shape, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW",
                      algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """The gradient with respect to conv1d's x, of input_shape: conv2d_input_grad of one row, whose parameters and
    errors these are."""
    axis = row_axis(layout)
    grad, weight = _rows(layout, grad=grad, weight=weight)
    input_shape = to_shape(input_shape, "input_shape", 3)
    geometry = {**row_geometry(stride, padding, dilation), "groups": groups, "layout": layout}
    image_shape = (*input_shape[:axis], 1, *input_shape[axis:])
    _check_grad(grad, conv_shape(image_shape, weight.shape, **geometry), axis)
    row_out = _row_of(out, input_shape, axis, (("grad", grad), ("weight", weight)))
    dx = conv2d_input_grad(grad, weight, image_shape, algorithm=algorithm, strict=strict, blocking=blocking,
                           out=row_out, num_threads=num_threads, **geometry)  # fmt: skip
    return dx.squeeze(axis) if out is None else out


def conv1d_weight_grad(x, grad, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW",
                       algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """The gradient with respect to conv1d's weight, of kernel_size taps: conv2d_weight_grad of one row, whose
    parameters and errors these are."""
    axis = row_axis(layout)
    x, grad = _rows(layout, x=x, grad=grad)
    kernel = 1, to_count(kernel_size, "kernel_size")
    geometry = {**row_geometry(stride, padding, dilation), "groups": groups, "layout": layout}
    shape = weight_grad_shape(x, grad, kernel, **geometry)
    _check_grad(grad, shape, axis)
    row_out = _row_of(out, _without(shape.weight_shape, axis), axis, (("x", x), ("grad", grad)))
    dw = conv2d_weight_grad(x, grad, kernel, algorithm=algorithm, strict=strict, blocking=blocking, out=row_out,
                            num_threads=num_threads, **geometry)  # fmt: skip
    return dw.squeeze(axis) if out is None else out


def conv1d_bias_grad(grad, *, layout="NCHW", num_threads=None):
    """The gradient with respect to conv1d's bias, (K,): grad, (N,K,Q) or in layout "NHWC" (N,Q,K), summed over signals
    and places. Errors as conv2d_bias_grad's."""
    return conv2d_bias_grad(as_row(grad, "grad", layout), layout=layout, num_threads=num_threads)


def _without(shape, axis):
    """A shape without the axis of an image's only row."""
    return shape[:axis] + shape[axis + 1 :]


def _check_grad(grad, shape, axis):
    check_shape("grad", grad.squeeze(axis), _without(shape.output_shape, axis))


def _row_of(out, shape, axis, inputs):
    """`out`, checked to have that shape, as an image of one row; None if it is None."""
    if out is None:
        return None
    check_out(out, shape, inputs[0][1].dtype, inputs)
    return np.expand_dims(out, axis)


def row_axis(layout):
    """Where H lies among an image's axes."""
    return 2 if to_layout(layout) == "NCHW" else 1


def as_row(value, name, layout):
    """A 3-D array as an image of one row, without a copy."""
    array = as_array(value, name)
    if array.ndim != 3:
        raise ValueError(f"{name} must be 3-D, got shape {array.shape}")
    return np.expand_dims(array, row_axis(layout))


def _rows(layout, **arrays):
    """Two arrays of one dtype as images of one row."""
    (first_name, first), (name, array) = ((name, as_row(value, name, layout)) for name, value in arrays.items())
    check_same_dtype(first_name, first, name, array)
    return first, array


def row_geometry(stride, padding, dilation):
    """conv2d's stride, padding and dilation of conv1d's."""
    stride = to_count(stride, "stride")
    if isinstance(padding, str) and padding == "same" and stride > 1:
        raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
    return {
        "stride": (1, stride),
        "padding": padding if isinstance(padding, str) else ((0, 0), _sides(padding)),
        "dilation": (1, to_count(dilation, "dilation")),
    }


def _sides(padding):
    left, right = to_pair(padding, "padding", "(left, right)")
    if min(left, right) < 0:
        raise ValueError(f"padding must not be negative, got {padding!r}")
    return left, right
