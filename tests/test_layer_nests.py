"""The nests that only networks call: batch normalisation, local response normalisation, dropout, addition and sums
over pixels. Their formulas in NumPy, gradients by differences, and the same bits for any number of threads."""

import numpy as np
import pytest
from support import DTYPES, dtype_name, reals, slope, whole

from fastconv._loops import batch_norm, pointwise, response_norm, sums

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_rows = pytest.mark.parametrize("rows", [1, 2, 300, 20000])
EPSILON = 1e-5


def run(nest, *operands):
    """Runs it on one thread and on three; the last operand, which has to come out the same."""
    copies = [[None if array is None else array.copy() for array in operands] for _ in range(2)]
    for team, arrays in zip((1, 3), copies, strict=True):
        nest.run(*arrays, team)
    np.testing.assert_array_equal(copies[0][-1], copies[1][-1])
    return copies[0][-1]


def tolerance(dtype):
    return {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-11}


@by_rows
@pytest.mark.parametrize("accumulate", [False, True])
@by_dtype
def test_sum_of_rows(rows, accumulate, dtype, isa):
    x, before = whole((rows, 37), 1).astype(dtype), whole((37,), 2).astype(dtype)
    total = run(sums.sum_rows(rows, 37, x.itemsize, accumulate), x, None, None, before)
    np.testing.assert_array_equal(total, x.sum(0) + before * accumulate)


