"""Plans: a convolution whose weights are prepared once and whose algorithm is fixed."""

import numpy as np

from fastconv import threads
from fastconv.algorithms import choose, prepare_weights
from fastconv.arrays import as_array, to_out
from fastconv.blocking import check_blocking
from fastconv.convolution import check_activation, check_bias
from fastconv.explanation import explain
from fastconv.shapes import conv_shape, to_shape


class Plan:
    """A conv2d of one input shape with prepared weights; made by plan_conv2d.

    The weights and bias are copies: changing the caller's arrays changes nothing, update() does. Many threads
    may call a plan at once; a call allocates nothing but its result once the workspace has grown."""

    def __init__(self, shape, row, weight, bias, relu, blocking, strict, num_threads):
        self._shape, self._row, self._relu, self._blocking, self._strict = shape, row, relu, blocking, strict
        self._dtype = weight.dtype
        self._prepare(weight, bias, num_threads)

    def _prepare(self, weight, bias, num_threads=None):
        team = threads.team_size(threads.ELEMENT_WORK * weight.size, num_threads)
        row, weights = prepare_weights(self._row, self._shape, weight, self._blocking, team)
        if np.may_share_memory(weights, weight):
            weights = weights.copy()
        # One assignment, so that a call in another thread sees the old parameters or the new ones.
        self._parameters = row, weights, None if bias is None else bias.copy()

    def __call__(self, x, *, out=None, num_threads=None):
        """conv2d of x with the plan's weights; x must have the plan's input shape and dtype.

        Raises ValueError or TypeError as conv2d does."""
        shape = self._shape
        x = as_array(x, "x")
        if x.dtype != self._dtype:
            raise TypeError(f"x is {x.dtype}, but the plan was made for {self._dtype}")
        if x.shape != shape.input_shape:
            raise ValueError(f"x has shape {x.shape}, but the plan was made for {shape.input_shape}")
        team = threads.team_size(shape.work, num_threads)
        row, weights, bias = self._parameters
        out = to_out(out, shape.output_shape, x.dtype, (("x", x),))
        if out.size:
            compiled = row.compile(shape, x.itemsize, x.strides, self._relu, self._blocking)
            compiled.run(x, weights, bias, out, team)
        return out

    def update(self, weight, bias=None):
        """Takes other weights of the same shape and dtype, and another bias or none; errors as plan_conv2d's."""
        weight = as_array(weight, "weight")
        if weight.dtype != self._dtype:
            raise TypeError(f"weight is {weight.dtype}, but the plan was made for {self._dtype}")
        if weight.shape != self._shape.weight_shape:
            raise ValueError(f"weight has shape {weight.shape}, but the plan was made for {self._shape.weight_shape}")
        self._prepare(weight, check_bias(bias, weight, self._shape.K))

    @property
    def algorithm(self):
        """The name of the algorithm that runs: "naive" where padding would meet an Inf or NaN of these weights."""
        return self._parameters[0].name

    @property
    def workspace_bytes(self):
        """Scratch of a call on one thread, at most."""
        return self._parameters[0].workspace(self._shape, self._dtype.itemsize, self._blocking)

    @property
    def weight_bytes(self):
        """Memory of the prepared weights."""
        return self._parameters[1].nbytes

    def explain(self):
        """The Explanation of this plan: what every algorithm would cost with prepared weights."""
        row = self._parameters[0]
        blocking = self._blocking if row.takes_blocking else None
        return explain(self._shape, self._dtype, row.name, self._strict, True, blocking)

    def __repr__(self):
        s = self._shape
        return f"<Plan {s.input_shape} * {s.weight_shape} -> {s.output_shape} {s.layout} by {self.algorithm}>"

    def __reduce__(self):
        raise TypeError("a plan holds weights packed for this machine and cannot be pickled; make it anew there")


def plan_conv2d(input_shape, weight, bias=None, *, activation=None, stride=1, padding=0, dilation=1, groups=1,
                layout="NCHW", algorithm="auto", strict=False, blocking=None, num_threads=None):  # fmt: skip
    """Prepares a conv2d for many calls: plan(x) then costs the convolution alone.

    input_shape is x's, N included; the other parameters and the errors are conv2d's. num_threads limits the
    preparation; each call decides its own."""
    weight = as_array(weight, "weight")
    shape = conv_shape(to_shape(input_shape, "input_shape"), weight.shape, stride, padding, dilation, groups, layout)
    bias = check_bias(bias, weight, shape.K)
    relu = check_activation(activation)
    check_blocking(blocking)
    row = choose(shape, weight.itemsize, algorithm, strict, True, blocking)
    return Plan(shape, row, weight, bias, relu, blocking, strict, num_threads)
