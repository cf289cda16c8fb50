"""THE table: one row per convolution algorithm, and the policy of `auto`.

To add an algorithm, write its nest in fastconv/_loops and its cost in costs.py, and add a row here; conv2d, plans,
tests and benchmarks all iterate ALGORITHMS."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastconv import tuned
from fastconv._loops import im2col as _im2col
from fastconv._loops import naive as _naive
from fastconv._loops import weight_grad as _weight_grad
from fastconv._loops import winograd_grad as _winograd_grad
from fastconv._loops.kernels import active_isa
from fastconv._loops.probe import all_finite
from fastconv._loops.scratch import lent
from fastconv._loops.transformed import FFT, WINOGRAD
from fastconv.arrays import BYTE, SMALL, empty
from fastconv.checks import to_choice, to_flag
from fastconv.costs import (
    fft_plan,
    im2col_cost,
    naive_cost,
    packing_cost,
    plain_weight_bytes,
    weight_grad_cost,
    winograd_cost,
    winograd_grad_cost,
    winograd_prepare_cost,
)
from fastconv.direct_nests import direct_cost, direct_nest
from fastconv.shapes import MOST_PIXELS, ConvShape

MOST_COPIED = 64 << 20  # bytes of x that "direct" may copy a thread: a guess, far above any layer of a convnet
MOST_ERROR = 4.0  # of rows that `auto` may choose, in the units of Algorithm.error


@dataclass(frozen=True)
class WeightGrad:
    """How a row computes weight gradients: refuse and cost as in Algorithm, and the nest,

    compiled(geometry, itemsize, x_strides, grad_strides).run(x, grad, None, dw, team)      fills dw"""

    refuse: Callable[[ConvShape], str | None]
    cost: Callable[[ConvShape, int], float]
    nest: object


@dataclass(frozen=True, eq=False)
class Algorithm:
    """One row. nest(shape) is what computes the shape: a module of fastconv/_loops, or an object, with

        compiled(geometry, itemsize, strides, relu, blocking).run(x, weights, bias, y, team)
                                                      fills y, C-contiguous in shape.layout, for x of those strides
        prepare(geometry, weight, out, blocking, team)   packs a C-contiguous weight into `out`, a byte array of
        prepared_bytes(geometry, itemsize, blocking)     so many bytes
        as_it_comes(geometry, itemsize, blocking)        whether that is a copy, which a call can do without: False in
                                                         nests that lack it
        workspace_bytes(geometry, itemsize, blocking)    scratch of a call on one thread, at most

    or None for the definition's loops, which take the weight as it is, C-contiguous. cost(shape, itemsize) is seconds
    on the nominal core, prepare_cost(...) that of prepare. An input gradient is a convolution too, and uses the same
    nests. weight_grad is the weight gradient that comes with the row, or None."""

    name: str
    refuse: Callable[[ConvShape], str | None]
    cost: Callable[[ConvShape, int], float]
    nest: Callable[[ConvShape], object] | None
    prepare_cost: Callable[[ConvShape, int], float] | None = None
    takes_blocking: bool = False
    strict: bool = True  # multiplies what the definition multiplies
    multiplies_padding: bool = False  # with its zeros, where the definition skips it
    spread: int = 0  # how many results beyond those that meet an Inf or NaN of x it may reach: a tile less one
    error: float = 1.1  # rms error in units of direct summation's, at most, from 16 channels on (docs/accuracy.md)
    weight_grad: WeightGrad | None = None
    summary: str = ""

    @property
    def accurate(self):
        """Whether `auto` may choose it; others run by name only."""
        return self.error <= MOST_ERROR

    def compile(self, shape, itemsize, strides, relu, blocking):
        """What runs: its run(x, weights, bias, y, team) takes weights as the row's nest prepares them."""
        return _compile(self, shape, itemsize, strides, relu, blocking, active_isa())

    def workspace(self, shape, itemsize, blocking):
        """Bytes of scratch of a call on one thread, at most."""
        return self.nest(shape).workspace_bytes(shape.packed, itemsize, blocking) if self.nest else 0

    def weight_bytes(self, shape, itemsize, blocking):
        """Bytes of the prepared weights."""
        return _weight_bytes(self, shape, itemsize, blocking, active_isa())


def never(_shape):
    """The refusal of an algorithm that does every shape."""
    return None


def _without_channels(shape):
    return "x has no channels, so there is no product" if shape.C == 0 else None