def normalised(x, gamma, beta):
    mean, variance = x.mean(0), x.var(0)
    return (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta


def state_of(x):
    """mean, inv_std, and room for dgamma, dbeta."""
    rows, C = x.shape
    return run(batch_norm.statistics(rows, C, x.itemsize, EPSILON), x, None, None, np.zeros(4 * C, x.dtype))


@by_rows
@pytest.mark.parametrize("C", [1, 7, 70])
@by_dtype
def test_batch_norm(rows, C, dtype, isa):
    """A mean a hundred times the deviation costs no digits."""
    x = (reals((rows, C), 1) + 100).astype(dtype)
    parameters = reals((2 * C,), 2, dtype)
    exact, state = x.astype(np.float64), state_of(x)
    np.testing.assert_allclose(state[:C], exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(state[C : 2 * C], 1 / np.sqrt(exact.var(0) + EPSILON), rtol=1e-4)
    y = run(batch_norm.normalise(rows, C, x.itemsize), x, parameters, state, np.empty_like(x))
    if rows > 1:
        expected = normalised(exact, *parameters.astype(np.float64).reshape(2, C))
        np.testing.assert_allclose(y, expected, rtol=1e-3 if dtype == np.float32 else 1e-9, atol=1e-3)


@pytest.mark.parametrize("rows", [16384, 802816])
def test_batch_norm_of_many_alike_rows(rows, isa):
    """64 images of 112 x 112, all 100: their mean is that, and nothing is left around it."""
    x = np.full((rows, 1), 100, np.float32)
    state = run(batch_norm.statistics(rows, 1, 4, 1e-5), x, None, None, np.zeros(4, np.float32))
    assert state[0] == pytest.approx(100, rel=1e-6)
    y = run(batch_norm.normalise(rows, 1, 4), x, np.array([1, 0], np.float32), state, np.empty_like(x))
    assert abs(y).max() < 0.05


def test_sums_of_many_alike_rows(isa):
    rows = 4_000_000
    got = run(sums.sum_rows(rows, 1, 4), np.full((rows, 1), 0.1, np.float32), None, None, np.empty(1, np.float32))
    assert got[0] == pytest.approx(rows * float(np.float32(0.1)), rel=1e-5)


def test_batch_norm_by_differences():
    rows, C = 700, 5
    x, parameters, grad = reals((rows, C), 1) * 3 + 1, reals((2 * C,), 2), reals((rows, C), 3)
    state = run(batch_norm.grad_sums(rows, C, 8), x, grad, None, state_of(x))
    dx = run(batch_norm.grad(rows, C, 8), x, parameters, state, grad)
    toward = reals((rows, C), 4)
    expected = slope(lambda x: (grad * normalised(x, *parameters.reshape(2, C))).sum(), x, toward)
    assert (dx * toward).sum() == pytest.approx(expected, rel=1e-6)
    toward = reals((2 * C,), 5)
    expected = slope(lambda p: (grad * normalised(x, *p.reshape(2, C))).sum(), parameters, toward)
    assert (state[2 * C :] * toward).sum() == pytest.approx(expected, rel=1e-6)


def response_normed(x, size, alpha, beta, k):
    """The sum over channels c - size // 2 .. c + (size - 1) // 2, as torch takes it."""
    padded = np.pad(x**2, ((0, 0), (size // 2, (size - 1) // 2)))
    total = sum(padded[:, i : i + x.shape[1]] for i in range(size))
    return x / (k + alpha / size * total) ** beta


@pytest.mark.parametrize("C", [1, 3, 96])
@pytest.mark.parametrize("size", [1, 4, 5])
@by_dtype
def test_response_norm(C, size, dtype, isa):
    x, grad, toward = (reals((130, C), seed) * 3 for seed in (1, 2, 3))
    how = size, 0.2, 0.75, 2.0
    itemsize = np.dtype(dtype).itemsize
    y = run(response_norm.response_norm(130, C, *how, itemsize), x.astype(dtype), None, None, np.empty((130, C), dtype))
    np.testing.assert_allclose(y, response_normed(x, *how), **tolerance(dtype))
    dx = run(response_norm.response_norm_grad(130, C, *how, itemsize), x.astype(dtype), grad.astype(dtype), None,
             np.empty((130, C), dtype))  # fmt: skip
    expected = slope(lambda x: (grad * response_normed(x, *how)).sum(), x, toward)
    assert (dx * toward).sum() == pytest.approx(expected, rel=1e-4 if dtype == np.float32 else 1e-6)


@by_dtype
def test_response_norm_of_numbers_that_have_no_logarithm(dtype, isa):
    """NaN, a square that overflows, a sum of 0 and one below it go where torch's power sends them."""
    x = np.ones((1, 40), dtype)
    x[0, 3], x[0, 8] = np.nan, np.finfo(dtype).max / 2
    x[0, 13:18] = 0
    for k in (0.0, -0.5):
        y = run(response_norm.response_norm(1, 40, 3, 1.0, 0.75, k, x.itemsize), x, None, None, np.empty_like(x))
        with np.errstate(all="ignore"):
            expected = response_normed(x, 3, 1.0, 0.75, k)
        np.testing.assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@by_dtype
def test_dropout(p, dtype, isa):
    x, itemsize = np.ones((3, 40000), dtype), np.dtype(dtype).itemsize
    numbers = np.array([7, 1, 10], np.uint64)
    y = run(pointwise.dropout(3, 40000, p, itemsize), x, numbers, None, np.empty_like(x))
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 0.01
    assert (y[kept] == dtype(1 / (1 - p) if p < 1 else 0)).all()
    if 0 < p < 1:
        assert (kept[0] != kept[1]).any()


def test_a_dropout_mask_depends_on_seed_step_image_and_element_only():
    x = np.ones((4, 1000), np.float32)

    def mask(images, *numbers):
        return run(pointwise.dropout(images, 1000, 0.5, 4), x[:images], np.array(numbers, np.uint64), None,
                   np.empty((images, 1000), np.float32))  # fmt: skip

    batch = mask(4, 1, 2, 0)
    np.testing.assert_array_equal(batch[3:], mask(1, 1, 2, 3))
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1)):
        assert abs((mask(4, *other) == batch).mean() - 0.5) < 0.05


@by_dtype
def test_add(dtype, isa):
    a, b = whole((3, 7001), 1).astype(dtype), whole((3, 7001), 2).astype(dtype)
    itemsize = np.dtype(dtype).itemsize
    np.testing.assert_array_equal(run(pointwise.compiled("add", a.size, itemsize), a, b, None, np.empty_like(a)), a + b)
    pointwise.compiled("add", a.size, itemsize).run(a, b, None, a, 2)
    np.testing.assert_array_equal(a, whole((3, 7001), 1) + b)
