"""relu, sigmoid, softmax and the losses: their values, their gradients by differences, what they do at infinity, and
what they refuse. The oracle is the reference, in float64 or longer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DTYPES, MEMORY, dtype_name, eager_threads, laid_out, poison, read_only, reals, slope, whole, written

import fastconv as fc
from fastconv import reference

SHAPES = [(), (1,), (7,), (33, 5), (2, 3, 4, 5), (40000,), (0,), (3, 0)]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
UNARY = (fc.relu, fc.sigmoid)
GRADIENTS = (fc.relu_grad, fc.sigmoid_grad, fc.softmax_grad)


def twin(function):
    return getattr(reference, function.__name__)


def ulps(got, exact):
    """The largest error in units of the last place; results that `got`'s type flushes to zero are left out."""
    kept = np.abs(exact) >= np.finfo(got.dtype).tiny
    with np.errstate(under="ignore"):
        return np.max(np.abs(got - exact)[kept] / np.abs(exact)[kept], initial=0) / np.finfo(got.dtype).eps


@by_shape
@by_dtype
def test_relu_is_exact(shape, dtype, isa):
    x, grad = whole(shape, 1).astype(dtype), whole(shape, 2).astype(dtype)
    y = fc.relu(x)
    assert (y.shape, y.dtype, y.flags.c_contiguous) == (shape, dtype, True)
    np.testing.assert_array_equal(y, reference.relu(x))
    np.testing.assert_array_equal(fc.relu_grad(grad, y), reference.relu_grad(grad, y))


def test_in_place_in_a_subclass(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=100)
    x[:] = np.arange(-50, 50)
    assert fc.relu(x, out=x) is x
    np.testing.assert_array_equal(x, np.maximum(np.arange(-50, 50), 0))
    with pytest.raises(ValueError, match="shares memory"):
        fc.relu(x[1:], out=np.asarray(x)[:-1])


def test_relu_at_the_edges():
    y = fc.relu(np.array([np.nan, np.inf, -np.inf, -0.0]))
    np.testing.assert_array_equal(y, [np.nan, np.inf, 0, 0])
    assert not np.signbit(y[3])


@by_dtype
def test_sigmoid_is_good_to_two_ulps(dtype, isa):
    x = np.concatenate([reals((20001,), 1, dtype) * dtype(s) for s in (0.01, 1, 5, 20)])
    assert ulps(fc.sigmoid(x), reference.sigmoid(x.astype(np.longdouble))) < 2


@by_dtype
def test_sigmoid_at_the_edges(dtype, isa):
    x = np.array([np.inf, -np.inf, np.nan, 1e4, -1e4, 88.8, 710, 0, -0.0], dtype)
    np.testing.assert_array_equal(fc.sigmoid(x), np.array([1, 0, np.nan, 1, 0, 1, 1, 0.5, 0.5], dtype))


@by_dtype
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 1000), (2, 5001)], ids=str)
def test_softmax_is_good_to_a_few_ulps(shape, dtype, isa):
    """Whole numbers, so that x - max is exact and the exponential is what is measured."""
    x = whole(shape, 1, 8).astype(dtype)
    assert ulps(fc.softmax(x), reference.softmax(x.astype(np.longdouble))) < 6


@by_dtype
def test_the_exponential_is_good_to_one_ulp(dtype, isa):
    """Beside a 0, so far away that the sum is 1, softmax gives the exponential itself."""
    x = np.linspace(*((-80, -20) if dtype == np.float32 else (-700, -40)), 20_001).astype(dtype)
    y = fc.softmax(np.stack([np.zeros_like(x), x], axis=1))
    np.testing.assert_array_equal(y[:, 0], 1)
    assert ulps(y[:, 1], np.exp(x.astype(np.longdouble))) < 1


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_along_an_axis(axis):
    x, grad = reals((3, 4, 5), 1), reals((3, 4, 5), 2)
    y = fc.softmax(x, axis)
    assert y.flags.c_contiguous
    np.testing.assert_allclose(y, reference.softmax(x, axis), rtol=1e-14)
    np.testing.assert_allclose(fc.softmax_grad(grad, y, axis), reference.softmax_grad(grad, y, axis), atol=1e-15)


