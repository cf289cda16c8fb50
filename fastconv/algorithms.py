"""THE table: one row per convolution algorithm, the policy of `auto`, and `explain`.

To add an algorithm, write its nest in fastconv/_loops and add a row here; conv2d, plans, tests, benchmarks
and the README's table all iterate ALGORITHMS."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastconv import tuned
from fastconv._loops import depthwise as _depthwise
from fastconv._loops import direct as _direct
from fastconv._loops import direct_rows as _direct_rows
from fastconv._loops import im2col as _im2col
from fastconv._loops import naive as _naive
from fastconv._loops import weight_grad as _weight_grad
from fastconv._loops.fft_depthwise import FFT_DEPTHWISE
from fastconv._loops.kernels import active_isa, tile_sizes
from fastconv._loops.probe import all_finite
from fastconv._loops.transformed import FFT, WINOGRAD
from fastconv.shapes import ConvShape

# A nominal core, for costs only: `auto` must not depend on the machine, so nothing is measured at run time. GFLOP/s
# of float32 FMAs per ISA, and what moving data takes off, in GB/s: lowering for im2col, by layout, and transposing to
# channels-last and back. Fitted to the layers of benchmarks/shapes/measured.txt on Zen 4, 2026-11.
NOMINAL = {"avx512": 118.0, "avx2": 118.0, "sse2": 50.0, "portable": 50.0}
LOWERED_GBYTES = {"NHWC": 25.0, "NCHW": 10.0}
TRANSPOSED_GBYTES = 8.0
PACKED_GBYTES = 5.0
# "direct": its copies of channels-last rows, and the accumulators below which a tile waits for its own results;
# "im2col": how much slower a product is whose matrix is lowered by columns. Fitted to the layers of measured.txt,
# resnet50.txt and mobilenet_v2.txt on Zen 3, 2026-11: of 50 in NHWC, 4 miss the faster of the two by more than 5 %.
COPIED_GBYTES, FULL_TILE, COLUMNS = 12.0, 10.0, 1.35
FEW_CHANNELS = 16  # up to which "direct" runs along channels-first rows: a guess
MOST_COPIED = 64 << 20  # bytes of x that "direct" may copy a thread: a guess, far above any layer of a convnet
# Winograd, on Zen 3, 2026-11: transforms take about m times WINOGRAD_NS for each float before and after the products;
# transformed weights come from L3, or beyond NOMINAL_L3 bytes from memory, half hidden; preparing them, per float made.
WINOGRAD_NS, WINOGRAD_PREPARED_NS = 0.1, 0.4
L3_GBYTES, MEMORY_GBYTES, NOMINAL_L3 = 80.0, 40.0, 16 << 20
# "fft": the transforms; the products' share of the nominal speed; transformed weights, which are read once a round,
# and what preparing them costs, in transforms. Fitted to 15 layers, 5x5 to 31x31, AVX2 on Zen 3, 2026-11.
TRANSFORM_GFLOPS, SPECTRA_SPEED, SPECTRA_GBYTES, PREPARED_SPECTRA = 35.0, 0.75, 20.0, 2.5
DEPTHWISE_SPEED = 0.25  # "direct" depthwise, share of the nominal speed: every FMA loads its pixel
MOST_ERROR = 4.0  # of rows that `auto` may choose, in the units of Algorithm.error
SCALAR_GFLOPS = 1.5  # the naive nest, compiled without vectors


@dataclass(frozen=True)
class Algorithm:
    """One row. nest(shape) is what computes the shape: a module of fastconv/_loops, or an object, with

        compiled(geometry, itemsize, strides, relu, blocking).run(x, weights, bias, y, team)
                                                      fills y, C-contiguous in shape.layout, for x of those strides
        prepare(geometry, weight, out, blocking, team)   packs a C-contiguous weight into `out`, a byte array of
        prepared_bytes(geometry, itemsize, blocking)     so many bytes
        workspace_bytes(geometry, itemsize, blocking)    scratch of a call on one thread, at most

    or None for the definition's loops, which take the caller's weight as it is. cost(shape, itemsize) is seconds on
    the nominal core, prepare_cost(...) that of prepare. An input gradient is a convolution too, and uses the same
    nests; weight_grad is the nest of the weight gradient, or None, with

        compiled(geometry, itemsize, x_strides, grad_strides).run(x, grad, None, dw, team)      fills dw"""

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
    weight_grad: object = None
    summary: str = ""

    @property
    def accurate(self):
        """Whether `auto` may choose it; others run by name only."""
        return self.error <= MOST_ERROR

    def compile(self, shape, itemsize, strides, relu, blocking):
        """What runs: its run(x, weights, bias, y, team) takes weights as prepare_weights made them."""
        if self.nest is None:
            return _naive.SevenLoops(shape, relu)
        return self.nest(shape).compiled(shape.packed, itemsize, strides, relu, blocking)

    def workspace(self, shape, itemsize, blocking):
        """Bytes of scratch of a call on one thread, at most."""
        return self.nest(shape).workspace_bytes(shape.packed, itemsize, blocking) if self.nest else 0

    def weight_bytes(self, shape, itemsize, blocking):
        """Bytes of the prepared weights."""
        if self.nest is None:
            return plain_weight_bytes(shape, itemsize)
        return self.nest(shape).prepared_bytes(shape.packed, itemsize, blocking)


def never(_shape):
    """The refusal of an algorithm that does every shape."""
    return None


def _without_channels(shape):
    return "x has no channels, so there is no product" if shape.C == 0 else None


def _naive_cost(shape, _itemsize):
    return shape.flops / (SCALAR_GFLOPS * 1e9)


def _refuse_direct(shape):
    """One output row's rows of padded x are copied to scratch: that has to be a sensible number of bytes."""
    rows = (shape.R - 1) * shape.dilation[0] + 1
    width = (shape.Q - 1) * shape.stride[1] + (shape.S - 1) * shape.dilation[1] + 1
    copied = rows * width * (shape.C // shape.groups * 8 + 64)
    if copied > MOST_COPIED and not shape.depthwise:
        return f"the padded rows of x under one row of filters would take {copied >> 20} MB of scratch"
    return _without_channels(shape)


def _direct_nest(shape):
    """Vectors along the rows where x and y are channels-first, few channels make little to copy, and rows fill them."""
    if shape.depthwise:
        return _depthwise
    if shape.layout == "NCHW" and shape.C // shape.groups <= FEW_CHANNELS and _filled(shape.Q) >= 0.85:
        return _direct_rows
    return _direct


def _filled(columns):
    """The share of the lanes of float32 vectors that so many columns fill."""
    lanes = tile_sizes(4)[2]
    return columns / (math.ceil(columns / lanes) * lanes)


def _product_seconds(shape, itemsize, least_filters):
    """The multiplications at full speed, or slower where a group has fewer filters than fill a tile."""
    idle = max(1.0, least_filters / max(1, shape.K // shape.groups))
    return shape.flops * idle * itemsize / (4e9 * NOMINAL[active_isa()])


def _transposing(shape, itemsize):
    """Channels-first x and y on their way in and out."""
    moved = 0 if shape.layout == "NHWC" else math.prod(shape.input_shape) + math.prod(shape.output_shape)
    return moved * itemsize / (TRANSPOSED_GBYTES * 1e9)


def _direct_cost(shape, itemsize):
    if shape.depthwise:  # vectors run over the groups, or along the rows
        return _product_seconds(shape, itemsize, 1) / DEPTHWISE_SPEED + _transposing(shape, itemsize)
    nest, (MR, NR, lanes) = _direct_nest(shape), tile_sizes(itemsize)
    copied = nest.copied_bytes(shape.packed, itemsize)
    if nest is _direct_rows:
        return _product_seconds(shape, itemsize, 4) / _filled(shape.Q) + copied / (COPIED_GBYTES * 1e9)
    accumulators = shape.Q / math.ceil(shape.Q / MR) * NR / lanes
    product = _product_seconds(shape, itemsize, 16) * max(1.0, FULL_TILE / accumulators)
    if shape.layout == "NHWC":
        return product + copied / (COPIED_GBYTES * 1e9)
    return product + (copied + math.prod(shape.output_shape) * itemsize) / (TRANSPOSED_GBYTES * 1e9)


def _im2col_cost(shape, itemsize):
    lowered = shape.N * shape.P * shape.Q * shape.C * shape.R * shape.S * itemsize
    product = _product_seconds(shape, itemsize, 16 if shape.layout == "NHWC" else 8)
    if shape.layout == "NCHW" and shape.output_shape[2:] + shape.weight_shape[2:] != (*shape.input_shape[2:], 1, 1):
        product *= COLUMNS  # x is not the matrix as it lies
    return product + lowered / (LOWERED_GBYTES[shape.layout] * 1e9)


def _packing_cost(shape, itemsize):
    return plain_weight_bytes(shape, itemsize) / (PACKED_GBYTES * 1e9)


WINOGRAD_ERRORS = {2: 1.1, 4: 2.5, 5: 5.0, 6: 11.0}  # by m: Algorithm.error


def _refuse_winograd(shape):
    if (shape.R, shape.S) not in ((3, 3), (3, 1), (1, 3)):
        return f"the kernel is {shape.R}x{shape.S}, and Winograd's is 3x3, 3x1 or 1x3"
    for name, value in (("stride", shape.stride), ("dilation", shape.dilation)):
        if value != (1, 1):
            return f"the {name} is {value[0]}x{value[1]}, and Winograd's is 1x1"
    return _without_channels(shape)


def _winograd_row(m, error):
    """F(m x m, 3 x 3), or along one axis only."""

    def counts(shape):
        """Tiles, products a tile takes part in, transformed weights."""
        axes = [(results, size) for results, size in ((shape.P, shape.R), (shape.Q, shape.S)) if size == 3]
        other = shape.P if shape.R == 1 else shape.Q if shape.S == 1 else 1
        tiles = shape.N * other * math.prod(math.ceil(results / m) for results, _ in axes)
        products = (m + 2) ** len(axes)
        return tiles, products, products * shape.C * shape.K / shape.groups

    def cost(shape, itemsize):
        tiles, products, weights = counts(shape)
        gbytes = MEMORY_GBYTES if weights * itemsize > NOMINAL_L3 else L3_GBYTES
        return (
            2 * max(tiles, 4) * weights * itemsize / (4e9 * NOMINAL[active_isa()])
            + m * WINOGRAD_NS * 1e-9 * tiles * products * (shape.C + shape.K) * itemsize / 4
            + weights * itemsize / (gbytes * 1e9)
            + _transposing(shape, itemsize)
        )

    return Algorithm(
        f"winograd{m}x{m}",
        refuse=_refuse_winograd,
        cost=cost,
        nest=lambda shape: WINOGRAD[m, (shape.R, shape.S)],
        prepare_cost=lambda shape, itemsize: counts(shape)[2] * itemsize / 4 * WINOGRAD_PREPARED_NS * 1e-9,
        strict=False,
        spread=m - 1,
        error=error,
        summary=f"F({m} x {m}, 3 x 3): {9 * m * m / (m + 2) ** 2:.2f} times fewer multiplications"
        + ("" if error <= MOST_ERROR else "; less accurate, never chosen by auto"),
    )


def _refuse_fft(shape):
    for name, value in (("stride", shape.stride), ("dilation", shape.dilation)):
        if value != (1, 1):
            return f"the {name} is {value[0]}x{value[1]}, and a product of spectra is a convolution with {name} 1x1"
    return _without_channels(shape)


def _fft_depthwise(shape):
    """Whether nothing is summed over channels, and a filter takes half of the largest tile at most."""
    return shape.groups == shape.C == shape.K and max(shape.R, shape.S) <= max(FFT) // 2


def _fft_seconds(tile):
    """One transform of one tile in float32."""
    return 5 * tile**2 * math.log2(tile) / (TRANSFORM_GFLOPS * 1e9)


def _fft_costs(shape, tile):
    """(seconds, seconds of preparing, nest) in float32. A filter beyond half a tile is cut into pieces."""
    C, filters = shape.C, shape.K // shape.groups
    pieces, tiles = 1, shape.N
    for size, results in ((shape.R, shape.P), (shape.S, shape.Q)):
        cut = math.ceil(size / (tile // 2 + 1))
        pieces *= cut
        tiles *= math.ceil(results / (tile + 1 - math.ceil(size / cut)))
    # Complex numbers, and whole strips of filters.
    matrices = tile * (tile // 2 + 1) * pieces * C * math.ceil(filters / tile_sizes(4)[1]) * tile_sizes(4)[1]
    transforms = tiles * (pieces * C + shape.K) * _fft_seconds(tile)
    products = tiles * 8 * matrices / (SPECTRA_SPEED * NOMINAL[active_isa()] * 1e9)
    read = 8 * matrices / (SPECTRA_GBYTES * 1e9)
    prepared = PREPARED_SPECTRA * pieces * C * filters * _fft_seconds(tile)
    return transforms + products + read + _transposing(shape, 4), prepared, FFT[tile]


def _fft_depthwise_costs(shape, tile):
    """The same for a nest that takes a vector of tiles there and back, and copies them unless they are in place."""
    if max(shape.R, shape.S) > tile:
        return math.inf, math.inf, None
    nest, lanes = FFT_DEPTHWISE[tile], tile_sizes(4)[2]
    copied = 4 * tile**2 / (TRANSPOSED_GBYTES * 1e9)
    seconds = lanes * nest.vectors(shape.packed, 4) * (2 * _fft_seconds(tile) + copied)
    return seconds, PREPARED_SPECTRA * shape.K * _fft_seconds(tile), nest


@lru_cache(maxsize=1024)
def _cheapest_fft(shape, _isa):
    costs = _fft_depthwise_costs if _fft_depthwise(shape) else _fft_costs
    return min((costs(shape, tile) for tile in FFT), key=lambda plan: plan[0])


def _fft_plan(shape):
    """(seconds, seconds of preparing, nest) of the cheapest size of tile."""
    return _cheapest_fft(shape, active_isa())


ALGORITHMS = (
    Algorithm(
        "direct",
        refuse=_refuse_direct,
        cost=_direct_cost,
        nest=_direct_nest,
        prepare_cost=_packing_cost,
        takes_blocking=True,
        multiplies_padding=True,
        weight_grad=_weight_grad,
        summary="the seven-loop sum, register-tiled; no matrix in between",
    ),
    Algorithm(
        "im2col",
        refuse=_without_channels,
        cost=_im2col_cost,
        nest=lambda _shape: _im2col,
        prepare_cost=_packing_cost,
        takes_blocking=True,
        multiplies_padding=True,
        summary="a matrix product; the im2col matrix is lowered a block at a time, straight into its panels",
    ),
    *(_winograd_row(m, error) for m, error in WINOGRAD_ERRORS.items()),
    Algorithm(
        "fft",
        refuse=_refuse_fft,
        cost=lambda shape, itemsize: _fft_plan(shape)[0] * itemsize / 4,
        nest=lambda shape: _fft_plan(shape)[2],
        prepare_cost=lambda shape, itemsize: _fft_plan(shape)[1] * itemsize / 4,
        strict=False,
        spread=max(FFT) - 1,
        summary="tiles of 16 to 128 pixels by their spectra: a multiplication a frequency, however large the filter",
    ),
    Algorithm(
        "naive",
        refuse=never,
        cost=_naive_cost,
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
    if strict is not True and strict is not False:
        raise TypeError(f"strict must be True or False, got {strict!r}")
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, got {algorithm!r}")
    return _choose(shape, itemsize, algorithm, strict, prepared, blocking is not None, active_isa())


@lru_cache(maxsize=1024)
def _choose(shape, itemsize, algorithm, strict, prepared, blocked, isa):
    if algorithm not in NAMES:
        raise ValueError(f"algorithm must be one of {', '.join(map(repr, NAMES))}, got {algorithm!r}")
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
    measured = tuned.choice(shape, itemsize, isa) if prepared else None
    return min(able, key=lambda row: (row.name != measured, row_cost(row, shape, itemsize, prepared)))


def choose_weight_grad(algorithm="auto", strict=False):
    """The row whose weight gradient runs: the named one, or "direct".

    Raises ValueError for a name that is unknown, has no weight gradient or, with strict, rewrites the sum."""
    row = BY_NAME["direct"] if algorithm == "auto" else BY_NAME.get(algorithm)
    if row is None or row.weight_grad is None:
        able = ", ".join(repr(row.name) for row in ALGORITHMS if row.weight_grad is not None)
        raise ValueError(f"algorithm of a weight gradient must be 'auto' or one of {able}, got {algorithm!r}")
    if strict and not row.strict:
        raise ValueError(f"strict=True excludes algorithm {row.name!r}, which rewrites the sum")
    return row


def row_cost(row, shape, itemsize, prepared):
    """Seconds on the nominal core, the preparation of the weights included unless they are prepared."""
    extra = 0.0 if prepared or row.prepare_cost is None else row.prepare_cost(shape, itemsize)
    return row.cost(shape, itemsize) + extra


@dataclass(frozen=True)
class Verdict:
    """What explain says of one algorithm: why it refuses, or its cost and memory."""

    name: str
    refusal: str | None
    seconds: float | None
    workspace_bytes: int | None
    weight_bytes: int | None
    summary: str


@dataclass(frozen=True)
class Explanation:
    """Every algorithm's verdict on one convolution (`rows`) and the one that runs (`chosen`)."""

    shape: ConvShape
    dtype: str
    prepared: bool
    rows: tuple[Verdict, ...]
    chosen: str

    def __str__(self):
        s = self.shape
        itemsize = np.dtype(self.dtype).itemsize
        moved = itemsize * sum(map(math.prod, (s.input_shape, s.weight_shape, s.output_shape)))
        multiplying, moving = s.flops * itemsize / (4e9 * NOMINAL[active_isa()]), moved / (MEMORY_GBYTES * 1e9)
        roof = max(multiplying, moving)
        lines = [
            f"conv2d {s.input_shape} * {s.weight_shape} -> {s.output_shape}, {s.layout}, {self.dtype}: "
            f"{s.flops / 1e9:.3f} GFLOP, {active_isa()}, weights {'prepared' if self.prepared else 'as they come'}",
            f"  the roof: {multiplying * 1e3:.3f} ms for the definition's multiplications, {moving * 1e3:.3f} ms for "
            f"{moved / 1e6:.3g} MB to and from memory ({s.flops / max(1, moved):.3g} FLOP a byte)",
            f"  {'':2}{'algorithm':<12}{'estimate':>12}{'of the roof':>13}{'workspace':>14}{'weights':>14}",
        ]
        for row in self.rows:
            mark = "->" if row.name == self.chosen else "  "
            if row.refusal:
                lines.append(f"  {mark}{row.name:<12}refuses: {row.refusal}")
                continue
            lines.append(
                f"  {mark}{row.name:<12}{row.seconds * 1e3:>9.3f} ms{roof / row.seconds if row.seconds else 1:>13.0%}"
                f"{row.workspace_bytes / 1024:>11.0f} KB"
                f"{row.weight_bytes / 1024:>11.0f} KB  {row.summary}"
            )
        lines.append(
            "  (of one nominal core; above 100 % of the roof are those that multiply less than the definition)"
        )
        return "\n".join(lines)


def explain(shape, dtype, algorithm="auto", strict=False, prepared=False, blocking=None):
    """The Explanation of a shape."""
    itemsize = np.dtype(dtype).itemsize
    chosen = choose(shape, itemsize, algorithm, strict, prepared, blocking)

    def verdict(row):
        reason = row.refuse(shape)
        if strict and not row.strict:
            reason = reason or "rewrites the sum, and strict=True excludes that"
        if reason:
            return Verdict(row.name, reason, None, None, None, row.summary)
        used = blocking if row.takes_blocking else None
        seconds = row_cost(row, shape, itemsize, prepared)
        memory = row.workspace(shape, itemsize, used), row.weight_bytes(shape, itemsize, used)
        return Verdict(row.name, None, seconds, *memory, row.summary)

    return Explanation(shape, str(np.dtype(dtype)), prepared, tuple(verdict(row) for row in ALGORITHMS), chosen.name)


def plain_weight_bytes(shape, itemsize):
    """Bytes of the weight as it comes."""
    return math.prod(shape.weight_shape) * itemsize


def prepare_weights(row, shape, weight, blocking, team):
    """(row, weights): the row that computes with this weight, and the weight as it takes it: packed, or as it came.

    A row that multiplies the zeros of the padding would make NaN of a filter's Inf or NaN where the definition
    does not multiply at all: such filters are computed by the definition."""
    if row.nest is None:
        return row, weight
    weight = np.ascontiguousarray(weight)
    if row.multiplies_padding and shape.padding != ((0, 0), (0, 0)) and not all_finite(weight):
        return BY_NAME["naive"], weight
    packed = np.empty(row.weight_bytes(shape, weight.itemsize, blocking), np.uint8)
    row.nest(shape).prepare(shape.packed, weight, packed, blocking, team)
    return row, packed
