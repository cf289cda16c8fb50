"""The shapes of the peers' past bugs, in full size, by "auto" and by "im2col" where that is quick: results at the
corners and at places drawn by a seed equal the definition's. (Scaled down, and by every algorithm: CASES of
conv_cases.py.)

Images of 2**31 elements are windows that overlap in memory, a pixel apart from row to row, so that every row differs
and none is where a 32-bit index would look; no test needs more than 300 MB. 3-D convolutions are left out: fastconv
has none, and pytorch#36155, #89104 and #169688 are here as images whose rows are the other two axes."""

import numpy as np
import pytest
from bounds import EXACT, bound
from conv_cases import Case, shape_of, to_layout
from support import LAYOUTS, whole
from threadpoolctl import threadpool_limits

import fastconv as fc
from fastconv.algorithms import ALGORITHMS, row_cost

QUICK = 0.3  # seconds on the nominal core, up to which "im2col" is run beside "auto"
PLACES = 60

SHAPES = [
    Case("onednn#5942", (100, 64, 1, 1), (1, 64, 125, 1), {"stride": (2, 1), "padding": (63, 0)}),
    Case("onednn#122", (10, 1, 81, 980), (32, 1, 21, 11), {"stride": (2, 1), "padding": (10, 5)}),
    Case("onednn#323", (2, 64, 227, 227), (3, 64, 11, 11), {"stride": 4}),
    Case("pytorch#14677", (1, 2, 416, 416), (16, 2, 3, 3)),
    Case("pytorch#55781", (64, 16, 16, 16), (32, 16, 1, 1)),
    Case("pytorch#169688", (2, 8, 32, 3), (4, 8, 3, 3), {"stride": (1, 2)}),
    Case("pytorch#39824", (1, 1, 2048, 2048), (1, 1, 51, 51), {"padding": 25}),
    Case("pytorch#35937", (1, 512, 4, 4), (512, 512, 3, 3), {"padding": 1}),
    Case("pytorch-pr#48885", (1, 1024, 14, 14), (2048, 1024, 1, 1), {"stride": 2}),
    Case("pytorch#183815", (8, 16, 112, 112), (32, 16, 7, 7), {"dilation": 2}),
    Case("pytorch#36155", (1, 32, 112, 112), (64, 4, 7, 7), {"groups": 8, "stride": 2, "padding": 3}),
    Case("pytorch#21462", (1, 16, 1, 64000), (16, 16, 1, 1024)),
    Case("fft-conv-pytorch#25-dense", (2, 4, 512, 512), (4, 4, 31, 31)),
    Case("fft-conv-pytorch#25-depthwise", (2, 4, 512, 512), (4, 1, 31, 31), {"groups": 4}),
    Case("pytorch#13716-dense", (1, 256, 56, 56), (256, 256, 3, 3), {"padding": 1}),
    Case("pytorch#13716-depthwise", (1, 256, 56, 56), (256, 1, 3, 3), {"groups": 256, "padding": 1}),
    Case("mlx-pr#4242-336", (1, 336, 64, 64), (336, 336, 3, 3), {"padding": 1}),
    Case("mlx-pr#4242-352", (1, 352, 64, 64), (352, 352, 3, 3), {"padding": 1}),
]
HUGE = [
    Case("pytorch-nosplit", (1, 2, 1024, 1048576), (2, 2, 8, 8), {"stride": (160, 1)}),
    Case("pytorch#89104", (1, 32, 512, 131072), (1, 32, 1, 1), {"stride": (30, 1)}),
]


def places(shape):
    """(n, k, p, q) of the corners and of others."""
    rng = np.random.default_rng(0)
    for end in (0, -1):
        yield tuple(range(size)[end] for size in shape)
    for _ in range(PLACES):
        yield tuple(int(rng.integers(size)) for size in shape)


