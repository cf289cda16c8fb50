"""The gradients of conv2d and the transposed convolution: exact on whole numbers in every case, layout, dtype and ISA,
adjoint to the forward operations, right by finite differences, and the same bits for any number of threads."""

import itertools

import numpy as np
import pytest
from conv_cases import CASES, SMALL, Case, shape_of, to_layout
from support import DTYPES, LAYOUTS, MEMORY, dtype_name, only_chunk, poison, reals, whole, written

import fastconv as fc
from fastconv import reference
from fastconv._loops import scratch
from fastconv.algorithms import ALGORITHMS, BY_NAME
from fastconv.shapes import input_grad_parts

STRICT = [row.name for row in ALGORITHMS if row.strict]
WEIGHT_GRADS = [row for row in ALGORITHMS if row.weight_grad is not None]

# Cases that only gradients find hard: classes of pixels without taps, grad cropped on one side, few and many chunks.
MORE = [
    Case("stride-and-dilation-share-a-factor", (2, 3, 17, 19), (5, 3, 3, 4), {"stride": (4, 6), "dilation": (2, 4)}),
    Case("stride-beyond-kernel", (2, 3, 11, 12), (4, 3, 2, 1), {"stride": (3, 4), "padding": 1}),
    Case("cropped-above", (1, 2, 4, 5), (3, 2, 2, 2), {"padding": ((4, 0), (0, 3))}),
    Case("cropped-strided", (1, 2, 4, 5), (3, 2, 2, 2), {"padding": ((7, 1), (0, 6)), "stride": 2}),
    Case("untouched-pixels", (1, 2, 9, 8), (3, 2, 1, 1), {"stride": 3, "dilation": 2}),
    Case("outputs-of-padding-only", (1, 2, 2, 2), (3, 2, 1, 1), {"padding": 6, "stride": 5}),
    Case("depthwise-wide", (3, 131, 15, 17), (131, 1, 3, 3), {"groups": 131, "padding": 1, "stride": 2}),
    Case("panels", (2, 150, 9, 9), (260, 150, 3, 3), {"padding": 1}),
    Case("parts-of-the-pixels", (3, 9, 40, 41), (19, 9, 3, 3), {"padding": 1}),
    Case("wide-1x1", (2, 300, 6, 5), (70, 300, 1, 1)),
    Case("channels-beyond-a-strip", (1, 45, 9, 9), (17, 45, 2, 2), {"dilation": (1, 2)}),
]
ALL = CASES + SMALL[::3] + MORE
by_case = pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)


def numbers(case, layout="NCHW"):
    """(x, weight, grad) of a case, int64."""
    x, weight = whole(case.x, seed=1, limit=2), whole(case.weight, seed=2, limit=2)
    grad = whole(shape_of(case).output_shape, seed=3, limit=2)
    return tuple(to_layout(array, layout) for array in (x, weight, grad))


def able(algorithm, case, layout):
    """Whether the algorithm can do each convolution of the input gradient."""
    return not any(BY_NAME[algorithm].refuse(part.shape) for part in input_grad_parts(shape_of(case, layout))[0])


@pytest.mark.parametrize("algorithm", STRICT)
@pytest.mark.parametrize("images", [1, 3], ids=["results fewer than weights", "more"])
@by_layout
def test_padding_makes_no_nan_of_a_weight_that_is_not_finite(algorithm, images, layout, isa):
    """The input gradient's own padding, around grad, takes no part in the sum either."""
    grad = to_layout(whole((images, 4, 4, 4), 1).astype(np.float32), layout)
    shape = to_layout(np.empty((images, 3, 4, 4)), layout).shape
    for value in (np.nan, np.inf, -np.inf):
        weight = whole((4, 3, 3, 3), 2).astype(np.float32)
        weight[1, 2, 0, 2] = value
        dx, expected = (
            fc.conv2d_input_grad(grad, to_layout(weight, layout), shape, padding=1, layout=layout, algorithm=name)
            for name in (algorithm, "naive")
        )
        assert np.isfinite(expected).any() and not np.isfinite(expected).all()
        np.testing.assert_array_equal(dx, expected)


