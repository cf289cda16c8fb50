"""conv1d equals its int64 reference, and conv2d of one row, bit for bit; bad input is refused in conv1d's own words."""

import numpy as np
import pytest
from support import DTYPES, LAYOUTS, dtype_name, poison, whole

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS, BY_NAME
from fastconv.shapes import conv_shape

CASES = [
    ("plain", (2, 5, 40), (7, 5, 3), {}),
    ("padded", (2, 16, 33), (24, 16, 5), {"padding": 2}),
    ("one-sided", (1, 3, 20), (4, 3, 4), {"padding": (3, 0), "stride": 2}),
    ("same", (1, 3, 21), (4, 3, 4), {"padding": "same", "dilation": 3}),
    ("valid", (1, 1, 9), (1, 1, 9), {"padding": "valid"}),
    ("causal", (2, 8, 50), (8, 8, 2), {"padding": [4, 0], "dilation": 4}),
    ("groups", (1, 6, 30), (9, 2, 3), {"groups": 3, "padding": np.int64(1)}),
    ("depthwise", (2, 20, 31), (20, 1, 3), {"groups": 20, "padding": 1}),
    ("pointwise", (3, 17, 19), (5, 17, 1), {}),
    ("long", (1, 2, 5000), (3, 2, 7), {"padding": 3}),
    ("no-signals", (0, 2, 5), (3, 2, 3), {}),
    ("no-channels", (2, 0, 5), (3, 0, 3), {}),
]


def in_layout(array, layout):
    return np.ascontiguousarray(array if layout == "NCHW" else array.transpose(0, 2, 1))


