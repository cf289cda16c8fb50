"""The ways to break an argument, by what it is: what is given instead, the exception that it deserves, and how a
message may name it. public_calls.py says which argument of which function is what."""

import string
from typing import NamedTuple

import numpy as np
from support import read_only


class Broken(NamedTuple):
    """What is given instead, the exception's class, and names of which the message says at least one."""

    value: object
    error: type
    names: tuple = ()


NOT_STRINGS = (None, True, 0, 1.0, b"auto", ["auto"], (), {}, np.ones(3), np.str_, object())
NOT_NUMBERS = ("1", b"1", [1], (), {}, np.ones(2), object(), 1j)
NOT_INTEGERS = (None, True, np.True_, 1.0, 1.5, np.float64(1), float("nan"), float("inf"), *NOT_NUMBERS)


def types(values, but=()):
    return [Broken(value, TypeError) for value in values if not any(value is right for right in but)]


def values(*wrong, names=()):
    return [Broken(value, ValueError, names) for value in wrong]


def count(*too_large, least=1, but=()):
    """An integer of at least `least`; None is right where `but` says so."""
    return types(NOT_INTEGERS, but) + values(least - 1, -(2**63), *too_large)


NOT_PAIRS = (None, True, np.True_, 1.0, 1.5, np.float64(1), float("nan"), b"11", object(), 1j, np.ones(2), (1, 1.0),
             (True, 1), (1, None))  # fmt: skip
NOT_TWO = ((), [], (1,), (1, 1, 1), {})


def pair(least, *too_large, but=()):
    """An integer or a pair of them."""
    wrong = types((*NOT_PAIRS, "1", ("1", 1), [1, [1]]), but)
    return wrong + values(*NOT_TWO, (1, least - 1), least - 1, -(2**63), *too_large)


def padding(stride):
    """One, two or four integers, or a name."""
    names = ["foo", "SAME", "", "1", *(["same"] if max(np.atleast_1d(stride)) > 1 else [])]
    sides = [(1, -1), -1, -(2**63), ((0, 0), (0, -1)), ((0, 0, 0), (0, 0)), (0, 0, 0, 0), (1, [1]), 2**31, 2**62, 2**64]
    return types((*NOT_PAIRS, ((0, 0), (0, 1.0)), ((0, 0), (0, True)))) + values(*NOT_TWO, *names, *sides)


def choice(*wrong):
    return types(NOT_STRINGS) + values("", "no-such", *wrong)


def flag():
    return types((None, 0, 1, 1.0, "True", "", [], np.ones(2), object()))


def real(*wrong):
    return types((None, True, np.True_, *NOT_NUMBERS)) + values(10**400, *wrong)


def axes(ndim):
    """One of so many axes."""
    return types(NOT_INTEGERS) + values(ndim, -ndim - 1, 2**64)


def threads():
    return count(but=(None,))


def shape(right, *wrong):
    """A sequence of sizes."""
    sizes = list(right)
    bad = [(), sizes[1:], [*sizes, 1], [-1, *sizes[1:]], *wrong]
    return types((None, 3, 1.5, "x" * len(sizes), [1.0, *sizes[1:]], [True, *sizes[1:]], object())) + values(*bad)


class Arrayish:
    """An array to those who ask for one, and not of floats."""

    def __array__(self, dtype=None, copy=None):
        return np.zeros(3, np.int16)


class OnDevice:
    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **_):
        raise AssertionError("must not be asked for memory of another device")


def of_kind(shape, kind):
    """Zeros; of no memory if they are immense."""
    return np.broadcast_to(np.zeros((), kind), shape) if np.prod(shape, dtype=object) > 2**24 else np.zeros(shape, kind)


def array(right, *axes, rank=True, pair_of=True, optional=False, names=()):
    """An array of floats. axes: those whose size something else fixes; rank: whether the number of axes is fixed;
    pair_of: whether another array has to have its dtype; names: arguments that the message may name instead, where
    sizes do not agree."""
    kinds = ["i8", "?", "c16", "f2", "u1", "U3", "O", "V4", "M8[s]", np.longdouble, right.dtype.newbyteorder()]
    if pair_of:
        kinds.append({"f": "f8", "d": "f4"}[right.dtype.char])
    wrong = [of_kind(right.shape, kind) for kind in kinds]
    wrong += [3.0, "x", b"x", object(), {}, [1.0, 2.0], np.ma.zeros(3, right.dtype), Arrayish(), OnDevice(), np.float32]
    broken = types(wrong if optional else [*wrong, None])
    if rank:
        broken += values(right[None], np.zeros((), right.dtype), np.zeros((1,) * 7, right.dtype))
    for axis in axes:
        for size in {right.shape[axis] + 1, max(0, right.shape[axis] - 1), 0} - {right.shape[axis]}:
            other = (*right.shape[:axis], size, *right.shape[axis + 1 :])
            broken += values(of_kind(other, right.dtype), names=names)
    return broken


def integers(right, most, *axes):
    """An array of places in something with `most` elements."""
    wrong = [right.astype(kind) for kind in ("f8", "?", "c16", "U3", "O", "M8[s]")]
    broken = types([*wrong, right.tolist(), None, "x", 3, object(), np.ma.zeros(right.shape, int)])
    broken += values(right[None], right + most, right - most, right.astype("u8") + np.uint64(2**63))
    return broken + [b for axis in axes for b in values(np.concatenate([right, right], axis))]


def out(right, *inputs):
    """A C-contiguous array for a result like `right`, apart from the inputs."""
    other = {"f": "f8", "d": "f4"}[right.dtype.char]
    wrong = [right.astype(kind) for kind in ("i8", other, "c16", right.dtype.newbyteorder(), "O")]
    broken = types([*wrong, right.tolist(), "x", 3, object(), np.ma.array(right), Arrayish()])
    wide = np.empty((*right.shape[:-1], right.shape[-1] * 2), right.dtype)
    broken += values(right[None], right.ravel()[:0], wide, read_only(right.copy()))
    gaps = wide[..., ::2]
    if not gaps.flags.c_contiguous:  # a single element has no gaps
        broken += values(gaps)
    for array_ in inputs:
        memory = array_.base
        for start in {0, array_.size - 1}:
            broken += values(memory[start : start + right.size].reshape(right.shape))
    return broken


def says(message, names):
    """Whether the message has one of the names as a word of its own."""
    words = "".join(c if c in string.ascii_letters + string.digits + "_." else " " for c in message).split()
    return any(name in (word, word.strip(".")) for word in words for name in names)
