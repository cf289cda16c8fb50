"""VGG-16's 13 convolution layers through every algorithm there is: GF/s, share of the peak, workspace."""

import math
from dataclasses import replace

from harness import charts, check, report
from harness.layers import layers, to_nchw
from harness.report import console
from harness.timing import Budget, alternate

import fastconv as fc
from fastconv.algorithms import ALGORITHMS

LAYOUT = "NHWC"  # the lecture's order
LONGEST = 0.25  # seconds of one call on fastconv's nominal core, above which an algorithm gets some rows only
ROUNDS = 5
CELL, FIRST = 14, 24  # columns of the terminal that an algorithm and a layer's name need


def cropped(layer, seconds, threads):
    """The layer's first rows only, so many that an estimate of `seconds` falls to LONGEST, but one per thread.

    Without padding above and below, so that every output costs the same."""
    outputs = min(layer.P - 2, max(threads, int(layer.P * LONGEST / seconds)))
    return replace(layer, H=outputs + 2, padding=(0, layer.padding[1]))


def contestants(layer, threads):
    """{algorithm: (the layer or a part of it, plan, call)} and the reasons {algorithm: why it refuses}."""
    able, refusals = {}, {}
    for row in explain(layer).rows:
        if row.refusal:
            refusals[row.name] = row.refusal
            continue
        part = layer if row.seconds <= LONGEST else cropped(layer, row.seconds, threads)
        x, weight = part.data("float32", LAYOUT)
        plan = fc.plan_conv2d(x.shape, weight, algorithm=row.name, layout=LAYOUT, **part.parameters())
        able[row.name] = part, plan, lambda plan=plan, x=x: plan(x, num_threads=threads)
    return able, refusals


def explain(layer):
    input_shape, weight_shape = (layer.N, layer.H, layer.W, layer.C), (layer.K, layer.R, layer.S, layer.C)
    return fc.explain_conv2d(input_shape, weight_shape, prepared=True, layout=LAYOUT, **layer.parameters())


def check_all(able):
    """Checks every answer against float64; those of one problem also against each other."""
    for part in {part for part, _, _ in able.values()}:
        x, weight = (to_nchw(array, LAYOUT) for array in part.data("float32", LAYOUT))
        answers = {name: to_nchw(call(), LAYOUT) for name, (of, _, call) in able.items() if of == part}
        check.check_conv(part, x, weight, answers)


def measure(result, threads, seconds):
    """Adds a row per layer and algorithm to the result."""
    found = layers("vgg16")
    budget = Budget(seconds, len(found))
    for layer in report.Progressed(found, "VGG-16's layers"):
        able, refusals = contestants(layer, threads)
        check_all(able)
        times = alternate({name: call for name, (_, _, call) in able.items()}, budget.share(), ROUNDS)
        chosen = explain(layer).chosen
        for row in ALGORITHMS:
            facts = {"layer": layer.name, "count": layer.count, "algorithm": row.name, "auto": row.name == chosen}
            if row.name in refusals:
                result.add(**facts, refusal=refusals[row.name])
                continue
            part, plan, _ = able[row.name]
            rate = times[row.name].rate(part.flops)
            result.add(
                **facts, **{"GF/s": rate, "ms": layer.flops / rate / 1e6, "gflop": layer.flops / 1e9},
                workspace=plan.workspace_bytes,
                weights=plan.weight_bytes, rows=part.P, of_rows=layer.P,
            )  # fmt: skip


