"""Bad input raises the right exception, naming the argument, before anything runs; odd but sound input works.

The ids carry the row of the table of bad inputs collected from the histories of TensorFlow, PyTorch, oneDNN and
OpenBLAS; ELSEWHERE says which rows other files test. One call is right; each test changes it in one place. (Every
argument of every function: test_mutated_calls.py.)"""

import re
import sys

import numpy as np
import pytest
from conv_cases import to_layout
from support import LAYOUTS, ROOT, laid_out, poison, read_only, reals

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS, BY_NAME
from fastconv.arrays import as_integers
from fastconv.shapes import conv_shape


def conv(**change):
    """conv2d of (2, 6, 8, 9) with (4, 6, 3, 3), changed."""
    call = {"x": zeros(2, 6, 8, 9), "weight": zeros(4, 6, 3, 3), **change}
    return fc.conv2d(call.pop("x"), call.pop("weight"), call.pop("bias", None), **call)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def unbacked(*shape, dtype=np.float32):
    """An array of that shape that takes the memory of one element."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))


class Arrayish:
    """What pandas and its like are to NumPy."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


class Raising:
    def __array__(self, dtype=None, copy=None):
        raise LookupError("no array today")


class Lying:
    def __array__(self, dtype=None, copy=None):
        return "not an array"


class OnDevice:
    """A tensor of another device."""

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **_):
        raise AssertionError("must not be asked for memory of another device")


