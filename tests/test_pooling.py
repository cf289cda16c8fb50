"""Pooling and its gradients: exact for whole numbers, in both layouts and any memory; ties, NaN and padding; what is
refused. The oracle is the reference, which gathers the windows."""

import numpy as np
import pytest
from conv_cases import to_layout
from hypothesis import given
from hypothesis import strategies as st
from support import DTYPES, LAYOUTS, MEMORY, dtype_name, eager_threads, poison, reals, slope, whole, written

import fastconv as fc
from fastconv import reference

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_memory = pytest.mark.parametrize("memory", MEMORY)
CASES = {
    "2x2": ((2, 19, 8, 6), 2, {}),
    "3x3-by-2": ((1, 33, 9, 8), 3, {"stride": 2, "padding": 1}),
    "overlapping": ((2, 5, 7, 9), (3, 2), {"stride": 1}),
    "gaps": ((1, 8, 11, 13), 2, {"stride": (3, 5)}),
    "sides": ((1, 3, 6, 7), (3, 4), {"stride": (2, 1), "padding": ((0, 2), (3, 1))}),
    "whole-image": ((3, 40, 7, 5), (7, 5), {}),
    "one-channel": ((2, 1, 12, 12), 2, {}),
    "same": ((1, 4, 5, 6), 3, {"stride": 1, "padding": "same"}),
    "many-rows": ((1, 16, 200, 30), 2, {}),
    "no-images": ((0, 3, 6, 6), 2, {}),
    "no-channels": ((2, 0, 6, 6), 2, {}),
}
by_case = pytest.mark.parametrize("case", CASES)


def arguments(case, layout, dtype=np.float64):
    """x in the layout, the kernel, and the parameters, of a case."""
    shape, kernel, parameters = CASES[case]
    return to_layout(whole(shape, 1), layout).astype(dtype), kernel, {"layout": layout, **parameters}


@by_case
@by_layout
@by_dtype
def test_max_pooling_is_exact(case, layout, dtype, isa):
    x, kernel, parameters = arguments(case, layout, dtype)
    expected = reference.max_pool2d(x, kernel, **parameters)
    y = fc.max_pool2d(x, kernel, **parameters)
    assert (y.dtype, y.flags.c_contiguous) == (dtype, True)
    np.testing.assert_array_equal(y, expected)
    grad = whole(y.shape, 2).astype(dtype)
    dx = fc.max_pool2d_grad(grad, x, kernel, **parameters)
    assert (dx.shape, dx.dtype, dx.flags.c_contiguous) == (x.shape, dtype, True)
    np.testing.assert_array_equal(dx, reference.max_pool2d_grad(grad, x, kernel, **parameters))


@by_case
@by_layout
@by_dtype
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_mean_pooling(case, layout, dtype, count_include_pad, isa):
    """Sums of whole numbers are exact, and so is the rounding of the one division."""
    x, kernel, parameters = arguments(case, layout, dtype)
    parameters["count_include_pad"] = count_include_pad
    expected = reference.avg_pool2d(x.astype(np.float64), kernel, **parameters)
    y = fc.avg_pool2d(x, kernel, **parameters)
    np.testing.assert_array_equal(y, expected.astype(dtype))
    grad = whole(y.shape, 2).astype(dtype)
    dx = fc.avg_pool2d_grad(grad, x.shape, kernel, **parameters)
    assert (dx.shape, dx.dtype, dx.flags.c_contiguous) == (x.shape, dtype, True)
    expected = reference.avg_pool2d_grad(grad.astype(np.float64), x.shape, kernel, **parameters)
    np.testing.assert_allclose(dx, expected, atol=8 * np.finfo(dtype).eps)


