"""Every row's error on random data is at most what the table publishes (docs/accuracy.md): rms errors in units of
direct summation's, which is the plain loops."""

import numpy as np
import pytest
from support import DTYPES, LAYOUTS, dtype_name, reals

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS, BY_NAME

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
MOST_ERROR = 4.0  # of what `auto` chooses: the promise of docs/accuracy.md


def rms(array):
    return float(np.sqrt(np.mean(array**2)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("channels", [16, 100])
def test_errors_are_those_published(channels, dtype, layout, isa):
    x, weight = reals((1, channels, 22, 24), 1, dtype), reals((8, channels, 3, 3), 2, dtype)
    exact = reference.conv2d(x.astype(WIDER[dtype]), weight.astype(WIDER[dtype]), padding=1)
    if layout == "NHWC":
        x, weight, exact = (np.ascontiguousarray(np.moveaxis(a, 1, 3)) for a in (x, weight, exact))
    call = {"padding": 1, "layout": layout}
    direct = rms(fc.conv2d(x, weight, algorithm="naive", **call) - exact)
    for row in ALGORITHMS:
        if row.refuse(fc.shapes.conv_shape(x.shape, weight.shape, **call)) is None:
            error = rms(fc.conv2d(x, weight, algorithm=row.name, **call) - exact)
            assert error <= row.error * direct, row.name


def test_auto_chooses_accurate_rows_only():
    """Whatever the shape: also where a less accurate row would be cheaper."""
    assert {row.name for row in ALGORITHMS if not row.accurate} >= {"winograd6x6"}
    for c, k, size in ((64, 64, 224), (512, 512, 28), (256, 256, 56), (16, 2048, 30)):
        for layout, x, weight in (
            ("NCHW", (1, c, size, size), (k, c, 3, 3)),
            ("NHWC", (1, size, size, c), (k, 3, 3, c)),
        ):
            for prepared in (False, True):
                chosen = fc.explain_conv2d(x, weight, padding=1, layout=layout, prepared=prepared).chosen
                assert BY_NAME[chosen].error <= MOST_ERROR
