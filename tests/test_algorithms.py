"""The table of algorithms: `auto` is a pure function that picks the cheapest able row, names mean what they say, and
explain tells what runs, at what cost and in how much memory."""

import numpy as np
import pytest
from conv_cases import CASES, shape_of, to_layout
from support import LAYOUTS, reals, use_isa

import fastconv as fc
from fastconv.algorithms import ALGORITHMS, BY_NAME, NAMES, choose
from fastconv.shapes import conv_shape

# (C, K, size) of the 3x3 layers of VGG-16, whose padding is 1.
VGG16 = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 512, 28),
         (512, 512, 28), (512, 512, 14)]  # fmt: skip
OTHERS = [(2, 3, 5, 5, 1, 7), (1, 960, 7, 7, 320, 1), (1, 64, 1, 2000, 64, 1)]


def vgg(layer, layout="NCHW"):
    c, k, size = layer
    if layout == "NHWC":
        return (1, size, size, c), (k, 3, 3, c), {"padding": 1, "layout": layout}
    return (1, c, size, size), (k, c, 3, 3), {"padding": 1, "layout": layout}


by_layer = pytest.mark.parametrize("layer", VGG16, ids=str)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)
by_name = pytest.mark.parametrize("name", BY_NAME)


def test_the_table():
    """Names are unique, auto is not one of them, and something does every shape exactly."""
    assert len(BY_NAME) == len(ALGORITHMS)
    assert set(NAMES) == {"auto", *BY_NAME}
    assert {"naive", "im2col"} <= set(BY_NAME)
    for case in CASES:
        assert any(row.strict and row.refuse(shape_of(case)) is None for row in ALGORITHMS)
    for row in ALGORITHMS:
        assert row.summary
        assert row.name.isidentifier()


@by_name
@pytest.mark.parametrize("itemsize", [4, 8])
def test_rows_answer_for_every_shape(name, itemsize, isa):
    """A refusal is a sentence; otherwise cost, workspace and weights are numbers that make sense."""
    row = BY_NAME[name]
    for case in CASES:
        for layout in LAYOUTS:
            shape = shape_of(case, layout)
            reason = row.refuse(shape)
            if reason is not None:
                assert isinstance(reason, str)
                assert reason
                continue
            assert 0 <= row.cost(shape, itemsize) < 10
            assert row.workspace(shape, itemsize, None) >= 0
            assert row.weight_bytes(shape, itemsize, None) >= 0
            assert row.prepare_cost is None or row.prepare_cost(shape, itemsize) >= 0


@by_layer
@by_layout
def test_auto_takes_the_cheapest_able_row(layer, layout, isa):
    x, weight, parameters = vgg(layer, layout)
    for prepared in (False, True):
        explanation = fc.explain_conv2d(x, weight, prepared=prepared, **parameters)
        able = [row for row in explanation.rows if row.refusal is None and BY_NAME[row.name].accurate]
        assert explanation.chosen == min(able, key=lambda row: row.seconds).name
        strict = fc.explain_conv2d(x, weight, prepared=prepared, strict=True, **parameters)
        assert BY_NAME[strict.chosen].strict


def test_auto_is_a_pure_function():
    """Other calls, other shapes and running things in between change nothing."""

    def answers():
        return [choose(conv_shape(*vgg(layer)[:2], padding=1), 4, prepared=p).name for layer in VGG16 for p in (0, 1)]

    first = answers()
    fc.conv2d(reals((1, 8, 30, 30)), reals((8, 8, 3, 3)))
    with fc.num_threads(1):
        assert answers() == first
    choose.__globals__["_choose"].cache_clear()
    fc.shapes._conv_shape.cache_clear()
    assert answers() == first


@pytest.mark.parametrize("layout", LAYOUTS)
def test_auto_is_one_of_the_named_algorithms(layout, isa):
    """What auto gives is bit for bit what the algorithm it names gives."""
    for case in CASES[::3]:
        x, weight = to_layout(reals(case.x, 1), layout), to_layout(reals(case.weight, 2), layout)
        parameters = {**case.parameters, "layout": layout}
        chosen = fc.explain_conv2d(x.shape, weight.shape, dtype="float64", **parameters).chosen
        if 0 not in case.x + case.weight:
            np.testing.assert_array_equal(
                fc.conv2d(x, weight, **parameters), fc.conv2d(x, weight, algorithm=chosen, **parameters)
            )


@by_name
def test_a_named_algorithm_runs_or_raises(name):
    """Nothing falls back: what explain says it refuses, conv2d refuses, with the same reason."""
    for case in CASES:
        reason = BY_NAME[name].refuse(shape_of(case))
        explained = fc.explain_conv2d(case.x, case.weight, **case.parameters).rows
        assert next(row for row in explained if row.name == name).refusal == reason
        if reason is None:
            assert fc.explain_conv2d(case.x, case.weight, algorithm=name, **case.parameters).chosen == name
        else:
            with pytest.raises(ValueError, match="cannot do this shape"):
                fc.explain_conv2d(case.x, case.weight, algorithm=name, **case.parameters)


