"""The shapes that convolution tests run: one small case per thing that can go wrong. x and weight are given in
NCHW order; the regression shapes are those of issue threads, scaled down, named after the issue."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from support import whole

from fastconv import reference
from fastconv.shapes import conv_shape


class Case(NamedTuple):
    name: str
    x: tuple
    weight: tuple
    parameters: Mapping = MappingProxyType({})


CASES = [
    Case("1x1", (2, 19, 7, 7), (33, 19, 1, 1)),
    Case("1x1-one-filter", (2, 21, 9, 7), (1, 21, 1, 1)),
    Case("1x1-few-filters", (2, 21, 9, 7), (3, 21, 1, 1)),
    Case("1x1-few-filters-groups", (2, 12, 7, 5), (4, 6, 1, 1), {"groups": 2}),
    Case("1x1-few-filters-large", (1, 37, 130, 121), (5, 37, 1, 1)),
    Case("1x1-transposed-parts", (1, 24, 7, 7), (128, 24, 1, 1)),
    Case("1x1-transposed-blocks", (1, 1030, 9, 9), (40, 1030, 1, 1)),
    Case("1x1-transposed-parts-groups", (2, 24, 5, 5), (132, 12, 1, 1), {"groups": 2}),
    Case("1x1-wide", (1, 16, 20, 15), (24, 16, 1, 1)),
    Case("1x1-strided", (1, 24, 9, 10), (17, 24, 1, 1), {"stride": 2}),
    Case("1x1-padded", (1, 3, 4, 4), (5, 3, 1, 1), {"padding": 1}),
    # As many results as pixels, which are not those: found by test_conv1d of test_fuzz.py.
    Case("1x1-strided-padded-row", (1, 16, 1, 2), (5, 16, 1, 1), {"stride": 2, "padding": ((0, 0), (0, 1))}),
    Case("1x1-strided-padded", (2, 3, 2, 2), (5, 3, 1, 1), {"stride": 2, "padding": ((0, 1), (1, 1))}),
    Case("3x3-valid", (2, 5, 9, 11), (7, 5, 3, 3), {"padding": "valid"}),
    Case("3x3-same", (2, 5, 9, 11), (7, 5, 3, 3), {"padding": "same"}),
    Case("2x4-same", (1, 3, 8, 7), (5, 3, 2, 4), {"padding": "same"}),
    Case("3x3-padded", (1, 16, 14, 14), (32, 16, 3, 3), {"padding": 1}),
    Case("3x3-strided", (2, 3, 13, 12), (8, 3, 3, 3), {"stride": (2, 1), "padding": 1}),
    Case("5x5", (1, 6, 12, 12), (16, 6, 5, 5), {"padding": (2, 2)}),
    Case("11x11-by-4", (1, 3, 35, 35), (16, 3, 11, 11), {"stride": 4, "padding": 2}),
    Case("7x1", (1, 4, 15, 6), (5, 4, 7, 1), {"padding": (3, 0)}),
    Case("1x7", (1, 4, 6, 35), (5, 4, 1, 7), {"padding": (0, 3), "stride": (1, 3)}),
    Case("asymmetric", (2, 3, 8, 6), (4, 3, 3, 2), {"padding": ((0, 2), (3, 1)), "stride": (2, 1)}),
    Case("padding-beyond-kernel", (1, 2, 3, 3), (3, 2, 3, 3), {"padding": 5}),
    Case("dilated", (1, 4, 15, 14), (6, 4, 3, 3), {"dilation": (2, 3), "padding": 2}),
    Case("dilated-strided", (1, 4, 15, 14), (6, 4, 3, 2), {"dilation": 2, "stride": 2, "padding": 1}),
    Case("same-dilated", (1, 2, 9, 9), (3, 2, 3, 4), {"dilation": (2, 1), "padding": "same"}),
    Case("groups", (2, 6, 7, 8), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    Case("groups-wide", (1, 32, 6, 6), (70, 16, 3, 3), {"groups": 2, "padding": 1}),
    Case("depthwise", (2, 20, 9, 9), (20, 1, 3, 3), {"groups": 20, "padding": 1}),
    Case("depthwise-times-2", (1, 5, 9, 9), (10, 1, 5, 5), {"groups": 5, "padding": 2, "stride": 2}),
    Case("depthwise-everything", (2, 33, 9, 10), (33, 1, 3, 3), {"groups": 33, "stride": (1, 2), "dilation": (2, 1)}),
    Case("depthwise-strided", (2, 9, 15, 35), (9, 1, 3, 3), {"groups": 9, "stride": 2, "padding": 1}),
    Case("depthwise-5x5-strided", (2, 37, 11, 8), (37, 1, 5, 5), {"groups": 37, "stride": 2, "padding": 2}),
    Case("depthwise-5x5-inner", (2, 37, 19, 11), (37, 1, 5, 5), {"groups": 37, "padding": 2}),
    Case("depthwise-5x5-inner-strided", (1, 37, 19, 15), (37, 1, 5, 5), {"groups": 37, "padding": 2, "stride": 2}),
    Case("depthwise-inner-strided", (1, 37, 19, 11), (37, 1, 3, 3), {"groups": 37, "padding": 1, "stride": 2}),
    Case("depthwise-5x5-plain", (1, 37, 9, 7), (37, 1, 5, 5), {"groups": 37, "padding": (1, 2)}),
    Case("depthwise-5x5", (1, 5, 13, 40), (5, 1, 5, 5), {"groups": 5, "padding": 2, "dilation": (1, 2)}),
    Case("depthwise-blocks-of-rows", (1, 2, 90, 100), (2, 1, 3, 3), {"groups": 2, "padding": ((1, 0), (3, 2))}),
    Case("depthwise-tiny", (1, 3, 1, 2), (3, 1, 3, 3), {"groups": 3, "padding": 2, "stride": (1, 3)}),
    Case("depthwise-padding-only", (1, 2, 2, 2), (2, 1, 1, 1), {"groups": 2, "padding": 4, "stride": 3}),
    Case("rows", (2, 3, 9, 31), (20, 3, 3, 3), {"padding": 1}),
    Case("rows-7x7-by-2", (1, 3, 40, 62), (33, 3, 7, 7), {"padding": 3, "stride": 2}),
    Case("rows-by-3", (1, 5, 11, 95), (7, 5, 2, 5), {"padding": ((3, 0), (1, 2)), "stride": (1, 3)}),
    Case("rows-in-groups", (2, 6, 8, 24), (8, 3, 3, 3), {"groups": 2, "padding": 2, "dilation": 2}),
    Case("one-channel", (2, 1, 10, 9), (8, 1, 3, 3), {"padding": 1}),
    Case("one-filter", (2, 7, 10, 9), (1, 7, 3, 3), {"padding": 1}),
    # Dot products along the channels: taps in runs and one by one, images that end before the filter does.
    Case("few-filters-wide", (1, 70, 9, 40), (2, 70, 3, 3), {"padding": 1}),
    Case("few-filters-groups", (2, 46, 8, 15), (8, 23, 3, 3), {"groups": 2, "padding": ((0, 1), (2, 0))}),
    Case("few-filters-dilated", (1, 33, 11, 14), (3, 33, 3, 4), {"dilation": (2, 3), "padding": (2, 4)}),
    Case("few-filters-strided", (1, 37, 13, 30), (7, 37, 5, 3), {"stride": (2, 3), "padding": (3, 1)}),
    Case("few-filters-mostly-padding", (1, 40, 2, 3), (3, 40, 3, 5), {"padding": 4}),
    Case("one-of-each", (1, 1, 12, 17), (1, 1, 3, 5)),
    Case("no-channels", (2, 0, 5, 5), (3, 0, 3, 3)),
    Case("no-channels-groups", (1, 0, 5, 5), (4, 0, 3, 3), {"groups": 2}),
    Case("no-images", (0, 3, 5, 5), (4, 3, 3, 3)),
    Case("no-filters", (2, 3, 5, 5), (0, 3, 3, 3)),
    Case("no-rows-padded", (1, 2, 0, 3), (4, 2, 3, 3), {"padding": 2}),
    Case("no-columns-padded", (1, 64, 3, 0), (4, 32, 1, 1), {"groups": 2, "padding": 1}),
    Case("one-row", (1, 3, 1, 20), (5, 3, 1, 3), {"padding": (0, 1)}),
    Case("one-column", (1, 3, 20, 1), (5, 3, 3, 1), {"padding": (1, 0)}),
    Case("tall", (1, 2, 200, 2), (3, 2, 3, 2)),
    Case("thin", (1, 2, 2, 200), (3, 2, 2, 3)),
    Case("one-output", (3, 4, 5, 6), (7, 4, 5, 6)),
    Case("stride-beyond-image", (2, 3, 5, 5), (4, 3, 2, 2), {"stride": 9}),
    Case("stride-leaves-a-rest", (1, 3, 8, 9), (4, 3, 3, 3), {"stride": 3}),
    Case("many-images", (17, 2, 4, 5), (3, 2, 3, 3), {"padding": 1}),
    Case("small-images", (29, 6, 4, 4), (20, 6, 5, 5), {"padding": 2}),
    Case("small-images-one-channel", (14, 1, 8, 8), (6, 1, 5, 5), {"padding": 2}),
    Case(
        "small-images-uneven",
        (15, 3, 9, 7),
        (5, 3, 3, 4),
        {"padding": ((0, 3), (4, 1)), "stride": (2, 3), "dilation": (2, 1)},
    ),
    Case("small-images-mostly-padding", (16, 2, 2, 3), (7, 2, 2, 2), {"padding": 4}),
    # Eight images of 4 x 3 tiles of F(4x4), the last of a row and column smaller, in at least four groups.
    Case("groups-of-tiles", (8, 70, 13, 9), (40, 70, 3, 3), {"padding": 1}),
    Case("9-pixels", (2, 16, 3, 3), (40, 16, 3, 3), {"padding": 1}),  # results transposed on the way out
    Case("49-pixels-groups", (2, 8, 7, 7), (64, 4, 3, 3), {"groups": 2, "padding": 1}),
    Case("9-pixels-many-filters", (1, 4, 3, 3), (1100, 4, 1, 1)),
    Case("k-beyond-a-block", (1, 128, 4, 5), (9, 128, 3, 3)),  # 1152 = 2 blocks of the sum
    Case("k-beyond-a-block-few-pixels", (1, 128, 3, 3), (64, 128, 3, 3), {"padding": 1}),
    Case("pixels-beyond-a-block", (1, 2, 50, 51), (3, 2, 3, 3), {"padding": 1}),
    Case("1x1-colliding-filters", (1, 512, 5, 9), (9, 512, 1, 1)),
    # A single result has no stride: of as many results as pixels it is padding.
    Case("1x1-padding-only", (1, 4, 1, 1), (8, 4, 1, 1), {"stride": 3, "padding": 1}),
    Case("1x1-padding-only-row", (2, 4, 1, 19), (8, 4, 1, 1), {"stride": (3, 1), "padding": ((1, 1), (0, 0))}),
    Case("1x1-padding-only-columns", (1, 5, 1, 4), (8, 5, 1, 1), {"stride": (1, 3), "padding": ((0, 0), (1, 1))}),
    # Regressions of the peers.
    Case("pytorch#195394", (5, 8, 1, 1), (1, 8, 125, 1), {"stride": (2, 1), "padding": (63, 0)}),
    Case("onednn#122", (1, 1, 31, 60), (8, 1, 21, 11), {"stride": (2, 1), "padding": (10, 5)}),
    Case("onednn#323", (1, 8, 39, 39), (3, 8, 11, 11), {"stride": 4}),
    Case("pytorch#169688", (1, 2, 5, 3), (4, 2, 3, 3), {"stride": (1, 2)}),
    Case("pytorch#39824", (1, 1, 40, 40), (1, 1, 51, 51), {"padding": 25}),
    Case("pytorch#35937", (1, 64, 4, 4), (64, 64, 3, 3), {"padding": 1}),
    Case("pytorch-pr#48885", (1, 128, 14, 14), (256, 128, 1, 1), {"stride": 2}),
    Case("pytorch#183815", (2, 4, 28, 28), (6, 4, 7, 7), {"dilation": 2}),
    Case("pytorch#36155", (1, 32, 12, 12), (64, 4, 7, 7), {"groups": 8, "stride": (1, 2), "padding": (1, 3)}),
    Case("pytorch#89104", (1, 32, 40, 41), (1, 32, 1, 1)),
    Case("pytorch#21462", (1, 2, 1, 1500), (2, 2, 1, 1024)),
    Case("fft-conv-pytorch#25", (1, 4, 33, 33), (4, 1, 31, 31), {"groups": 4}),
    Case("mlx-pr#4242", (1, 336, 5, 5), (24, 336, 3, 3), {"padding": 1}),
    Case("pytorch-nosplit", (1, 2, 20, 200), (2, 2, 8, 8)),
]
# benchdnn's shapes_regression_small_spatial: the image is smaller than the kernel, outputs come from padding only.
SMALL = [
    Case(f"{axis}{size}-kernel{kernel}-padding{pad}", *shapes, {"padding": padding})
    for size in range(1, 6)
    for kernel in (1, 3, 5)
    for pad in range(5)
    if size + 2 * pad >= kernel
    for axis, shapes, padding in (
        ("H", ((1, 3, size, 4), (5, 3, kernel, 1)), (pad, 0)),
        ("W", ((1, 3, 4, size), (5, 3, 1, kernel)), (0, pad)),
    )
]


@lru_cache(maxsize=4 * len(CASES))
def whole_numbers(index, bias=True, activation=None):
    """(x, weight, bias, result) of CASES[index], int64, NCHW."""
    case = CASES[index]
    x, weight = whole(case.x, seed=1), whole(case.weight, seed=2)
    bias = whole(case.weight[:1], seed=3, limit=9) if bias else None
    return x, weight, bias, reference.conv2d(x, weight, bias, activation=activation, **case.parameters)


def to_layout(array, layout):
    """A contiguous copy of an NCHW (or KCRS) array in that layout."""
    return np.ascontiguousarray(array if layout == "NCHW" else np.moveaxis(array, 1, 3))


def shape_of(case, layout="NCHW"):
    """The ConvShape of a case."""
    shapes = (shape if layout == "NCHW" else (shape[0], *shape[2:], shape[1]) for shape in (case.x, case.weight))
    return conv_shape(*shapes, **case.parameters, layout=layout)
