"""Shapes: the only place with output-size, padding and FLOP arithmetic and the checks of parameters.

The letters, used everywhere: N images, C channels in, K channels (filters) out, H x W input, R x S filter,
P x Q output; layouts "NCHW" (weights K C/groups R S) and "NHWC" (weights K R S C/groups). Python's integers
do not overflow; whatever reaches the nests has been checked to fit 63 bits."""

import struct
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from fastconv.checks import to_choice, to_count, to_int

LARGEST = 2**63 - 1
# Elements of an array, and pixels along an axis of padded x: so few that what nests make of them, with what they add
# to a row and to a pixel, stays within 63 bits. Both axes of padded x together are the business of those that copy it.
MOST_ELEMENTS, MOST_PIXELS = 2**56, 2**40
LAYOUTS = ("NCHW", "NHWC")
# A FLOP of a depthwise convolution, which loads its pixel or weight, takes the time of so many others (20 to 50 of 103
# GF/s; counted as one, 384 channels at 14 pixels had one thread: NCHW 47 us, on two 27. AVX2 on Zen 3, 2026-11).
DEPTHWISE_WORK = 4


def to_pair(value, name, pair="(h, w)"):
    """Two integers, of one or of a pair of them; `pair` says what they are."""
    if type(value) is int:
        return value, value
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"{name} must be an integer or a pair {pair}, got {value!r}")
    try:
        values = tuple(value)
    except TypeError:
        both = to_int(value, name)
        return both, both
    if len(values) != 2:
        raise ValueError(f"{name} must be an integer or a pair {pair}, got {len(values)} values: {value!r}")
    return to_int(values[0], name), to_int(values[1], name)


def to_counts(value, name, least):
    """to_pair, with both at least `least` and of 63 bits."""
    pair = to_pair(value, name)
    if pair[0] < least or pair[1] < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    if max(pair) > LARGEST:
        raise ValueError(f"{name} must be below 2**63, got {value!r}")
    return pair


def to_layout(layout):
    """The layout's name, checked."""
    return to_choice(layout, "layout", LAYOUTS)


def to_shape(shape, name, axes=4):
    """A tuple of so many sizes of at least 0."""
    try:
        sizes = tuple(shape)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of {axes} integers, got {shape!r}") from None
    sizes = tuple(to_int(size, name) for size in sizes)
    if len(sizes) != axes or min(sizes) < 0:
        raise ValueError(f"{name} must be {axes} sizes of at least 0, got {shape!r}")
    return sizes


