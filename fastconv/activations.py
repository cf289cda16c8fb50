"""relu, sigmoid, softmax and their gradients: check, allocate, delegate to fastconv/_loops."""

import numpy as np

from fastconv import threads
from fastconv._loops import pointwise as _nest
from fastconv._loops import softmax as _softmax
from fastconv.arrays import as_array, check_same_dtype, empty, to_out
from fastconv.checks import to_int


def _pointwise(name, out, num_threads, **arguments):
    """out = f(...) of one or two arrays of one shape, which are named as in the public function."""
    inputs = [(argument, as_array(value, argument)) for argument, value in arguments.items()]
    apart = [(argument, array) for argument, array in inputs if arguments[argument] is not out]
    (first, x), (last, other) = inputs[0], inputs[-1]
    check_same_dtype(first, x, last, other)
    if other.shape != x.shape:
        raise ValueError(f"{first} and {last} must have one shape, got {x.shape} and {other.shape}")
    team = threads.team_size(threads.ELEMENT_WORK * x.size, num_threads)
    out = to_out(out, x.shape, x.dtype, apart)
    nest = _nest.compiled(name, x.size, x.itemsize)
    nest.run(np.ascontiguousarray(x), np.ascontiguousarray(other), None, out, team)
    return out


def relu(x, *, out=None, num_threads=None):
    """max(x, 0), element by element; NaN stays NaN, -0.0 becomes 0.0. x: any shape, float32 or float64.

    out: a C-contiguous array for the result; it may be x itself. num_threads: at most so many.
    Raises TypeError for types and dtypes, ValueError for an out that does not fit."""
    return _pointwise("relu", out, num_threads, x=x)


def relu_grad(grad, y, *, out=None, num_threads=None):
    """The gradient of relu's argument: grad where y = relu(x) is not 0, else 0. One shape and dtype; errors as
    relu's."""
    return _pointwise("relu_grad", out, num_threads, grad=grad, y=y)


def sigmoid(x, *, out=None, num_threads=None):
    """1 / (1 + exp(-x)), element by element. Parameters and errors as relu's."""
    return _pointwise("sigmoid", out, num_threads, x=x)


def sigmoid_grad(grad, y, *, out=None, num_threads=None):
    """The gradient of sigmoid's argument, grad * y * (1 - y) for y = sigmoid(x). Errors as relu_grad's."""
    return _pointwise("sigmoid_grad", out, num_threads, grad=grad, y=y)


def _check_axis(axis, array, name):
    axis = to_int(axis, "axis")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} is out of range: {name} has {array.ndim} dimensions")
    return axis


def _along(axis, nest, arrays, num_threads):
    """The result of a nest over rows, for arrays of one shape whose rows lie along `axis`."""
    team = threads.team_size(2 * threads.ELEMENT_WORK * arrays[0].size, num_threads)
    rows = [np.ascontiguousarray(np.moveaxis(array, axis, -1)) for array in arrays]
    y = empty(rows[0].shape, rows[0].dtype)
    if y.size:
        n = y.shape[-1]
        nest(y.size // n, n, y.itemsize).run(rows[0], rows[1] if len(rows) > 1 else None, None, y, team)
    return np.ascontiguousarray(np.moveaxis(y, -1, axis))


def softmax(x, axis=-1, *, num_threads=None):
    """exp(x) divided by its sum along one axis, computed from x - max(x) so that nothing overflows.

    x: at least 1-D, float32 or float64. A row that holds NaN or inf, or nothing but -inf, becomes NaN.
    Raises TypeError for types and dtypes, ValueError for an axis that x does not have."""
    x = as_array(x, "x")
    return _along(_check_axis(axis, x, "x"), _softmax.softmax, [x], num_threads)


def softmax_grad(grad, y, axis=-1, *, num_threads=None):
    """The gradient of softmax's argument: y * (grad - sum(grad * y)) along the axis, for y = softmax(x). grad and y
    have one shape and dtype; errors as softmax's."""
    grad, y = as_array(grad, "grad"), as_array(y, "y")
    check_same_dtype("grad", grad, "y", y)
    if grad.shape != y.shape:
        raise ValueError(f"grad and y must have one shape, got {grad.shape} and {y.shape}")
    return _along(_check_axis(axis, y, "y"), _softmax.softmax_grad, [grad, y], num_threads)
