"""Convolution layers through fastconv's algorithms against torch and ONNX Runtime, from the files in shapes/.

Weights are prepared once on all sides; --one-shot compares conv2d with torch's eager call instead. Ratios are
fastconv over the best peer in the same layout, of the least times, and in the JSON of the medians too.
"torch blocked" keeps input and output in oneDNN's own layout: it is shown, but it is no peer of either."""

import argparse
import math
from collections import Counter

import numpy as np
from harness import charts, check, layers, peers, report
from harness.layers import to_nchw
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc
from fastconv.algorithms import ALGORITHMS, BY_NAME

ELSEWHERE = "torch blocked"
BEHIND = 0.95  # a layer below this is said to be behind its best peer
CROWD = 0.6  # inches that the bars of a layer need in a chart


def arguments():
    parse = report.parser(__doc__, max_seconds=900)
    parse.add_argument("shapes", nargs="*", default=["measured"], help="files of benchmarks/shapes, without .txt")
    every = ",".join(row.name for row in ALGORITHMS if row.name != "naive")
    parse.add_argument("--algorithms", type=known, default=every, help="those to run; auto: the one that it chooses")
    parse.add_argument("--layouts", type=report.names, default="NCHW,NHWC", help="NCHW, NHWC or both")
    parse.add_argument("--batch", type=report.numbers, default="1,8", help="batch sizes")
    parse.add_argument("--only", default="", help="only layers whose name has this in it")
    parse.add_argument("--one-shot", action="store_true", help="conv2d, unprepared, against torch's eager call")
    return parse.parse_args()


def known(text):
    """The names in a list with commas, which must be algorithms or "auto"."""
    names = report.names(text)
    if unknown := [name for name in names if name != "auto" and name not in BY_NAME]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among auto, {', '.join(BY_NAME)}")
    return names


def ours(layer, x, weight, layout, threads, algorithms, one_shot):
    """{algorithm: callable} of the algorithms that do not refuse the layer, and the name that auto chooses."""
    options = {**layer.parameters(), "layout": layout}
    explained = fc.explain_conv2d(x.shape, weight.shape, dtype=x.dtype.name, prepared=not one_shot, **options)
    wanted = [explained.chosen if name == "auto" else name for name in algorithms]
    able = [row.name for row in explained.rows if row.refusal is None and row.name in wanted]
    calls = {}
    for name in able:
        if one_shot:
            call = lambda name=name: fc.conv2d(x, weight, algorithm=name, num_threads=threads, **options)  # noqa: E731
        else:
            plan = fc.plan_conv2d(x.shape, weight, algorithm=name, **options)
            call = lambda plan=plan: plan(x, num_threads=threads)  # noqa: E731
        calls[name] = call
    return calls, explained.chosen


def compare(layer, dtype, layout, threads, args, seconds):
    """({contestant: Timing}, the algorithm of auto), after all answers were checked."""
    x, weight = layer.data(dtype, layout)
    peers.set_threads(threads)
    calls, chosen = ours(layer, x, weight, layout, threads, args.algorithms, args.one_shot)
    answers = {name: to_nchw(call(), layout) for name, call in calls.items()}
    if args.one_shot:
        rivals = peers.torch_conv(layer, x, weight, layout)
    else:
        rivals = peers.conv(layer, x, weight, layout, threads)
    answers.update((name, peers.dense(call())) for name, call in rivals.items())
    check.check_conv(layer, to_nchw(x, layout), to_nchw(weight, layout), answers)
    del answers
    return alternate({**calls, **rivals}, seconds, 2 if args.quick else ROUNDS), chosen


def record(result, case, layer, times, chosen):
    """A row for one layer: every contestant's GF/s, and the ratios of fastconv's algorithms."""
    same_layout = [t for name, t in times.items() if name not in BY_NAME and name != ELSEWHERE]
    row = dict(zip(("dtype", "layout", "batch", "threads", "shapes"), case, strict=True))
    row |= {
        "layer": str(layer),
        "count": layer.count,
        "auto": chosen,
        "intensity": layer.flops / layer.bytes(np.dtype(case[0]).itemsize),
    }
    for name, time in times.items():
        row[f"{name} GF/s"] = time.rate(layer.flops)
        if name in BY_NAME and same_layout:
            row[f"{name} ratio"] = min(t.least for t in same_layout) / time.least
            row[f"{name} ratio of medians"] = min(t.median for t in same_layout) / time.median
    result.add(**row)


