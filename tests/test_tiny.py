"""The smoke test: one call of everything on a small problem, on every ISA."""

import numpy as np
import pytest
from support import DTYPES, LAYOUTS, use_isa, whole

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS


@pytest.mark.parametrize("dtype", DTYPES)
def test_products(dtype, isa):
    a, b = whole((40, 37), 1), whole((37, 70), 2)
    for algorithm in ("naive", "blocked", "packed", "auto"):
        np.testing.assert_array_equal(fc.gemm(a.astype(dtype), b.astype(dtype), algorithm=algorithm), a @ b)
    np.testing.assert_array_equal(fc.matmul(a.astype(dtype), b.astype(dtype)), a @ b)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_convolutions(dtype, layout, isa):
    x, weight, bias = whole((2, 12, 11, 5), 1), whole((5, 3, 3, 5), 2), whole(5, 3)
    if layout == "NCHW":
        x, weight = np.moveaxis(x, 3, 1), np.moveaxis(weight, 3, 1)
    parameters = {"padding": 1, "activation": "relu", "layout": layout}
    expected = reference.conv2d(x, weight, bias, **parameters)
    x, weight, bias = (array.astype(dtype) for array in (x, weight, bias))
    for row in fc.explain_conv2d(x.shape, weight.shape, padding=1, layout=layout).rows:
        if row.refusal is None:
            got = fc.conv2d(x, weight, bias, algorithm=row.name, **parameters)
            np.testing.assert_allclose(got, expected, atol=0 if next(
                r for r in ALGORITHMS if r.name == row.name).strict else 1e-3)  # fmt: skip
            plan = fc.plan_conv2d(x.shape, weight, bias, algorithm=row.name, **parameters)
            np.testing.assert_array_equal(plan(x), got)


def test_images_and_lowering():
    image = whole((9, 8, 3), 1).astype(np.float64)
    np.testing.assert_array_equal(
        fc.filter2d(image, fc.filters.sobel_x()), reference.filter2d(image, reference.sobel_x())
    )
    x = whole((1, 2, 6, 7), 1).astype(np.float32)
    cols = fc.im2col(x, 3)
    np.testing.assert_array_equal(cols, reference.im2col(x, 3))
    np.testing.assert_array_equal(fc.col2im(cols, x.shape, 3), reference.col2im(cols, x.shape, 3))


def test_threads_and_switches():
    with fc.num_threads(1):
        assert fc.get_num_threads() == 1
    with use_isa("portable"):
        assert fc.matmul(np.ones(3), np.ones(3)) == 3
    fc.release_memory()