class Tensor:
    """A CPU tensor that speaks DLPack only, as torch's do."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how)


REFUSED = [
    # Shape and rank
    ("row1", {"weight": zeros(4, 6)}, ValueError, r"weight must be 4-D.*\(4, 6\)"),
    ("row2", {"x": zeros(2, 6, 8, 9, 1)}, ValueError, r"x must be 4-D.*\(2, 6, 8, 9, 1\)"),
    ("row3", {"x": zeros(9)}, ValueError, "x must be 4-D"),
    ("row3-scalar", {"x": np.float32(1)}, ValueError, "x must be 4-D"),
    ("row4", {"x": zeros(6, 8, 9)}, ValueError, "x must be 4-D"),
    ("row5", {"weight": zeros(4, 6, 3, 3, 3)}, ValueError, "weight must be 4-D"),
    ("row6", {"weight": zeros(4, 5, 3, 3)}, ValueError, "x has 6 channels.* 5"),
    ("row6-groups", {"groups": 2}, ValueError, "x has 6 channels.*groups=2"),
    ("row6-layout", {"layout": "NHWC"}, ValueError, "x has 9 channels.*NHWC"),
    ("row7", {"weight": zeros(4, 2, 3, 3), "groups": 3}, ValueError, "groups=3"),
    ("row8-0", {"groups": 0}, ValueError, "groups must be at least 1"),
    ("row8-1", {"groups": -1}, ValueError, "groups must be at least 1"),
    ("row8-C+1", {"groups": 7}, ValueError, "groups=7"),
    ("row8-type", {"groups": 1.0}, TypeError, "groups must be an integer"),
    ("row8-bool", {"groups": True}, TypeError, "groups must be an integer"),
    ("row9-long", {"bias": zeros(5)}, ValueError, r"bias must have shape \(4,\)"),
    ("row9-column", {"bias": zeros(4, 1)}, ValueError, "bias must have shape"),
    ("row9-scalar", {"bias": zeros()}, ValueError, "bias must have shape"),
    ("row9-row", {"bias": zeros(1, 4)}, ValueError, "bias must have shape"),
    ("row13-kh", {"weight": zeros(4, 6, 0, 3)}, ValueError, "weight .*empty kernel"),
    ("row13-kw", {"weight": zeros(4, 6, 3, 0)}, ValueError, "weight .*empty kernel"),
    ("row14", {"x": zeros(2, 6, 0, 9)}, ValueError, "kernel is larger than the padded input along H"),
    ("row15", {"x": zeros(0, 0, 0, 0), "weight": zeros(0, 0, 0, 0)}, ValueError, "empty kernel"),
    ("row16-H", {"weight": zeros(4, 6, 9, 3)}, ValueError, "kernel is larger than the padded input along H"),
    ("row16-W", {"weight": zeros(4, 6, 3, 12), "padding": 1}, ValueError, "larger than the padded input along W"),
    ("row17", {"dilation": 4}, ValueError, "larger than the padded input along H: 9 > 8"),
    # Scalars and parameters
    ("row21", {"stride": 0}, ValueError, "stride must be at least 1"),
    ("row21-w", {"stride": (1, 0)}, ValueError, "stride must be at least 1"),
    ("row22", {"stride": -1}, ValueError, "stride must be at least 1"),
    ("row25", {"dilation": 0}, ValueError, "dilation must be at least 1"),
    ("row25-negative", {"dilation": (1, -1)}, ValueError, "dilation must be at least 1"),
    ("row26", {"dilation": 2**31}, ValueError, "kernel is larger"),
    ("row26-2**63", {"dilation": 2**63}, ValueError, "dilation"),
    ("row26-2**64-1x1", {"dilation": 2**64, "weight": zeros(4, 6, 1, 1)}, ValueError, "dilation"),
    ("row27", {"padding": -1}, ValueError, "padding must not be negative"),
    ("row27-side", {"padding": ((0, 0), (0, -1))}, ValueError, "padding must not be negative"),
    ("row28", {"padding": 2**62}, ValueError, "padding"),
    ("row28-2**31", {"padding": 2**31}, ValueError, "elements"),
    ("row28-H", {"padding": ((0, 2**52), (0, 0))}, ValueError, "padding or dilation is too large along H"),
    ("row28-H-strided", {"padding": ((0, 2**58), (0, 0)), "stride": (2**58, 1)}, ValueError, "too large along H"),
    ("row28-W-strided", {"padding": ((0, 0), (3 * 2**61, 0)), "stride": (1, 2**62)}, ValueError, "too large along W"),
    ("row28-2**64", {"padding": 2**64}, ValueError, "padding"),
    ("row28-2**64-strided", {"padding": 2**64, "stride": 2**64}, ValueError, "padding|stride"),
    ("row29", {"padding": "foo"}, ValueError, "padding must be 'same', 'valid'"),
    ("row29-case", {"padding": "SAME "}, ValueError, "padding must be 'same', 'valid'"),
    ("row29-bytes", {"padding": b"same"}, TypeError, "padding must be"),
    ("row30", {"padding": "same", "stride": 2}, ValueError, "padding='same' needs stride 1"),
    ("row31-padding", {"padding": []}, ValueError, "padding must be"),
    ("row31-padding3", {"padding": (1, 1, 1)}, ValueError, "padding must be"),
    ("row31-padding4", {"padding": (1, 1, 1, 1)}, ValueError, "padding must be"),
    ("row31-side3", {"padding": ((1, 1, 1), (1, 1))}, ValueError, "padding must be"),
    ("row31-stride1", {"stride": (1,)}, ValueError, "stride must be"),
    ("row31-stride3", {"stride": (1, 1, 1)}, ValueError, "stride must be"),
    ("row31-dilation", {"dilation": []}, ValueError, "dilation must be"),
    *((f"row32-{name}-{value!r}", {name: value}, TypeError, f"{name} must be")
      for name in ("stride", "dilation", "padding") for value in (1.0, 1.5, None, True, np.float64(1), (1, 1.0))),
    ("row32-stride-str", {"stride": "1"}, TypeError, "stride must be"),
    ("row32-np.bool", {"stride": np.bool_(True)}, TypeError, "stride must be"),
    ("row33", {"stride": np.array([[1, 1]])}, ValueError, "stride must be"),
    ("row34-nan", {"padding": float("nan")}, TypeError, "padding must be"),
    ("row34-inf", {"stride": float("inf")}, TypeError, "stride must be"),
    ("row35", {"algorithm": "winogrd"}, ValueError, "algorithm must be one of .*'im2col'.*winogrd"),
    ("row35-case", {"algorithm": "Im2col"}, ValueError, "algorithm must be one of"),
    ("row35-None", {"algorithm": None}, TypeError, "algorithm must be one of"),
    ("row35-list", {"algorithm": ["im2col"]}, TypeError, "algorithm must be one of"),
    *((f"row36-{name}", {"algorithm": name, "weight": zeros(4, 6, 5, 5), "stride": 2, "dilation": (1, 2)}, ValueError,
       "algorithm") for name in ("winograd2x2", "winograd4x4", "winograd5x5", "winograd6x6", "fft")),
    ("row37", {"algorithm": "fft", "stride": 2}, ValueError, "algorithm"),
    ("row38-0", {"num_threads": 0}, ValueError, "num_threads must be at least 1"),
    ("row38-negative", {"num_threads": -1}, ValueError, "num_threads must be at least 1"),
    ("row38-float", {"num_threads": 1.5}, TypeError, "num_threads must be an integer"),
    ("row38-bool", {"num_threads": True}, TypeError, "num_threads must be an integer"),
    ("row39", {"blocking": (64, 64, 64)}, TypeError, "blocking must be a fastconv.Blocking"),
    ("row39-naive", {"blocking": fc.Blocking(8, 8, 8), "algorithm": "naive"}, ValueError, "blocking.*naive"),
    ("strict-str", {"strict": "yes"}, TypeError, "strict must be True or False"),
    ("strict-list", {"strict": []}, TypeError, "strict must be True or False"),
    ("strict-0", {"strict": 0}, TypeError, "strict must be True or False"),
    ("strict-1", {"strict": 1}, TypeError, "strict must be True or False"),
    ("activation", {"activation": "tanh"}, ValueError, "activation must be None or 'relu'"),
    ("activation-type", {"activation": abs}, TypeError, "activation must be None or 'relu'"),
    ("layout", {"layout": "NCWH"}, ValueError, "layout must be 'NCHW' or 'NHWC'"),
    ("layout-type", {"layout": None}, TypeError, "layout must be 'NCHW' or 'NHWC'"),
    # dtype
    ("row41", {"weight": zeros(4, 6, 3, 3, dtype=np.float64)}, TypeError, "weight is float64.*x is float32"),
    ("row41-bias", {"bias": zeros(4, dtype=np.float64)}, TypeError, "bias is float64"),
    *((f"row42-{np.dtype(kind).name}", {"x": np.zeros((2, 6, 8, 9), kind)}, TypeError, "x must be float32 or float64")
      for kind in ("i8", "?", "c16", "f2", "u1", "U3", "M8[s]")),
    ("row42-weight", {"weight": zeros(4, 6, 3, 3, dtype=int)}, TypeError, "weight must be float32 or float64"),
    ("row42-bias", {"bias": zeros(4, dtype=int)}, TypeError, "bias must be float32 or float64"),
    ("row43", {"x": np.zeros((2, 6, 8, 9), object)}, TypeError, "x must be float32 or float64"),
    ("row44", {"x": zeros(2, 6, 8, 9, dtype=">f4")}, TypeError, "x .*byte order"),
    ("row44-weight", {"weight": zeros(4, 6, 3, 3, dtype=">f4")}, TypeError, "weight .*byte order"),
    ("row45", {"x": zeros(2, 6, 8, 9, dtype=np.longdouble)}, TypeError, "x must be float32 or float64"),
    ("row46", {"x": np.zeros((2, 6, 8, 9), [("a", "f4")])}, TypeError, "x must be float32 or float64"),
    ("row46-void", {"x": np.zeros((2, 6, 8, 9), "V4")}, TypeError, "x must be float32 or float64"),
    ("row52", {"out": np.zeros((2, 4, 6, 7), int)}, TypeError, "out must be float32"),
    ("row52-wide", {"out": np.zeros((2, 4, 6, 7))}, TypeError, "out must be float32"),
    ("row52-swapped", {"out": np.zeros((2, 4, 6, 7), ">f4")}, TypeError, "out must be"),
    # Memory
    ("row58", {"out": read_only(zeros(2, 4, 6, 7))}, ValueError, "out is read-only"),
    ("row61-shape", {"out": zeros(2, 4, 6, 8)}, ValueError, r"out must have shape \(2, 4, 6, 7\)"),
    ("row61-rank", {"out": zeros(2 * 4 * 6 * 7)}, ValueError, "out must have shape"),
    ("row61-strides", {"out": zeros(2, 4, 6, 14)[..., ::2]}, ValueError, "out must be C-contiguous"),
    ("row61-Fortran", {"out": np.asfortranarray(zeros(2, 4, 6, 7))}, ValueError, "out must be C-contiguous"),
    ("row61-list", {"out": []}, TypeError, "out must be a NumPy array"),
    ("row61-array-like", {"out": Arrayish(zeros(2, 4, 6, 7))}, TypeError, "out must be a NumPy array"),
    ("row63-masked", {"x": np.ma.zeros((2, 6, 8, 9), np.float32)}, TypeError, "x is a MaskedArray"),
    ("row63-list", {"x": zeros(2, 6, 8, 9).tolist()}, TypeError, "x must be a float32 or float64 array, got list"),
    ("row63-None", {"weight": None}, TypeError, "weight must be"),
    ("row63-bias-list", {"bias": [0.0] * 4}, TypeError, "bias must be"),
    ("row64", {"x": OnDevice()}, TypeError, "x is on another device"),
    ("row65-raising", {"x": Raising()}, LookupError, "no array today"),
    ("row65-lying", {"x": Lying()}, (TypeError, ValueError), "array"),
    ("row65-wrong-kind", {"x": Arrayish(zeros(2, 6, 8, 9, dtype=int))}, TypeError, "x must be float32"),
    # Sizes
    ("row68", {"x": unbacked(2**57, 1, 1, 8), "weight": zeros(4, 1, 1, 1)}, ValueError, "elements"),
    ("row68-K", {"x": unbacked(2**31, 1, 8, 9), "weight": unbacked(2**31, 1, 3, 3)}, ValueError, "elements"),
    ("row68-taps", {"x": unbacked(1, 1, 2**25, 2**25), "weight": unbacked(1, 1, 2**10, 2**10)}, ValueError,
     "im2col matrix would have"),
    ("row70", {"x": unbacked(1, 1, 2**25, 2**25), "weight": zeros(1, 1, 1, 1)}, MemoryError, "(?i)alloc"),
    ("row70-padding", {"padding": 2**24, "x": zeros(1, 1, 9, 9), "weight": zeros(9, 1, 3, 3)}, MemoryError,
     "(?i)alloc"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_conv2d_refuses(change, error, message):
    with pytest.raises(error, match=message):
        conv(**change)


# Tests above must not depend on the order of calls: what a right call left in a cache must not let a wrong one pass.
@pytest.mark.parametrize(("right", "wrong"), [({"strict": True}, {"strict": 1}), ({"strict": False}, {"strict": 0}),
                                              ({"stride": 1}, {"stride": True}), ({"groups": 1}, {"groups": 1.0}),
                                              ({"padding": (1, 1)}, {"padding": (1.0, True)}),
                                              ({"dilation": 1}, {"dilation": 1.0})])  # fmt: skip
def test_a_right_call_before_does_not_let_an_equal_wrong_one_pass(right, wrong):
    conv(**right)
    with pytest.raises(TypeError, match=next(iter(wrong))):
        conv(**wrong)


@pytest.mark.parametrize(("change", "error", "message"), [r[1:] for r in REFUSED if "out" not in r[1]][:60],
                         ids=[r[0] for r in REFUSED if "out" not in r[1]][:60])  # fmt: skip
def test_plan_conv2d_refuses_what_conv2d_refuses(change, error, message):
    call = {"x": zeros(2, 6, 8, 9), "weight": zeros(4, 6, 3, 3), **change}
    with pytest.raises(error, match=message.replace("x must be 4-D", "(x|input_shape) must be 4")):
        fc.plan_conv2d(np.shape(call.pop("x")), call.pop("weight"), call.pop("bias", None), **call)


def overlaps():
    """(id, x, weight, out): out shares memory with an input in some way."""
    memory = reals((1000,), 1, np.float32)
    x, weight = memory[:256].reshape(1, 4, 8, 8), memory[500:516].reshape(4, 4, 1, 1)
    yield "same", x, weight, x
    yield "shifted", x, weight, memory[4:260].reshape(1, 4, 8, 8)
    yield "reversed", memory[255::-1].reshape(1, 4, 8, 8), weight, x
    yield "weight", x, weight, memory[400:656].reshape(1, 4, 8, 8)
    yield "one-element", x, weight, memory[255:511].reshape(1, 4, 8, 8)


@pytest.mark.parametrize(
    ("x", "weight", "out"), [pytest.param(*case[1:], id=f"row60-{case[0]}") for case in overlaps()]
)
@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if row.strict])
def test_out_must_not_share_memory_with_an_input(x, weight, out, algorithm):
    before = out.copy()
    with pytest.raises(ValueError, match=r"out shares memory with (x|weight)"):
        fc.conv2d(x, weight, out=out, algorithm=algorithm)
    np.testing.assert_array_equal(out, before)


def test_row60_out_beside_its_inputs_in_one_buffer_is_fine():
    memory = np.ones(1000, np.float32)
    x, weight, out = memory[:256].reshape(1, 4, 8, 8), memory[256:272].reshape(4, 4, 1, 1), memory[272:528]
    assert (fc.conv2d(x, weight, out=out.reshape(1, 4, 8, 8)) == 4).all()
    assert (memory[528:] == 1).all()


def test_row60_bias_in_out():
    memory = np.zeros(300, np.float32)
    with pytest.raises(ValueError, match="out shares memory with bias"):
        fc.conv2d(zeros(1, 4, 8, 8), zeros(4, 4, 1, 1), memory[252:256], out=memory[:256].reshape(1, 4, 8, 8))


# --- odd but sound

ALL = pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
SOUND = [
    ("row10", (0, 6, 8, 9), (4, 6, 3, 3), {}),
    ("row11", (2, 0, 8, 9), (4, 0, 3, 3), {}),
    ("row12", (2, 6, 8, 9), (0, 6, 3, 3), {}),
    ("row14-padded", (2, 6, 0, 9), (4, 6, 3, 3), {"padding": ((2, 1), (0, 0))}),
    ("row18", (2, 6, 3, 3), (4, 6, 3, 3), {}),
    ("row23-2**31", (2, 6, 8, 9), (4, 6, 3, 3), {"stride": 2**31}),
    ("row23-2**63-1", (2, 6, 8, 9), (4, 6, 3, 3), {"stride": 2**63 - 1}),
    ("row23-padded", (2, 2, 1, 1), (4, 2, 1, 1), {"stride": (2**33, 1), "padding": ((2**33, 2**33), (0, 0))}),
    ("row23-rows", (2, 3, 4, 16), (8, 3, 1, 1), {"stride": (2**39, 1), "padding": ((0, 2**39), (0, 0))}),
    ("row23-groups", (1, 2, 4, 4), (2, 1, 1, 1), {"stride": (4, 2**39), "padding": ((0, 0), (0, 2**39)), "groups": 2}),
    ("row23-before", (1, 4, 1, 4), (3, 4, 1, 1), {"stride": (1, 2**39), "padding": ((0, 0), (3 * 2**38, 0))}),
    ("row26-1x1", (2, 6, 8, 9), (4, 6, 1, 1), {"dilation": 2**31}),
    ("row26-1x3", (8, 8, 8, 8), (16, 8, 1, 3), {"dilation": (2**63 - 1, 1)}),
    ("row29-valid", (2, 6, 8, 9), (4, 6, 3, 3), {"padding": "valid"}),
    ("row32-np.int64", (2, 6, 8, 9), (4, 6, 3, 3),
     {"stride": np.int64(2), "padding": np.int32(1), "dilation": np.uint8(1), "groups": np.int16(1)}),
    ("row33", (2, 6, 8, 9), (4, 6, 3, 3), {"stride": np.array([1, 2]), "padding": np.array([[0, 1], [1, 0]])}),
    ("row33-lists", (2, 6, 8, 9), (4, 6, 3, 3), {"stride": [1, 2], "padding": [[0, 1], [1, 0]], "dilation": [1, 1]}),
]  # fmt: skip


def by_definition(x, weight, bias, *, stride, padding, groups=1):
    """conv2d without dilation, pixel by pixel: padding that the reference could not hold."""
    (N, _, H, W), (K, C, R, S), ((top, bottom), (left, right)) = x.shape, weight.shape, padding
    P, Q = (top + H + bottom - R) // stride[0] + 1, (left + W + right - S) // stride[1] + 1
    y = np.zeros((N, K, P, Q)) + bias[:, None, None]
    for k, p, q, r, s in np.ndindex(K, P, Q, R, S):
        h, w, first = p * stride[0] - top + r, q * stride[1] - left + s, k // (K // groups) * C
        if 0 <= h < H and 0 <= w < W:
            y[:, k, p, q] += x[:, first : first + C, h, w] @ weight[k, :, r, s]
    return y


@pytest.mark.parametrize(("x", "weight", "parameters"), [case[1:] for case in SOUND], ids=[case[0] for case in SOUND])
@pytest.mark.parametrize("layout", LAYOUTS)
@ALL
def test_odd_but_sound(x, weight, parameters, algorithm, layout):
    x, weight, bias = reals(x, 1), reals(weight, 2), reals(weight[:1], 3)
    arguments = to_layout(x, layout), to_layout(weight, layout), bias
    if BY_NAME[algorithm].refuse(conv_shape(*(a.shape for a in arguments[:2]), layout=layout, **parameters)):
        return
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in parameters.items()}
    if isinstance(plain.get("padding"), tuple) and np.max(plain["padding"]) > 2**32:
        expected = by_definition(x, weight, bias, **plain)
    else:
        expected = reference.conv2d(x, weight, bias, **plain)
    out = poison(to_layout(expected, layout).shape, np.float64)
    got = fc.conv2d(*arguments, layout=layout, algorithm=algorithm, out=out, **parameters)
    np.testing.assert_allclose(got, to_layout(expected, layout), rtol=1e-10, atol=1e-10)


@ALL
def test_row24_a_stride_beyond_64_bits_is_a_value(algorithm):
    """One output, or a ValueError that names it; never an OverflowError."""
    try:
        got = conv(stride=2**64, algorithm=algorithm)
    except ValueError as error:
        assert "stride" in str(error)
    else:
        assert got.shape == (2, 4, 1, 1)


@ALL
def test_row26_huge_dilation_with_same_padding_leaves_the_centre_tap(algorithm):
    x, weight = reals((2, 6, 8, 9), 1), reals((4, 6, 3, 3), 2)
    row = BY_NAME[algorithm]
    if row.refuse(conv_shape(x.shape, weight.shape, dilation=3046875451, padding="same")):
        return
    got = fc.conv2d(x, weight, dilation=3046875451, padding="same", algorithm=algorithm)
    np.testing.assert_allclose(got, reference.conv2d(x, weight[:, :, 1:2, 1:2]), atol=1e-12)


def test_row26_huge_dilation_with_huge_padding_is_a_value():
    with pytest.raises((ValueError, MemoryError)):
        conv(dilation=2**40, padding=2**41)


@ALL
@pytest.mark.parametrize("num_threads", [10**9, 2**40, np.int64(3)])
def test_row38_any_positive_number_of_threads(algorithm, num_threads):
    np.testing.assert_array_equal(conv(num_threads=num_threads, algorithm=algorithm), zeros(2, 4, 6, 7))


@pytest.mark.parametrize("size", [0, -8, 2**40, 1.0, True, "8", None])
@pytest.mark.parametrize("name", ["mc", "nc", "kc"])
def test_row39_block_sizes(name, size):
    with pytest.raises(ValueError if type(size) is int else TypeError, match=name):
        fc.Blocking(**{"mc": 8, "nc": 8, "kc": 8, name: size})


@pytest.mark.parametrize("size", [1, 7, 8, 31, np.int64(33), 2**31 - 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_row39_blocks_are_rounded_to_the_tile(size, layout, isa):
    x, weight = reals((2, 6, 8, 9), 1), reals((40, 6, 3, 3), 2)
    got = fc.conv2d(to_layout(x, layout), to_layout(weight, layout), layout=layout, algorithm="im2col",
                    blocking=fc.Blocking(size, size, size))  # fmt: skip
    np.testing.assert_allclose(got, to_layout(reference.conv2d(x, weight), layout), atol=1e-12)


@pytest.mark.parametrize("wrap", [Arrayish, Tensor, lambda a: a.view(type("Sub", (np.ndarray,), {}))],
                         ids=["__array__", "__dlpack__", "subclass"])  # fmt: skip
def test_row63_objects_that_are_arrays_at_heart(wrap):
    x, weight, bias = reals((1, 2, 5, 5), 1), reals((3, 2, 3, 3), 2), reals(3, 3)
    got = fc.conv2d(wrap(x), wrap(weight), wrap(bias))
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, fc.conv2d(x, weight, bias))
    np.testing.assert_array_equal(fc.gemm(wrap(x[0, 0]), wrap(x[0, 1])), fc.gemm(x[0, 0], x[0, 1]))


@pytest.mark.parametrize("error", [BufferError, RuntimeError])
def test_a_tensor_that_gives_no_array_is_named(error):
    """As one of bfloat16, or one of torch's that wants a gradient."""

    class Withheld(Tensor):
        def __dlpack__(self, **how):
            raise error("Can't export tensors that require gradient, use tensor.detach()")

    with pytest.raises(TypeError, match=r"weight gives no array: Can't export .* use tensor.detach\(\)"):
        fc.conv2d(reals((1, 2, 5, 5), 1), Withheld(reals((3, 2, 3, 3), 2)))


