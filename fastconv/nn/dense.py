"""Fully connected layers, and what leads to them."""

import math

from fastconv._loops import linear, pointwise
from fastconv.checks import to_count, to_flag, to_real
from fastconv.nn.layer import Layer, Parameter
from fastconv.nn.parameters import uniform


class Linear(Layer):
    """x @ weight.T + bias: weight (out, in), bias (out,); a unit of n inputs has n + 1 parameters."""

    weight, bias = Parameter(), Parameter()
    reads_much = True

    def __init__(self, in_features, out_features, bias=True):
        super().__init__(
            in_features=to_count(in_features, "in_features"), out_features=to_count(out_features, "out_features"),
            bias=to_flag(bias, "bias"),
        )  # fmt: skip

    def parameter_shapes(self):
        weight = (self.out_features, self.in_features)
        return {"weight": weight} | ({"bias": weight[:1]} if self.arguments["bias"] else {})

    def initialise(self, name, view, rng):
        if name == "weight":
            uniform(view, self.in_features, rng)

    def output_shape(self, shape):
        if shape != (self.in_features,):
            flatten = "; a Flatten before it is missing" if len(shape) == 3 else ""
            raise ValueError(f"it takes {self.in_features} features, got shape {shape}{flatten}")
        return (self.out_features,)

    def cost(self, shape, images, itemsize):
        return 2 * images * self.in_features * self.out_features, 0, "product"

    def forward(self, to, x):
        y = to.value((self.out_features,))
        sizes = to.images, self.in_features, self.out_features, to.itemsize
        weight, bias = to.parameter(self, "weight"), to.parameter(self, "bias")
        work = 2 * math.prod(sizes[:3])
        to.step(linear.linear(*sizes), x, weight, bias, y, work)

        def backward(grad):
            if x.differentiable:
                dx = to.value(x.shape)
                to.step(linear.linear_input_grad(*sizes), grad, weight, None, dx, work)
                to.give(x, dx)
            to.linear_weight_gradient(sizes, x, grad, to.gradient(self, "weight"), work)
            if bias:
                to.sum_rows(grad, to.images, to.gradient(self, "bias"))

        return to.made(self, y, (x,), backward)


class Flatten(Layer):
    """(C, H, W) to C*H*W features, in torch's order."""

    def output_shape(self, shape):
        return (math.prod(shape),)

    def forward(self, to, x):
        flat = to.channels_first(x)

        def backward(grad):
            to.give(x, to.channels_last(grad, x.shape))

        return to.made(self, flat, (x,), backward)


class Dropout(Layer):
    """In training, zeroes a share p of the elements and scales the others by 1 / (1 - p). Which ones is a function of
    the seed, the step, the image and the element, so of nothing that threads could change."""

    hands_on = True

    def __init__(self, p=0.5):
        super().__init__(p=to_real(p, "p"))
        if not 0 <= self.p < 1:
            raise ValueError(f"p must be at least 0 and below 1, got {p}")

    def forward(self, to, x):
        if not to.training or self.p == 0:
            return x
        nest = pointwise.dropout(to.images, math.prod(x.shape), self.p, to.itemsize)
        numbers = to.dropout_numbers()
        x = to.contiguous(x)
        y = to.like(x)
        to.step(nest, x, numbers, None, y)

        def backward(grad):
            dx = to.like(x)
            to.step(nest, grad, numbers, None, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)
