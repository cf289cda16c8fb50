"""Values and sizes at the edge, beside those of test_conv2d.py: what is not finite in gradients and products, signed
zeros, and axes of length 0. The policy is docs/accuracy.md's; each row of the table of algorithms is held to it.

A sum begins at +0, at the bias or at beta*c: a zero comes out as -0 only where that is -0 and every product is."""

from itertools import product

import numpy as np
import pytest
from calls import cases
from conv_cases import Case, shape_of, to_layout
from support import DTYPES, LAYOUTS, dtype_name, whole

import fastconv as fc
from fastconv import products, reference
from fastconv.algorithms import ALGORITHMS, BY_NAME

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_algorithm = pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
NOT_FINITE = [np.nan, np.inf, -np.inf]
CASE = Case("", (2, 6, 9, 290), (10, 3, 3, 3), {"padding": 1, "groups": 2})


def from_layout(array, layout):
    return array if layout == "NCHW" else np.moveaxis(array, 3, 1)


@by_algorithm
@by_layout
@by_dtype
@pytest.mark.parametrize("value", NOT_FINITE)
def test_in_an_input_gradient_it_reaches_what_meets_it(value, algorithm, layout, dtype):
    """Pixels that meet the value of grad are not finite; with an algorithm that rewrites the sum those of its tile and
    group may be spoilt; all others are right."""
    row = BY_NAME[algorithm]
    grad, weight = whole(shape_of(CASE).output_shape, 1), 1 + abs(whole(CASE.weight, 2))
    expected = reference.conv2d_input_grad(grad, weight, CASE.x, **CASE.parameters)
    met, near = (np.zeros(CASE.x, bool) for _ in range(2))
    met[1, 3:, 3:6, 140:143] = True
    near[1, 3:, max(0, 3 - row.spread) : 6 + row.spread, 140 - row.spread : 143 + row.spread] = True
    grad = grad.astype(dtype)
    grad[1, 7, 4, 141] = value
    got = from_layout(fc.conv2d_input_grad(
        to_layout(grad, layout), to_layout(weight.astype(dtype), layout), to_layout(np.empty(CASE.x), layout).shape,
        algorithm=algorithm, layout=layout, **CASE.parameters), layout)  # fmt: skip
    assert not np.isfinite(got[met]).any()
    near = met if row.strict else near
    scale = reference.conv2d_input_grad(abs(grad[:1]), weight, (1, *CASE.x[1:]), **CASE.parameters).max()
    error = 0 if row.strict else 400 * np.finfo(dtype).eps * scale
    np.testing.assert_allclose(got[~near], expected[~near], rtol=0, atol=error)


@pytest.mark.parametrize("row", [row for row in ALGORITHMS if row.weight_grad is not None], ids=lambda row: row.name)
@by_layout
@by_dtype
@pytest.mark.parametrize("value", NOT_FINITE)
def test_in_a_weight_gradient_it_reaches_its_channel_or_filter(value, row, layout, dtype):
    """In grad: the whole of its filter's gradient, and no other. In x: its channel's taps, in every filter."""
    case = Case("", (2, 6, 9, 12), (10, 3, 3, 3), {"padding": 1, "groups": 2})
    x, grad = whole(case.x, 1), 1 + abs(whole(shape_of(case).output_shape, 2))
    expected = reference.conv2d_weight_grad(x, grad, 3, **case.parameters)
    error = {"rtol": 0, "atol": 0 if row.strict else 100 * np.finfo(dtype).eps * abs(expected).max()}

    def spoilt(x, grad):
        x, grad = (to_layout(array, layout) for array in (x, grad))
        got = fc.conv2d_weight_grad(x, grad, 3, algorithm=row.name, layout=layout, **case.parameters)
        return from_layout(got, layout)

    for pixel in ((4, 5), (0, 0)):  # the second meets padding under some of the taps
        bad = grad.astype(dtype)
        bad[1, 7][pixel] = value
        got = spoilt(x.astype(dtype), bad)
        assert not np.isfinite(got[7]).any()
        np.testing.assert_allclose(np.delete(got, 7, 0), np.delete(expected, 7, 0), **error)
    bad = x.astype(dtype)
    bad[1, 4, 4, 5] = value
    got = spoilt(bad, grad.astype(dtype))
    assert not np.isfinite(got[5:, 1]).any()
    got[5:, 1] = expected[5:, 1]
    np.testing.assert_allclose(got, expected, **error)