@by_case
@by_layout
@by_dtype
def test_whole_numbers(case, layout, dtype, isa):
    x, weight, grad = numbers(case, layout)
    parameters = {**case.parameters, "layout": layout}
    kernel = case.weight[2:]
    exact = [array.astype(dtype) for array in (x, weight, grad)]
    expected = reference.conv2d_input_grad(grad, weight, x.shape, **parameters)
    for algorithm in STRICT:
        if able(algorithm, case, layout):
            out = poison(x.shape, dtype)
            got = fc.conv2d_input_grad(exact[2], exact[1], x.shape, algorithm=algorithm, out=out, **parameters)
            assert got is out
            np.testing.assert_array_equal(got, expected)
    expected = reference.conv2d_weight_grad(x, grad, kernel, **parameters)
    for row in WEIGHT_GRADS:
        if not row.strict or row.weight_grad.refuse(shape_of(case, layout)):
            continue
        out = poison(weight.shape, dtype)
        got = fc.conv2d_weight_grad(exact[0], exact[2], kernel, algorithm=row.name, out=out, **parameters)
        assert got is out
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(fc.conv2d_bias_grad(exact[2], layout=layout),
                                  reference.conv2d_bias_grad(grad, layout=layout))  # fmt: skip


@pytest.mark.parametrize(("channels", "kernel"), [(166, 7), (481, 3), (841, 3), (2584, 3)])
@by_dtype
def test_a_last_block_of_fewer_channels(channels, kernel, dtype, isa):
    """Sizes that leave strips of its last block empty, one for each number of lanes, and images for two visits."""
    size = 30 + kernel
    x, grad = whole((1, channels, size, size), 1), whole((1, 8, 31, 31), 2)
    dw = fc.conv2d_weight_grad(x.astype(dtype), grad.astype(dtype), kernel, algorithm="direct")
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (31, 31), (1, 2))
    expected = np.tensordot(grad[0].astype(float), windows.astype(float), ((1, 2), (3, 4)))
    np.testing.assert_array_equal(dw, expected)


@by_case
def test_adjoint_identity(case):
    """<conv(x), grad> = <x, input_grad(grad)> = <weight, weight_grad(x, grad)>, with no reference in between."""
    x, weight, grad = numbers(case)
    parameters, kernel = case.parameters, case.weight[2:]
    y = fc.conv2d(x.astype(float), weight.astype(float), algorithm="naive", **parameters)
    dx = fc.conv2d_input_grad(grad.astype(float), weight.astype(float), x.shape, strict=True, **parameters)
    dw = fc.conv2d_weight_grad(x.astype(float), grad.astype(float), kernel, strict=True, **parameters)
    assert (y * grad).sum() == (x * dx).sum() == (weight * dw).sum()


@pytest.mark.parametrize("case", [CASES[7], CASES[8], CASES[15], CASES[19], MORE[1]], ids=lambda case: case.name)
def test_finite_differences(case):
    x, weight = reals(case.x, 1), reals(case.weight, 2)
    bias, grad = reals(case.weight[:1], 3), reals(shape_of(case).output_shape, 4)
    loss = lambda *arrays: (fc.conv2d(*arrays, strict=True, **case.parameters) * grad).sum()  # noqa: E731
    gradients = (
        fc.conv2d_input_grad(grad, weight, case.x, **case.parameters),
        fc.conv2d_weight_grad(x, grad, case.weight[2:], **case.parameters),
        fc.conv2d_bias_grad(grad),
    )
    for i, gradient in enumerate(gradients):
        direction = reals(gradient.shape, 5)
        ahead, behind = ([x, weight, bias] for _ in range(2))
        ahead[i], behind[i] = (array[i] + step * direction for array, step in ((ahead, 1e-4), (behind, -1e-4)))
        # The loss is linear in each argument: the difference has no error but rounding.
        np.testing.assert_allclose((loss(*ahead) - loss(*behind)) / 2e-4, (gradient * direction).sum(), rtol=1e-7)


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if not row.strict])
@by_dtype
def test_input_gradients_by_algorithms_that_rewrite_the_sum(algorithm, dtype):
    case = Case("", (2, 20, 18, 17), (24, 20, 3, 3), {"padding": 1})
    grad, weight = reals(shape_of(case).output_shape, 1), reals(case.weight, 2)
    expected = reference.conv2d_input_grad(grad, weight, case.x, padding=1)
    got = fc.conv2d_input_grad(grad.astype(dtype), weight.astype(dtype), case.x, padding=1, algorithm=algorithm)
    scale = reference.conv2d_input_grad(abs(grad), abs(weight), case.x, padding=1).max()
    np.testing.assert_allclose(got, expected, rtol=0, atol=400 * np.finfo(dtype).eps * scale)


