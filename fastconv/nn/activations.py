"""Element-wise layers, and Softmax."""

import math

from fastconv._loops import softmax
from fastconv.nn.layer import Layer


class ReLU(Layer):
    """max(x, 0); keeps NaN. Behind a Conv2d it runs inside the convolution."""

    def forward(self, to, x):
        return to.pointwise(self, "relu", x)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, to, x):
        return to.pointwise(self, "sigmoid", x)


class Softmax(Layer):
    """exp(x) over its sum along the features. Training takes the loss before it, as it does before a last Sigmoid."""

    def output_shape(self, shape):
        if len(shape) != 1:
            raise ValueError(f"it takes features, got shape {shape}; a Flatten before it is missing")
        return shape

    def forward(self, to, x):
        sizes = to.images, math.prod(x.shape), to.itemsize
        y = to.like(x)
        to.step(softmax.softmax(*sizes), x, None, None, y)

        def backward(grad):
            dx = to.like(x)
            to.step(softmax.softmax_grad(*sizes), grad, y, None, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)