@pytest.mark.parametrize("algorithm", products.ALGORITHMS)
@by_dtype
@pytest.mark.parametrize("shape", [(31, 45, 70), (1, 70, 33), (40, 3, 9)], ids=str)
@pytest.mark.parametrize("value", NOT_FINITE)
def test_in_a_product_it_reaches_its_row_or_column(value, shape, algorithm, dtype, isa):
    """In the middle of a tile and at its edge."""
    m, n, k = shape
    a, b = (1 + abs(whole(size, seed)).astype(dtype) for seed, size in enumerate(((m, k), (k, n))))
    for i, j in ((m - 1, n - 1), (m // 2, n // 2)):
        rows, columns = a.copy(), b.copy()
        rows[i, k - 1] = columns[k // 2, j] = value
        expected = a @ b
        expected[i] = value
        np.testing.assert_array_equal(fc.gemm(rows, b, algorithm=algorithm), expected)
        expected = a @ b
        expected[:, j] = value
        np.testing.assert_array_equal(fc.gemm(a, columns, algorithm=algorithm), expected)


def negative(array):
    return np.signbit(array).any()


@by_algorithm
@by_layout
def test_a_convolution_of_signed_zeros_is_plus_zero(algorithm, layout, isa):
    """Without a bias and with one of +0, whatever the signs, and the gradients alike."""
    able = [
        case for case in cases((1, 13, 21, 9, 17)).values() if not BY_NAME[algorithm].refuse(shape_of(case, layout))
    ]
    assert able
    for case, (x, w) in product(able, ((-0.0, 1.0), (0.0, -1.0), (-0.0, -0.0), (1.0, -0.0), (-1.0, 0.0))):
        how = {**case.parameters, "layout": layout, "algorithm": algorithm}
        x, weight, grad = (to_layout(np.full(shape, value, np.float32), layout) for shape, value in (
            (case.x, x), (case.weight, w), (shape_of(case).output_shape, x)))  # fmt: skip
        bias = np.zeros(case.weight[0], np.float32)
        results = [fc.conv2d(x, weight, **how), fc.conv2d(x, weight, bias, **how)]
        results.append(fc.conv2d(x, weight, -bias, activation="relu", **how))
        if "stride" not in case.parameters:
            results.append(fc.conv2d_input_grad(grad, weight, x.shape, **how))
        for result in results:
            assert not result.any() and not negative(result)


@pytest.mark.parametrize("algorithm", products.ALGORITHMS)
@pytest.mark.parametrize("shape", [(31, 45, 70), (1, 70, 33), (40, 3, 9), (1, 300, 2000)], ids=str)
def test_a_product_of_signed_zeros_is_plus_zero(algorithm, shape, isa):
    m, n, k = shape
    for x, y in ((-0.0, 1.0), (0.0, -1.0), (-0.0, -0.0)):
        a, b = np.full((m, k), x, np.float32), np.full((k, n), y, np.float32)
        for right in (b, np.asfortranarray(b)):
            assert not negative(fc.gemm(a, right, algorithm=algorithm))
            c = np.zeros((m, n), np.float32)
            assert not negative(fc.gemm(a, right, c, algorithm=algorithm))


def test_other_sums_of_signed_zeros_are_plus_zero():
    minus = np.full((2, 3, 6, 6), -0.0, np.float32)
    ones = np.ones_like(minus)
    assert not negative(fc.conv2d_weight_grad(minus, ones, 1)) and not negative(fc.conv2d_weight_grad(ones, minus, 1))
    assert not negative(fc.conv2d_bias_grad(minus))
    rows = minus.reshape(6, 36)
    assert not negative(fc.linear(rows, np.ones((5, 36), np.float32)))
    assert all(not negative(part) for part in fc.linear_grad(rows[:, :5], rows, np.ones((5, 36), np.float32)))


@by_layout
def test_a_window_of_minus_zeros_alone_is_minus_zero(layout):
    """Its largest value, and its mean, which begins with its first."""
    minus = np.full((2, 6, 6, 8), -0.0)
    for pool in (fc.max_pool2d, fc.avg_pool2d):
        assert np.signbit(pool(minus, 2, layout=layout)).all()


# By (N, C, K), each 0 or not: arguments of a function with a twin in fastconv.reference.
EMPTY = {
    "conv2d": lambda n, c, k: ((n, c, 5, 5), (k, c, 3, 3), (k,)),
    "conv2d_input_grad": lambda n, c, k: ((n, k, 3, 3), (k, c, 3, 3), "shape", (n, c, 5, 5)),
    "conv2d_weight_grad": lambda n, c, k: ((n, c, 5, 5), (n, k, 3, 3), "shape", (3, 3)),
    "conv2d_bias_grad": lambda n, c, k: ((n, k, 3, c),),
    "conv_transpose2d": lambda n, c, k: ((n, c, 3, 3), (c, k, 3, 3), (k,)),
    "conv_transpose2d_input_grad": lambda n, c, k: ((n, k, 5, 5), (c, k, 3, 3), "shape", (n, c, 3, 3)),
    "conv_transpose2d_weight_grad": lambda n, c, k: ((n, c, 3, 3), (n, k, 5, 5), "shape", (3, 3)),
    "conv1d": lambda n, c, k: ((n, c, 9), (k, c, 3)),
    "gemm": lambda n, c, k: ((n, c), (c, k)),
    "linear": lambda n, c, k: ((n, c), (k, c), (k,)),
    "linear_grad": lambda n, c, k: ((n, k), (n, c), (k, c)),
    "max_pool2d": lambda n, c, k: ((n, c, 4, 4), "shape", 2),
    "avg_pool2d_grad": lambda n, c, k: ((n, c, 2, 2), "shape", (n, c, 4, 4), "shape", 2),
}


@pytest.mark.parametrize("sizes", [sizes for sizes in product((0, 2), (0, 3), (0, 4)) if 0 in sizes], ids=str)
@pytest.mark.parametrize("name", EMPTY)
def test_axes_of_length_0(name, sizes):
    """Empty results, and sums of nothing, which are 0 or the bias."""
    arguments, given = [], iter(EMPTY[name](*sizes))
    for argument in given:
        arguments.append(next(given) if argument == "shape" else whole(argument, 1).astype(float))
    expected, got = getattr(reference, name)(*arguments), getattr(fc, name)(*arguments)
    expected, got = (result if isinstance(result, tuple) else (result,) for result in (expected, got))
    for one, other in zip(expected, got, strict=True):
        assert other.shape == one.shape
        np.testing.assert_array_equal(other, one)