def test_softmax_at_the_edges(isa):
    rows = np.array([[1e4, 0, -1e4], [-np.inf, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3])
    nan = [np.nan] * 3
    np.testing.assert_array_equal(fc.softmax(rows), [[1, 0, 0], [0, 0.5, 0.5], nan, nan, nan])
    assert fc.softmax(np.zeros((2, 0))).shape == (2, 0)
    assert fc.softmax(np.zeros((0, 5))).shape == (0, 5)


@pytest.mark.parametrize("function", (*UNARY, fc.softmax), ids=lambda f: f.__name__)
@pytest.mark.parametrize("memory", MEMORY)
def test_any_memory_layout(function, memory):
    x = reals((5, 6, 7), 1, np.float32)
    np.testing.assert_array_equal(function(MEMORY[memory](x)), function(x))


@pytest.mark.parametrize("function", GRADIENTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("memory", MEMORY)
def test_any_memory_layout_of_a_gradient(function, memory, isa):
    grad, y = reals((5, 6, 7), 1, np.float32), reals((5, 6, 7), 2, np.float32)
    got = function(MEMORY[memory](grad), MEMORY[memory](y))
    np.testing.assert_array_equal(got, function(grad, y))
    np.testing.assert_allclose(got, twin(function)(grad, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "softmax"])
def test_gradients_by_differences(name, isa):
    x, grad, toward = reals((11, 13), 1), reals((11, 13), 2), reals((11, 13), 3)
    function, gradient = getattr(fc, name), getattr(fc, f"{name}_grad")
    expected = slope(lambda x: (grad * function(x)).sum(), x, toward)
    assert (gradient(grad, function(x)) * toward).sum() == pytest.approx(expected, rel=1e-6)


@by_dtype
def test_cross_entropy(dtype, isa):
    logits, labels = reals((37, 10), 1, dtype) * 4, np.random.default_rng(2).integers(0, 10, 37)
    exact = logits.astype(np.float64)
    tight = 1e-6 if dtype == np.float32 else 1e-13
    loss = fc.cross_entropy(logits, labels)
    assert type(loss) is float
    assert loss == pytest.approx(reference.cross_entropy(exact, labels), rel=tight)
    gradient = fc.cross_entropy_grad(logits, labels)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, reference.cross_entropy_grad(exact, labels), atol=tight / 10)


@by_dtype
@pytest.mark.parametrize("shape", [(5,), (4, 1), (3, 5000)], ids=str)
def test_binary_cross_entropy(shape, dtype, isa):
    logits, targets = reals(shape, 1, dtype) * 4, np.random.default_rng(2).random(shape).astype(dtype)
    tight = 1e-6 if dtype == np.float32 else 1e-13
    exact = logits.astype(np.float64), targets.astype(np.float64)
    loss = fc.binary_cross_entropy(logits, targets)
    assert type(loss) is float
    assert loss == pytest.approx(reference.binary_cross_entropy(*exact), rel=tight)
    gradient = fc.binary_cross_entropy_grad(logits, targets)
    np.testing.assert_allclose(gradient, reference.binary_cross_entropy_grad(*exact), atol=tight)


def test_losses_by_differences():
    logits, toward = reals((6, 5), 1), reals((6, 5), 2)
    labels, targets = np.array([0, 4, 2, 2, 1, 3]), np.random.default_rng(3).random((6, 5))
    for loss, gradient, truth in ((fc.cross_entropy, fc.cross_entropy_grad, labels),
                                  (fc.binary_cross_entropy, fc.binary_cross_entropy_grad, targets)):  # fmt: skip
        expected = slope(lambda x, f=loss, t=truth: f(x, t), logits, toward)
        assert (gradient(logits, truth) * toward).sum() == pytest.approx(expected, rel=1e-6)


def test_losses_of_extreme_logits():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]])
    assert fc.cross_entropy(logits, np.array([0, 1])) == 0
    assert fc.cross_entropy(logits, np.array([1, 1])) == 5000
    np.testing.assert_array_equal(fc.cross_entropy_grad(logits, np.array([1, 1])), [[0.5, -0.5], [0, 0]])
    assert fc.binary_cross_entropy(np.array([1e4, -1e4]), np.array([1.0, 0.0])) == 0
    assert fc.binary_cross_entropy(np.array([1e4, -1e4]), np.array([0.0, 1.0])) == 1e4


