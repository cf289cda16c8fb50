"""The gradients of conv2d, and the transposed convolution, which is one of them. Check, choose, allocate, delegate:
input gradients to the convolutions that they are, weight gradients to their own nest."""

import numpy as np

from fastconv import threads
from fastconv._loops import input_grad as _input_grad
from fastconv.algorithms import choose, choose_weight_grad, convolve
from fastconv.arrays import as_array, check_out, check_same_dtype, empty, to_out
from fastconv.blocking import check_blocking
from fastconv.checks import to_count
from fastconv.convolution import check_bias, conv2d
from fastconv.shapes import conv_shape, input_grad_parts, to_counts, to_layout, to_shape, transposed_shape


def conv2d_input_grad(grad, weight, input_shape, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW",
                      algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """The gradient of a loss with respect to conv2d's x, from that with respect to its output:

        dx[n,c,h,w] = sum_{k,r,s} grad[n,k,p,q] * weight[k,c,r,s]    where p*stride_h - pad_top + r*dilation_h = h, ...

    grad has the shape of the output before the activation, input_shape is x's; pixels that no output reads get 0. The
    sum is a convolution of grad, or with a stride one for each parity of pixels, so that the algorithms, the other
    parameters and the errors are conv2d's; a named algorithm must be able to do each of them."""
    grad, weight = _pair_of_arrays("grad", grad, "weight", weight)
    shape = conv_shape(to_shape(input_shape, "input_shape"), weight.shape, stride, padding, dilation, groups, layout)
    check_shape("grad", grad, shape.output_shape)
    return _input_gradient(shape, (shape.H, shape.W), "grad", grad, weight, None, algorithm, strict, blocking, out,
                           num_threads)  # fmt: skip


def conv2d_weight_grad(x, grad, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW",
                       algorithm="auto", strict=False, blocking=None, out=None, num_threads=None):  # fmt: skip
    """The gradient of a loss with respect to conv2d's weight, from that with respect to its output:

        dw[k,c,r,s] = sum_{n,p,q} grad[n,k,p,q] * x[n, c, p*stride_h - pad_top + r*dilation_h, ...]

    in the weight's layout. grad has the shape of the output before the activation; kernel_size is an integer or
    (R, S). algorithm: "auto"; "direct", a product whose sum runs over the pixels; or for 3x3 filters with stride 1
    "winograd4x4", F(3x3, 4x4) after Lavin and Gray (2016), which multiplies 4 times less and which strict=True
    excludes. Neither has blocks to set. Padding is multiplied as zeros, so where grad holds Inf or NaN, taps that meet
    padding get NaN too; "winograd4x4" makes NaN of all taps of a channel or filter that holds one. The other parameters
    and the errors are conv2d's."""
    x, grad = _pair_of_arrays("x", x, "grad", grad)
    shape = weight_grad_shape(x, grad, to_counts(kernel_size, "kernel_size", 1), stride, padding, dilation, groups,
                              layout)  # fmt: skip
    check_shape("grad", grad, shape.output_shape)
    return _weight_gradient(shape, x, grad, algorithm, strict, blocking, out, num_threads)


def conv2d_bias_grad(grad, *, layout="NCHW", num_threads=None):
    """The gradient of a loss with respect to conv2d's bias, (K,): grad, (N,K,P,Q) or in layout "NHWC" (N,P,Q,K), summed
    over images and pixels.

    Raises ValueError or TypeError as conv2d does."""
    grad = as_array(grad, "grad")
    to_layout(layout)
    if grad.ndim != 4:
        raise ValueError(f"grad must be 4-D, got shape {grad.shape}")
    # The bias is the 1x1 filter of a channel that is 1 everywhere.
    one_channel = (*grad.shape[:3], 1) if layout == "NHWC" else (grad.shape[0], 1, *grad.shape[2:])
    filters = grad.shape[3 if layout == "NHWC" else 1]
    if grad.size == 0:
        return np.zeros(filters, grad.dtype)
    ones = np.broadcast_to(grad.dtype.type(1), one_channel)
    return conv2d_weight_grad(ones, grad, 1, layout=layout, num_threads=num_threads).reshape(filters)


def conv_transpose2d(x, weight, bias=None, *, output_padding=0, stride=1, padding=0, dilation=1, groups=1,
                     layout="NCHW", algorithm="auto", strict=False, blocking=None, out=None,
                     num_threads=None):  # fmt: skip
    """The transposed convolution: each pixel of x times the filters, added up `stride` pixels apart, plus bias.

    It is the input gradient of the conv2d with the same parameters, so weight is (C, K/groups, R, S), in layout "NHWC"
    (C, R, S, K/groups), and the result has (H - 1)*stride - padding at both ends + dilation*(R - 1) + 1 +
    output_padding rows. output_padding: an integer or (h, w), smaller than the stride or the dilation, adds pixels at
    the bottom and at the right. The other parameters and the errors are conv2d's."""
    x, weight = _pair_of_arrays("x", x, "weight", weight)
    shape, size = transposed_shape(x.shape, weight.shape, output_padding, stride, padding, dilation, groups, layout)
    bias = check_bias(bias, weight, shape.C)
    return _input_gradient(shape, size, "x", x, weight, bias, algorithm, strict, blocking, out, num_threads)


def conv_transpose2d_input_grad(grad, weight, input_shape, *, output_padding=0, stride=1, padding=0, dilation=1,
                                groups=1, layout="NCHW", algorithm="auto", strict=False, blocking=None, out=None,
                                num_threads=None):  # fmt: skip
    """The gradient with respect to conv_transpose2d's x: conv2d of grad. Parameters and errors are theirs."""
    grad, weight = _pair_of_arrays("grad", grad, "weight", weight)
    shape, size = transposed_shape(to_shape(input_shape, "input_shape"), weight.shape, output_padding, stride, padding,
                                   dilation, groups, layout)  # fmt: skip
    if out is not None:
        check_out(out, shape.output_shape, grad.dtype, (("grad", grad), ("weight", weight)))
    return conv2d(_pixels_met(shape, size, grad), weight, stride=shape.stride, padding=shape.padding,
                  dilation=shape.dilation, groups=shape.groups, layout=layout, algorithm=algorithm, strict=strict,
                  blocking=blocking, out=out, num_threads=num_threads)  # fmt: skip


def conv_transpose2d_weight_grad(x, grad, kernel_size, *, output_padding=0, stride=1, padding=0, dilation=1, groups=1,
                                 layout="NCHW", algorithm="auto", strict=False, blocking=None, out=None,
                                 num_threads=None):  # fmt: skip
    """The gradient with respect to conv_transpose2d's weight, in its layout: conv2d_weight_grad of grad and x.
    Parameters and errors are theirs."""
    x, grad = _pair_of_arrays("x", x, "grad", grad)
    kernel = to_counts(kernel_size, "kernel_size", 1)
    for name, array in (("x", x), ("grad", grad)):
        if array.ndim != 4:
            raise ValueError(f"{name} must be 4-D, got shape {array.shape}")
    weight_shape = _weight_shape({"x": x, "grad": grad}, kernel, groups, layout)
    shape, size = transposed_shape(x.shape, weight_shape, output_padding, stride, padding, dilation, groups, layout)
    met = _pixels_met(shape, size, grad)
    if out is not None:
        check_out(out, shape.weight_shape, grad.dtype, (("x", x), ("grad", grad)))
    return _weight_gradient(shape, met, x, algorithm, strict, blocking, out, num_threads)


def _pair_of_arrays(first_name, first, name, array):
    first, array = as_array(first, first_name), as_array(array, name)
    check_same_dtype(first_name, first, name, array)
    return first, array


def check_shape(name, array, expected):
    """ValueError unless an array has the output's shape."""
    if array.shape != expected:
        raise ValueError(f"{name} must have shape {expected}, that of the output, got {array.shape}")


def _weight_shape(arrays, kernel, groups, layout):
    """The weight's shape, of two arrays by name: one whose channels are the filters, one whose channels they see."""
    axis, groups = 3 if to_layout(layout) == "NHWC" else 1, to_count(groups, "groups")
    for name, array in arrays.items():
        if array.shape[axis] % groups:
            raise ValueError(f"{name} has {array.shape[axis]} channels, which groups={groups} does not divide")
    filters, channels = (array.shape[axis] for array in arrays.values())
    return (filters, *kernel, channels // groups) if layout == "NHWC" else (filters, channels // groups, *kernel)


def weight_grad_shape(x, grad, kernel, stride, padding, dilation, groups, layout):
    """The ConvShape of the convolution with that kernel that gives an array like grad."""
    for name, array in (("x", x), ("grad", grad)):
        if array.ndim != 4:
            raise ValueError(f"{name} must be 4-D, got shape {array.shape}")
    weight_shape = _weight_shape({"grad": grad, "x": x}, kernel, groups, layout)
    return conv_shape(x.shape, weight_shape, stride, padding, dilation, groups, layout)


def _pixels_met(shape, size, grad):
    """The pixels of grad that shape.H and W count; no pixel of x meets the others."""
    expected = (shape.N, *size, shape.C) if shape.layout == "NHWC" else (shape.N, shape.C, *size)
    check_shape("grad", grad, expected)
    return _pixels(grad, (slice(shape.H), slice(shape.W)), shape.layout)


def _pixels(array, pixels, layout):
    """The view of these rows and columns."""
    return array[(slice(None), *pixels)] if layout == "NHWC" else array[(slice(None), slice(None), *pixels)]


def _weight_gradient(shape, x, grad, algorithm, strict, blocking, out, num_threads):
    check_blocking(blocking)
    way = choose_weight_grad(shape, x.itemsize, algorithm, strict)
    if blocking is not None:
        raise ValueError("blocking was given, but a weight gradient has no blocks to set")
    team = threads.team_size(shape.work, num_threads)
    out = to_out(out, shape.weight_shape, x.dtype, (("x", x), ("grad", grad)))
    if grad.size == 0:
        out[...] = 0
    elif out.size:
        way.nest.compiled(shape.packed, x.itemsize, x.strides, grad.strides).run(x, grad, None, out, team)
    return out


def _input_gradient(shape, size, name, grad, weight, bias, algorithm, strict, blocking, out, num_threads):
    """The input gradient of `shape`, with x of `size` pixels, plus bias; `name` is the argument that grad was."""
    check_blocking(blocking)
    parts, covered = input_grad_parts(shape, size)
    rows = [choose(part.shape, grad.itemsize, algorithm, strict, False, blocking) for part in parts]
    team = threads.team_size(shape.work, num_threads)
    layout = shape.layout
    result_shape = (shape.N, *size, shape.C) if layout == "NHWC" else (shape.N, shape.C, *size)
    out = to_out(out, result_shape, grad.dtype, ((name, grad), ("weight", weight), ("bias", bias)))
    if not out.size:
        return out
    if not covered:
        out[...] = 0 if bias is None else bias if layout == "NHWC" else bias[:, None, None]
    weight = np.ascontiguousarray(weight)
    for part, row in zip(parts, rows, strict=True):
        turned = empty(part.shape.weight_shape, weight.dtype)
        if turned.size:
            _input_grad.turning(shape.packed, weight.itemsize, part.taps).run(weight, weight, None, turned, team)
        source = _pixels(grad, part.source, layout)
        whole = part.shape.output_shape == result_shape
        y = out if whole else empty(part.shape.output_shape, out.dtype)
        convolve(row, part.shape, source, turned, bias, False, blocking, y, team)
        if not whole:
            target = tuple((axis.start, axis.step) for axis in part.target)
            _input_grad.spreading(part.shape.packed, y.itemsize, size, target).run(y, None, None, out, team)
    return out
