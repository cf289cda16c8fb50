"""conv2d is right: every algorithm that does not refuse, on every ISA, in both layouts and dtypes, equals an int64
reference bit for bit where it multiplies what the definition multiplies, and stays within its error bound on reals.

The algorithms are the rows of fastconv.algorithms.ALGORITHMS: a new row is tested here without a new line."""

from functools import cache

import numpy as np
import pytest
from bounds import EXACT, bound, rewritten
from conv_cases import CASES, SMALL, Case, shape_of, to_layout, whole_numbers
from support import DTYPES, LAYOUTS, MEMORY, dtype_name, laid_out, poison, reals, whole

import fastconv as fc
from fastconv import reference
from fastconv._loops import kernels
from fastconv.algorithms import ALGORITHMS, BY_NAME

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_algorithm = pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
by_case = pytest.mark.parametrize("index", range(len(CASES)), ids=[case.name for case in CASES])


def able(algorithm, shape):
    return BY_NAME[algorithm].refuse(shape) is None


def assert_right(got, expected, algorithm, scale=1.0):
    """Bit for bit where the algorithm is exact on whole numbers, within its error otherwise."""
    if algorithm in EXACT:
        np.testing.assert_array_equal(got, expected, strict=False)
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=rewritten(algorithm, got.dtype) * scale)


def scale_of(x, weight, case):
    sums = reference.conv2d(abs(x), abs(weight), **case.parameters)
    return float(sums.max(initial=1))


@by_case
@by_layout
@by_dtype
@by_algorithm
def test_whole_numbers(index, layout, dtype, algorithm, isa):
    case = CASES[index]
    x, weight, bias, expected = whole_numbers(index)
    if not able(algorithm, shape_of(case, layout)):
        with pytest.raises(ValueError, match=f"algorithm '{algorithm}' cannot do this shape"):
            fc.conv2d(to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype), layout=layout,
                      algorithm=algorithm, **case.parameters)  # fmt: skip
        return
    out = poison(to_layout(expected, layout).shape, dtype)
    got = fc.conv2d(to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype), bias.astype(dtype),
                    layout=layout, algorithm=algorithm, out=out, **case.parameters)  # fmt: skip
    assert got is out
    assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, case))


@by_layout
@by_dtype
@by_algorithm
def test_images_smaller_than_the_kernel(layout, dtype, algorithm, isa):
    for case in SMALL:
        if able(algorithm, shape_of(case, layout)):
            x, weight, bias = whole(case.x, 1), whole(case.weight, 2), whole(case.weight[:1], 3)
            arguments = to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype), bias.astype(dtype)
            got = fc.conv2d(*arguments, layout=layout, algorithm=algorithm, **case.parameters)
            expected = to_layout(reference.conv2d(x, weight, bias, **case.parameters), layout)
            assert_right(got, expected, algorithm, scale_of(x, weight, case))


@by_layout
@by_dtype
@by_algorithm
def test_tiles_and_vectors_that_end_early(algorithm, layout, dtype, isa):
    """Every number of results from 1 to 13 along an axis, channels and filters beside multiples of a vector; filters
    along one axis."""
    sizes = [(1, 1), (2, 3), (3, 31), (5, 7), (8, 15), (13, 17), (17, 9), (31, 16), (33, 41), (40, 5), (16, 33)]
    for i, (C, K) in enumerate(sizes):
        for kernel in ((3, 3), (3, 1), (1, 3)):
            P, Q = 1 + (5 * i) % 13, 1 + (7 * i + 3) % 13
            case = Case("", (1, C, P + kernel[0] - 1, Q + kernel[1] - 1), (K, C, *kernel))
            if able(algorithm, shape_of(case, layout)):
                x, weight = whole(case.x, 1), whole(case.weight, 2)
                got = fc.conv2d(to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype),
                                layout=layout, algorithm=algorithm)  # fmt: skip
                expected = to_layout(reference.conv2d(x, weight), layout)
                assert_right(got, expected, algorithm, scale_of(x, weight, case))


@by_dtype
def test_direct_tiles_of_every_height(dtype, isa):
    """1 to 15 pixels of a row by strips of filters and a single vector; 1 to 15 filters by rows of such a length."""
    wide = 7 * kernels.tile_sizes(np.dtype(dtype).itemsize)[2]
    for n in range(1, 16):
        for layout, W, K in (("NHWC", n + 2, wide), ("NCHW", wide + 2, n)):
            x, weight = whole((1, 3, 4, W), 1), whole((K, 3, 3, 3), 2)
            got = fc.conv2d(to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype), layout=layout,
                            algorithm="direct")  # fmt: skip
            np.testing.assert_array_equal(got, to_layout(reference.conv2d(x, weight), layout))


