"""Layers that normalise: over the batch (BatchNorm2d), over neighbouring channels (LocalResponseNorm)."""

import math

import numpy as np

from fastconv._loops import batch_norm, response_norm
from fastconv.checks import to_count, to_real
from fastconv.nn.layer import Layer, Parameter


class BatchNorm2d(Layer):
    """(x - mean) / sqrt(variance + eps) * weight + bias, channel by channel: with the batch's mean and variance in
    training, with their running averages in evaluation, where it is folded into the convolution before it."""

    weight, bias, running_mean, running_var = Parameter(), Parameter(), Parameter(), Parameter()

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__(num_features=to_count(num_features, "num_features"), eps=to_real(eps, "eps"),
                         momentum=to_real(momentum, "momentum"))  # fmt: skip
        if not 0 <= self.eps < math.inf:
            raise ValueError(f"eps must be a finite number of at least 0, got {eps}")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum must be between 0 and 1, got {momentum}")

    def parameter_shapes(self):
        return {"weight": (self.num_features,), "bias": (self.num_features,)}

    def statistic_shapes(self):
        return {"running_mean": (self.num_features,), "running_var": (self.num_features,)}

    def initialise(self, name, view, rng):
        view[...] = name in ("weight", "running_var")

    def output_shape(self, shape):
        if len(shape) != 3 or shape[0] != self.num_features:
            raise ValueError(f"it takes images of {self.num_features} channels, got shape {shape}")
        return shape

    def forward(self, to, x):
        x = to.contiguous(x)
        rows, C, size = to.images * x.shape[1] * x.shape[2], self.num_features, to.itemsize
        y = to.like(x)
        normalise = batch_norm.normalise(rows, C, size)
        affine = to.prepared(2 * C * size, (self,), lambda out, _: self.fill_affine(to.store, out))
        if not to.training:
            state = to.prepared(2 * C * size, (self,), lambda out, _: self.fill_state(to.store, out))
            to.step(normalise, x, affine, state, y)
            return y
        state = to.batch_statistics(self, rows, 4 * C)
        to.step(batch_norm.statistics(rows, C, size, self.eps), x, None, None, state)
        to.step(normalise, x, affine, state, y)

        def backward(grad):
            to.step(batch_norm.grad_sums(rows, C, size), x, grad, None, state)
            to.copy((state, 2 * C * size), to.gradient(self, "weight"), C)
            to.copy((state, 3 * C * size), to.gradient(self, "bias"), C)
            dx = to.copy(grad)
            to.step(batch_norm.grad(rows, C, size), x, affine, state, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)

    def fill_affine(self, store, out):
        """weight and bias, one behind the other."""
        np.concatenate([store.view(self, "weight"), store.view(self, "bias")], out=out.view(store.parameters.dtype))

    def fill_state(self, store, out):
        """The running mean and 1 / sqrt(variance + eps), one behind the other."""
        mean, inverse = self.state_of(store)
        np.concatenate([mean, inverse], out=out.view(store.parameters.dtype))

    def state_of(self, store):
        """(mean, 1 / sqrt(variance + eps)) of evaluation."""
        return store.view(self, "running_mean"), 1 / np.sqrt(store.view(self, "running_var") + self.eps)

    def learn(self, store, state, rows):
        """Moves the running averages towards a batch's mean and 1 / sqrt(variance + eps), `state`, of so many rows."""
        mean, inverse = state[: self.num_features], state[self.num_features : 2 * self.num_features]
        variance = (inverse**-2.0 - self.eps) * (rows / max(1, rows - 1))
        for name, value in (("running_mean", mean), ("running_var", variance)):
            running = store.view(self, name)
            running += self.momentum * (value - running)


class LocalResponseNorm(Layer):
    """x / (k + alpha / size * the sum of squares of `size` neighbouring channels) ** beta, as torch has it."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__(size=to_count(size, "size", most=2**31 - 1), alpha=to_real(alpha, "alpha"),
                         beta=to_real(beta, "beta"), k=to_real(k, "k"))  # fmt: skip
        for name in ("alpha", "beta", "k"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")

    def output_shape(self, shape):
        if len(shape) != 3:
            raise ValueError(f"it takes images (C, H, W), got shape {shape}")
        return shape

    def forward(self, to, x):
        x = to.contiguous(x)
        form = (to.images * math.prod(x.shape[1:]), x.shape[0], self.size, self.alpha, self.beta, self.k, to.itemsize)
        y = to.like(x)
        to.step(response_norm.response_norm(*form), x, None, None, y)

        def backward(grad):
            dx = to.value(x.shape)
            to.step(response_norm.response_norm_grad(*form), x, grad, None, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)