@by_layout
def test_ties_go_to_the_first_and_padding_never_wins(layout):
    x = to_layout(np.full((1, 20, 4, 4), -1.0), layout)
    assert (fc.max_pool2d(x, 2, padding=1, layout=layout) == -1).all()
    dx = fc.max_pool2d_grad(np.ones_like(x[:, :2, :2] if layout == "NHWC" else x[..., :2, :2]), x, 2, layout=layout)
    first = np.zeros((4, 4))
    first[::2, ::2] = 1
    np.testing.assert_array_equal(dx, to_layout(np.broadcast_to(first, (1, 20, 4, 4)), layout))
    lowest = np.full((1, 3, 4, 4), -np.inf)
    np.testing.assert_array_equal(fc.max_pool2d(lowest, 3, padding=1, stride=1), lowest)


@by_layout
@by_dtype
def test_nan_wins(layout, dtype, isa):
    x = reals((1, 17, 6, 6), 1, dtype)
    x[0, :, 1, 1], x[0, :, 2, 3], x[0, :, 3, 2] = np.nan, np.nan, np.nan
    x[0, :, 2, 2] = np.inf
    y = fc.max_pool2d(to_layout(x, layout), 2, layout=layout)
    np.testing.assert_array_equal(y, to_layout(reference.max_pool2d(x, 2), layout))
    dx = fc.max_pool2d_grad(np.ones_like(y), to_layout(x, layout), 2, layout=layout)
    dx = dx if layout == "NCHW" else np.moveaxis(dx, 3, 1)
    assert (dx[0, :, 1, 1] == 1).all()
    assert (dx[0, :, 2, 3] == 1).all()  # the first NaN of two, before inf
    assert dx.sum() == 17 * 9


@by_layout
@by_memory
@pytest.mark.parametrize("case", ["3x3-by-2", "sides"])
def test_any_memory_layout(case, memory, layout):
    x, kernel, parameters = arguments(case, layout, np.float32)
    y = reference.max_pool2d(x, kernel, **parameters)
    grad = whole(y.shape, 2).astype(np.float32)
    there, grad_there = MEMORY[memory](x), MEMORY[memory](grad)
    np.testing.assert_array_equal(fc.max_pool2d(there, kernel, **parameters), y)
    np.testing.assert_array_equal(
        fc.max_pool2d_grad(grad_there, there, kernel, **parameters),
        reference.max_pool2d_grad(grad, x, kernel, **parameters),
    )
    np.testing.assert_array_equal(fc.avg_pool2d(there, kernel, **parameters), fc.avg_pool2d(x, kernel, **parameters))
    np.testing.assert_array_equal(
        fc.avg_pool2d_grad(grad_there, x.shape, kernel, **parameters),
        fc.avg_pool2d_grad(grad, x.shape, kernel, **parameters),
    )


def test_channels_last_memory_passed_as_nchw():
    x = np.ascontiguousarray(reals((2, 9, 10, 35), 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(fc.max_pool2d(x, 3, stride=2), reference.max_pool2d(x, 3, stride=2))


@by_case
@by_layout
def test_gradients_by_differences(case, layout):
    x, kernel, parameters = arguments(case, layout)
    if not x.size:
        return
    x = np.random.default_rng(3).permutation(x.size).reshape(x.shape) / 16  # no two alike
    toward = reals(x.shape, 4)
    grad = reals(fc.max_pool2d(x, kernel, **parameters).shape, 5)
    for pool, dx in (
        (fc.max_pool2d, fc.max_pool2d_grad(grad, x, kernel, **parameters)),
        (fc.avg_pool2d, fc.avg_pool2d_grad(grad, x.shape, kernel, **parameters)),
    ):
        expected = slope(lambda x, pool=pool: (grad * pool(x, kernel, **parameters)).sum(), x, toward)
        assert (dx * toward).sum() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_the_gradient_of_the_mean_is_its_adjoint(count_include_pad):
    x, kernel, parameters = arguments("sides", "NCHW")
    x, parameters = reals(x.shape, 1), {"count_include_pad": count_include_pad, **parameters}
    y = fc.avg_pool2d(x, kernel, **parameters)
    grad = reals(y.shape, 2)
    back = fc.avg_pool2d_grad(grad, x.shape, kernel, **parameters)
    assert (grad * y).sum() == pytest.approx((back * x).sum(), rel=1e-12)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(1, 4))),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
