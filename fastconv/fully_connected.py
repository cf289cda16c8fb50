"""linear and its gradients: check, allocate, delegate to fastconv/_loops/linear.pyx."""

import numpy as np

from fastconv import threads
from fastconv._loops import linear as _linear
from fastconv._loops import sums as _sums
from fastconv.arrays import as_array, check_same_dtype, empty, to_out
from fastconv.convolution import check_bias


def _check_matrix(array, name, columns, meaning):
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D, {meaning}, got shape {array.shape}")
    if columns is not None and array.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, {meaning}, got shape {array.shape}")


def linear(x, weight, bias=None, *, out=None, num_threads=None):
    """x @ weight.T + bias: x (N, in), weight (out, in), bias (out,) or None; the result is (N, out).

    One dtype, float32 or float64, any strides. Up to 8 rows of x read the weights once and in place. out: a
    C-contiguous array for the result. num_threads: at most so many; any number gives the same bits.
    Raises ValueError for shapes that do not fit, TypeError for types and dtypes."""
    x, weight = as_array(x, "x"), as_array(weight, "weight")
    check_same_dtype("x", x, "weight", weight)
    _check_matrix(weight, "weight", None, "(out, in)")
    (n_out, n_in), shape = weight.shape, (*x.shape[:1], *weight.shape[:1])
    _check_matrix(x, "x", n_in, "(N, in)")
    bias = check_bias(bias, weight, n_out)
    team = threads.team_size(2 * x.shape[0] * n_in * n_out, num_threads)
    out = to_out(out, shape, x.dtype, (("x", x), ("weight", weight), ("bias", bias)))
    operands = np.ascontiguousarray(x), np.ascontiguousarray(weight), bias, out
    _linear.linear(x.shape[0], n_in, n_out, x.itemsize).run(*operands, team)
    return out


def linear_grad(grad, x, weight, *, num_threads=None):
    """(dx, dw, db), the gradients of linear's x, weight and bias: grad @ weight, grad.T @ x, and the sum of grad's
    rows. grad (N, out), x (N, in), weight (out, in). Errors as linear's."""
    grad, x, weight = as_array(grad, "grad"), as_array(x, "x"), as_array(weight, "weight")
    check_same_dtype("grad", grad, "x", x)
    check_same_dtype("grad", grad, "weight", weight)
    _check_matrix(weight, "weight", None, "(out, in)")
    n_out, n_in = weight.shape
    _check_matrix(x, "x", n_in, "(N, in)")
    _check_matrix(grad, "grad", n_out, "(N, out)")
    if grad.shape[0] != x.shape[0]:
        raise ValueError(f"grad and x must have as many rows, got {grad.shape[0]} and {x.shape[0]}")
    team = threads.team_size(2 * len(x) * n_in * n_out, num_threads)
    grad, x, weight = (np.ascontiguousarray(array) for array in (grad, x, weight))
    sizes = len(x), n_in, n_out, x.itemsize
    dx, dw, db = (empty(shape, x.dtype) for shape in (x.shape, weight.shape, (n_out,)))
    _linear.linear_input_grad(*sizes).run(grad, weight, None, dx, team)
    _linear.linear_weight_grad(*sizes).run(x, grad, None, dw, team)
    _sums.sum_rows(len(x), n_out, x.itemsize).run(grad, None, None, db, team)
    return dx, dw, db