def test_losses_of_an_empty_batch():
    assert fc.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)) == 0
    assert fc.cross_entropy_grad(np.zeros((0, 3)), np.zeros(0, int)).shape == (0, 3)
    assert fc.binary_cross_entropy(np.zeros(0), np.zeros(0)) == 0
    assert fc.binary_cross_entropy_grad(np.zeros((0, 2)), np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("kind", ["i1", "u1", ">i4", "i8", "u8"])
def test_labels_may_be_any_integers(kind):
    logits, labels = reals((4, 3), 1), np.array([2, 0, 1, 1])
    assert fc.cross_entropy(logits, labels.astype(kind)) == fc.cross_entropy(logits, labels)
    assert fc.cross_entropy(logits, read_only(laid_out(labels.astype(float)).astype(kind)[::-1])[::-1]) == (
        fc.cross_entropy(logits, labels)
    )


def test_out():
    x = reals((3, 5000), 1, np.float32)
    expected = fc.relu(x)
    out = poison(x.shape, x.dtype)
    assert fc.relu(x, out=out) is out
    assert written(out).all()
    np.testing.assert_array_equal(out, expected)
    assert fc.relu(x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@given(rows=st.integers(0, 40), n=st.integers(1, 700), seed=st.integers(0, 99))
def test_any_number_of_threads_gives_the_same_bits(rows, n, seed):
    x, grad = reals((rows, n), seed, np.float32), reals((rows, n), seed + 1, np.float32)
    labels, targets = np.full(rows, n - 1), np.abs(x) / (1 + np.abs(x))

    def everything(num_threads):
        with eager_threads(), fc.num_threads(num_threads):
            y = fc.softmax(x)
            return [fc.relu(x), fc.relu_grad(grad, x), fc.sigmoid(x), fc.sigmoid_grad(grad, x), y,
                    fc.softmax_grad(grad, y), fc.cross_entropy(x, labels), fc.cross_entropy_grad(x, labels),
                    fc.binary_cross_entropy(x, targets), fc.binary_cross_entropy_grad(x, targets)]  # fmt: skip

    for one, several in zip(everything(1), everything(3), strict=True):
        np.testing.assert_array_equal(one, several)


X, F32, LABELS = np.zeros((4, 3)), np.zeros((4, 3), np.float32), np.zeros(4, int)
REFUSED = [
    (lambda: fc.relu([1.0]), TypeError, "x must be"),
    (lambda: fc.relu(np.zeros(3, int)), TypeError, "x must be float32 or float64"),
    (lambda: fc.relu(X, out=F32), TypeError, "out must be float64"),
    (lambda: fc.relu(X, out=np.zeros((3, 4))), ValueError, "out must have shape"),
    (lambda: fc.relu(X[:2], out=X[1:3]), ValueError, "out shares memory with x"),
    (lambda: fc.relu(X, out=read_only(np.zeros((4, 3)))), ValueError, "out is read-only"),
    (lambda: fc.relu(X, num_threads=0), ValueError, "num_threads"),
    (lambda: fc.relu_grad(X, F32), TypeError, "y is float32"),
    (lambda: fc.relu_grad(X, X[0]), ValueError, r"grad and y must have one shape.*\(3,\)"),
    (lambda: fc.sigmoid_grad(X, None), TypeError, "y must be"),
    (lambda: fc.sigmoid(np.ma.zeros(3)), TypeError, "x is a MaskedArray"),
    (lambda: fc.softmax(np.float64(1)), ValueError, "axis -1 is out of range"),
    (lambda: fc.softmax(X, 2), ValueError, "axis 2 is out of range"),
    (lambda: fc.softmax(X, -3), ValueError, "axis -3 is out of range"),
    (lambda: fc.softmax(X, 1.0), TypeError, "axis must be an integer"),
    (lambda: fc.softmax(X, None), TypeError, "axis must be an integer"),
    (lambda: fc.softmax_grad(X, X.T), ValueError, "grad and y must have one shape"),
    (lambda: fc.softmax_grad(X, F32), TypeError, "y is float32"),
    (lambda: fc.cross_entropy(X[0], LABELS), ValueError, "logits must be 2-D"),
    (lambda: fc.cross_entropy(X.astype(int), LABELS), TypeError, "logits must be float32"),
    (lambda: fc.cross_entropy(X, LABELS[:3]), ValueError, r"labels must have shape \(4,\)"),
    (lambda: fc.cross_entropy(X, np.eye(4, 3, dtype=int)), ValueError, "labels must have shape"),
    (lambda: fc.cross_entropy(X, LABELS + 3), ValueError, r"labels must be in 0\.\.2, got 3\.\.3"),
    (lambda: fc.cross_entropy(X, LABELS - 1), ValueError, "labels must be in"),
    (lambda: fc.cross_entropy(X[:, :0], LABELS), ValueError, "labels must be in"),
    (lambda: fc.cross_entropy(X, LABELS * 1.0), TypeError, "labels must be integers"),
    (lambda: fc.cross_entropy(X, LABELS > 0), TypeError, "labels must be integers"),
    (lambda: fc.cross_entropy_grad(X, [0, 1, 2, 0]), TypeError, "labels must be an array"),
    (lambda: fc.binary_cross_entropy(X, F32), TypeError, "targets is float32"),
    (lambda: fc.binary_cross_entropy(X, X[:3]), ValueError, "targets must have the shape"),
    (lambda: fc.binary_cross_entropy(X, X + 1.5), ValueError, "targets must be between 0 and 1"),
    (lambda: fc.binary_cross_entropy_grad(X, X * np.nan), ValueError, "targets must be between 0 and 1"),
    (lambda: fc.binary_cross_entropy(X, LABELS), TypeError, "targets must be float32"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
