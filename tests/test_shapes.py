"""Output sizes, FLOPs and every form of every parameter: against the sizes that convolutions really have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import reference
from fastconv.checks import to_int
from fastconv.shapes import conv_shape, to_counts, to_pair


def output(size, kernel, **parameters):
    shape = conv_shape((1, 1, *size), (1, 1, *kernel), **parameters)
    return shape.P, shape.Q


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)), kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)), dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9))),
)  # fmt: skip
def test_output_size_is_the_number_of_places_the_kernel_fits(size, kernel, stride, dilation, padding):
    places = [
        sum(1 for at in range(0, i + sum(side), s) if at + d * (k - 1) < i + sum(side))
        for i, k, s, d, side in zip(size, kernel, stride, dilation, padding, strict=True)
    ]
    if 0 in places:
        with pytest.raises(ValueError, match="kernel is larger than the padded input"):
            output(size, kernel, stride=stride, dilation=dilation, padding=padding)
    else:
        assert output(size, kernel, stride=stride, dilation=dilation, padding=padding) == tuple(places)


@given(size=st.integers(1, 20), kernel=st.integers(1, 9), dilation=st.integers(1, 4))
def test_same_keeps_the_size_and_puts_the_odd_pixel_at_the_end(size, kernel, dilation):
    shape = conv_shape((1, 1, size, 5), (1, 1, kernel, 1), padding="same", dilation=(dilation, 1))
    assert (shape.P, shape.Q) == (size, 5)
    before, after = shape.padding[0]
    assert before + after == dilation * (kernel - 1)
    assert after - before in (0, 1)
    assert shape.padding[1] == (0, 0)


@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        (np.int64(2), ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        (np.array([[1, 2], [3, 4]]), ((1, 2), (3, 4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (2, 2))),
    ],
    ids=str,
)
def test_forms_of_padding(padding, sides):
    assert conv_shape((1, 1, 9, 9), (1, 1, 3, 5), padding=padding).padding == sides


def test_layouts_name_the_axes():
    first = conv_shape((2, 6, 8, 9), (4, 3, 5, 2), groups=2)
    last = conv_shape((2, 8, 9, 6), (4, 5, 2, 3), groups=2, layout="NHWC")
    for name in "NCHWKRSPQ":
        assert getattr(first, name) == getattr(last, name)
    assert first.output_shape == (2, 4, 4, 8)
    assert last.output_shape == (2, 4, 8, 4)
    assert first.flops == last.flops == 2 * (2 * 4 * 4 * 8) * (3 * 5 * 2)


def test_flops_are_those_of_the_definition():
    ones = reference.conv2d(np.ones((1, 6, 8, 9), int), np.ones((4, 3, 3, 2), int), groups=2)
    assert conv_shape((1, 6, 8, 9), (4, 3, 3, 2), groups=2).flops == 2 * ones.sum()


def test_flops_do_not_overflow():
    assert conv_shape((1, 2**20, 2**10, 2**10), (2**20, 2**20, 1, 1)).flops == 2**61
    assert conv_shape((1, 2**20, 2**15, 2**15), (2**20, 2**20, 1, 1)).flops == 2**71


def test_one_object_for_one_geometry():
    """conv_shape is called on every call: equal parameters in any form give the same object."""
    shape = conv_shape((1, 2, 8, 8), (3, 2, 3, 3), stride=2, padding=1)
    assert conv_shape((1, 2, 8, 8), (3, 2, 3, 3), stride=(2, 2), padding=1) is shape
    assert conv_shape((1, 2, 8, 8), (3, 2, 3, 3), stride=np.int64(2), padding=1) is shape
    assert conv_shape((1, 2, 8, 8), (3, 2, 3, 3), stride=2, padding=2) is not shape


def test_integers():
    assert to_int(np.uint8(3), "n") == 3
    assert type(to_int(np.uint8(3), "n")) is int
    assert to_pair([1, np.int64(2)], "n") == (1, 2)
    assert to_counts(4, "n", 1) == (4, 4)
    for bad in (True, np.bool_(True), 1.0, "1", None, [1], 1j):
        with pytest.raises(TypeError, match="size must be an integer"):
            to_int(bad, "size")