def of_definition(x, weight, shape, place):
    """(the result at a place, the sum of its terms' absolute values), NCHW."""
    n, k, *at = place
    channels = x.shape[1] // shape.groups
    group = k // (shape.K // shape.groups)
    taps, pixels = [], []
    for i, (first, size) in enumerate(zip(at, x.shape[2:], strict=True)):
        start = first * shape.stride[i] - shape.padding[i][0]
        met = [(tap, start + tap * shape.dilation[i]) for tap in range(weight.shape[2 + i])]
        met = [(tap, pixel) for tap, pixel in met if 0 <= pixel < size]
        taps.append([tap for tap, _ in met])
        pixels.append([pixel for _, pixel in met])
    window = x[n, group * channels : (group + 1) * channels][:, pixels[0]][:, :, pixels[1]].astype(np.int64)
    filters = weight[k][:, taps[0]][:, :, taps[1]].astype(np.int64)
    return (window * filters).sum(), abs(window * filters).sum()


def assert_right_in_places(y, x, weight, shape, algorithm, layout):
    """y is in the layout, x and weight are NCHW."""
    y = y if layout == "NCHW" else np.moveaxis(y, 3, 1)
    values = [(place, *of_definition(x, weight, shape, place)) for place in places(y.shape)]
    assert sum(sums > 0 for _, _, sums in values) > PLACES / 2  # else there is nothing to compare
    terms = int(np.prod(weight.shape[1:]))
    most = np.array([[max(sums for _, _, sums in values)]], float)
    limit = 0 if algorithm in EXACT else bound(algorithm, y.dtype, terms, most).item()
    for place, expected, _ in values:
        assert abs(y[place] - expected) <= limit, (place, y[place], expected)


def algorithms(case, layout):
    """What "auto" chooses, and "im2col" where that is quick."""
    shape = shape_of(case, layout)
    yield fc.explain_conv2d(shape.input_shape, shape.weight_shape, layout=layout, **case.parameters).chosen
    im2col = next(row for row in ALGORITHMS if row.name == "im2col")
    if row_cost(im2col, shape, 4, False) < QUICK:
        yield "im2col"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.name)
def test_full_size(case, layout):
    x, weight = whole(case.x, 1).astype(np.float32), whole(case.weight, 2).astype(np.float32)
    for algorithm in {*algorithms(case, layout)}:
        y = fc.conv2d(to_layout(x, layout), to_layout(weight, layout), algorithm=algorithm, layout=layout,
                      **case.parameters)  # fmt: skip
        assert_right_in_places(y, x, weight, shape_of(case), algorithm, layout)


@pytest.mark.parametrize("case", HUGE, ids=lambda case: case.name)
def test_images_of_2_31_elements(case):
    _, C, H, W = case.x
    memory = whole((C, H + W), 1).astype(np.float32)
    x = np.lib.stride_tricks.as_strided(memory, case.x, (0, memory.strides[0], 4, 4))
    weight = whole(case.weight, 2).astype(np.float32)
    y = fc.conv2d(x, weight, algorithm="im2col", **case.parameters)
    assert_right_in_places(y, x, weight, shape_of(case), "im2col", "NCHW")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tiny_weights_scale_the_result(layout):
    """onnxruntime#15630: nothing but the exponent changes."""
    case = Case("", (1, 256, 14, 14), (256, 256, 3, 3), {"padding": 1})
    x, weight = (to_layout(whole(shape, 1).astype(np.float32), layout) for shape in (case.x, case.weight))
    scale = np.float32(2.0**-100)
    for algorithm in ("auto", "im2col", "direct"):
        full = fc.conv2d(x, weight, padding=1, layout=layout, algorithm=algorithm)
        np.testing.assert_array_equal(
            fc.conv2d(x, weight * scale, padding=1, layout=layout, algorithm=algorithm), full * scale
        )


def test_subnormal_images_are_zeros():
    """pytorch#67797: 64 channels of 1000 x 15 pixels of 1e-42."""
    x = np.full((1, 64, 1000, 15), 1e-42, np.float32)
    assert x.any()
    np.testing.assert_array_equal(fc.conv2d(x, whole((128, 64, 1, 1), 2).astype(np.float32)), 0)


def test_square_products_from_1_to_200():
    """OpenBLAS#1614, #1605."""
    a, b = (whole((200, 200), seed).astype(np.float64) for seed in (1, 2))
    with threadpool_limits(1, "blas"):  # NumPy's threads and ours would wait for each other's cores
        for n in range(1, 201):
            np.testing.assert_array_equal(fc.gemm(a[:n, :n], b[:n, :n]), a[:n, :n] @ b[:n, :n])