def main():
    args = arguments()
    cases = [
        (dtype, layout, batch, threads, shapes, layer.with_batch(batch))
        for dtype in args.dtype
        for layout in args.layouts
        for batch in args.batch
        for threads in args.threads
        for shapes in args.shapes
        for layer in layers.layers(shapes)
        if args.only in layer.name
    ]
    result = report.Report("conv_one_shot" if args.one_shot else "conv", args)
    budget = Budget(args.max_seconds, len(cases))
    for *case, layer in report.Progressed(cases, "layers"):
        seconds = budget.share()
        if seconds:
            dtype, layout, _, threads, _ = case
            record(result, case, layer, *compare(layer, dtype, layout, threads, args, seconds))
    result.refresh_limits()
    for row in result.rows:
        best = max((row.get(f"{name} GF/s", 0.0) for name in BY_NAME), default=0.0)
        row["share of peak"] = best / result.limits.peak[row["dtype"], row["threads"]]
    for setting in settings(result):
        print_table(result, setting)
    draw(result)
    result.save()
    result.close(budget)


def settings(result):
    """The distinct (shapes, dtype, layout, batch, threads) in order: a table and a panel for each."""
    return list(dict.fromkeys(setting_of(row) for row in result.rows))


def setting_of(row):
    return tuple(row[key] for key in ("shapes", "dtype", "layout", "batch", "threads"))


def title_of(setting):
    shapes, dtype, layout, batch, threads = setting
    return f"{shapes}, {layout}, batch {batch}, {dtype}, {report.threads_text(threads)}"


def contestants(rows):
    """(fastconv's algorithms, peers) that appear in the rows."""
    names = dict.fromkeys(key.removesuffix(" GF/s") for row in rows for key in row if key.endswith(" GF/s"))
    return [name for name in names if name in BY_NAME], [name for name in names if name not in BY_NAME]


def print_table(result, setting):
    rows = [row for row in result.rows if setting_of(row) == setting]
    algorithms, rivals = contestants(rows)
    console.print(title_of(setting) + ": effective GF/s", style="bold")
    table = report.table(["layer", *rivals, *algorithms, "of peak"])
    for row in rows:
        cells = [f"{row[f'{name} GF/s']:.0f}" if f"{name} GF/s" in row else "-" for name in rivals]
        cells += [ours_cell(row, name) for name in algorithms]
        table.add_row(row["layer"], *cells, f"{row['share of peak']:.0%}")
    ratios = {name: [row[f"{name} ratio"] for row in rows if f"{name} ratio" in row] for name in algorithms}
    if any(ratios.values()):
        table.add_section()
        means = [f"{report.geometric_mean(r):.2f}x" if r else "" for r in ratios.values()]
        table.add_row("geometric mean of the ratios", *[""] * len(rivals), *means, "")
    console.print(table)
    console.print("* chosen by auto; x: against the best peer in this layout; of peak: fastconv's best", style="dim")
    chosen = [row[f"{row['auto']} ratio"] for row in rows if f"{row['auto']} ratio" in row]
    if chosen:
        behind = sum(ratio < BEHIND for ratio in chosen)
        console.print(f"auto: {min(chosen):.2f}x at least, {report.geometric_mean(chosen):.2f}x in the geometric mean; "
                      f"{behind} of {len(chosen)} below {BEHIND}x\n", style="dim")  # fmt: skip


def ours_cell(row, name):
    if f"{name} GF/s" not in row:
        return "-"
    ratio = row.get(f"{name} ratio")
    colour = "" if ratio is None else "green" if ratio >= 1 else "red"
    times = "" if ratio is None else f" [{colour}]{ratio:.2f}x[/{colour}]"
    return f"{'*' if row['auto'] == name else ''}{row[f'{name} GF/s']:.0f}{times}"


def draw(result):
    """Bars and a roofline; a panel for each setting."""
    found = settings(result)
    algorithms, rivals = contestants(result.rows)
    colour = charts.colours(algorithms, rivals)
    title = f"Convolution layers on {result.machine}, {result.date}"
    most = max(Counter(map(setting_of, result.rows)).values())
    bars, axes = charts.panels(title, len(found), width=max(11, CROWD * most), columns=1)
    roofs, roof_axes = charts.panels(title, len(found), width=7)
    for i, setting in enumerate(found):
        rows = [row for row in result.rows if setting_of(row) == setting]
        _, dtype, _, _, threads = setting
        peak = result.limits.peak[dtype, threads]
        series = {name: [row.get(f"{name} GF/s", math.nan) for row in rows] for name in [*algorithms, *rivals]}
        labels = [row["layer"].split(" ")[0] for row in rows]
        charts.bars(axes[i], title_of(setting), labels, series, colour, peak, legend=i == 0)
        points = {
            name: [(row["intensity"], row[f"{name} GF/s"]) for row in rows if f"{name} GF/s" in row]
            for name in [*rivals, *algorithms]
        }
        points = {name: values for name, values in points.items() if values}
        bandwidth = result.limits.bandwidth[threads]
        charts.roofline(roof_axes[i], title_of(setting), peak, bandwidth, points, colour)
    charts.save(bars, result.path("_bars.png", "GF/s of every layer against the peers, the peak as a line"))
    charts.save(roofs, result.path("_roofline.png", "GF/s under the roof of the FMA peak and the read bandwidth"))


if __name__ == "__main__":
    with report.checked():
        main()