@by_name
def test_strict_excludes_what_rewrites_the_sum(name):
    x, weight = reals((1, 4, 12, 12), dtype=np.float32), reals((4, 4, 3, 3), dtype=np.float32)
    if BY_NAME[name].strict:
        np.testing.assert_array_equal(
            fc.conv2d(x, weight, algorithm=name, strict=True), fc.conv2d(x, weight, algorithm=name)
        )
        return
    with pytest.raises(ValueError, match=f"strict=True excludes algorithm '{name}'"):
        fc.conv2d(x, weight, algorithm=name, strict=True)
    row = next(r for r in fc.explain_conv2d(x.shape, weight.shape, strict=True).rows if r.name == name)
    assert "strict" in row.refusal


@by_name
def test_blocking_is_taken_or_refused(name):
    x, weight = reals((1, 4, 12, 12)), reals((4, 4, 3, 3))
    blocking = fc.Blocking(8, 8, 8)
    if BY_NAME[name].takes_blocking:
        assert fc.conv2d(x, weight, algorithm=name, blocking=blocking).shape == (1, 4, 10, 10)
    else:
        with pytest.raises(ValueError, match=f"blocking was given, but algorithm '{name}' has no blocks"):
            fc.conv2d(x, weight, algorithm=name, blocking=blocking)
    assert BY_NAME[fc.explain_conv2d(x.shape, weight.shape, blocking=blocking).chosen].takes_blocking


@by_layer
@by_layout
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_im2col_never_holds_the_matrix(layer, layout, dtype, isa):
    """Under 2 MB a thread, where the matrix of the second layer would be 116 MB."""
    x, weight, parameters = vgg(layer, layout)
    rows = fc.explain_conv2d(x, weight, dtype=dtype, **parameters).rows
    assert next(row for row in rows if row.name == "im2col").workspace_bytes < 2 * 2**20


def test_explain_reads_well():
    explanation = fc.explain_conv2d((1, 64, 56, 56), (64, 64, 3, 3), padding=1)
    text = str(explanation)
    assert all(row.name in text for row in ALGORITHMS)
    assert [row.name for row in explanation.rows] == [row.name for row in ALGORITHMS]
    arrows = [line for line in text.splitlines() if "->" in line and not line.startswith("conv2d")]
    assert len(arrows) == 1
    assert explanation.chosen in arrows[0]
    assert "(1, 64, 56, 56)" in text
    for row in explanation.rows:
        assert (row.refusal is None) == (row.seconds is not None)
        assert row.refusal is None or row.refusal in text


def test_blocks_without_channels():
    """There is nothing to cut; what is left is the bias."""
    blocking = fc.Blocking(8, 8, 8)
    x, weight, bias = (np.zeros(shape, np.float32) for shape in ((1, 0, 4, 4), (2, 0, 3, 3), 2))
    bias += [3, 4]
    y = fc.conv2d(x, weight, bias, blocking=blocking)
    np.testing.assert_array_equal(y, np.broadcast_to(bias[:, None, None], (1, 2, 2, 2)))
    np.testing.assert_array_equal(fc.plan_conv2d(x.shape, weight, bias, blocking=blocking)(x), y)
    assert fc.explain_conv2d(x.shape, weight.shape, blocking=blocking).chosen == "naive"
    dx = fc.conv2d_input_grad(x, np.zeros((0, 3, 3, 3), np.float32), (1, 3, 6, 6), blocking=blocking)
    assert dx.shape == (1, 3, 6, 6) and not dx.any()


def test_explain_says_who_has_no_blocks():
    blocking = fc.Blocking(6, 16, 64)
    for row in fc.explain_conv2d((1, 8, 9, 9), (4, 8, 3, 3), blocking=blocking).rows:
        assert (row.refusal is None) == BY_NAME[row.name].takes_blocking
        assert row.refusal is None or "blocks" in row.refusal


def test_explain_of_nothing():
    """Empty batches, channels and filters cost nothing, and can be explained."""
    for x, weight in (((0, 3, 5, 5), (4, 3, 3, 3)), ((2, 0, 5, 5), (4, 0, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3))):
        explanation = fc.explain_conv2d(x, weight)
        assert explanation.chosen in BY_NAME
        assert str(explanation)


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float32, np.float64, np.dtype("f4")], ids=str)
def test_explain_takes_any_name_of_a_dtype(dtype):
    assert fc.explain_conv2d((1, 3, 5, 5), (4, 3, 3, 3), dtype=dtype).dtype == str(np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float16", int, ">f4", None, "real"], ids=str)
def test_explain_refuses_other_dtypes(dtype):
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        fc.explain_conv2d((1, 3, 5, 5), (4, 3, 3, 3), dtype=dtype)


def test_costs_do_not_depend_on_the_isa_in_use_before():
    """The choice is cached: per ISA, too."""
    x, weight, parameters = vgg(VGG16[5])
    before = [row.seconds for row in fc.explain_conv2d(x, weight, **parameters).rows]
    with use_isa("portable"):
        inside = [row.seconds for row in fc.explain_conv2d(x, weight, **parameters).rows]
    assert [row.seconds for row in fc.explain_conv2d(x, weight, **parameters).rows] == before
    assert min(s for s in inside if s) > 0


def test_the_cost_of_a_tall_padding_is_not_counted_row_by_row():
    """It would take hours, with nothing to interrupt it."""
    assert "direct" in str(fc.explain_conv2d((1, 1, 1, 1), (1, 1, 1, 1), padding=((2**39, 0), (0, 0)), layout="NHWC"))