def show(result, threads, seconds):
    """Measures, prints the tables and draws the bars."""
    before = len(result.rows)
    measure(result, threads, seconds)
    result.refresh_limits()
    rows = result.rows[before:]
    peak = result.limits.peak["float32", threads]
    for row in rows:
        row["share"] = row.get("GF/s", 0.0) / peak
    names = [row.name for row in ALGORITHMS]
    fitting = max(1, (console.width - FIRST) // CELL)
    for i in range(0, len(names), fitting):
        print_layers(rows, names[i : i + fitting], threads)
    print_network(rows, names, peak)
    draw(result, rows, names, threads)


def print_layers(rows, names, threads):
    console.print(
        f"Batch 1, float32, {LAYOUT}, {report.threads_text(threads)}, weights prepared. "
        "Effective GF/s and share of the peak, below them the workspace of each thread:"
    )
    table = report.table(["layer", *names])
    cells = {(row["layer"], row["algorithm"]): row for row in rows}
    for layer in layers("vgg16"):
        times = f" x{layer.count}" if layer.count > 1 else ""
        best = max((cells[layer.name, name].get("GF/s", 0) for name in names), default=0)
        shown = [cell(cells[layer.name, name], best) for name in names]
        table.add_row(f"{layer.name}{times}\n[dim]{layer.C}->{layer.K}, {layer.H}x{layer.W}[/dim]", *shown)
    console.print(table)


def cell(row, best):
    if "refusal" in row:
        return "[dim]refuses[/dim]"
    mark = "†" if row["rows"] < row["of_rows"] else ""
    style = "bold green" if row["GF/s"] == best else "default"
    return f"[{style}]{row['GF/s']:.0f}{mark} {row['share']:>4.0%}[/{style}]\n[dim]{size(row['workspace'])}[/dim]"


def size(count):
    return "none" if count == 0 else f"{count / 1024:.0f} KB" if count < 2**20 else f"{count / 2**20:.1f} MB"


def print_network(rows, names, peak):
    """The 13 layers together, by algorithm, and by the best of them for each layer."""
    console.print("All 13 layers together:")
    table = report.table(["algorithm", "ms", "GF/s", "of peak", "largest workspace", "prepared weights"])
    total = sum(row["gflop"] * row["count"] for row in rows if row["algorithm"] == names[0])
    for name in names:
        own = [row for row in rows if row["algorithm"] == name]
        if any("refusal" in row for row in own):
            table.add_row(name, "[dim]refuses some of them[/dim]")
            continue
        mark = "†" if any(row["rows"] < row["of_rows"] for row in own) else ""
        milliseconds = sum(row["ms"] * row["count"] for row in own)
        table.add_row(
            name, f"{milliseconds:.0f}{mark}", f"{total / milliseconds * 1e3:.0f}",
            f"{total / milliseconds * 1e3 / peak:.0%}", size(max(row["workspace"] for row in own)),
            size(sum(row["weights"] * row["count"] for row in own)),
        )  # fmt: skip
    auto = sum(row["ms"] * row["count"] for row in rows if row["auto"])
    table.add_section()
    table.add_row("as auto chooses", f"{auto:.0f}", f"{total / auto * 1e3:.0f}", f"{total / auto * 1e3 / peak:.0%}")
    console.print(table)
    console.print(
        f"{total:.1f} GFLOP, counted as the definition multiplies whatever the algorithm does. Every answer was "
        f"checked: {check.SAMPLES} outputs in float64, the rest against each other.\n"
        "† timed on a part: the layer's first rows, all of its channels; ms are scaled up from there.\n",
        style="dim",
    )


def draw(result, rows, names, threads):
    found = list(dict.fromkeys(row["layer"] for row in rows))
    rates = {(row["layer"], row["algorithm"]): row.get("GF/s", math.nan) for row in rows}
    series = {name: [rates[layer, name] for layer in found] for name in names}
    figure, (axis,) = charts.panels(f"VGG-16's convolution layers on {result.machine}, {result.date}", width=11)
    title = f"batch 1, float32, {LAYOUT}, {report.threads_text(threads)}, weights prepared"
    charts.bars(axis, title, found, series, charts.colours(names), result.limits.peak["float32", threads])
    charts.save(figure, result.path("_vgg16.png", "VGG-16's layers by every algorithm, the peak as a line"))
