"""filter2d gives an image of the same size, filtered channel by channel, with every border; filters are what they are
called. The oracle is the reference and, for the borders, np.pad spelled out."""

import numpy as np
import pytest
from support import DTYPES, MEMORY, dtype_name, reals, whole

import fastconv as fc
from fastconv import reference

BORDERS = ("zero", "reflect", "nearest")
SHAPES = [(9, 11), (1, 7), (7, 1), (8, 9, 3), (5, 6, 1), (2, 300, 4), (40, 2, 20)]
KERNELS = [(3, 3), (1, 1), (2, 2), (4, 3), (1, 5), (5, 1), (2, 5)]
by_border = pytest.mark.parametrize("border", BORDERS)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)


@by_border
@by_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_filter2d(shape, kernel, border, dtype):
    image, kernel = whole(shape, 1), whole(kernel, 2)
    got = fc.filter2d(image.astype(dtype), kernel.astype(dtype), border=border)
    assert (got.dtype, got.shape) == (dtype, shape)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, reference.filter2d(image, kernel, border=border))


@by_border
def test_a_kernel_larger_than_the_image(border):
    image, kernel = whole((3, 4), 1), whole((7, 6), 2)
    got = fc.filter2d(image.astype(np.float64), kernel.astype(np.float64), border=border)
    np.testing.assert_array_equal(got, reference.filter2d(image, kernel, border=border))


def test_a_shift_moves_the_image_and_shows_the_border():
    """The kernel with a one at its right end takes each pixel's right neighbour: correlation, not convolution."""
    image, right = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[0.0, 0.0, 1.0]])
    for border, last in (("zero", 0.0), ("reflect", 3.0), ("nearest", 4.0)):
        np.testing.assert_array_equal(fc.filter2d(image, right, border=border), [[2.0, 3.0, 4.0, last]])


def test_the_centre_of_an_even_kernel():
    """It is the pixel (size - 1) // 2: the first of two."""
    image = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(fc.filter2d(image, np.array([[1.0, 0.0]])), image)
    np.testing.assert_array_equal(fc.filter2d(image, np.array([[0.0, 1.0]])), [[2.0, 3.0, 0.0]])


@pytest.mark.parametrize("memory", MEMORY)
@by_border
def test_any_memory_layout(memory, border):
    image, kernel = whole((8, 9, 3), 1), whole((3, 4), 2)
    got = fc.filter2d(
        MEMORY[memory](image.astype(np.float32)), MEMORY[memory](kernel.astype(np.float32)), border=border
    )
    np.testing.assert_array_equal(got, reference.filter2d(image, kernel, border=border))


def test_channels_do_not_mix():
    image = reals((6, 7, 3), 1)
    kernel = reals((3, 3), 2)
    together = fc.filter2d(image, kernel)
    for channel in range(3):
        np.testing.assert_allclose(together[..., channel], fc.filter2d(image[..., channel], kernel), atol=1e-14)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4, 5, 0)], ids=str)
def test_an_empty_image(shape):
    assert fc.filter2d(np.empty(shape, np.float32), np.ones((3, 3), np.float32)).shape == shape


@pytest.mark.parametrize(
    ("image", "kernel", "border", "error", "message"),
    [
        (np.zeros(5), np.zeros((3, 3)), "zero", ValueError, "image must be"),
        (np.zeros((1, 5, 5, 3)), np.zeros((3, 3)), "zero", ValueError, "image must be"),
        (np.zeros((5, 5)), np.zeros((0, 3)), "zero", ValueError, "kernel must be"),
        (np.zeros((5, 5)), np.zeros((3, 3, 1)), "zero", ValueError, "kernel must be"),
        (np.zeros((5, 5)), np.zeros((3, 3), np.float32), "zero", TypeError, "kernel is float32"),
        (np.zeros((5, 5), np.uint8), np.zeros((3, 3)), "zero", TypeError, "image must be"),
        (np.zeros((5, 5)), [[1.0]], "zero", TypeError, "kernel must be"),
        (np.zeros((5, 5)), np.zeros((3, 3)), "wrap", ValueError, "border must be"),
        (np.zeros((5, 5)), np.zeros((3, 3)), None, TypeError, "border must be"),
    ],
    ids=["1-D", "4-D", "empty-kernel", "3-D-kernel", "row41", "row42", "row63", "border", "border-type"],
)
def test_filter2d_refuses(image, kernel, border, error, message):
    with pytest.raises(error, match=message):
        fc.filter2d(image, kernel, border=border)


@pytest.mark.parametrize("name", ["gaussian", "sobel_x", "sobel_y", "box"])
def test_filters_equal_the_reference(name):
    np.testing.assert_allclose(getattr(fc.filters, name)(), getattr(reference, name)(), rtol=1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_sized_filters(size):
    np.testing.assert_allclose(fc.filters.gaussian(size, 0.7), reference.gaussian(size, 0.7), rtol=1e-14)
    np.testing.assert_allclose(fc.filters.box(size), np.full((size, size), 1 / size**2))
    for sigma in (0.7, 0.01, 1e-310, 1e300):
        assert fc.filters.gaussian(size, sigma).sum() == pytest.approx(1)
    assert fc.filters.gaussian(np.int64(size)).shape == (size, size)


def test_sobel_answers_an_edge():
    ramp = np.broadcast_to(np.arange(5.0), (5, 5))
    assert fc.filter2d(ramp, fc.filters.sobel_x())[2, 2] == 8
    assert fc.filter2d(ramp, fc.filters.sobel_y())[2, 2] == 0
    assert fc.filter2d(ramp.T, fc.filters.sobel_y())[2, 2] == 8


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fc.filters.gaussian(0), ValueError, "size"),
        (lambda: fc.filters.gaussian(-3), ValueError, "size"),
        (lambda: fc.filters.gaussian(3.0), TypeError, "size"),
        (lambda: fc.filters.gaussian(True), TypeError, "size"),
        (lambda: fc.filters.gaussian(3, 0), ValueError, "sigma"),
        (lambda: fc.filters.gaussian(3, -1), ValueError, "sigma"),
        (lambda: fc.filters.gaussian(3, float("nan")), ValueError, "sigma"),
        (lambda: fc.filters.gaussian(3, float("inf")), ValueError, "sigma"),
        (lambda: fc.filters.gaussian(3, "1"), TypeError, "sigma"),
        (lambda: fc.filters.box(0), ValueError, "size"),
        (lambda: fc.filters.box(2.5), TypeError, "size"),
    ],
)
def test_filters_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