def _refuse_direct(shape):
    """One output row's rows of padded x are copied to scratch: that has to be a sensible number of bytes."""
    rows = (shape.R - 1) * shape.dilation[0] + 1
    width = (shape.Q - 1) * shape.stride[1] + (shape.S - 1) * shape.dilation[1] + 1
    copied = rows * width * (shape.C // shape.groups * 8 + 64)
    if copied > MOST_COPIED and not shape.depthwise:
        return f"the padded rows of x under one row of filters would take {copied >> 20} MB of scratch"
    return _without_channels(shape)


def _refuse_weight_grad(shape):
    """The padded x of some rows or images is copied, however large."""
    height, width = (size + sum(sides) for size, sides in zip((shape.H, shape.W), shape.padding, strict=True))
    if shape.C * height * width > MOST_PIXELS:
        return f"an image of x with its padding would have {shape.C}x{height}x{width} elements, too many to copy"
    return None


WINOGRAD_ERRORS = {2: 1.1, 4: 2.5, 5: 5.0, 6: 11.0}  # by m: Algorithm.error


def _refuse_winograd(shape):
    if (shape.R, shape.S) not in ((3, 3), (3, 1), (1, 3)):
        return f"the kernel is {shape.R}x{shape.S}, and Winograd's is 3x3, 3x1 or 1x3"
    for name, value in (("stride", shape.stride), ("dilation", shape.dilation)):
        if value != (1, 1):
            return f"the {name} is {value[0]}x{value[1]}, and Winograd's is 1x1"
    return _without_channels(shape)


def _refuse_winograd_grad(shape):
    if (shape.R, shape.S) != (3, 3):
        return f"the kernel is {shape.R}x{shape.S}, and that of the weight gradient F(3x3, 4x4) is 3x3"
    return _refuse_winograd(shape)


def _winograd_row(m, error):
    """F(m x m, 3 x 3), or along one axis only."""

    return Algorithm(
        f"winograd{m}x{m}",
        refuse=_refuse_winograd,
        cost=lambda shape, itemsize: winograd_cost(m, shape, itemsize),
        nest=lambda shape: WINOGRAD[m, (shape.R, shape.S)],
        prepare_cost=lambda shape, itemsize: winograd_prepare_cost(m, shape, itemsize),
        strict=False,
        spread=m - 1,
        error=error,
        weight_grad=WeightGrad(_refuse_winograd_grad, winograd_grad_cost, _winograd_grad) if m == 4 else None,
        summary=f"F({m} x {m}, 3 x 3): {9 * m * m / (m + 2) ** 2:.2f} times fewer multiplications"
        + ("" if error <= MOST_ERROR else "; less accurate, never chosen by auto"),
    )


def _refuse_fft(shape):
    for name, value in (("stride", shape.stride), ("dilation", shape.dilation)):
        if value != (1, 1):
            return f"the {name} is {value[0]}x{value[1]}, and a product of spectra is a convolution with {name} 1x1"
    return _without_channels(shape)


ALGORITHMS = (
    Algorithm(
        "direct",
        refuse=_refuse_direct,
        cost=direct_cost,
        nest=direct_nest,
        prepare_cost=packing_cost,
        takes_blocking=True,
        multiplies_padding=True,
        weight_grad=WeightGrad(_refuse_weight_grad, weight_grad_cost, _weight_grad),
        summary="the seven-loop sum, register-tiled; no matrix in between",
    ),
    Algorithm(
        "im2col",
        refuse=_without_channels,
        cost=im2col_cost,
        nest=lambda _shape: _im2col,
        prepare_cost=packing_cost,
        takes_blocking=True,
        multiplies_padding=True,
        summary="a matrix product; the im2col matrix is lowered a block at a time, straight into its panels",
    ),
    *(_winograd_row(m, error) for m, error in WINOGRAD_ERRORS.items()),
    Algorithm(
        "fft",
        refuse=_refuse_fft,
        cost=lambda shape, itemsize: fft_plan(shape)[0] * itemsize / 4,
        nest=lambda shape: fft_plan(shape)[2],
        prepare_cost=lambda shape, itemsize: fft_plan(shape)[1] * itemsize / 4,
        strict=False,
        spread=max(FFT) - 1,
        summary="tiles of 16 to 128 pixels by their spectra: a multiplication a frequency, however large the filter",
    ),
    Algorithm(
        "naive",
        refuse=never,
        cost=naive_cost,
        nest=None,
        summary="the definition's seven loops, plain; the reference of the others",
    ),
)
BY_NAME = {row.name: row for row in ALGORITHMS}
NAMES = ("auto", *BY_NAME)


def choose(shape, itemsize, algorithm="auto", strict=False, prepared=False, blocking=None):
    """The row that runs: the named one, or for "auto" the cheapest that does not refuse, ties to the earlier.

    A function of shape, dtype, parameters, ISA and whether weights are prepared, never of threads or timings; only
    with FASTCONV_TUNED=1 and prepared weights, what was measured beforehand comes first (fastconv/tuned.py).
    Raises ValueError for an unknown name, a shape the named algorithm cannot do, or strict with an algorithm
    that rewrites the sum; TypeError for what is no string."""
    algorithm, strict = to_choice(algorithm, "algorithm", NAMES), to_flag(strict, "strict")
    return _choose(shape, itemsize, algorithm, strict, prepared, blocking is not None, active_isa())


@lru_cache(maxsize=1024)
def _choose(shape, itemsize, algorithm, strict, prepared, blocked, isa):
    if algorithm != "auto":
        row = BY_NAME[algorithm]
        reason = row.refuse(shape)
        if reason:
            raise ValueError(f"algorithm {row.name!r} cannot do this shape: {reason}")
        if strict and not row.strict:
            raise ValueError(f"strict=True excludes algorithm {row.name!r}, which rewrites the sum")
        if blocked and not row.takes_blocking:
            raise ValueError(f"blocking was given, but algorithm {row.name!r} has no blocks")
        return row
    able = [
        row
        for row in ALGORITHMS
        if row.accurate and not row.refuse(shape) and (row.strict or not strict) and (row.takes_blocking or not blocked)
    ]
    able = able or [BY_NAME["naive"]]  # blocks, and no channels to sum over
    measured = tuned.choice(shape, itemsize, isa) if prepared else None
    return min(able, key=lambda row: (row.name != measured, row_cost(row, shape, itemsize, prepared)))


@lru_cache(maxsize=1024)
def _compile(row, shape, itemsize, strides, relu, blocking, _isa):
    """Kept from call to call: what is compiled knows no addresses."""
    if row.nest is None:
        return _naive.SevenLoops(shape, relu)
    return row.nest(shape).compiled(shape.packed, itemsize, strides, relu, blocking)


@lru_cache(maxsize=1024)
def _weight_bytes(row, shape, itemsize, blocking, _isa):
    if row.nest is None:
        return plain_weight_bytes(shape, itemsize)
    return row.nest(shape).prepared_bytes(shape.packed, itemsize, blocking)


@lru_cache(maxsize=1024)
def _packed_bytes(row, shape, itemsize, blocking, isa):
    """Bytes that a call packs its weight into, 0 if it takes it as it comes."""
    nest = row.nest and row.nest(shape)
    if nest is None or (hasattr(nest, "as_it_comes") and nest.as_it_comes(shape.packed, itemsize, blocking)):
        return 0
    return _weight_bytes(row, shape, itemsize, blocking, isa)


def choose_weight_grad(shape, itemsize, algorithm="auto", strict=False):
    """The weight gradient that runs: that of the named row, or for "auto" the cheapest that does not refuse.

    Raises ValueError for a name that is unknown, has no weight gradient or cannot do the shape, or with strict rewrites
    the sum."""
    rows = {row.name: row for row in ALGORITHMS if row.weight_grad is not None}
    algorithm = to_choice(algorithm, "algorithm of a weight gradient", ("auto", *rows))
    strict = to_flag(strict, "strict")
    if algorithm == "auto":
        able = [row for row in rows.values() if not row.weight_grad.refuse(shape) and (row.strict or not strict)]
        if able:
            return min((row.weight_grad for row in able), key=lambda way: way.cost(shape, itemsize))
        algorithm = "direct"
    row = rows[algorithm]
    reason = row.weight_grad.refuse(shape)
    if reason:
        raise ValueError(f"algorithm {row.name!r} cannot do this shape: {reason}")
    if strict and not row.strict:
        raise ValueError(f"strict=True excludes algorithm {row.name!r}, which rewrites the sum")
    return row.weight_grad


def row_cost(row, shape, itemsize, prepared):
    """Seconds on the nominal core, the preparation of the weights included unless they are prepared."""
    if prepared or row.prepare_cost is None or not _packed_bytes(row, shape, itemsize, None, active_isa()):
        return row.cost(shape, itemsize)
    return row.cost(shape, itemsize) + row.prepare_cost(shape, itemsize)


def _may_spoil(row, shape):
    """Whether the row multiplies zeros of the padding: with a filter's Inf or NaN that makes NaN where the definition
    does not multiply at all. Such filters are computed by the definition."""
    return row.multiplies_padding and shape.padding != ((0, 0), (0, 0))


def _pack(row, shape, weight, blocking, team, kept):
    """The contiguous weight as the row's nest takes it: itself, or in memory that is kept, or lent for this call."""
    size = _packed_bytes(row, shape, weight.itemsize, blocking, active_isa())
    if not size:
        return weight
    packed = empty((size,), BYTE) if kept or size < SMALL else lent(size)
    row.nest(shape).prepare(shape.packed, weight, packed, blocking, team)
    return packed


def prepare_weights(row, shape, weight, blocking, team):
    """(row, weights): the row that computes with this weight, and the weight as it takes it."""
    weight = np.ascontiguousarray(weight)
    if _may_spoil(row, shape) and not all_finite(weight):
        row = BY_NAME["naive"]
    return row, _pack(row, shape, weight, blocking, team, kept=True)


def convolve(row, shape, x, weight, bias, relu, blocking, out, team):
    """Computes `out` by the row, with weights that are prepared for this call alone.

    What would spoil the results is looked for in them where they are fewer than the weights: whatever the row spoils
    is NaN (512 -> 512 at 7 pixels: a tenth of the call went into looking at the weights)."""
    weight = np.ascontiguousarray(weight)
    may_spoil, few_results = _may_spoil(row, shape), out.size < weight.size
    if may_spoil and not few_results and not all_finite(weight):
        row = BY_NAME["naive"]
    weights = _pack(row, shape, weight, blocking, team, kept=False)
    row.compile(shape, x.itemsize, x.strides, relu, blocking).run(x, weights, bias, out, team)
    if may_spoil and few_results and not all_finite(out) and not all_finite(weight):
        BY_NAME["naive"].compile(shape, x.itemsize, x.strides, relu, None).run(x, weight, bias, out, team)
