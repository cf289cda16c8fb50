"""A plan gives conv2d's bits, is called any number of times with changing x, copies what it was made of, and refuses
what it was not made for."""

import copy
import pickle

import numpy as np
import pytest
from conv_cases import CASES, Case, shape_of, to_layout, whole_numbers
from support import LAYOUTS, laid_out, poison, reals

import fastconv as fc
from fastconv._loops import scratch
from fastconv.algorithms import ALGORITHMS, BY_NAME

X, WEIGHT = (2, 6, 9, 8), (10, 6, 3, 3)
by_algorithm = pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
SOME = [i for i, case in enumerate(CASES) if not case.name.startswith("no-")][::3]


@by_algorithm
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("index", SOME, ids=[CASES[i].name for i in SOME])
def test_a_plan_is_conv2d(index, layout, algorithm, isa):
    case = CASES[index]
    if BY_NAME[algorithm].refuse(shape_of(case, layout)):
        return
    x, weight, bias, _ = (to_layout(a, layout) if a.ndim == 4 else a for a in whole_numbers(index))
    x, weight, bias = (a.astype(np.float32) for a in (x, weight, bias))
    parameters = {**case.parameters, "layout": layout, "algorithm": algorithm, "activation": "relu"}
    plan = fc.plan_conv2d(x.shape, weight, bias, **parameters)
    assert plan.algorithm == algorithm
    expected = fc.conv2d(x, weight, bias, **parameters)
    np.testing.assert_array_equal(plan(x), expected)
    np.testing.assert_array_equal(plan(x), expected)  # scratch is dirty now
    np.testing.assert_array_equal(plan(-x), fc.conv2d(-x, weight, bias, **parameters))
    out = poison(expected.shape, np.float32)
    assert plan(x, out=out) is out
    np.testing.assert_array_equal(out, expected)


@by_algorithm
@pytest.mark.parametrize("memory", ["C", "Fortran", "channels-last"])
def test_a_plan_copies_weight_and_bias(algorithm, memory):
    x, weight, bias = reals(X, 0, np.float32), reals(WEIGHT, 1, np.float32), reals((10,), 2, np.float32)
    if memory == "Fortran":
        weight = np.asfortranarray(weight)
    if memory == "channels-last":
        weight = np.moveaxis(np.moveaxis(weight, 1, 3).copy(), 3, 1)
    plan = fc.plan_conv2d(X, weight, bias, algorithm=algorithm)
    before = plan(x)
    weight[...] = np.nan
    bias[...] = np.nan
    np.testing.assert_array_equal(plan(x), before)


@by_algorithm
def test_update(algorithm):
    x, first, second = reals(X, 0), reals(WEIGHT, 1), reals(WEIGHT, 2)
    bias = reals((10,), 3)
    plan = fc.plan_conv2d(X, first, bias, algorithm=algorithm)
    plan(x)
    plan.update(second)  # no bias any more
    np.testing.assert_array_equal(plan(x), fc.conv2d(x, second, algorithm=algorithm))
    plan.update(first, bias)
    np.testing.assert_array_equal(plan(x), fc.conv2d(x, first, bias, algorithm=algorithm))


def test_a_plan_says_what_it_holds():
    weight = reals(WEIGHT, 1, np.float32)
    plan = fc.plan_conv2d(X, weight)
    explanation = plan.explain()
    assert explanation.chosen == plan.algorithm
    row = next(row for row in explanation.rows if row.name == plan.algorithm)
    assert (plan.workspace_bytes, plan.weight_bytes) == (row.workspace_bytes, row.weight_bytes)
    assert plan.weight_bytes >= weight.nbytes
    assert plan.algorithm in repr(plan)
    assert explanation.prepared


@by_algorithm
@pytest.mark.parametrize("layout", LAYOUTS)
def test_workspace_bytes_are_what_a_call_takes(algorithm, layout, isa):
    """Scratch grows by them, rounded up to pages, where x lies in memory at its worst, and never by more."""
    rounding = 2 * (4096 + 64)  # a block of each thread and one of the team
    for case in (CASES[i] for i in SOME):
        if BY_NAME[algorithm].refuse(shape_of(case, layout)):
            continue
        x, weight = (to_layout(reals(size, 1, np.float32), layout) for size in (case.x, case.weight))
        plan = fc.plan_conv2d(x.shape, weight, layout=layout, algorithm=algorithm, **case.parameters)
        grown = []
        for order in (None, (0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0)):
            fc.release_memory()
            plan(laid_out(x, order, steps=None if order is None else (1, 1, 1, 2)), num_threads=1)
            grown.append(scratch.held_bytes())
        assert plan.workspace_bytes <= max(grown) <= plan.workspace_bytes + rounding, case.name


