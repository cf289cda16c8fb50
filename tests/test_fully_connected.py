"""linear and its gradients: exact for whole numbers at any size, with any memory, on any number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DTYPES, MEMORY, dtype_name, eager_threads, poison, reals, slope, whole, written

import fastconv as fc
from fastconv import reference
from fastconv._loops import linear as nests

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
SIZES = [(1, 5, 7), (1, 3000, 130), (3, 300, 70), (5, 40, 33), (8, 2100, 70), (9, 300, 130), (70, 270, 300), (1, 1, 1),
         (0, 3, 4), (4, 0, 3), (4, 3, 0), (20, 0, 3)]  # fmt: skip
by_size = pytest.mark.parametrize("size", SIZES, ids=str)


def arrays(size, dtype):
    """x, weight, bias and a gradient."""
    N, n_in, n_out = size
    shapes = (N, n_in), (n_out, n_in), (n_out,), (N, n_out)
    return [whole(shape, seed).astype(dtype) for seed, shape in enumerate(shapes)]


@by_size
@by_dtype
def test_exact(size, dtype, isa):
    x, weight, bias, grad = arrays(size, dtype)
    y = fc.linear(x, weight, bias)
    assert (y.dtype, y.flags.c_contiguous) == (dtype, True)
    np.testing.assert_array_equal(y, reference.linear(x, weight, bias))
    np.testing.assert_array_equal(fc.linear(x, weight), reference.linear(x, weight))
    for got, expected in zip(fc.linear_grad(grad, x, weight), reference.linear_grad(grad, x, weight), strict=True):
        assert (got.dtype, got.flags.c_contiguous) == (dtype, True)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("memory", MEMORY)
def test_any_memory_layout(memory):
    x, weight, bias, grad = (MEMORY[memory](array) for array in arrays((5, 40, 33), np.float32))
    np.testing.assert_array_equal(fc.linear(x, weight, bias), reference.linear(x, weight, bias))
    for got, expected in zip(fc.linear_grad(grad, x, weight), reference.linear_grad(grad, x, weight), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_gradients_by_differences():
    x, weight, bias, grad = reals((5, 7), 1), reals((4, 7), 2), reals((4,), 3), reals((5, 4), 4)
    gradients = fc.linear_grad(grad, x, weight)
    for index, array in enumerate((x, weight, bias)):
        toward = reals(array.shape, 5)

        def loss(changed, index=index):
            call = [x, weight, bias]
            call[index] = changed
            return (grad * fc.linear(*call)).sum()

        assert (gradients[index] * toward).sum() == pytest.approx(slope(loss, array, toward), rel=1e-6)


@given(N=st.integers(0, 40), n_in=st.integers(0, 600), n_out=st.integers(0, 600), dtype=st.sampled_from(DTYPES))
def test_any_size_and_any_number_of_threads(N, n_in, n_out, dtype):
    x, weight, bias, grad = (reals(array.shape, 1, dtype) for array in arrays((N, n_in, n_out), dtype))
    with eager_threads():
        one, several = (
            [fc.linear(x, weight, bias, num_threads=n), *fc.linear_grad(grad, x, weight, num_threads=n)] for n in (1, 3)
        )
    for first, second in zip(one, several, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(one[0], reference.linear(x, weight, bias), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 4, 20])
def test_a_weight_gradient_may_be_added(rows):
    x, _, _, grad = arrays((rows, 300, 70), np.float32)
    before = whole((70, 300), 9).astype(np.float32)
    dw = before.copy()
    nests.linear_weight_grad(rows, 300, 70, 4, True).run(x, grad, None, dw, 1)
    np.testing.assert_array_equal(dw, before + grad.T @ x)


def test_out():
    x, weight, _, _ = arrays((3, 300, 70), np.float32)
    out = poison((3, 70), np.float32)
    assert fc.linear(x, weight, out=out) is out
    assert written(out).all()


X, W, G = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((2, 4))
REFUSED = [
    (lambda: fc.linear(X[0], W), ValueError, "x must be 2-D"),
    (lambda: fc.linear(X, W[0]), ValueError, "weight must be 2-D"),
    (lambda: fc.linear(X, W.T), ValueError, r"x must have 4 columns, \(N, in\), got shape \(2, 3\)"),
    (lambda: fc.linear(X, W.astype(np.float32)), TypeError, "weight is float32"),
    (lambda: fc.linear(X, W, np.zeros(3)), ValueError, r"bias must have shape \(4,\)"),
    (lambda: fc.linear(X, W, [0.0] * 4), TypeError, "bias must be"),
    (lambda: fc.linear(X, W, out=np.zeros((2, 3))), ValueError, "out must have shape"),
    (lambda: fc.linear(X, W, num_threads=0), ValueError, "num_threads"),
    (lambda: fc.linear_grad(X, X, W), ValueError, "grad must have 4 columns"),
    (lambda: fc.linear_grad(G[:1], X, W), ValueError, "grad and x must have as many rows"),
    (lambda: fc.linear_grad(G, X, W.astype(np.float32)), TypeError, "weight is float32"),
    (lambda: fc.linear_grad(G.astype(int), X, W), TypeError, "grad must be float32"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