ROUNDS = Case("", (3, 140, 21, 26), (140, 140, 3, 3), {"padding": 1})


@cache
def in_rounds():
    x, weight = whole(ROUNDS.x, 1), whole(ROUNDS.weight, 2)
    return x, weight, reference.conv2d(x, weight, padding=1)


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if not row.strict])
@by_layout
@by_dtype
def test_tiles_of_several_images_in_rounds(algorithm, layout, dtype, isa):
    """Transformed weights beyond the caches, and more tiles than a round takes, in float64 of F(4x4)."""
    x, weight, expected = in_rounds()
    arguments = to_layout(x, layout).astype(dtype), to_layout(weight, layout).astype(dtype)
    got = fc.conv2d(*arguments, padding=1, layout=layout, algorithm=algorithm)
    assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, ROUNDS))


SOME = [i for i, case in enumerate(CASES) if case.name in
        {"1x1", "1x1-one-filter", "1x1-few-filters", "few-filters-wide", "few-filters-groups",
         "1x1-transposed-parts", "small-images", "3x3-padded",
         "3x3-strided", "dilated", "groups", "depthwise", "depthwise-strided", "depthwise-5x5", "depthwise-5x5-plain",
         "depthwise-5x5-strided", "9-pixels", "9-pixels-many-filters", "k-beyond-a-block", "no-channels"}]  # fmt: skip
by_some = pytest.mark.parametrize("index", SOME, ids=[CASES[i].name for i in SOME])


@by_some
@by_layout
@by_algorithm
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_relu_and_bias(index, layout, algorithm, bias, isa):
    case = CASES[index]
    x, weight, bias, expected = whole_numbers(index, bias, "relu")
    if able(algorithm, shape_of(case, layout)):
        got = fc.conv2d(*(None if a is None else to_layout(a, layout).astype(np.float32) if a.ndim == 4 else
                          a.astype(np.float32) for a in (x, weight, bias)), activation="relu", layout=layout,
                        algorithm=algorithm, **case.parameters)  # fmt: skip
        assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, case))
        assert not np.signbit(got).any()  # relu gives +0, never -0


@by_some
@by_layout
@by_dtype
@by_algorithm
def test_reals_within_the_error_bound(index, layout, dtype, algorithm, isa):
    """|error| <= gamma * (|x| * |weight| + |bias|), the reference in twice the precision."""
    case = CASES[index]
    if not able(algorithm, shape_of(case, layout)):
        return
    x, weight, bias = reals(case.x, 1, dtype), reals(case.weight, 2, dtype), reals(case.weight[:1], 3, dtype)
    wide = [a.astype(np.float64 if dtype == np.float32 else np.longdouble) for a in (x, weight, bias)]
    expected = reference.conv2d(*wide, **case.parameters)
    sums = reference.conv2d(*(abs(a) for a in wide), **case.parameters)
    got = fc.conv2d(to_layout(x, layout), to_layout(weight, layout), bias, layout=layout, algorithm=algorithm,
                    **case.parameters)  # fmt: skip
    limit = np.broadcast_to(bound(algorithm, dtype, int(np.prod(case.weight[1:])) + 1, sums), sums.shape)
    assert (abs(got - to_layout(expected, layout)) <= to_layout(limit, layout)).all()


MEMORY_CASES = [Case("3x3", (2, 17, 6, 7), (5, 17, 3, 3), {"padding": 1, "stride": (1, 2)}),
                Case("1x1", (2, 6, 6, 7), (20, 6, 1, 1)),
                Case("depthwise", (1, 6, 6, 7), (6, 1, 3, 3), {"groups": 6})]  # fmt: skip


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("case", MEMORY_CASES, ids=lambda case: case.name)
@by_layout
@by_dtype
@by_algorithm
def test_any_memory_layout_and_unchanged_inputs(memory, case, layout, dtype, algorithm, isa):
    """Strides, alignment and writeability of the arguments change nothing in the result, nor the call them."""
    if not able(algorithm, shape_of(case, layout)):
        return
    x, weight, bias = (whole(s, i) for i, s in enumerate((case.x, case.weight, case.weight[:1])))
    expected = to_layout(reference.conv2d(x, weight, bias, **case.parameters), layout)
    plain = [to_layout(a, layout).astype(dtype) for a in (x, weight)] + [bias.astype(dtype)]
    arguments = [MEMORY[memory](a) for a in plain]
    got = fc.conv2d(*arguments, layout=layout, algorithm=algorithm, **case.parameters)
    assert_right(got, expected, algorithm, scale_of(x, weight, case))
    assert got.flags.c_contiguous
    for after, before in zip(arguments, plain, strict=True):
        np.testing.assert_array_equal(after, before)


