"""Pooling and its gradients: check, allocate, delegate to fastconv/_loops/pooling.pyx."""

from fastconv import threads
from fastconv._loops import pooling as _pooling
from fastconv.arrays import as_array, check_same_dtype, to_out
from fastconv.checks import to_flag
from fastconv.shapes import to_shape, window_shape


def pool_shape(input_shape, kernel_size, stride, padding, layout):
    """(the windows' ConvShape, the shape of the result). Every window has to hold a pixel of the image."""
    shape = window_shape(input_shape, kernel_size, kernel_size if stride is None else stride, padding, 1, layout)
    for axis, size, kernel, sides in zip("HW", (shape.H, shape.W), (shape.R, shape.S), shape.padding, strict=True):
        if max(sides) >= kernel or size == 0:
            raise ValueError(
                f"some windows along {axis} would hold no pixel: input {size}, padding {sides}, kernel {kernel}"
            )
    pixels = shape.P, shape.Q
    return shape, (shape.N, *pixels, shape.C) if layout == "NHWC" else (shape.N, shape.C, *pixels)


def _check_grad(grad, pooled):
    if grad.shape != pooled:
        raise ValueError(f"grad must have the shape of the result, {pooled}, got {grad.shape}")


def _team(shape, num_threads):
    """Threads for reading every pixel of every window."""
    return threads.team_size(
        threads.ELEMENT_WORK * max(shape.flops // 4, shape.N * shape.C * shape.H * shape.W), num_threads
    )


def max_pool2d(x, kernel_size, *, stride=None, padding=0, layout="NCHW", out=None, num_threads=None):
    """The largest value of each window; a NaN is larger than all, padding smaller.

    x, layout, padding, out and num_threads as conv2d's; kernel_size and stride: an integer or (h, w); stride=None is
    the kernel's size. Every window has to hold a pixel of x. Errors as conv2d's."""
    x = as_array(x, "x")
    shape, pooled = pool_shape(x.shape, kernel_size, stride, padding, layout)
    team = _team(shape, num_threads)
    out = to_out(out, pooled, x.dtype, (("x", x),))
    _pooling.max_pool(shape.packed, x.itemsize, x.strides).run(x, None, None, out, team)
    return out


def max_pool2d_grad(grad, x, kernel_size, *, stride=None, padding=0, layout="NCHW", out=None, num_threads=None):
    """The gradient of max_pool2d's x: each of grad added to the pixel that was the window's largest, the first of
    equals. grad has the shape of the result; the other parameters and the errors are max_pool2d's."""
    grad, x = as_array(grad, "grad"), as_array(x, "x")
    check_same_dtype("grad", grad, "x", x)
    shape, pooled = pool_shape(x.shape, kernel_size, stride, padding, layout)
    _check_grad(grad, pooled)
    team = _team(shape, num_threads)
    out = to_out(out, x.shape, x.dtype, (("grad", grad), ("x", x)))
    _pooling.max_pool_grad(shape.packed, x.itemsize, x.strides, grad.strides).run(x, grad, None, out, team)
    return out


def avg_pool2d(x, kernel_size, *, stride=None, padding=0, count_include_pad=True, layout="NCHW", out=None,
               num_threads=None):  # fmt: skip
    """The mean of each window: of all its places, the padding's zeros included, or, with count_include_pad=False, of
    its pixels. The other parameters and the errors are max_pool2d's."""
    x = as_array(x, "x")
    count_include_pad = to_flag(count_include_pad, "count_include_pad")
    shape, pooled = pool_shape(x.shape, kernel_size, stride, padding, layout)
    team = _team(shape, num_threads)
    out = to_out(out, pooled, x.dtype, (("x", x),))
    _pooling.mean_pool(shape.packed, x.itemsize, x.strides, count_include_pad).run(x, None, None, out, team)
    return out


def avg_pool2d_grad(grad, input_shape, kernel_size, *, stride=None, padding=0, count_include_pad=True,
                    layout="NCHW", out=None, num_threads=None):  # fmt: skip
    """The gradient of avg_pool2d's x, an array of input_shape: each of grad, divided by what the window counted,
    added to the window's pixels. grad has the shape of the result; the rest is avg_pool2d's."""
    grad = as_array(grad, "grad")
    count_include_pad = to_flag(count_include_pad, "count_include_pad")
    shape, pooled = pool_shape(to_shape(input_shape, "input_shape"), kernel_size, stride, padding, layout)
    _check_grad(grad, pooled)
    team = _team(shape, num_threads)
    out = to_out(out, shape.input_shape, grad.dtype, (("grad", grad),))
    _pooling.mean_pool_grad(shape.packed, grad.itemsize, grad.strides, count_include_pad).run(
        grad, None, None, out, team
    )
    return out
