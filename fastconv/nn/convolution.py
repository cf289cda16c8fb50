"""The convolution layer."""

from fastconv._loops import input_grad
from fastconv.algorithms import ALGORITHMS, NAMES, choose, row_cost
from fastconv.arrays import empty
from fastconv.checks import to_choice, to_count, to_flag
from fastconv.costs import plain_weight_bytes
from fastconv.nn.activations import ReLU
from fastconv.nn.layer import Layer, Parameter
from fastconv.nn.normalisation import BatchNorm2d
from fastconv.nn.parameters import uniform
from fastconv.shapes import conv_shape, input_grad_parts, to_counts, to_kept_padding

# A network holds the prepared weights of all its convolutions. One's take at most as many times the weights as F(4x4,
# 3x3) makes of them, 36 for 9, or SMALL_ENOUGH bytes: the spectra of AlexNet's 5x5 layer are 14 MB, and make it 2.5
# times as fast.
MOST_GROWTH = 4.1
SMALL_ENOUGH = 16 << 20


def cheapest(shape, itemsize):
    """The row that "auto" chooses, of those whose prepared weights do not outgrow the weights too much, if any."""
    most = max(SMALL_ENOUGH, MOST_GROWTH * plain_weight_bytes(shape, itemsize))
    row = choose(shape, itemsize, prepared=True)
    if row.weight_bytes(shape, itemsize, None) <= most:
        return row
    small = [
        row
        for row in ALGORITHMS
        if not row.refuse(shape) and row.nest and row.weight_bytes(shape, itemsize, None) <= most
    ]
    return min(small, key=lambda row: row_cost(row, shape, itemsize, True), default=row)