REWRITING = [row for row in WEIGHT_GRADS if not row.strict]
ROUNDS = [
    Case("rounds", (2, 20, 150, 130), (33, 20, 3, 3), {"padding": 1}),
    Case("wide-padding", (1, 7, 6, 5), (9, 7, 3, 3), {"padding": ((5, 0), (0, 6))}),
]


@pytest.mark.parametrize("row", REWRITING, ids=lambda row: row.name)
@by_layout
@by_dtype
def test_weight_gradients_by_algorithms_that_rewrite_the_sum(row, layout, dtype, isa):
    """In every case that they do not refuse, from any memory, with the same bits for any number of threads."""
    cases = [case for case in ALL + ROUNDS if not row.weight_grad.refuse(shape_of(case, layout))]
    assert len(cases) > 5
    for case, memory in zip(cases, itertools.cycle(MEMORY.values())):
        x, grad = (memory(reals(array.shape, seed, dtype)) for seed, array in enumerate(numbers(case, layout)[::2]))
        parameters = {**case.parameters, "layout": layout}
        expected = reference.conv2d_weight_grad(x.astype(float), grad.astype(float), 3, **parameters)
        scale = reference.conv2d_weight_grad(abs(x).astype(float), abs(grad).astype(float), 3, **parameters).max(
            initial=0
        )
        one, three = (
            fc.conv2d_weight_grad(x, grad, 3, algorithm=row.name, num_threads=threads, **parameters,
                                  out=poison(expected.shape, dtype))
            for threads in (1, 3)
        )  # fmt: skip
        np.testing.assert_allclose(one, expected, rtol=0, atol=100 * np.finfo(dtype).eps * scale, err_msg=str(case))
        np.testing.assert_array_equal(one, three)


@by_layout
@by_dtype
def test_any_number_of_threads_gives_the_same_bits(layout, dtype, eager):
    for case in (CASES[8], CASES[20], CASES[19], *MORE[6:]):
        x, weight, grad = (reals(array.shape, 1, dtype) for array in numbers(case, layout))
        parameters = {**case.parameters, "layout": layout}
        alone, shared = (
            (
                fc.conv2d_input_grad(grad, weight, x.shape, num_threads=threads, **parameters),
                fc.conv2d_weight_grad(x, grad, case.weight[2:], num_threads=threads, **parameters),
                fc.conv2d_bias_grad(grad, layout=layout, num_threads=threads),
            )
            for threads in (1, 3)
        )
        for one, three in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(one, three)


@by_layout
@pytest.mark.parametrize("memory", MEMORY)
def test_memory(memory, layout):
    case = Case("", (2, 6, 9, 8), (4, 3, 3, 3), {"groups": 2, "padding": 1, "stride": (1, 2)})
    x, weight, grad = numbers(case, layout)
    moved = [MEMORY[memory](array.astype(np.float32)) for array in (x, weight, grad)]
    parameters = {**case.parameters, "layout": layout}
    np.testing.assert_array_equal(fc.conv2d_input_grad(moved[2], moved[1], x.shape, **parameters),
                                  reference.conv2d_input_grad(grad, weight, x.shape, **parameters))  # fmt: skip
    np.testing.assert_array_equal(fc.conv2d_weight_grad(moved[0], moved[2], 3, **parameters),
                                  reference.conv2d_weight_grad(x, grad, 3, **parameters))  # fmt: skip
    np.testing.assert_array_equal(fc.conv2d_bias_grad(moved[2], layout=layout),
                                  reference.conv2d_bias_grad(grad, layout=layout))  # fmt: skip


@pytest.mark.parametrize("row", WEIGHT_GRADS, ids=lambda row: row.name)
@pytest.mark.parametrize("case", [MORE[7], Case("", (2, 40, 6, 7), (40, 1, 3, 3), {"groups": 40})], ids=str)
def test_a_chunk_writes_a_part_of_the_weight_gradient(case, row):
    """Panels do not overlap, and none depends on another."""
    x, _, grad = numbers(case, "NHWC")
    parameters = {**case.parameters, "layout": "NHWC", "algorithm": row.name}
    x, grad = x.astype(float), grad.astype(float)
    expected = fc.conv2d_weight_grad(x, grad, 3, **parameters)
    counts, values = np.zeros(expected.shape, int), np.zeros(expected.shape)
    for chunk in range(64):
        out = poison(expected.shape, np.float64)
        with only_chunk(chunk):
            fc.conv2d_weight_grad(x, grad, 3, out=out, **parameters)
        counts += written(out)
        values[written(out)] = out[written(out)]
    assert (counts == 1).all()
    np.testing.assert_array_equal(values, expected)