def test_any_shape_and_any_number_of_threads(shape, kernel, stride, layout, dtype, data):
    kernel = tuple(min(size, side) for size, side in zip(kernel, shape[2:], strict=True))
    padding = tuple(data.draw(st.tuples(*[st.integers(0, size - 1)] * 2)) for size in kernel)
    parameters = {"stride": stride, "padding": padding, "layout": layout}
    x = to_layout(whole(shape, 1), layout).astype(dtype)
    expected = reference.max_pool2d(x, kernel, **parameters)
    grad = whole(expected.shape, 2).astype(dtype)
    with eager_threads():
        for threads in (1, 3):
            options = {"num_threads": threads, **parameters}
            np.testing.assert_array_equal(fc.max_pool2d(x, kernel, **options), expected)
            np.testing.assert_array_equal(
                fc.max_pool2d_grad(grad, x, kernel, **options),
                reference.max_pool2d_grad(grad, x, kernel, **parameters),
            )
        mean = [fc.avg_pool2d_grad(grad, x.shape, kernel, num_threads=n, **parameters) for n in (1, 3)]
    np.testing.assert_array_equal(*mean)


def test_out():
    x = reals((1, 20, 6, 6), 1)
    for call in (lambda out: fc.max_pool2d(x, 2, out=out), lambda out: fc.avg_pool2d(x, 2, out=out)):
        out = poison((1, 20, 3, 3), x.dtype)
        assert call(out) is out
        assert written(out).all()


X, G = np.zeros((1, 2, 6, 6)), np.zeros((1, 2, 3, 3))
REFUSED = [
    (lambda: fc.max_pool2d(X[0], 2), ValueError, "x must be 4-D"),
    (lambda: fc.max_pool2d(X.astype(int), 2), TypeError, "x must be float32"),
    (lambda: fc.max_pool2d(X, 0), ValueError, "kernel_size must be at least 1"),
    (lambda: fc.max_pool2d(X, 2.0), TypeError, "kernel_size must be"),
    (lambda: fc.max_pool2d(X, (2, 2, 2)), ValueError, "kernel_size must be"),
    (lambda: fc.max_pool2d(X, 7), ValueError, "kernel is larger"),
    (lambda: fc.max_pool2d(X, 2, stride=0), ValueError, "stride must be at least 1"),
    (lambda: fc.max_pool2d(X, 2, padding=2), ValueError, "windows along H would hold no pixel"),
    (lambda: fc.avg_pool2d(X, 2, padding=(0, 2)), ValueError, "windows along W would hold no pixel"),
    (lambda: fc.max_pool2d(X[:, :, :0], 2, padding=1), ValueError, "windows along H would hold no pixel"),
    (lambda: fc.max_pool2d(X, 2, padding=-1), ValueError, "padding must not be negative"),
    (lambda: fc.max_pool2d(X, 2, padding="same"), ValueError, "padding='same' needs stride 1"),
    (lambda: fc.max_pool2d(X, 2, layout="NWHC"), ValueError, "layout must be"),
    (lambda: fc.max_pool2d(X, 2, num_threads=True), TypeError, "num_threads"),
    (lambda: fc.max_pool2d(X, 2, out=np.zeros((1, 2, 3, 4))), ValueError, "out must have shape"),
    (lambda: fc.max_pool2d(X, 1, out=X), ValueError, "out shares memory with x"),
    (lambda: fc.max_pool2d_grad(X, X, 2), ValueError, r"grad must have the shape of the result, \(1, 2, 3, 3\)"),
    (lambda: fc.max_pool2d_grad(G.astype(np.float32), X, 2), TypeError, "x is float64"),
    (lambda: fc.avg_pool2d(X, 2, count_include_pad=1), TypeError, "count_include_pad must be"),
    (lambda: fc.avg_pool2d_grad(G, X.shape[1:], 2), ValueError, "input_shape must be 4 sizes"),
    (lambda: fc.avg_pool2d_grad(X, X.shape, 2), ValueError, "grad must have the shape"),
    (lambda: fc.avg_pool2d_grad([1.0], X.shape, 2), TypeError, "grad must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