def test_row66_an_array_in_use_is_not_resized_under_a_plan():
    """A plan keeps copies, so its caller may resize; the result stays."""
    weight = reals((3, 2, 3, 3), 2)
    owned = np.array(weight)
    plan = fc.plan_conv2d((1, 2, 5, 5), owned)
    x = reals((1, 2, 5, 5), 1)
    before = plan(x)
    owned.resize(1, refcheck=False)
    np.testing.assert_array_equal(plan(x), before)


@ALL
def test_row57_a_misaligned_out(algorithm):
    x, weight = reals((1, 2, 5, 5), 1), reals((3, 2, 3, 3), 2)
    out = laid_out(np.zeros((1, 3, 3, 3)), offset=3)
    assert fc.conv2d(x, weight, out=out, algorithm=algorithm) is out
    np.testing.assert_array_equal(out, fc.conv2d(x, weight, algorithm=algorithm))


@pytest.mark.skipif(sys.maxsize < 2**32, reason="32-bit")
def test_row69_indices_beyond_32_bits():
    """4.3e9 elements by strides of 0, and an image row in another 4 GB by a large stride: no index is an int."""
    x = np.lib.stride_tricks.as_strided(np.arange(8, dtype=np.float32), (1, 2**16, 2**16, 1), (0, 0, 0, 0))
    got = fc.conv2d(x, np.ones((2, 2**16, 1, 1), np.float32), stride=2**15)
    np.testing.assert_array_equal(got, np.zeros((1, 2, 2, 1)))
    x = np.lib.stride_tricks.as_strided(np.ones(8, np.float32), (1, 1, 2**33, 1), (0, 0, 0, 0))
    got = fc.conv2d(x, np.ones((2, 1, 3, 1), np.float32), stride=(2**32, 1))
    np.testing.assert_array_equal(got, np.full((1, 2, 2, 1), 3))