def test_a_plan_says_what_runs():
    """The definition's loops, as long as there is an Inf in the filters that padding would meet."""
    weight = np.ones((4, 2, 3, 3), np.float32)
    plan = fc.plan_conv2d((1, 2, 5, 5), weight, padding=1, algorithm="im2col", blocking=fc.Blocking(6, 16, 64))
    assert plan.algorithm == plan.explain().chosen == "im2col"
    infinite = weight.copy()
    infinite[0, 0, 0, 0] = np.inf
    plan.update(infinite)
    assert plan.algorithm == plan.explain().chosen == "naive" and plan.workspace_bytes == 0
    assert "naive" in repr(plan)
    plan.update(weight)
    assert plan.algorithm == "im2col"


def test_workspace_of_depthwise_filters_smaller_than_the_stride(isa):
    """x that is read in place leaves room for more rows of results than x that is copied."""
    x = np.zeros((1, 768, 128, 32), np.float32).transpose(0, 3, 1, 2)
    plan = fc.plan_conv2d(x.shape, np.zeros((32, 1, 1, 1), np.float32), groups=32, stride=(32, 1), algorithm="direct")
    fc.release_memory()
    plan(x, num_threads=1)
    assert scratch.held_bytes() <= plan.workspace_bytes + 4096 + 64


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14), (512, 7)], ids=str)
def test_winograd_needs_little_workspace(layer, layout, isa):
    """A group of tiles in cache, or a round of them: at most 8 MB, where all transformed tiles of the first layer
    would be 29 MB; and 4 MB with weights that fit the cache."""
    channels, size = layer
    shape = shape_of(Case("", (1, channels, size, size), (channels, channels, 3, 3), {"padding": 1}), layout)
    row = BY_NAME["winograd4x4"]
    limit = 4 << 20 if row.weight_bytes(shape, 4, None) <= 2 << 20 else 8 << 20
    assert row.workspace(shape, 4, None) <= limit


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda plan: plan(reals((1, *X[1:]))), ValueError, "x has shape .* made for"),
        (lambda plan: plan(reals(X, dtype=np.float32)), TypeError, "x is float32"),
        (lambda plan: plan(reals(X).tolist()), TypeError, "x must be"),
        (lambda plan: plan(reals(X), out=np.empty(X)), ValueError, "out must have shape"),
        (lambda plan: plan(reals(X), num_threads=0), ValueError, "num_threads"),
        (lambda plan: plan.update(reals((10, 6, 3, 2))), ValueError, "weight has shape"),
        (lambda plan: plan.update(reals(WEIGHT, dtype=np.float32)), TypeError, "weight is float32"),
        (lambda plan: plan.update(reals(WEIGHT), reals((9,))), ValueError, "bias must have shape"),
        (lambda plan: pickle.dumps(plan), TypeError, "pickled"),
        (lambda plan: copy.deepcopy(plan), TypeError, "plan"),
    ],
    ids=[f"row{row}" for row in ("77", "77-dtype", "77-list", "61", "38", "77-weight", "77-weight-dtype", "9", "79",
                                 "79-copy")],
)  # fmt: skip
def test_a_plan_refuses(call, error, message):
    plan = fc.plan_conv2d(X, reals(WEIGHT))
    with pytest.raises(error, match=message):
        call(plan)
    assert plan(reals(X)).shape == (2, 10, 7, 6)  # and works as before


def test_a_plan_after_a_refused_update_keeps_its_weights():
    x, weight = reals(X), reals(WEIGHT)
    plan = fc.plan_conv2d(X, weight)
    before = plan(x)
    with pytest.raises(ValueError, match="bias"):
        plan.update(-weight, reals((9,)))
    np.testing.assert_array_equal(plan(x), before)


@by_algorithm
def test_an_empty_batch_can_be_planned(algorithm):
    plan = fc.plan_conv2d((0, *X[1:]), reals(WEIGHT), algorithm=algorithm)
    assert plan(reals((0, *X[1:]))).shape == (0, 10, 7, 6)
