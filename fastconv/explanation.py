"""explain: what every algorithm of the table would do with a convolution. Called by explain_conv2d and by plans."""

import math
from dataclasses import dataclass

import numpy as np

from fastconv._loops.kernels import active_isa
from fastconv.algorithms import ALGORITHMS, choose, row_cost
from fastconv.costs import MEMORY_GBYTES, NOMINAL
from fastconv.shapes import ConvShape


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
        if blocking is not None and not row.takes_blocking and row is not chosen:
            reason = reason or "has no blocks to set"
        if reason:
            return Verdict(row.name, reason, None, None, None, row.summary)
        seconds = row_cost(row, shape, itemsize, prepared)
        memory = row.workspace(shape, itemsize, blocking), row.weight_bytes(shape, itemsize, blocking)
        return Verdict(row.name, None, seconds, *memory, row.summary)

    return Explanation(shape, str(np.dtype(dtype)), prepared, tuple(verdict(row) for row in ALGORITHMS), chosen.name)