@by_algorithm
@by_dtype
@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_last_memory_passed_as_nchw(algorithm, dtype, kernel, isa):
    """What torch calls channels_last: NCHW axes over NHWC memory; and the reverse."""
    case = Case("", (2, 20, 7, 9), (33, 20, kernel, kernel), {"padding": kernel // 2})
    if not able(algorithm, shape_of(case)):
        return
    x, weight = whole(case.x, 1), whole(case.weight, 2)
    expected = reference.conv2d(x, weight, **case.parameters)
    for layout, order in (("NCHW", (0, 2, 3, 1)), ("NHWC", (0, 3, 1, 2))):
        arguments = [laid_out(to_layout(a, layout).astype(dtype), order) for a in (x, weight)]
        got = fc.conv2d(*arguments, layout=layout, algorithm=algorithm, **case.parameters)
        assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, case))


@by_algorithm
@by_layout
@pytest.mark.parametrize("repeated_axes", [(0, 2), (0, 3), (2, 3)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("channels", [5, 130])
def test_zero_strides(algorithm, layout, repeated_axes, padding, channels, isa):
    """np.broadcast_to: one value, row, column or image repeated."""
    case = Case("", (3, channels, 6, 7), (4, channels, 3, 3), {"padding": padding})
    x = np.broadcast_to(whole([1 if i in repeated_axes else size for i, size in enumerate(case.x)], 1), case.x)
    weight, bias = np.broadcast_to(whole((4, 1, 1, 1), 2), case.weight), np.broadcast_to(whole((1,), 3), (4,))
    expected = reference.conv2d(x, weight, bias, **case.parameters)

    def repeated(array):
        first = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]
        view = np.broadcast_to(first.astype(np.float32), array.shape)
        return view if array.ndim == 1 or layout == "NCHW" else np.moveaxis(view, 1, 3)

    if not able(algorithm, shape_of(case, layout)):
        return
    got = fc.conv2d(repeated(x), repeated(weight), repeated(bias), layout=layout, algorithm=algorithm,
                    **case.parameters)  # fmt: skip
    assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, case))


