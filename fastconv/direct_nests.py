"""The nests of the "direct" row, and which of them computes a shape: the cheapest of those that take it. Asked by
fastconv/algorithms.py; to add one, write it in fastconv/_loops and add a row here."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from fastconv._loops import depthwise, depthwise_in_place, direct, direct_channels, direct_images, direct_rows
from fastconv._loops.kernels import active_isa, tallest_tile, tile_sizes
from fastconv.costs import TRANSPOSED_GBYTES, product_seconds, ragged
from fastconv.shapes import ConvShape

# Copies of channels-last rows, and the share of a tile's rows below which it waits for weights, or for its own results
# (512 -> 512 at 7 pixels, half a tile: 100 of 140 GF/s by AVX-512; Emerald Rapids, 2026-11). Fitted with "im2col" to
# the layers of measured.txt, resnet50.txt and mobilenet_v2.txt on Zen 3, 2026-11: of 50 in NHWC, 4 miss the faster of
# the two by more than 5 %; and of 100 drawn layers, auto misses the best of all algorithms by more than 10 % in 5.
COPIED_GBYTES, FULL_TILE = 12.0, 0.82
# Along channels-first rows: up to so many channels (a guess), if they fill so much of their vectors (55 pixels, 0.86 of
# them: 96 GF/s along the rows, 104 across; AVX-512 on Zen 4, 2026-11).
FEW_CHANNELS, FULL_ROWS = 16, 0.87
# Along the channels: what summing the lanes of a result takes (1 to 4 filters of 64 channels, 1x1, AVX2 on Zen 3,
# 2026-11), and filters at once, which share each vector of pixels.
LANES_NS, DOTS = 3.0, 4
# Depthwise, share of the nominal speed: every FMA loads its pixel or its weight, and by a list of taps it waits for the
# addresses as well. Fitted to 3x3 to 9x9 at 14 to 112 pixels, AVX2 on Zen 3, 2026-11.
DEPTHWISE_SPEED, DEPTHWISE_LISTS_SPEED = 0.4, 0.3


def _filled(columns):
    """The share of the lanes of float32 vectors that so many columns fill."""
    lanes = tile_sizes(4)[2]
    return columns / (math.ceil(columns / lanes) * lanes)


def _takes_rows(shape):
    """Channels-first arrays with few channels, which make little to copy, and rows that fill vectors."""
    few = shape.C // shape.groups <= FEW_CHANNELS and not shape.depthwise
    return shape.layout == "NCHW" and few and _filled(shape.Q) >= FULL_ROWS


def _takes_if_dense(module):
    """What the module says of shapes that are not depthwise."""
    return lambda shape: not shape.depthwise and module.takes(shape.packed)


def _depthwise_cost(shape, itemsize):
    """Vectors run over the groups, or along the rows."""
    listed = shape.layout == "NHWC" and not depthwise_in_place.takes(shape.packed)
    return product_seconds(shape, itemsize) / (DEPTHWISE_LISTS_SPEED if listed else DEPTHWISE_SPEED)


def _rows_cost(shape, itemsize):
    """Tiles of neighbouring pixels by filters."""
    copied = direct_rows.copied_bytes(shape.packed, itemsize)
    return product_seconds(shape, itemsize, 4) / _filled(shape.Q) + copied / (COPIED_GBYTES * 1e9)


def _tile_seconds(shape, itemsize, rows):
    """The product by tiles of which each has its share of so many rows."""
    most = tallest_tile(itemsize, shape.K // shape.groups)
    short = max(1.0, FULL_TILE * most / (rows / math.ceil(rows / most)))
    return product_seconds(shape, itemsize) * ragged(shape, itemsize) * short


def _images_cost(shape, itemsize):
    """Tiles across images, which leave out the padding."""
    return _tile_seconds(shape, itemsize, shape.N) * direct_images.share_inside(shape.packed)


def _pixels_cost(shape, itemsize):
    """Tiles of neighbouring pixels."""
    copied = direct.copied_bytes(shape.packed, itemsize)
    flat = shape.R == shape.S == 1 and shape.stride == (1, 1) and not copied
    product = _tile_seconds(shape, itemsize, shape.P * shape.Q if flat else shape.Q)
    if shape.layout == "NHWC":
        return product + copied / (COPIED_GBYTES * 1e9)
    return product + (copied + math.prod(shape.output_shape) * itemsize) / (TRANSPOSED_GBYTES * 1e9)


def _channels_cost(shape, itemsize):
    """Dot products along the channels, whose last vectors are partly empty, and whose lanes are summed."""
    channels, lanes = shape.C // shape.groups, tile_sizes(itemsize)[2]
    run = channels * shape.S if shape.groups == 1 and shape.dilation[1] == 1 else channels
    filled = run / (math.ceil(run / lanes) * lanes)
    filters = shape.K // shape.groups
    at_once = filters / math.ceil(filters / DOTS)
    summing = math.prod(shape.output_shape) * LANES_NS * 1e-9
    return product_seconds(shape, itemsize) * (1 + 1 / at_once) / filled + summing


@dataclass(frozen=True)
class DirectNest:
    """One row: the module of fastconv/_loops, whether it computes a shape, and its seconds on the nominal core."""

    module: object
    takes: Callable[[ConvShape], bool]
    cost: Callable[[ConvShape, int], float]


DIRECT_NESTS = (
    DirectNest(depthwise, lambda shape: shape.depthwise, _depthwise_cost),
    DirectNest(direct_rows, _takes_rows, _rows_cost),
    DirectNest(direct, lambda shape: not (shape.depthwise or _takes_rows(shape)), _pixels_cost),
    DirectNest(direct_images, _takes_if_dense(direct_images), _images_cost),
    DirectNest(direct_channels, _takes_if_dense(direct_channels), _channels_cost),
)


@lru_cache(maxsize=1024)
def _cheapest(shape, _isa):
    able = [nest for nest in DIRECT_NESTS if nest.takes(shape)]
    return min(able, key=lambda nest: nest.cost(shape, 4))


def direct_nest(shape):
    """The module that computes a shape."""
    return _cheapest(shape, active_isa()).module


def direct_cost(shape, itemsize):
    """Its seconds on the nominal core."""
    return _cheapest(shape, active_isa()).cost(shape, itemsize)