# --- products

A, B, C = zeros(3, 4), zeros(4, 5), zeros(3, 5)
REFUSED_PRODUCTS = [
    ("row72-inner", (zeros(3, 3), B), {}, ValueError, "inner dimensions of a and b"),
    ("row72-trans", (A, B), {"trans_a": True}, ValueError, "inner dimensions of a and b"),
    ("row72-c", (A, B, zeros(5, 3)), {}, ValueError, r"c must have shape \(3, 5\)"),
    ("row72-c-rank", (A, B, zeros(15)), {}, ValueError, "c must have shape"),
    ("row74-a", (zeros(4), B), {}, ValueError, "a and b must be 2-D"),
    ("row74-b", (A, zeros(4)), {}, ValueError, "a and b must be 2-D"),
    ("row74-3d", (zeros(2, 3, 4), B), {}, ValueError, "a and b must be 2-D"),
    ("beta-no-c", (A, B), {"beta": 1.0}, ValueError, "beta is 1.0 but there is no c"),
    ("alpha-str", (A, B), {"alpha": "1"}, TypeError, "alpha must be a real number"),
    ("alpha-complex", (A, B), {"alpha": 1j}, TypeError, "alpha must be a real number"),
    ("alpha-bool", (A, B), {"alpha": True}, TypeError, "alpha must be a real number"),
    ("alpha-None", (A, B), {"alpha": None}, TypeError, "alpha must be a real number"),
    ("alpha-huge", (A, B), {"alpha": 10**400}, ValueError, "alpha"),
    ("beta-array", (A, B, C), {"beta": np.ones(1)}, TypeError, "beta must be a real number"),
    ("trans", (A, B), {"trans_b": "T"}, TypeError, "trans_b must be True or False"),
    ("trans-int", (A, B), {"trans_a": 0}, TypeError, "trans_a must be True or False"),
    ("row35", (A, B), {"algorithm": "goto"}, ValueError, "algorithm must be one of"),
    ("row35-type", (A, B), {"algorithm": 3}, TypeError, "algorithm must be one of"),
    ("row38", (A, B), {"num_threads": 0}, ValueError, "num_threads must be at least 1"),
    ("row39", (A, B), {"blocking": 64}, TypeError, "blocking must be a fastconv.Blocking"),
    ("row39-naive", (A, B), {"blocking": fc.Blocking(8, 8, 8), "algorithm": "naive"}, ValueError, "blocking"),
    ("row41", (A, B.astype(np.float64)), {}, TypeError, "b is float64"),
    ("row41-c", (A, B, C.astype(np.float64)), {}, TypeError, "c is float64"),
    ("row42", (A.astype(int), B), {}, TypeError, "a must be float32 or float64"),
    ("row44", (A.astype(">f4"), B), {}, TypeError, "a .*byte order"),
    ("row52", (A, B), {"out": np.zeros((3, 5), int)}, TypeError, "out must be float32"),
    ("row58", (A, B), {"out": read_only(zeros(3, 5))}, ValueError, "out is read-only"),
    ("row61", (A, B), {"out": zeros(5, 3)}, ValueError, r"out must have shape \(3, 5\)"),
    ("row61-Fortran", (A, B), {"out": zeros(5, 3).T}, ValueError, "out must be C-contiguous"),
    ("row63", (A.tolist(), B), {}, TypeError, "a must be"),
    ("row63-matrix", (A.view(np.matrix), B), {}, TypeError, "a is a matrix"),
    ("row70", (unbacked(2**25, 1), unbacked(1, 2**25)), {}, MemoryError, "(?i)alloc"),
]