@by_algorithm
@by_layout
@pytest.mark.parametrize("stride", [4, 0, -8, 20, 12345678])
def test_odd_strides_on_axes_of_length_one(algorithm, layout, stride, isa):
    """The strides of an axis of length 1 mean nothing: oneDNN#5942 crashed on them."""

    def odd(array):
        strides = [stride if size == 1 else step for size, step in zip(array.shape, array.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(array, strides=strides)

    for kernel in ((1, 1), (3, 1), (1, 3), (3, 3)):
        case = Case("", (1, 5, 1, 1), (1, 5, *kernel), {"padding": 1})
        if able(algorithm, shape_of(case, layout)):
            x, weight = whole(case.x, 1), whole(case.weight, 2)
            x32, weight32 = to_layout(x, layout).astype(np.float32), to_layout(weight, layout).astype(np.float32)
            got = fc.conv2d(odd(x32), odd(weight32), padding=1, layout=layout, algorithm=algorithm)
            expected = reference.conv2d(x, weight, padding=1)
            assert_right(got, to_layout(expected, layout), algorithm, scale_of(x, weight, case))


@by_algorithm
def test_weight_views_of_the_issue_threads(algorithm):
    """pytorch#55781: w[..., ::2]; pytorch#14677: w = transpose(3, 2, 0, 1) and x with NHWC strides."""
    for kernel in ((1, 4), (1, 6)):
        x, weight = whole((4, 16, 8, 8), 1), whole((32, 16, *kernel), 2)
        if able(algorithm, shape_of(Case("", x.shape, weight[..., ::2].shape))):
            got = fc.conv2d(x.astype(np.float32), weight.astype(np.float32)[..., ::2], algorithm=algorithm)
            assert_right(got, reference.conv2d(x, weight[..., ::2]), algorithm, 300)
    x, weight = whole((1, 26, 26, 2), 1), whole((3, 3, 2, 16), 2)
    got = fc.conv2d(x.astype(np.float32).transpose(0, 3, 1, 2), weight.astype(np.float32).transpose(3, 2, 0, 1),
                    padding=1, algorithm=algorithm)  # fmt: skip
    expected = reference.conv2d(x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1), padding=1)
    assert_right(got, expected, algorithm, 200)


@by_algorithm
@by_layout
def test_x_and_weight_are_one_object(algorithm, layout):
    for size in ((4, 4, 4, 4), (3, 3, 3, 3)):
        a = whole(size, 1)
        same = a.astype(np.float32)
        if able(algorithm, shape_of(Case("", size, size), layout)):
            got = fc.conv2d(same, same, layout=layout, algorithm=algorithm)
            assert_right(got, reference.conv2d(a, a, layout=layout), algorithm, 600)


# --- values that are not numbers

REWRITING = [row.name for row in ALGORITHMS if not row.strict]


@pytest.mark.parametrize("algorithm", REWRITING)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@by_layout
@by_dtype
def test_what_is_not_finite_spreads_to_its_tile_only(value, algorithm, layout, dtype, isa):
    """One NaN or Inf in x: every result that multiplies it is not finite, and perhaps those of the same tile and group;
    a tile away, in other groups and other images, every result is right."""
    case = Case("", (2, 6, 9, 290), (10, 3, 3, 3), {"padding": 1, "groups": 2})
    x, weight = whole(case.x, 1), 1 + abs(whole(case.weight, 2))
    expected = reference.conv2d(x, weight, **case.parameters)
    touched, near = np.zeros(expected.shape, bool), np.zeros(expected.shape, bool)
    touched[1, :5, 3:6, 140:143] = True
    spread = BY_NAME[algorithm].spread
    near[1, :5, max(0, 3 - spread) : 6 + spread, 140 - spread : 143 + spread] = True
    scale = scale_of(x, weight, case)
    x = x.astype(dtype)
    x[1, 2, 4, 141] = value
    got = fc.conv2d(to_layout(x, layout), to_layout(weight, layout).astype(dtype), layout=layout, algorithm=algorithm,
                    **case.parameters)  # fmt: skip
    got = got if layout == "NCHW" else np.moveaxis(got, 3, 1)
    assert not np.isfinite(got[touched]).any()
    assert_right(got[~near], expected[~near], algorithm, scale)


@pytest.mark.parametrize("algorithm", REWRITING)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@by_layout
@by_dtype
def test_a_filter_that_is_not_finite_spoils_its_own_channel_only(value, algorithm, layout, dtype, isa):
    case = Case("", (2, 5, 9, 8), (20, 5, 3, 3), {"padding": 1})
    x, weight = 1 + abs(whole(case.x, 1)), whole(case.weight, 2)
    expected = reference.conv2d(x, weight, **case.parameters)
    scale = scale_of(x, weight, case)
    weight = weight.astype(dtype)
    weight[7, 2, 1, 1] = value
    got = fc.conv2d(to_layout(x, layout).astype(dtype), to_layout(weight, layout), layout=layout, algorithm=algorithm,
                    **case.parameters)  # fmt: skip
    got = got if layout == "NCHW" else np.moveaxis(got, 3, 1)
    assert not np.isfinite(got[:, 7]).any()
    others = np.arange(20) != 7
    assert_right(got[:, others], expected[:, others], algorithm, scale)


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if row.strict])
@by_layout
@by_dtype
def test_nan_reaches_its_receptive_field_only(algorithm, layout, dtype, isa):
    """One NaN in x: exactly the outputs that multiply it are NaN. relu keeps it. Nothing raises a warning."""
    case = Case("", (2, 3, 11, 12), (5, 3, 3, 3), {"padding": 1, "stride": 2})
    x, weight = whole(case.x, 1), 1 + abs(whole(case.weight, 2))
    expected = reference.conv2d(x, weight, activation="relu", **case.parameters)
    touched = np.zeros(case.x, np.int64)
    touched[1, 2, 4, 7] = 1
    touched = reference.conv2d(touched, weight, **case.parameters) != 0
    x = x.astype(dtype)
    x[1, 2, 4, 7] = np.nan
    got = fc.conv2d(to_layout(x, layout), to_layout(weight, layout).astype(dtype), activation="relu", layout=layout,
                    algorithm=algorithm, **case.parameters)  # fmt: skip
    assert touched.any()
    np.testing.assert_array_equal(got, to_layout(np.where(touched, np.nan, expected), layout))


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if row.strict])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("images", [1, 2], ids=["results fewer than weights", "more"])
@pytest.mark.parametrize("activation", [None, "relu"])
@by_layout
@by_dtype
def test_padding_makes_no_nan_of_a_weight_that_is_not_finite(activation, images, value, algorithm, layout, dtype, isa):
    """A padded pixel takes no part in the sum, so 0 * inf does not arise there: wherever the weight lies, in conv2d and
    in a plan, made with it or updated to it."""
    x, ones = np.ones((images, 2, 4, 4), dtype), np.ones((3, 2, 3, 3), dtype)
    options = {"padding": 1, "layout": layout, "algorithm": algorithm, "activation": activation}
    plan = fc.plan_conv2d(to_layout(x, layout).shape, to_layout(ones, layout), **options)
    for k, c, r, s in ((0, 0, 0, 0), (1, 0, 2, 1), (2, 1, 2, 2)):
        weight = ones.copy()
        weight[k, c, r, s] = value
        expected = reference.conv2d(x, ones, padding=1)
        rows, columns = ((slice(1, None), slice(None), slice(-1))[tap] for tap in (r, s))  # where the tap is inside x
        expected[:, k, rows, columns] = value
        expected = to_layout(np.maximum(expected, 0) if activation else expected, layout)
        got = fc.conv2d(to_layout(x, layout), to_layout(weight, layout), **options)
        np.testing.assert_array_equal(got, expected)
        plan.update(to_layout(weight, layout))
        np.testing.assert_array_equal(plan(to_layout(x, layout)), expected)
    plan.update(to_layout(ones, layout))
    np.testing.assert_array_equal(plan(to_layout(x, layout)), to_layout(reference.conv2d(x, ones, padding=1), layout))


