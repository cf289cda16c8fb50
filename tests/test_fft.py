"""The transforms of csrc/kernels/fft.c are numpy.fft's, for every ISA, dtype, size of tile and count of lanes, and
"fft" is right where its nests take another way: pieces of a long filter, lanes of tiles or of channels, in place or
not. (tests/test_conv2d.py runs the row on every other case.)"""

import re
from functools import lru_cache

import numpy as np
import pytest
from conv_cases import Case, to_layout
from support import DTYPES, LAYOUTS, ROOT, dtype_name, poison, reals

import fastconv as fc
from fastconv import reference
from fastconv._loops import kernels, transformed
from fastconv.shapes import conv_shape

FFT = transformed.FFT
ULPS = 12  # of the largest value: the worst seen was 6
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_tile = pytest.mark.parametrize("tile", FFT)


def half_spectrum(x, tile):
    """(frequencies, channels) of the spectrum of x (rows, cols, channels), padded to the tile: a column at a time."""
    spectrum = np.fft.fft2(x.astype(np.float64), s=(tile, tile), axes=(0, 1))[:, : tile // 2 + 1]
    return spectrum.transpose(1, 0, 2).reshape(-1, x.shape[2])


def assert_close(got, expected, dtype):
    assert abs(got - expected).max() <= ULPS * np.finfo(dtype).eps * abs(expected).max()


def scratch(tile, dtype):
    """Room for one vector of channels, of any ISA."""
    return np.empty(tile * (tile + 1) * 64, np.uint8)


@pytest.fixture(params=["one", "rest", "whole", "whole-and-rest"])
def channels(request, dtype, isa):
    lanes = kernels.tile_sizes(np.dtype(dtype).itemsize)[2]
    return {"one": 1, "rest": lanes - 1, "whole": lanes, "whole-and-rest": 2 * lanes + 1}[request.param]


@by_tile
@by_dtype
def test_the_transform_of_a_tile(tile, dtype, channels, isa):
    """Twice the spectrum of the tile; the third plane is the negative of the first."""
    x = reals((tile, tile, channels), 1, dtype)
    v = poison((tile * (tile // 2 + 1), 3, channels), dtype)
    FFT[tile].input(x, v.reshape(-1, channels), scratch(tile, dtype))
    expected = 2 * half_spectrum(x, tile)
    assert_close(v[:, 0], expected.real, dtype)
    assert_close(v[:, 1], expected.imag, dtype)
    np.testing.assert_array_equal(v[:, 2], -v[:, 0])


@by_tile
@by_dtype
@pytest.mark.parametrize("size", ["one-tap", "few", "most"])
def test_the_transform_of_filters(tile, size, dtype, channels, isa):
    """Their spectrum, divided by what forward and inverse transform multiply with together."""
    R, S = {"one-tap": (1, 1), "few": (3, 5), "most": (tile // 2 + 1, tile - 1)}[size]
    w = reals((R, S, channels), 2, dtype)
    u = poison((tile * (tile // 2 + 1), 2, channels), dtype)
    FFT[tile].weights(w, u, scratch(tile, dtype))
    expected = half_spectrum(w, tile) / (2 * tile**2)
    scale = np.abs(w).sum() / (2 * tile**2)
    assert abs(u[:, 0] + 1j * u[:, 1] - expected).max() <= ULPS * np.finfo(dtype).eps * scale


@by_tile
@by_dtype
@pytest.mark.parametrize("relu", [False, True], ids=["no-relu", "relu"])
def test_the_way_back(tile, relu, dtype, channels, isa):
    """From the spectrum of a tile to as much of it as is asked for, plus bias."""
    x, bias = reals((tile, tile, channels), 3, dtype), reals(channels, 4, dtype)
    spectrum = half_spectrum(x, tile)
    m = np.stack([spectrum.real, spectrum.imag], axis=1).reshape(-1, channels).astype(dtype)
    for rows, cols in ((tile, tile), (tile // 2 + 3, 5), (3, tile - 1), (1, 1)):
        y = poison((rows, cols, channels), dtype)
        FFT[tile].output(m, bias, relu, y, scratch(tile, dtype))
        expected = x[:rows, :cols].astype(np.float64) * tile**2 + bias
        expected = np.maximum(expected, 0) if relu else expected
        assert abs(y - expected).max() <= ULPS * np.finfo(dtype).eps * tile**2 * abs(x).max()


def test_twiddles():
    """The table is e^(-2 pi i k / 128), to the last digit of a double."""
    text = (ROOT / "csrc" / "kernels" / "twiddles.h").read_text()
    table = np.array([[float(v) for v in row] for row in re.findall(r"\{(-?[\d.e-]+), (-?[\d.e-]+)\}", text)])
    angle = 2 * np.arccos(np.longdouble(-1)) * np.arange(128, dtype=np.longdouble) / 128
    assert table.shape == (128, 2)
    assert abs(table - np.stack([np.cos(angle), -np.sin(angle)], axis=1)).max() < 1.2e-16


CASES = [
    Case("pieces", (1, 3, 70, 40), (5, 3, 67, 3), {"padding": 1}),
    Case("pieces-both-ways", (1, 2, 150, 140), (3, 2, 71, 80)),
    Case("many-tiles", (2, 5, 60, 70), (40, 5, 5, 7), {"padding": 3}),
    Case("many-filters", (1, 24, 33, 20), (100, 24, 7, 7), {"padding": 3}),
    Case("groups", (2, 6, 40, 30), (70, 3, 9, 5), {"groups": 2}),
    Case("asymmetric", (1, 4, 30, 20), (6, 4, 9, 8), {"padding": ((0, 11), (9, 2))}),
    Case("depthwise", (2, 20, 40, 35), (20, 1, 9, 13), {"groups": 20, "padding": 6}),
    Case("depthwise-tiles-of-32", (1, 20, 20, 20), (20, 1, 12, 12), {"groups": 20, "padding": 6}),
    Case("depthwise-many-tiles", (1, 17, 150, 20), (17, 1, 31, 5), {"groups": 17}),
    Case("depthwise-all-padding", (1, 16, 3, 2), (16, 1, 5, 5), {"groups": 16, "padding": 6}),
    Case("three-channels", (2, 3, 90, 77), (3, 1, 15, 15), {"groups": 3, "padding": 7}),
    Case("one-channel", (2, 1, 150, 233), (1, 1, 31, 21), {"padding": ((15, 15), (10, 9))}),
    Case("one-channel-large", (1, 1, 260, 250), (1, 1, 61, 61), {"padding": 30}),
    Case("one-channel-long", (1, 1, 90, 160), (1, 1, 70, 5)),
]


@lru_cache(maxsize=2 * len(CASES))
def reals_and_result(index, dtype):
    """(x, weight, bias, result) of CASES[index], NCHW, the result in double precision."""
    case = CASES[index]
    given = reals(case.x, 1, dtype), reals(case.weight, 2, dtype), reals(case.weight[:1], 3, dtype)
    wide = (array.astype(np.float64) for array in given)
    return *given, reference.conv2d(*wide, activation="relu", **case.parameters)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lies", LAYOUTS, ids=[f"lies-{layout}" for layout in LAYOUTS])
@by_dtype
def test_large_filters(index, layout, lies, dtype, isa):
    """Against the reference, with results in one layout of an x that lies in the other, or the same."""
    case, (x, weight, bias, expected) = CASES[index], reals_and_result(index, dtype)
    given = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, 3)), 3, 1) if lies == "NHWC" else x
    given = given if layout == "NCHW" else np.moveaxis(given, 1, 3)
    got = fc.conv2d(given, to_layout(weight, layout), bias, activation="relu", layout=layout, algorithm="fft",
                    **case.parameters)  # fmt: skip
    scale = np.sqrt(np.prod(case.weight[1:])) * 4
    assert abs(got - to_layout(expected, layout)).max() <= 4 * ULPS * np.finfo(dtype).eps * scale


def test_fft_says_why_it_refuses():
    for parameters, reason in (({"stride": 2}, "stride is 2x2"), ({"dilation": (1, 2)}, "dilation is 1x2")):
        with pytest.raises(ValueError, match=f"algorithm 'fft' cannot do this shape: the {reason}"):
            fc.explain_conv2d((1, 4, 30, 30), (4, 4, 5, 5), algorithm="fft", **parameters)


@pytest.mark.parametrize(
    ("x", "weight", "parameters"),
    [
        ((1, 64, 64, 64), (64, 64, 11, 11), {}),
        ((1, 64, 27, 27), (192, 64, 5, 5), {"padding": 2}),
        ((1, 64, 56, 56), (64, 1, 31, 31), {"padding": 15, "groups": 64}),
        ((1, 1, 1024, 1024), (1, 1, 31, 31), {"padding": 15}),
    ],
    ids=str,
)
def test_auto_takes_fft_for_large_filters(x, weight, parameters):
    assert fc.explain_conv2d(x, weight, prepared=True, **parameters).chosen == "fft"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", ["zero", "reflect", "nearest"])
def test_filter2d_with_a_large_kernel(channels, border):
    """filter2d goes by fft there, and stays within its error."""
    image, kernel = reals((120, 130, channels), 1), reals((31, 24), 2)
    shape = conv_shape((1, 120, 130, channels), (channels, 31, 24, 1), padding=15, groups=channels, layout="NHWC")
    assert fc.algorithms.choose(shape, 8).name == "fft"
    got = fc.filter2d(image, kernel, border=border)
    np.testing.assert_allclose(got, reference.filter2d(image, kernel, border=border), atol=1e-12)