@pytest.mark.parametrize(("arrays", "parameters", "error", "message"), [r[1:] for r in REFUSED_PRODUCTS],
                         ids=[r[0] for r in REFUSED_PRODUCTS])  # fmt: skip
def test_gemm_refuses(arrays, parameters, error, message):
    with pytest.raises(error, match=message):
        fc.gemm(*arrays, **parameters)


SQUARE = reals((200,), 1, np.float32)
OVERLAPS = [
    ("row60-a", (0, 25), (50, 75), None, 0, "a"),
    ("row60-b-shifted", (0, 25), (50, 75), None, 51, "b"),
    ("row60-c-shifted", (0, 25), (50, 75), (100, 125), 99, "c"),
    ("row60-c-equal", (0, 25), (50, 75), (100, 125), 100, "c"),
]


@pytest.mark.parametrize(("a", "b", "c", "at", "name"), [o[1:] for o in OVERLAPS], ids=[o[0] for o in OVERLAPS])
def test_gemm_refuses_overlaps(a, b, c, at, name):
    """Only `out is c` may overlap; another array over the same memory is refused too."""
    a, b, c = (None if span is None else SQUARE[slice(*span)].reshape(5, 5) for span in (a, b, c))
    with pytest.raises(ValueError, match=f"out shares memory with {name}"):
        fc.gemm(a, b, c, out=SQUARE[at : at + 25].reshape(5, 5))


