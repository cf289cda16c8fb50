"""What ragged sizes cost: layers with 3x3 filters, drawn by a seed, beside their rounded-up neighbours.

float32, stride 1, at least 32 channels and filters a group, as drawn.py draws them. The neighbour has multiples of 16
channels and filters and of 4 results along both axes: whole vectors, whole register tiles, whole tiles of F(4x4). The
figure is the layer's effective GF/s over its neighbour's."""

import math
from dataclasses import replace
from functools import partial

from drawn import SEED, draws, fits
from harness import check, peers, report
from harness.layers import to_nchw
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc

SHAPES, LEAST_CHANNELS, WORST = 40, 32, 10
WHOLE_CHANNELS, WHOLE_RESULTS = 16, 4
TARGET, BESIDE = 0.6, "neighbour's GF/s"


def has_neighbour(drawn):
    layer = drawn.layer
    plain = (layer.R, layer.S, layer.stride, layer.dilation) == (3, 3, (1, 1), (1, 1)) and drawn.dtype == "float32"
    return plain and fits(drawn) and min(layer.C, layer.K) // layer.groups >= LEAST_CHANNELS


def rounded_up(n, step):
    return math.ceil(n / step) * step


def neighbour(layer):
    channels, filters = (rounded_up(n // layer.groups, WHOLE_CHANNELS) * layer.groups for n in (layer.C, layer.K))
    height, width = (rounded_up(n, WHOLE_RESULTS) - n for n in (layer.P, layer.Q))
    return replace(layer, C=channels, K=filters, H=layer.H + height, W=layer.W + width)


def plan_of(drawn, layer, threads):
    """(a call, auto's algorithm), the result checked."""
    x, weight = layer.data(drawn.dtype, drawn.layout)
    plan = fc.plan_conv2d(x.shape, weight, layout=drawn.layout, **layer.parameters())
    answer = to_nchw(plan(x, num_threads=threads), drawn.layout)
    check.check_conv(layer, to_nchw(x, drawn.layout), to_nchw(weight, drawn.layout), {plan.algorithm: answer})
    return partial(plan, x, num_threads=threads), plan.algorithm


def main():
    parse = report.parser(__doc__, max_seconds=120, options=("threads", "quick"))
    parse.add_argument("--seed", type=int, default=SEED, help="of the draw")
    parse.add_argument("--shapes", type=int, default=SHAPES, help="how many")
    args = parse.parse_args()
    result = report.Report("neighbours", args)
    cases = [(n, drawn) for n in args.threads for drawn in draws(args.seed, args.shapes, has_neighbour)]
    budget = Budget(args.max_seconds, len(cases))
    for threads, drawn in report.Progressed(cases, "drawn layers"):
        seconds = budget.share()
        if not seconds:
            continue
        peers.set_threads(threads)
        other = neighbour(drawn.layer)
        (own_call, algorithm), (other_call, of_other) = (
            plan_of(drawn, layer, threads) for layer in (drawn.layer, other)
        )
        times = alternate({"own": own_call, "neighbour": other_call}, seconds, 2 if args.quick else ROUNDS)
        own, beside = times["own"].rate(drawn.layer.flops), times["neighbour"].rate(other.flops)
        result.add(
            shape=str(drawn), layout=drawn.layout, threads=threads, algorithm=algorithm, ratio=own / beside,
            **{"GF/s": own, "neighbour's algorithm": of_other, BESIDE: beside},
        )  # fmt: skip
    for threads in args.threads:
        print_table([row for row in result.rows if row["threads"] == threads], threads)
    result.save()
    result.close(budget)


def print_table(rows, threads):
    if not rows:
        return
    rows = sorted(rows, key=lambda row: row["ratio"])
    console.print(
        f"{len(rows)} layers, {report.threads_text(threads)}: the {min(WORST, len(rows))} worst", style="bold"
    )
    table = report.table(["layer", "algorithm", "GF/s", "neighbour's", "GF/s of it", "ratio"])
    for row in rows[:WORST]:
        table.add_row(
            row["shape"], row["algorithm"], f"{row['GF/s']:.0f}", row["neighbour's algorithm"],
            f"{row[BESIDE]:.0f}", f"{row['ratio']:.2f}",
        )  # fmt: skip
    console.print(table)
    mean = report.geometric_mean(row["ratio"] for row in rows)
    below = sum(row["ratio"] < TARGET for row in rows)
    console.print(f"  geometric mean {mean:.2f}, below {TARGET} in {below} of {len(rows)}")
    console.print()


if __name__ == "__main__":
    with report.checked():
        main()