class Conv2d(Layer):
    """fastconv.conv2d with weight (K, C/groups, R, S) and bias (K,); parameters and errors are conv2d's. algorithm:
    a name, or "auto", for the forward pass. Unlike conv2d, a network multiplies the zeros of the padding by an Inf or
    NaN among its filters (docs/accuracy.md)."""

    weight, bias = Parameter(), Parameter()

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 algorithm="auto"):  # fmt: skip
        super().__init__(
            in_channels=to_count(in_channels, "in_channels"), out_channels=to_count(out_channels, "out_channels"),
            kernel_size=to_counts(kernel_size, "kernel_size", 1), stride=to_counts(stride, "stride", 1),
            padding=to_kept_padding(padding, to_counts(stride, "stride", 1)),
            dilation=to_counts(dilation, "dilation", 1), groups=to_count(groups, "groups"),
            bias=to_flag(bias, "bias"), algorithm=to_choice(algorithm, "algorithm", NAMES),
        )  # fmt: skip
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if algorithm == "naive":
            raise ValueError("algorithm 'naive' is the definition in plain loops, which a network does not run")

    def parameter_shapes(self):
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        return {"weight": weight} | ({"bias": weight[:1]} if self.arguments["bias"] else {})

    def initialise(self, name, view, rng):
        if name == "weight":
            uniform(view, view[0].size, rng)

    def conv_shape(self, shape, images=1):
        """The ConvShape of so many images of that shape, channels-last."""
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"it takes images of {self.in_channels} channels, got shape {shape}")
        k, c, r, s = self.parameter_shapes()["weight"]
        return conv_shape((images, *shape[1:], shape[0]), (k, r, s, c), self.stride, self.padding, self.dilation,
                          self.groups, "NHWC")  # fmt: skip

    def output_shape(self, shape):
        made = self.conv_shape(shape)
        return (made.K, made.P, made.Q)

    def row(self, shape, itemsize):
        """The row of the table of algorithms that runs a ConvShape of this layer."""
        if self.algorithm != "auto":
            return choose(shape, itemsize, self.algorithm, prepared=True)
        return cheapest(shape, itemsize)

    def cost(self, shape, images, itemsize):
        made = self.conv_shape(shape, images)
        lowered = made.N * made.P * made.Q * made.C * made.R * made.S
        return made.flops, lowered, self.row(self.conv_shape(shape), itemsize).name

    def takes_in(self, layer):
        return isinstance(layer, ReLU)

    def prepare(self, store, nest, shape, norm, out, team):
        """Packs the weights as the nest takes them, with the BatchNorm2d behind the layer in them."""
        weight = store.stored(self, "weight")
        if norm is not None:
            weight = weight * (store.view(norm, "weight") * norm.state_of(store)[1])[:, None, None, None]
        nest.prepare(shape.packed, weight, out, None, team)

    def fold_bias(self, store, norm, out):
        """The bias of the convolution and the BatchNorm2d behind it in one."""
        mean, inverse = norm.state_of(store)
        bias = store.view(self, "bias") if self.arguments["bias"] else 0
        out.view(mean.dtype)[...] = (bias - mean) * inverse * store.view(norm, "weight") + store.view(norm, "bias")

    def input_gradient(self, to, shape, x, grad):
        """The gradient of x: for each part of it, a convolution of grad with turned filters."""
        dx = to.value(x.shape)
        parts, covered = input_grad_parts(shape)
        if not covered:
            to.zero(dx)
        for part in parts:
            self.part_of_input_gradient(to, shape, part, grad, dx)
        return dx

    def part_of_input_gradient(self, to, shape, part, grad, dx):
        """The pixels of dx that one part gives."""
        row, size = cheapest(part.shape, to.itemsize), to.itemsize
        turning = input_grad.turning(shape.packed, size, part.taps)
        turned, nest = empty(part.shape.weight_shape, to.store.parameters.dtype), row.nest(part.shape)

        def prepare(out, team):
            turning.run(None, to.store.stored(self, "weight"), None, turned, team)
            nest.prepare(part.shape.packed, turned, out, None, team)

        weights = to.prepared(row.weight_bytes(part.shape, size, None), (self,), prepare)
        rows, columns = part.source
        source = grad, rows.start * grad.strides[1] + columns.start * grad.strides[2]
        whole = part.shape.output_shape == (to.images, shape.H, shape.W, shape.C)
        y = dx if whole else to.value((part.shape.K, part.shape.P, part.shape.Q))
        convolve = row.compile(part.shape, size, grad.strides, False, None)
        to.step(convolve, source, weights, None, y, part.shape.work)
        if not whole:
            target = tuple((axis.start, axis.step) for axis in part.target)
            to.step(input_grad.spreading(part.shape.packed, size, (shape.H, shape.W), target), y, None, None, dx)

    def forward_before(self, following, to, x):
        """Takes in a BatchNorm2d, folded into the filters for evaluation, and a ReLU."""
        norm = following.pop(0) if following and not to.training and isinstance(following[0], BatchNorm2d) else None
        relu = following.pop(0) if following and isinstance(following[0], ReLU) else None
        return self.forward(to, x, norm, relu is not None)

    def forward(self, to, x, norm=None, relu=False):
        shape = self.conv_shape(x.shape, to.images)
        row, y = self.row(shape, to.itemsize), to.value(self.output_shape(x.shape))
        nest = row.nest(shape)
        sources = (self,) if norm is None else (self, norm)
        weights = to.prepared(row.weight_bytes(shape, to.itemsize, None), sources,
                              lambda out, team: self.prepare(to.store, nest, shape, norm, out, team))  # fmt: skip
        bias = to.parameter(self, "bias")
        if norm is not None:
            bias = to.prepared(shape.K * to.itemsize, sources, lambda out, _: self.fold_bias(to.store, norm, out))
        to.step(row.compile(shape, to.itemsize, x.strides, relu, None), x, weights, bias, y, shape.work)

        def backward(grad):
            if relu:
                grad = to.pointwise_gradient("relu", grad, y)
            if x.differentiable:
                to.give(x, self.input_gradient(to, shape, x, grad))
            to.weight_gradient(shape, x, grad, to.gradient(self, "weight"))
            if bias:
                to.sum_rows(grad, shape.N * shape.P * shape.Q, to.gradient(self, "bias"))

        return to.made(self, y, (x,), backward)
