"""im2col is the matrix whose product with the flattened filters is the convolution, and col2im its adjoint: both
equal the reference exactly, in both layouts, for any strides."""

import numpy as np
import pytest
from conv_cases import CASES, to_layout
from support import DTYPES, LAYOUTS, MEMORY, dtype_name, laid_out, whole

import fastconv as fc
from fastconv import reference

UNGROUPED = [case for case in CASES if "groups" not in case.parameters]
by_case = pytest.mark.parametrize("case", UNGROUPED, ids=lambda case: case.name)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)


@by_case
@by_layout
@by_dtype
def test_im2col(case, layout, dtype, isa):
    x, kernel, parameters = to_layout(whole(case.x, 1), layout), case.weight[2:], {**case.parameters, "layout": layout}
    got = fc.im2col(x.astype(dtype), kernel, **parameters)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, reference.im2col(x, kernel, **parameters))


@by_case
@by_layout
@by_dtype
def test_col2im(case, layout, dtype):
    shape, kernel, parameters = to_layout(np.empty(case.x), layout).shape, case.weight[2:], dict(case.parameters)
    cols = whole(reference.im2col(np.zeros(shape), kernel, layout=layout, **parameters).shape, 1)
    got = fc.col2im(cols.astype(dtype), shape, kernel, layout=layout, **parameters)
    assert (got.dtype, got.shape) == (dtype, shape)
    np.testing.assert_array_equal(got, reference.col2im(cols, shape, kernel, layout=layout, **parameters))


@by_case
@by_layout
def test_adjoint(case, layout):
    """<im2col(x), cols> = <x, col2im(cols)>, exactly."""
    x, parameters = to_layout(whole(case.x, 1), layout), {**case.parameters, "layout": layout}
    lowered = fc.im2col(x.astype(np.float64), case.weight[2:], **parameters)
    cols = whole(lowered.shape, 2).astype(np.float64)
    assert (lowered * cols).sum() == (x * fc.col2im(cols, x.shape, case.weight[2:], **parameters)).sum()


@by_case
@by_layout
def test_the_matrix_times_the_filters_is_the_convolution(case, layout):
    x, weight = (to_layout(whole(shape, i), layout).astype(np.float64) for i, shape in enumerate((case.x, case.weight)))
    y = fc.conv2d(x, weight, layout=layout, strict=True, **case.parameters)
    flat = weight.reshape(len(weight), np.prod(weight.shape[1:]))
    pixels = fc.im2col(x, case.weight[2:], layout=layout, **case.parameters) @ flat.T
    np.testing.assert_array_equal(y.ravel() if layout == "NHWC" else np.moveaxis(y, 1, 3).ravel(), pixels.ravel())


@pytest.mark.parametrize("memory", MEMORY)
@by_layout
@by_dtype
def test_any_memory_layout(memory, layout, dtype, isa):
    x, parameters = to_layout(whole((2, 5, 8, 9), 1), layout), {"padding": 1, "stride": (1, 2), "layout": layout}
    expected = reference.im2col(x, (3, 2), **parameters)
    np.testing.assert_array_equal(fc.im2col(MEMORY[memory](x.astype(dtype)), (3, 2), **parameters), expected)
    cols = whole(expected.shape, 2)
    got = fc.col2im(MEMORY[memory](cols.astype(dtype)), x.shape, (3, 2), **parameters)
    np.testing.assert_array_equal(got, reference.col2im(cols, x.shape, (3, 2), **parameters))


@by_layout
def test_channels_last_memory_passed_as_nchw(layout):
    x = to_layout(whole((2, 5, 8, 9), 1), layout)
    other = laid_out(x.astype(np.float32), (0, 2, 3, 1) if layout == "NCHW" else (0, 3, 1, 2))
    np.testing.assert_array_equal(fc.im2col(other, 3, layout=layout), reference.im2col(x, 3, layout=layout))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shape": (17, 18)}, ValueError, "cols must have shape"),
        ({"shape": (16, 19)}, ValueError, "cols must have shape"),
        ({"shape": (16 * 18,)}, ValueError, "cols must have shape"),
        ({"input_shape": (1, 2, 6)}, ValueError, "input_shape"),
        ({"input_shape": (1, 2, 6, -6)}, ValueError, "input_shape"),
        ({"input_shape": 6}, TypeError, "input_shape"),
        ({"input_shape": (1, 2, 6, 6.0)}, TypeError, "input_shape"),
        ({"kernel_size": 0}, ValueError, "kernel_size"),
        ({"kernel_size": 7}, ValueError, "kernel"),
        ({"kernel_size": (3, 3, 3)}, ValueError, "kernel_size"),
        ({"kernel_size": 3.0}, TypeError, "kernel_size"),
        ({"dtype": np.int32}, TypeError, "cols"),
    ],
    ids=["row19-rows", "row20-columns", "row19-rank", "input-rank", "input-negative", "input-integer", "input-float",
         "row13", "row16", "row31", "row32", "row42"],
)  # fmt: skip
def test_col2im_refuses(change, error, message):
    call = {"shape": (16, 18), "input_shape": (1, 2, 6, 6), "kernel_size": 3, "dtype": np.float32, **change}
    with pytest.raises(error, match=message):
        fc.col2im(np.zeros(call["shape"], call["dtype"]), call["input_shape"], call["kernel_size"])