TRANSPOSED = [
    ((2, 5, 6, 7), (5, 4, 3, 3), {}),
    ((2, 5, 6, 7), (5, 4, 3, 3), {"padding": 1}),
    ((2, 6, 5, 7), (6, 4, 4, 4), {"stride": 2, "padding": 1}),
    ((1, 6, 5, 4), (6, 2, 3, 2), {"stride": (2, 3), "output_padding": (1, 2), "groups": 3}),
    ((1, 4, 5, 4), (4, 3, 3, 3), {"stride": 2, "dilation": 3, "output_padding": (2, 0), "padding": (2, 1)}),
    ((1, 3, 1, 1), (3, 7, 5, 5), {"stride": 4, "output_padding": 3}),
    ((1, 3, 4, 4), (3, 2, 1, 1), {"stride": 3}),
    ((2, 3, 4, 5), (3, 2, 3, 3), {"padding": ((2, 0), (1, 2))}),
    ((2, 3, 4, 5), (3, 2, 3, 3), {"padding": "same"}),
    ((1, 3, 4, 5), (3, 2, 4, 3), {"stride": 3, "padding": ((2, 0), (0, 2)), "output_padding": (1, 2)}),
    ((0, 3, 4, 5), (3, 2, 3, 3), {}),
]


@by_layout
@by_dtype
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transposed(case, layout, dtype, isa):
    shapes, parameters = case[:2], {**case[2], "layout": layout}
    x, weight = (to_layout(whole(shape, seed), layout) for seed, shape in enumerate(shapes))
    bias = whole((shapes[1][1] * case[2].get("groups", 1),), 3)
    expected = reference.conv_transpose2d(x, weight, bias, **parameters)
    exact = [array.astype(dtype) for array in (x, weight, bias)]
    got = fc.conv_transpose2d(*exact, strict=True, **parameters)
    np.testing.assert_array_equal(got, expected)
    without = fc.conv_transpose2d(*exact[:2], strict=True, **parameters)
    grad = whole(expected.shape, 4)
    kernel = shapes[1][2:]
    dx = fc.conv_transpose2d_input_grad(grad.astype(dtype), exact[1], x.shape, strict=True, **parameters)
    dw = fc.conv_transpose2d_weight_grad(exact[0], grad.astype(dtype), kernel, **parameters)
    np.testing.assert_array_equal(dx, reference.conv_transpose2d_input_grad(grad, weight, x.shape, **parameters))
    np.testing.assert_array_equal(dw, reference.conv_transpose2d_weight_grad(x, grad, kernel, **parameters))
    assert (without * grad).sum() == (x * dx).sum() == (weight * dw).sum()


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