@pytest.mark.parametrize(("x", "weight", "parameters"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("algorithm", ["auto", *(row.name for row in ALGORITHMS if row.strict)])
def test_whole_numbers(x, weight, parameters, layout, dtype, algorithm):
    if 0 in x[1:] and algorithm in ("direct", "im2col"):
        return  # no channels, no product: they refuse
    x, weight, bias = in_layout(whole(x, 1), layout), in_layout(whole(weight, 2), layout), whole(weight[:1], 3)
    expected = reference.conv1d(x, weight, bias, activation="relu", layout=layout, **parameters)
    out = poison(expected.shape, dtype)
    call = {"activation": "relu", "layout": layout, "algorithm": algorithm, **parameters}
    arguments = [array.astype(dtype) for array in (x, weight, bias)]
    assert fc.conv1d(*arguments, out=out, **call) is out
    np.testing.assert_array_equal(out, expected)
    got = fc.conv1d(*arguments, **call)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("x", "weight", "parameters"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients(x, weight, parameters, layout):
    x, weight, taps = in_layout(whole(x, 1), layout), in_layout(whole(weight, 2), layout), weight[2]
    grad = whole(reference.conv1d(x, weight, layout=layout, **parameters).shape, 3)
    call, floats = {"layout": layout, **parameters}, [array.astype(np.float32) for array in (x, weight, grad)]
    dx = fc.conv1d_input_grad(floats[2], floats[1], x.shape, strict=True, **call)
    np.testing.assert_array_equal(dx, reference.conv1d_input_grad(grad, weight, x.shape, **call))
    dw = fc.conv1d_weight_grad(floats[0], floats[2], taps, **call)
    np.testing.assert_array_equal(dw, reference.conv1d_weight_grad(x, grad, taps, **call))
    np.testing.assert_array_equal(fc.conv1d_bias_grad(floats[2], layout=layout),
                                  reference.conv1d_bias_grad(grad, layout=layout))  # fmt: skip
    y = fc.conv1d(*floats[:2], strict=True, **call)
    assert (y * grad).sum() == (x * dx).sum() == (weight * dw).sum()
    out_x, out_w = poison(x.shape, np.float32), poison(weight.shape, np.float32)
    assert fc.conv1d_input_grad(floats[2], floats[1], x.shape, strict=True, out=out_x, **call) is out_x
    assert fc.conv1d_weight_grad(floats[0], floats[2], taps, out=out_w, **call) is out_w
    np.testing.assert_array_equal(out_x, dx)
    np.testing.assert_array_equal(out_w, dw)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", ["x", "weight"])
def test_any_strides_and_threads(name, threads):
    arguments = {"x": whole((2, 9, 60), 1), "weight": whole((9, 9, 3), 2)}
    expected = reference.conv1d(**arguments, padding="same")
    arguments = {key: array.astype(np.float32) for key, array in arguments.items()}
    arguments[name] = np.asfortranarray(arguments[name][..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(fc.conv1d(**arguments, padding="same", num_threads=threads), expected)


def test_it_is_conv2d_of_one_row():
    """With reals: the same nest, the same bits."""
    x, weight = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((2, 16, 90), (24, 16, 3)))
    one_row = fc.conv2d(x[:, :, None], weight[:, :, None], padding=(0, 1), stride=(1, 2))
    np.testing.assert_array_equal(fc.conv1d(x, weight, padding=1, stride=2), one_row[:, :, 0])


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


REFUSED = [
    ({"x": zeros(6, 9)}, ValueError, r"x must be 3-D, got shape \(6, 9\)"),
    ({"x": zeros(2, 6, 1, 9)}, ValueError, r"x must be 3-D"),
    ({"weight": zeros(4, 6)}, ValueError, "weight must be 3-D"),
    ({"x": None}, TypeError, "x must be a float32 or float64 array"),
    ({"weight": zeros(4, 6, 3, dtype=np.float64)}, TypeError, "weight is float64, x is float32"),
    ({"weight": zeros(4, 5, 3)}, ValueError, r"x has 6 channels.*takes 5 \* 1"),
    ({"weight": zeros(4, 6, 0)}, ValueError, "weight has an empty kernel"),
    ({"weight": zeros(4, 6, 10)}, ValueError, "kernel is larger than the padded input"),
    ({"bias": zeros(5)}, ValueError, r"bias must have shape \(4,\)"),
    ({"layout": "NCL"}, ValueError, "layout must be 'NCHW' or 'NHWC'"),
    ({"layout": None}, TypeError, "layout must be"),
    ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
    ({"stride": (1, 1)}, TypeError, "stride must be an integer"),
    ({"stride": True}, TypeError, "stride must be an integer"),
    ({"dilation": -1}, ValueError, "dilation must be at least 1, got -1"),
    ({"dilation": 1.0}, TypeError, "dilation must be an integer"),
    ({"padding": -1}, ValueError, "padding must not be negative"),
    ({"padding": (0, -1)}, ValueError, "padding must not be negative"),
    ({"padding": (1, 1, 1)}, ValueError, r"padding must be an integer or a pair \(left, right\)"),
    ({"padding": ((1, 1), (1, 1))}, TypeError, "padding must be an integer"),
    ({"padding": 1.5}, TypeError, "padding must be an integer"),
    ({"padding": "full"}, ValueError, "padding must be 'same', 'valid'"),
    ({"padding": "same", "stride": 2}, ValueError, "padding='same' needs stride 1, got stride 2"),
    ({"groups": 4}, ValueError, "groups=4"),
    ({"algorithm": "wavelet"}, ValueError, "algorithm must be one of"),
    ({"activation": "tanh"}, ValueError, "activation must be None or 'relu'"),
    ({"num_threads": 0}, ValueError, "num_threads must be at least 1"),
    ({"out": zeros(2, 4, 1, 7)}, ValueError, r"out must have shape \(2, 4, 7\)"),
    ({"out": zeros(2, 4, 7, dtype=np.float64)}, TypeError, "out must be float32"),
    ({"out": zeros(2, 4, 14)[..., ::2]}, ValueError, "out must be C-contiguous"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_conv1d_refuses(change, error, message):
    call = {"x": zeros(2, 6, 9), "weight": zeros(4, 6, 3), **change}
    with pytest.raises(error, match=message):
        fc.conv1d(call.pop("x"), call.pop("weight"), call.pop("bias", None), **call)


@pytest.mark.parametrize(
    ("input_shape", "error"), [(9, TypeError), ((2, 6, 9.0), TypeError), ((6, 9), ValueError), ((2, 6, -9), ValueError)]
)
def test_an_input_shape_is_three_sizes(input_shape, error):
    with pytest.raises(error, match="input_shape must be"):
        fc.conv1d_input_grad(zeros(2, 4, 7), zeros(4, 6, 3), input_shape)


def test_gradients_say_the_shape_of_grad_in_their_axes():
    message = r"grad must have shape \(2, 4, 7\), that of the output, got \(2, 4, 6\)"
    with pytest.raises(ValueError, match=message):
        fc.conv1d_input_grad(zeros(2, 4, 6), zeros(4, 6, 3), (2, 6, 9))
    with pytest.raises(ValueError, match=message):
        fc.conv1d_weight_grad(zeros(2, 6, 9), zeros(2, 4, 6), 3)


def test_out_must_not_share_memory_with_an_input():
    x = zeros(1, 4, 9)
    with pytest.raises(ValueError, match="out shares memory with x"):
        fc.conv1d(x, zeros(4, 4, 1), out=x)


@pytest.mark.parametrize("name", [row.name for row in ALGORITHMS])
def test_a_named_algorithm_runs_or_refuses(name):
    x, weight = zeros(1, 4, 9), zeros(4, 4, 3)
    if BY_NAME[name].refuse(conv_shape((1, 4, 1, 9), (4, 4, 1, 3))):
        with pytest.raises(ValueError, match="cannot do this shape"):
            fc.conv1d(x, weight, algorithm=name)
    else:
        assert not fc.conv1d(x, weight, algorithm=name).any()