def to_padding(padding, reach, stride):
    """((top, bottom), (left, right)) of every form padding has; reach is dilation * (kernel - 1), per axis."""
    if type(padding) is int:
        sides = ((padding, padding), (padding, padding))
    elif isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding != "same":
            raise ValueError(f"padding must be 'same', 'valid', an integer or pairs of them, got {padding!r}")
        if stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
        return tuple((total // 2, total - total // 2) for total in reach)
    else:
        form = "padding must be an integer, (h, w), ((top, bottom), (left, right)), 'same' or 'valid'"
        if isinstance(padding, bytes) or padding is None:
            raise TypeError(f"{form}, got {padding!r}")
        try:
            axes = tuple(padding)
        except TypeError:
            axes = (to_int(padding, "padding"),) * 2
        if len(axes) != 2:
            raise ValueError(f"{form}, got {padding!r}")
        sides = tuple(to_pair(axis, "padding") for axis in axes)
    if min(sides[0] + sides[1]) < 0:
        raise ValueError(f"padding must not be negative, got {padding!r}")
    return sides


def to_kept_padding(padding, stride=(1, 1)):
    """The padding in a form that can be kept and hashed, an integer, a name or sides, checked as far as that can be
    done without a kernel."""
    sides = to_padding(padding, (0, 0), stride)
    return padding if type(padding) is int or isinstance(padding, str) else sides


class ConvShape:
    """The geometry of one convolution, checked: every number the other modules need, and nothing of values.

    Immutable and hashable by identity; conv_shape keeps one per set of parameters."""

    __slots__ = ("C", "H", "K", "N", "P", "Q", "R", "S", "W", "depthwise", "dilation", "flops", "groups", "input_shape",
                 "layout", "output_shape", "packed", "padding", "stride", "weight_shape", "work")  # fmt: skip

    def __init__(self, input_shape, weight_shape, stride, padding, dilation, groups, layout):
        for name, shape in (("x", input_shape), ("weight", weight_shape)):
            if len(shape) != 4:
                raise ValueError(f"{name} must be 4-D, got shape {shape}")
        channels_last = layout == "NHWC"
        if channels_last:
            self.N, self.H, self.W, self.C = input_shape
            self.K, self.R, self.S, group_channels = weight_shape
        else:
            self.N, self.C, self.H, self.W = input_shape
            self.K, group_channels, self.R, self.S = weight_shape
        if self.C != group_channels * groups:
            raise ValueError(
                f"x has {self.C} channels (or input_shape has), but weight with groups={groups} in layout {layout} "
                f"takes {group_channels} * {groups}"
            )
        if self.K % groups:
            raise ValueError(f"weight has {self.K} filters, which groups={groups} does not divide")
        if self.R == 0 or self.S == 0:
            raise ValueError(f"weight has an empty kernel in layout {layout}, {self.R}x{self.S}")
        reach = tuple(d * (size - 1) for d, size in zip(dilation, (self.R, self.S), strict=True))
        # A dilation of one tap means nothing.
        self.dilation = tuple(d if size > 1 else 1 for d, size in zip(dilation, (self.R, self.S), strict=True))
        self.groups, self.layout = groups, layout
        self.padding = to_padding(padding, reach, stride)
        padded = tuple(
            self._padded_size(axis, size, sides, reached)
            for axis, size, sides, reached in zip("HW", (self.H, self.W), self.padding, reach, strict=True)
        )
        # A stride beyond the padded input is as good as one that just leaves it, and products of it fit 63 bits.
        self.stride = min(stride[0], padded[0]), min(stride[1], padded[1])
        self.P, self.Q = ((padded[i] - reach[i] - 1) // self.stride[i] + 1 for i in range(2))
        self.depthwise = groups > 1 and groups == self.C == self.K  # one channel and one filter a group
        self.input_shape, self.weight_shape = tuple(input_shape), tuple(weight_shape)
        pixels = (self.P, self.Q)
        self.output_shape = (self.N, *pixels, self.K) if channels_last else (self.N, self.K, *pixels)
        taps = group_channels * self.R * self.S
        self.flops = 2 * self.N * self.K * self.P * self.Q * taps
        self.work = self.flops * (DEPTHWISE_WORK if self.depthwise else 1)  # for threads.team_size
        for name, product, most in (
            ("x", self.N * self.C * self.H * self.W, MOST_ELEMENTS),
            ("weight", self.K * taps, MOST_ELEMENTS),
            ("the output", self.N * self.K * self.P * self.Q, MOST_ELEMENTS),
            ("the im2col matrix", self.N * self.P * self.Q * taps * groups, LARGEST // 8),  # which no nest makes
        ):
            if product > most:
                raise ValueError(
                    f"{name} would have {product} elements, more than can be addressed: input {self.input_shape}, "
                    f"kernel {self.weight_shape}, stride {stride}, padding {self.padding}, dilation {dilation}"
                )
        # Along an axis of one result a stride means nothing: nests see that of the other, which some ask to be equal.
        down, right = (step if results > 1 else 0 for step, results in zip(self.stride, pixels, strict=True))
        steps = down or right or 1, right or down or 1
        # fc_geometry of csrc/kernels.h: C and K are those of one group.
        self.packed = struct.pack(
            "17q", self.N, group_channels, self.H, self.W, self.K // groups, self.R, self.S, *pixels, groups,
            *steps, *self.dilation, self.padding[0][0], self.padding[1][0], channels_last,
        )  # fmt: skip

    @staticmethod
    def _padded_size(axis, size, sides, reach):
        padded = size + sum(sides)
        if padded > MOST_PIXELS or reach > MOST_PIXELS:
            raise ValueError(
                f"kernel, padding or dilation is too large along {axis}: the padded input has {padded} pixels"
            )
        if reach + 1 > padded:
            raise ValueError(
                f"weight or kernel_size: the kernel is larger than the padded input along {axis}: {reach + 1} > "
                f"{padded} (kernel reach with dilation, input {size} + padding {sides})"
            )
        return padded


@lru_cache(maxsize=1024)
def _conv_shape(input_shape, weight_shape, stride, padding, dilation, groups, layout):
    return ConvShape(input_shape, weight_shape, stride, padding, dilation, groups, layout)


def conv_shape(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """The ConvShape of these parameters in any form the public functions take, from a bounded cache.

    Raises TypeError for a wrong type, ValueError for a wrong value; the message names the argument."""
    if type(stride) is type(padding) is type(dilation) is type(groups) is int and type(layout) is str:
        return _shape_of_integers(input_shape, weight_shape, stride, padding, dilation, groups, layout)
    return _checked_shape(input_shape, weight_shape, stride, padding, dilation, groups, layout)


def _checked_shape(input_shape, weight_shape, stride, padding, dilation, groups, layout):
    if type(padding) is not int and not isinstance(padding, str):
        padding = to_kept_padding(padding)
    return _conv_shape(input_shape, weight_shape, to_counts(stride, "stride", 1), padding,
                       to_counts(dilation, "dilation", 1), to_count(groups, "groups"), to_layout(layout))  # fmt: skip


# What was right once need not be checked again, a fifth of a small call; for types that 1 == True cannot confuse.
_shape_of_integers = lru_cache(maxsize=1024)(_checked_shape)


def window_shape(input_shape, kernel_size, stride=1, padding=0, dilation=1, layout="NCHW"):
    """The ConvShape of one filter of that size over all channels: what im2col lowers for, and what pools."""
    kernel = to_counts(kernel_size, "kernel_size", 1)
    last = to_layout(layout) == "NHWC"
    channels = input_shape[3 if last else 1] if len(input_shape) == 4 else 0
    weight_shape = (1, *kernel, channels) if last else (1, channels, *kernel)
    return conv_shape(input_shape, weight_shape, stride, padding, dilation, 1, layout)


class Part(NamedTuple):
    """The pixels of x of one parity, whose gradient is a convolution of grad with stride 1: its shape; the filter's
    taps that meet them, turned around, as (first, step, count) of each axis; the (rows, columns) of grad that it reads,
    and of x that it gives, as slices."""

    shape: ConvShape
    taps: tuple
    source: tuple
    target: tuple


class _AxisPart(NamedTuple):
    taps: tuple
    source: slice
    target: slice
    padding: tuple
    dilation: int


def _axis_parts(size, outputs, kernel, stride, dilation, before):
    """The parts of one axis with `size` pixels of x and `outputs` of grad.

    Pixel h gets grad[p] * w[r] where p*stride = h + before - r*dilation: only taps of one class modulo `step` meet the
    pixels h = first, first + stride, ..., and from one such tap to the next p falls by `spread`."""
    common = gcd(stride, dilation)
    step, spread = stride // common, dilation // common
    for tap in range(min(kernel, step)):
        first = (tap * dilation - before) % stride
        pixels, taps = len(range(first, size, stride)), len(range(tap, kernel, step))
        reach = (taps - 1) * spread
        left = reach - (first + before - tap * dilation) // stride
        right = pixels + reach - outputs - left
        source = slice(max(0, -left), outputs - max(0, -right))  # negative padding leaves pixels out
        if pixels and source.start < source.stop:
            padding = max(0, left), max(0, right)
            yield _AxisPart((tap, step, taps), source, slice(first, size, stride), padding, spread)


@lru_cache(maxsize=1024)
def input_grad_parts(shape, size=None):
    """(parts, whether they cover x): the input gradient of the convolution as stride-1 convolutions of grad, one for
    stride 1 and up to stride_h * stride_w in general, and zero where there is none.

    size: (H, W) of x where it has more pixels, at the end, than the output needs (conv_transpose2d)."""
    size = size or (shape.H, shape.W)
    axes = (
        tuple(_axis_parts(size[i], outputs, kernel, shape.stride[i], shape.dilation[i], shape.padding[i][0]))
        for i, (outputs, kernel) in enumerate(((shape.P, shape.R), (shape.Q, shape.S)))
    )
    (rows, columns), parts = axes, []
    filters, channels = shape.K // shape.groups, shape.C
    for row in rows:
        for column in columns:
            pixels = [axis.source.stop - axis.source.start for axis in (row, column)]
            taps = row.taps[2], column.taps[2]
            if shape.layout == "NHWC":
                shapes = (shape.N, *pixels, shape.K), (channels, *taps, filters)
            else:
                shapes = (shape.N, shape.K, *pixels), (channels, filters, *taps)
            turned = conv_shape(*shapes, 1, (row.padding, column.padding), (row.dilation, column.dilation),
                                shape.groups, shape.layout)  # fmt: skip
            parts.append(Part(turned, (row.taps, column.taps), (row.source, column.source),
                              (row.target, column.target)))  # fmt: skip
    covered = sum(part.shape.P * part.shape.Q for part in parts)
    return tuple(parts), covered == size[0] * size[1]


def transposed_shape(input_shape, weight_shape, output_padding=0, stride=1, padding=0, dilation=1, groups=1,
                     layout="NCHW"):  # fmt: skip
    """(the ConvShape whose input gradient the transposed convolution is, (H, W) of its result).

    x is that convolution's output. output_padding adds pixels at the end of the result: those that padding took away
    first, then such as no pixel of x meets, which the ConvShape leaves out."""
    stride, dilation = to_counts(stride, "stride", 1), to_counts(dilation, "dilation", 1)
    more = to_counts(output_padding, "output_padding", 0)
    first = 2 if to_layout(layout) == "NCHW" else 1
    for name, shape in (("x", input_shape), ("weight", weight_shape)):
        if len(shape) != 4:
            raise ValueError(f"{name} must be 4-D, got shape {shape}")
    channels, taken = input_shape[1 if first == 2 else 3], weight_shape[0]
    if channels != taken:
        raise ValueError(f"x has {channels} channels, but weight {weight_shape} takes {taken} in layout {layout}")
    groups = to_count(groups, "groups")
    kernel, pixels = weight_shape[first : first + 2], input_shape[first : first + 2]
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    sides = to_padding(padding, reach, stride)
    size = tuple((pixels[i] - 1) * stride[i] + reach[i] + 1 - sum(sides[i]) for i in range(2))
    for i, axis in enumerate("HW"):
        if size[i] + more[i] > LARGEST:
            raise ValueError(f"kernel, stride or dilation is too large along {axis}: the output would have {size[i]} "
                             "pixels")  # fmt: skip
        if pixels[i] < 1 or size[i] < 0:
            raise ValueError(f"the output would have no pixels along {axis}: x has {pixels[i]}, the kernel "
                             f"{kernel[i]}, padding {sides[i]}")  # fmt: skip
        if more[i] >= max(stride[i], dilation[i]):
            raise ValueError(f"output_padding must be smaller than the stride or the dilation, got {output_padding!r} "
                             f"with stride {stride} and dilation {dilation}")  # fmt: skip
    outputs = weight_shape[1 if first == 2 else 3] * groups
    regained = tuple(min(more[i], sides[i][1]) for i in range(2))
    met = tuple(size[i] + regained[i] for i in range(2))
    sides = tuple((before, after - regained[i]) for i, (before, after) in enumerate(sides))
    larger = (input_shape[0], *met, outputs) if first == 1 else (input_shape[0], outputs, *met)
    shape = conv_shape(larger, tuple(weight_shape), stride, sides, dilation, groups, layout)
    return shape, tuple(size[i] + more[i] for i in range(2))
