"""A nest's chunks cover its output, each element written by exactly one chunk, and the value a chunk writes depends on
nothing but the problem and the chunk's index: so any number of threads gives the same bits, and no two ever race.

The hook runs one chunk of a nest; `out` is poisoned with a NaN whose bits no operation makes."""

import numpy as np
import pytest
from conv_cases import Case, shape_of, to_layout
from support import DTYPES, LAYOUTS, dtype_name, only_chunk, poison, reals, whole, written

import fastconv as fc
from fastconv._loops import lowering
from fastconv.algorithms import ALGORITHMS, BY_NAME

NO_CHUNK = 10**6  # an index beyond every nest's chunks
PLAIN = {"naive"}  # nests that carry their own prange, row by row, and know no chunks
LONGEST_GAP = 64  # parts of a small dimension may be empty; so many in a row mean the end
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def run_singly(call, shape, dtype):
    """Runs `call(out)` chunk by chunk: how often each element was written, and the value last written to it."""
    counts, values = np.zeros(shape, np.int64), poison(shape, dtype)
    chunks = index = gap = 0
    while gap < LONGEST_GAP:
        out = poison(shape, dtype)
        with only_chunk(index):
            call(out)
        touched = written(out)
        counts += touched
        values[touched] = out[touched]
        gap = 0 if touched.any() else gap + 1
        chunks += bool(touched.any())
        index += 1
        assert index < 5000, "the nest ignores the hook"
    return counts, values, chunks


CONVOLUTIONS = [
    Case("1x1", (2, 19, 9, 9), (33, 19, 1, 1)),
    Case("3x3", (1, 5, 20, 21), (40, 5, 3, 3), {"padding": 1}),
    Case("groups-of-tiles", (8, 70, 13, 9), (40, 70, 3, 3), {"padding": 1}),
    Case("few-pixels", (2, 16, 3, 3), (130, 16, 3, 3), {"padding": 1}),  # channels-first results are transposed
    Case("few-pixels-many-filters", (1, 3, 3, 3), (1100, 3, 1, 1)),
    Case("many-pixels", (1, 2, 60, 70), (3, 2, 3, 3)),
    Case("two-blocks-of-k", (1, 128, 9, 9), (65, 128, 3, 3), {"padding": 1}),
    Case("groups", (2, 6, 11, 12), (9, 2, 3, 3), {"groups": 3, "stride": 2}),
    Case("depthwise", (1, 40, 9, 9), (40, 1, 3, 3), {"groups": 40, "padding": 1}),
    Case("depthwise-rows", (1, 3, 90, 70), (3, 1, 3, 3), {"groups": 3, "padding": 1, "stride": (1, 2)}),
    Case("rows", (1, 3, 40, 63), (30, 3, 3, 3), {"padding": 1, "stride": (2, 1)}),
    Case("1x1-one-filter", (1, 19, 50, 60), (1, 19, 1, 1)),
    Case("1x1-few-filters", (1, 19, 50, 60), (3, 19, 1, 1)),
    Case("few-filters", (2, 70, 9, 14), (4, 35, 3, 3), {"groups": 2, "padding": 1}),
    Case("1x1-transposed", (1, 24, 7, 7), (128, 24, 1, 1)),
    Case("small-images", (17, 5, 5, 4), (40, 5, 3, 3), {"padding": 1}),
    Case("few-small-images", (6, 5, 5, 4), (40, 5, 3, 3), {"padding": 2}),
    Case("one-pixel", (1, 30, 3, 3), (500, 30, 3, 3)),
    Case("large-weights", (1, 150, 5, 6), (300, 150, 3, 3), {"padding": 1}),  # transforms in two phases
]
by_convolution = pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
by_algorithm = pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS if row.name not in PLAIN])
by_blocking = pytest.mark.parametrize("blocking", [None, (16, 40, 50)], ids=["default", "small"])