def test_row60_out_is_c_but_also_a():
    square = reals((5, 5), 1)
    with pytest.raises(ValueError, match="out shares memory with a"):
        fc.gemm(square, reals((5, 5), 2), square, out=square)


def test_row62_a_is_b():
    square = np.arange(25, dtype=np.float64).reshape(5, 5)
    np.testing.assert_array_equal(fc.gemm(square, square), square @ square)
    np.testing.assert_array_equal(fc.gemm(square, square, square), square @ square + square)


@pytest.mark.parametrize(("out", "error"), [(zeros(3, 5, dtype=int), TypeError), (zeros(3, 6), ValueError),
                                            (zeros(5, 3).T, ValueError), (A, ValueError), ([], TypeError)],
                         ids=["row52", "row61", "row61-Fortran", "row60", "row61-list"])  # fmt: skip
def test_matmul_refuses_a_bad_out(out, error):
    with pytest.raises(error, match="out"):
        fc.matmul(A, B, out=out)


def test_places_in_memory_are_checked_in_a_copy():
    """row 67, for what nests take for places: another thread may change labels and indices once they are checked."""
    labels = np.array([0, 1, 2])
    taken = as_integers(labels, "labels")
    assert not np.shares_memory(taken, labels)
    np.testing.assert_array_equal(taken, labels)