X, WEIGHT, GRAD = zeros(2, 6, 8, 9), zeros(4, 6, 3, 3), zeros(2, 4, 6, 7)
REFUSED = [
    (fc.conv2d_input_grad, (zeros(2, 4, 6, 8), WEIGHT, X.shape), {}, ValueError, r"grad must have shape \(2, 4, 6"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, (2, 5, 8, 9)), {}, ValueError, "5 channels"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, (6, 8, 9)), {}, ValueError, "input_shape must be 4 sizes"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, 8), {}, TypeError, "input_shape"),
    (fc.conv2d_input_grad, (GRAD.astype(float), WEIGHT, X.shape), {}, TypeError, "weight is float32, grad is float64"),
    (fc.conv2d_input_grad, (GRAD.tolist(), WEIGHT, X.shape), {}, TypeError, "grad must be a float32"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, X.shape), {"algorithm": "quick"}, ValueError, "algorithm must be one of"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, X.shape), {"algorithm": "winograd4x4", "strict": True}, ValueError, "strict"),
    (fc.conv2d_input_grad, (X, zeros(6, 5, 1, 1), (2, 5, 8, 9)), {"algorithm": "winograd2x2"}, ValueError, "cannot do"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, X.shape), {"out": zeros(2, 6, 8, 8)}, ValueError, "out must have shape"),
    (fc.conv2d_input_grad, (GRAD, WEIGHT, X.shape), {"blocking": 3}, TypeError, "blocking"),
    (fc.conv2d_weight_grad, (X, zeros(2, 4, 6, 6), 3), {}, ValueError, r"grad must have shape \(2, 4, 6, 7\)"),
    (fc.conv2d_weight_grad, (X, zeros(1, 4, 6, 7), 3), {}, ValueError, "grad must have shape"),
    (fc.conv2d_weight_grad, (X[0], GRAD, 3), {}, ValueError, "x must be 4-D"),
    (fc.conv2d_weight_grad, (X, GRAD[0], 3), {}, ValueError, "grad must be 4-D"),
    (fc.conv2d_weight_grad, (X, GRAD, 0), {}, ValueError, "kernel_size must be at least 1"),
    (fc.conv2d_weight_grad, (X, GRAD, 3.0), {}, TypeError, "kernel_size must be an integer"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"groups": 4}, ValueError, "groups=4"),
    (
        fc.conv2d_weight_grad,
        (X, zeros(2, 4, 8, 9), 3),
        {"dilation": 2**31, "padding": "same"},
        ValueError,
        "'direct' cannot do this",
    ),
    (
        fc.conv2d_weight_grad,
        (zeros(1, 1, 1, 1), zeros(1, 1, 1, 1), 2),
        {"dilation": (2**20 - 1, 2**32 - 1), "padding": ((0, 2**20 - 1), (0, 2**32 - 1))},
        ValueError,
        "too many to copy",
    ),
    (
        fc.conv2d_weight_grad,
        (zeros(2, 64, 1, 1), zeros(2, 64, 1, 1), 2),
        {"dilation": (2**20 - 1, 2**30 - 1), "padding": ((0, 2**20 - 1), (0, 2**30 - 1)), "groups": 64},
        ValueError,
        "too many to copy",
    ),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"groups": 0}, ValueError, "groups must be at least 1"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"groups": True}, TypeError, "groups must be an integer"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"layout": "CHWN"}, ValueError, "layout"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"algorithm": "im2col"}, ValueError, "algorithm of a weight gradient"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"blocking": fc.Blocking(8, 8, 8)}, ValueError, "no blocks"),
    (fc.conv2d_weight_grad, (X, GRAD, 3), {"out": X[:1, :1, :3, :3]}, ValueError, "out must have shape"),
    (fc.conv2d_bias_grad, (GRAD[0],), {}, ValueError, "grad must be 4-D"),
    (fc.conv2d_bias_grad, (GRAD,), {"layout": "HWC"}, ValueError, "layout"),
    (fc.conv_transpose2d, (X, zeros(5, 4, 3, 3)), {}, ValueError, "x has 6 channels.* takes 5"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 3)), {}, ValueError, "weight must be 4-D"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 3, 3)), {"output_padding": 1}, ValueError, "output_padding must be smaller"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 3, 3)), {"output_padding": -1}, ValueError, "output_padding must be at"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 1, 1)), {"padding": 5}, ValueError, "no pixels along H"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 3, 3)), {"groups": 4}, ValueError, "groups=4"),
    (fc.conv_transpose2d, (X, zeros(6, 4, 3, 3), zeros(5)), {}, ValueError, r"bias must have shape \(4,\)"),
    (fc.conv_transpose2d_input_grad, (X, zeros(6, 4, 3, 3), X.shape), {}, ValueError, "grad must have shape"),
    (fc.conv_transpose2d_weight_grad, (X, X, 3), {}, ValueError, "grad must have shape"),
    (fc.conv_transpose2d_weight_grad, (X[0], X, 3), {}, ValueError, "x must be 4-D"),
]


@pytest.mark.parametrize("call", REFUSED, ids=[f"{i}-{row[0].__name__}" for i, row in enumerate(REFUSED)])
def test_bad_input(call):
    function, arguments, parameters, error, message = call
    with pytest.raises(error, match=message):
        function(*arguments, **parameters)


def test_out_may_not_be_an_input():
    square = zeros(2, 4, 6, 7)
    with pytest.raises(ValueError, match="out shares memory with grad"):
        fc.conv2d_input_grad(square, zeros(4, 4, 1, 1), square.shape, out=square)


def test_a_weight_gradient_copies_no_more_images_than_there_are():
    x, grad = np.ones((1, 1, 512, 512), np.float32), np.ones((1, 1, 1, 1), np.float32)
    fc.release_memory()
    np.testing.assert_array_equal(fc.conv2d_weight_grad(x, grad, 512, num_threads=1), x)
    assert scratch.held_bytes() < 32 * x.nbytes  # a panel of results is filters of a vector or two wide
