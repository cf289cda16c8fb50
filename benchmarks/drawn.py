"""Convolutions drawn by a seed, so that no claim rests on listed shapes: fastconv's auto against torch, and against the
best of fastconv's own algorithms.

Channels 1 to 600, rarely multiples of 8; H != W; batch 1 to 5; both layouts and dtypes; kernels 1 to 7; strides,
dilation and groups sometimes. fastconv's weights are prepared, in a plan. The peers are torch's eager call; for float32
with prepared weights too: torch's own in NHWC, ONNX Runtime's in NCHW. torch has no such way for float64."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from harness import check, peers, report
from harness.layers import Layer, to_nchw
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc
from fastconv.algorithms import BY_NAME

SEED, SHAPES = 20260, 60
FLOPS = 2e6, 3e9  # what is drawn smaller or larger is drawn again
WORST, CLOSE = 12, 1 / 1.1
NEAR = 3  # algorithms that the cost model holds to be so many times slower than auto's are not timed


@dataclass(frozen=True)
class Drawn:
    layer: Layer
    layout: str
    dtype: str

    def __str__(self):
        layer = self.layer
        extras = [f"stride {layer.stride}"] if layer.stride != (1, 1) else []
        extras += [f"dilation {layer.dilation}"] if layer.dilation != (1, 1) else []
        extras += [f"{layer.groups} groups"] if layer.groups > 1 else []
        size = f"{layer.N}x{layer.C}x{layer.H}x{layer.W} -> {layer.K}, {layer.R}x{layer.S}, pad {layer.padding}"
        return ", ".join([size, *extras, self.layout, self.dtype])


def draw(rng):
    """One convolution; channels and sizes spread evenly over their orders of magnitude."""

    def spread(low, high):
        return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))

    groups = int(rng.choice([1] * 8 + [2, 3]))
    channels, filters = (groups * spread(1, 600 // groups) for _ in range(2))
    if rng.random() < 0.05:
        groups = filters = channels  # depthwise
    kernel = [int(size) for size in rng.choice([1, 2, 3, 3, 3, 4, 5, 6, 7], 2)]
    if rng.random() < 0.7:
        kernel[1] = kernel[0]
    stride = tuple(int(step) for step in rng.choice([1, 1, 1, 1, 2, 3], 2))
    dilation = tuple(int(step) for step in rng.choice([1] * 9 + [2], 2))
    padding = tuple(int(rng.integers(0, size // 2 + 1)) for size in kernel)
    height, width = spread(5, 150), spread(5, 150)
    batch = int(rng.integers(1, 6))
    layer = Layer("drawn", batch, channels, height, width, filters, *kernel, stride, padding, groups, dilation)
    return Drawn(layer, str(rng.choice(["NCHW", "NHWC"])), str(rng.choice(["float32", "float64"])))


def fits(drawn):
    layer = drawn.layer
    return layer.H != layer.W and min(layer.P, layer.Q) >= 1 and FLOPS[0] <= layer.flops <= FLOPS[1]


def draws(seed, count, wanted=fits):
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        drawn = draw(rng)
        if wanted(drawn):
            found.append(drawn)
    return found


def other_plans(plan, x, weight, layout, parameters):
    """Of the accurate algorithms that auto might have chosen instead."""
    verdicts = {row.name: row for row in plan.explain().rows if row.refusal is None}
    most = NEAR * verdicts.pop(plan.algorithm).seconds
    near = [name for name, row in verdicts.items() if row.seconds <= most and BY_NAME[name].accurate]
    return {name: fc.plan_conv2d(x.shape, weight, layout=layout, algorithm=name, **parameters) for name in near}


def compare(drawn, threads, seconds, rounds):
    """({"fastconv", "torch", ...: Timing}, auto's algorithm, the best one, its Timing), checked."""
    layer, layout = drawn.layer, drawn.layout
    x, weight = layer.data(drawn.dtype, layout)
    peers.set_threads(threads)
    plan = fc.plan_conv2d(x.shape, weight, layout=layout, **layer.parameters())
    rivals = {
        **peers.torch_conv(layer, x, weight, layout), **peers.torch_packed(layer, x, weight, layout),
        **peers.onnx_conv(layer, x, weight, layout, threads),
    }  # fmt: skip
    answers = {plan.algorithm: to_nchw(plan(x, num_threads=threads), layout)}
    answers |= {name: peers.dense(call()) for name, call in rivals.items()}
    check.check_conv(layer, to_nchw(x, layout), to_nchw(weight, layout), answers)
    others = other_plans(plan, x, weight, layout, layer.parameters())
    ours = {name: partial(other, x, num_threads=threads) for name, other in {"fastconv": plan, **others}.items()}
    times = alternate({**ours, **rivals}, seconds, rounds)
    best = min(ours, key=lambda name: times[name].least)
    return {name: times[name] for name in ("fastconv", *rivals)}, plan.algorithm, best, times[best]


def main():
    parse = report.parser(__doc__, max_seconds=240, dtype="float32,float64")
    parse.add_argument("--seed", type=int, default=SEED, help="of the draw")
    parse.add_argument("--shapes", type=int, default=SHAPES, help="how many")
    args = parse.parse_args()
    result = report.Report("drawn", args)
    if not peers.torch:
        raise SystemExit("drawn.py compares with torch, which is not installed: pip install fastconv[peers]")
    cases = [(n, d) for n in args.threads for d in draws(args.seed, args.shapes) if d.dtype in args.dtype]
    budget = Budget(args.max_seconds, len(cases))
    for threads, drawn in report.Progressed(cases, "drawn shapes"):
        seconds = budget.share()
        if not seconds:
            continue
        times, algorithm, best, fastest = compare(drawn, threads, seconds, 2 if args.quick else ROUNDS)
        rivals = [time for name, time in times.items() if name != "fastconv"]
        ours = times["fastconv"]
        result.add(
            shape=str(drawn), layout=drawn.layout, dtype=drawn.dtype, threads=threads, algorithm=algorithm,
            gflop=drawn.layer.flops / 1e9, ratio=min(r.least for r in rivals) / ours.least,
            **{"ratio of medians": min(r.median for r in rivals) / ours.median},
            best=best, **{"of the best": fastest.least / ours.least},
            **{f"{name} GF/s": time.rate(drawn.layer.flops) for name, time in times.items()},
        )  # fmt: skip
    for threads in args.threads:
        print_table(result, [row for row in result.rows if row["threads"] == threads], threads)
    result.save()
    result.close(budget)


def print_table(result, rows, threads):
    """The worst shapes, and the geometric means over all and over each layout and dtype."""
    if not rows:
        return
    rows = sorted(rows, key=lambda row: row["ratio"])
    console.print(
        f"{len(rows)} drawn shapes, {report.threads_text(threads)}: the {min(WORST, len(rows))} worst", style="bold"
    )
    table = report.table(["shape", "algorithm", "peer GF/s", "fastconv GF/s", "of peak", "ratio", "of medians"])
    for row in rows[:WORST]:
        peer = max(row.get(f"{name} GF/s", 0) for name in ("torch", "torch packed", "onnxruntime"))
        share = row["fastconv GF/s"] / result.limits.peak[row["dtype"], threads]
        table.add_row(
            row["shape"], row["algorithm"], f"{peer:.1f}", f"{row['fastconv GF/s']:.1f}", f"{share:.0%}",
            f"{row['ratio']:.2f}", f"{row['ratio of medians']:.2f}",
        )  # fmt: skip
    console.print(table)
    means = {"all": rows}
    for row in rows:
        means.setdefault(f"{row['layout']} {row['dtype']}", []).append(row)
    for name, own in means.items():
        ahead = sum(row["ratio"] >= 1 for row in own)
        mean = report.geometric_mean(row["ratio"] for row in own)
        console.print(f"  {name:<13} geometric mean {mean:.2f}x, ahead in {ahead} of {len(own)}")
    missed = sorted((row for row in rows if row["of the best"] < CLOSE), key=lambda row: row["of the best"])
    console.print(
        f"  auto is within {1 / CLOSE - 1:.0%} of the best algorithm in {len(rows) - len(missed)} of {len(rows)}"
    )
    for row in missed[:WORST]:
        console.print(f"    {row['algorithm']} {row['of the best']:.2f} of {row['best']}: {row['shape']}")
    console.print()


if __name__ == "__main__":
    with report.checked():
        main()