@by_algorithm
def test_overflow_gives_infinity(algorithm):
    largest = np.full((1, 2, 4, 4), np.finfo(np.float32).max)
    got = fc.conv2d(largest, np.full((1, 2, 3, 3), np.float32(2)), algorithm=algorithm)
    assert not np.isfinite(got).any()
    if BY_NAME[algorithm].strict:
        assert np.isposinf(got).all()


# --- identities


@by_algorithm
def test_parts_of_a_call_are_the_call(algorithm):
    """Images one by one, channels permuted, groups as calls of their own, a stride as a part of stride 1, padding as
    np.pad, a filter embedded in zeros: all the same numbers."""
    x, weight = whole((3, 6, 9, 8), 1).astype(np.float32), whole((4, 6, 3, 3), 2).astype(np.float32)
    scale = scale_of(x, weight, Case("", x.shape, weight.shape, {"padding": 1}))
    full = fc.conv2d(x, weight, padding=1, algorithm=algorithm)
    singly = np.concatenate([fc.conv2d(x[i : i + 1], weight, padding=1, algorithm=algorithm) for i in range(3)])
    assert_right(singly, full, algorithm, scale)
    order = np.random.default_rng(0).permutation(6)
    assert_right(fc.conv2d(x[:, order], weight[:, order], padding=1, algorithm=algorithm), full, algorithm, scale)
    explicit = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert_right(fc.conv2d(explicit, weight, algorithm=algorithm), full, algorithm, scale)
    for shape, parameters, same in (
        (weight.shape, {"stride": 2, "padding": 1}, lambda: full[:, :, ::2, ::2]),
        ((4, 6, 5, 5), {"padding": 2}, lambda: full),
    ):
        if able(algorithm, shape_of(Case("", x.shape, shape, parameters))):
            inner = np.pad(weight, ((0, 0), (0, 0), (1, 1), (1, 1))) if shape[2] == 5 else weight
            assert_right(fc.conv2d(x, inner, algorithm=algorithm, **parameters), same(), algorithm, scale)
    if able(algorithm, shape_of(Case("", x.shape, (4, 3, 3, 3), {"groups": 2}))):
        halves = [fc.conv2d(x[:, c], weight[k, c], algorithm=algorithm)
                  for c, k in ((slice(3), slice(2)), (slice(3, 6), slice(2, 4)))]  # fmt: skip
        grouped = np.concatenate([weight[:2, :3], weight[2:, 3:]])
        assert_right(fc.conv2d(x, grouped, groups=2, algorithm=algorithm), np.concatenate(halves, 1), algorithm, scale)


@by_layout
def test_larger_results_begin_at_a_cache_line(layout):
    """Whatever NumPy's next memory is: vectors that lie across two lines are slow to write."""
    x, weight = (to_layout(reals(shape, 1), layout) for shape in ((1, 16, 40, 40), (8, 16, 3, 3)))
    kept = [fc.conv2d(x, weight, layout=layout) for _ in range(5)]
    plan = fc.plan_conv2d(x.shape, weight, layout=layout)
    kept += [plan(x) for _ in range(5)]
    assert [y.ctypes.data % 64 for y in kept] == [0] * len(kept)
    assert all(y.flags.c_contiguous and y.flags.writeable for y in kept)