# Rows of the table whose tests do not carry their number in an id. 40, 90, 91 and 92 are of things that fastconv does
# not have: a limit on the workspace, npz, ONNX and Huffman-coded weights; so is 96, callbacks.
ELSEWHERE = {
    47: "test_conv2d.py::test_nan_reaches_its_receptive_field_only",
    48: "test_conv2d.py::test_padding_makes_no_nan_of_a_weight_that_is_not_finite",
    49: "test_subnormals.py::test_subnormals",
    50: "test_conv2d.py::test_overflow_gives_infinity",
    51: "test_special_values.py::test_a_convolution_of_signed_zeros_is_plus_zero",
    53: "test_conv2d.py::test_weight_views_of_the_issue_threads",
    54: "test_conv2d.py::test_any_memory_layout_and_unchanged_inputs",
    55: "test_conv2d.py::test_zero_strides",
    56: "test_conv2d.py::test_odd_strides_on_axes_of_length_one",
    59: "test_gemm.py::test_memory_maps",  # what happens to one cut short is the operating system's to say
    71: "test_gemm.py::test_empty_dimensions_as_blas_defines_them",
    73: "test_gemm.py::test_zero_beta_never_reads_c_and_zero_alpha_never_a_or_b",
    76: "test_plans.py::test_a_plan_refuses",  # packed weights live in plans, which cannot be moved to another machine
    77: "test_plans.py::test_a_plan_refuses",
    79: "test_plans.py::test_a_plan_refuses",
    85: "test_files.py::test_bad_files_change_nothing",
    86: "test_files.py::test_bad_files_change_nothing",
    87: "test_files.py::test_bad_files_change_nothing",
    88: "test_files.py::test_bad_files_change_nothing",
    89: "test_files.py::test_messages_say_what_to_do",
    93: "test_parsers.py::test_a_pickle_is_never_opened",
    95: "test_hogwild.py::test_bad_input_changes_nothing",
}


def test_every_row_has_a_test():
    texts = {path.name: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    numbered = {int(row) for text in texts.values() for row in re.findall(r"row(\d+)", text)}
    assert set(range(1, 97)) - numbered - {40, 90, 91, 92, 96} == ELSEWHERE.keys() - numbered
    for place in ELSEWHERE.values():
        file, test = place.split("::")
        assert f"\ndef {test}(" in texts[file], place