@by_algorithm
@by_convolution
@by_layout
@by_dtype
@by_blocking
def test_chunks_of_a_convolution(case, algorithm, layout, dtype, blocking, isa):
    row = BY_NAME[algorithm]
    if row.refuse(shape_of(case, layout)) or (blocking and not row.takes_blocking):
        return
    x, weight, bias = reals(case.x, 1, dtype), reals(case.weight, 2, dtype), reals(case.weight[:1], 3, dtype)
    x, weight = to_layout(x, layout), to_layout(weight, layout)
    blocking = fc.Blocking(*blocking) if blocking else None
    plan = fc.plan_conv2d(x.shape, weight, bias, layout=layout, algorithm=algorithm, blocking=blocking,
                          activation="relu", **case.parameters)  # fmt: skip
    expected = plan(x)
    counts, values, _ = run_singly(lambda out: plan(x, out=out), expected.shape, dtype)
    assert (counts == 1).all()
    np.testing.assert_array_equal(values, expected)


@by_algorithm
@by_convolution
@by_layout
def test_chunks_of_the_preparation_of_weights(case, algorithm, layout, isa):
    """Packed chunk by chunk, the weights are those packed at once."""
    row, shape = BY_NAME[algorithm], shape_of(case, layout)
    if row.refuse(shape) or row.nest is None:
        return
    weight = to_layout(whole(case.weight, 1), layout).astype(np.float32)
    at_once = poison(row.weight_bytes(shape, 4, None) // 4, np.float32)
    singly = poison(at_once.shape, np.float32)
    row.nest(shape).prepare(shape.packed, weight, at_once.view(np.uint8), None, 1)
    whole_count, count, index = np.count_nonzero(written(at_once)), 0, 0
    while count < whole_count:
        with only_chunk(index):
            row.nest(shape).prepare(shape.packed, weight, singly.view(np.uint8), None, 1)
        count = np.count_nonzero(written(singly))
        index += 1
        assert index < 300, "the weights are not whole"
    np.testing.assert_array_equal(singly.view(np.uint32), at_once.view(np.uint32))


def test_the_plain_nests_are_the_only_ones_without_chunks():
    case = CONVOLUTIONS[1]
    x, weight = reals(case.x), reals(case.weight)
    for row in ALGORITHMS:
        if not row.refuse(shape_of(case)):
            plan = fc.plan_conv2d(case.x, weight, algorithm=row.name, **case.parameters)
            out = poison(plan(x).shape, np.float64)
            with only_chunk(NO_CHUNK):
                plan(x, out=out)
            assert written(out).all() == (row.name in PLAIN)
            assert written(out).any() == (row.name in PLAIN)


PRODUCTS = {
    "packed": (130, 300, 40, "NN"),
    "few-rows": (15, 300, 40, "NN"),
    "wide": (60, 2100, 9, "NN"),  # two blocks of columns
    "one-row": (1, 5000, 12, "NN"),
    "one-column": (5000, 1, 12, "NN"),
    "dots": (7, 1003, 500, "NT"),
    "tall": (900, 20, 7, "TN"),
}


@pytest.mark.parametrize("name", PRODUCTS)
@by_dtype
@by_blocking
def test_chunks_of_a_product(name, dtype, blocking, isa):
    """Every element is written by one chunk. (The packing of b is a nest of its own, of which the hook runs one chunk
    too, so values are not compared; the sum is one block, so that nothing is added to the poison.)"""
    m, n, k, trans = PRODUCTS[name]
    a, b = whole((m, k), 1).astype(dtype), whole((k, n), 2).astype(dtype)
    a = a if trans[0] == "N" else np.asfortranarray(a)
    b = b if trans[1] == "N" else np.asfortranarray(b)
    blocking = fc.Blocking(blocking[0], blocking[1], 10**6) if blocking else None
    counts, _, _ = run_singly(lambda out: fc.gemm(a, b, out=out, blocking=blocking), (m, n), dtype)
    # With several blocks of columns each is a nest of its own, of which the hook runs the chunk of that index.
    assert (counts == 1).all()


@by_layout
@by_dtype
def test_chunks_of_im2col(layout, dtype, isa):
    case = Case("", (2, 5, 11, 13), (1, 5, 3, 3), {"padding": 1})
    shape, x = shape_of(case, layout), reals(case.x, 1, dtype)
    expected = fc.im2col(to_layout(x, layout), 3, padding=1, layout=layout)
    x = to_layout(x, layout) if layout == "NCHW" else np.moveaxis(to_layout(x, layout), 3, 1)
    counts, values, chunks = run_singly(lambda out: lowering.im2col(shape.packed, x, out, 1), expected.shape, dtype)
    assert (counts == 1).all()
    assert chunks > 1
    np.testing.assert_array_equal(values, expected)
