"""fastconv's packed product against NumPy and torch, over shapes/gemm.txt; the lecture's loops at 1024 cubed.

Ratios are fastconv over the better peer: of the least times, and beside it of the medians."""

import math

import numpy as np
from harness import charts, check, peers, report
from harness.layers import products
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc

LECTURE = 1024  # the size at which the lecture's loops are compared
LECTURE_BLOCKS = [fc.Blocking(size, size, size) for size in (32, 64, 128, 256)] + [fc.Blocking(64, 1024, 64)]


def compare(m, n, k, trans_b, dtype, threads, seconds, rounds):
    """{contestant: Timing}, after their answers were checked."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k), np.dtype(dtype))
    b = rng.standard_normal((n, k) if trans_b else (k, n), np.dtype(dtype))
    out = np.empty((m, n), dtype)
    peers.set_threads(threads)
    calls = {
        "fastconv": lambda: fc.gemm(a, b, trans_b=bool(trans_b), out=out, num_threads=threads),
        **peers.gemm(a, b.T if trans_b else b),
    }
    check.check_gemm(a, b.T if trans_b else b, {name: peers.dense(call()) for name, call in calls.items()})
    return alternate(calls, seconds, rounds)


def lecture(dtype, threads, seconds):
    """{name: Timing} of the naive and the blocked loops, two bursts each at most, and of the packed product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((LECTURE, LECTURE), np.dtype(dtype)) for _ in range(2))

    def call(algorithm, blocking=None):
        return lambda: fc.gemm(a, b, algorithm=algorithm, blocking=blocking, num_threads=threads)

    blocked = {f"blocked {s.mc},{s.nc},{s.kc}": call("blocked", s) for s in LECTURE_BLOCKS}
    calls = {"naive": call("naive"), **blocked, "packed": call("packed")}
    check.check_gemm(a, b, {name: run() for name, run in calls.items()})
    return alternate(calls, seconds, rounds=2)


def main():
    args = report.parser(__doc__, max_seconds=300).parse_args()
    shapes = products()
    cases = [(dtype, n, *shape) for dtype in args.dtype for n in args.threads for shape in shapes]
    result = report.Report("gemm", args)
    budget = Budget(args.max_seconds, len(cases) + len(args.dtype) * len(args.threads))
    for case in report.Progressed(cases, "products"):
        dtype, threads, m, n, k, trans_b = case
        seconds = budget.share()
        if not seconds:
            continue
        times = compare(m, n, k, trans_b, dtype, threads, seconds, 2 if args.quick else ROUNDS)
        flops = 2 * m * n * k
        rivals = [time for name, time in times.items() if name != "fastconv"]
        ours = times["fastconv"]
        result.add(
            dtype=dtype, threads=threads, m=m, n=n, k=k, trans_b=trans_b,
            **{f"{name} GF/s": time.rate(flops) for name, time in times.items()},
            **{"ratio": min(r.least for r in rivals) / ours.least,
               "ratio of medians": min(r.median for r in rivals) / ours.median, "bursts": ours.bursts},
        )  # fmt: skip
    add_shares(result)
    for dtype in args.dtype:
        for threads in args.threads:
            print_table(result, dtype, threads)
            seconds = budget.share()
            if seconds:
                print_lecture(result, dtype, threads, lecture(dtype, threads, seconds))
    draw(result)
    result.save()
    result.close(budget)


def add_shares(result):
    """Adds to each row which limit holds for it, and what share of it fastconv reached."""
    result.refresh_limits()
    for row in result.rows:
        m, n, k = row["m"], row["n"], row["k"]
        rate, limit = row["fastconv GF/s"], result.limits.peak[row["dtype"], row["threads"]]
        row["limit"] = "FMA"
        if min(m, n) == 1:  # a matrix-vector product reads the matrix once and does little with it
            row["limit"] = "read"
            moved = (m * k + k * n + m * n) * np.dtype(row["dtype"]).itemsize
            rate, limit = rate * moved / (2 * m * n * k), result.limits.bandwidth[row["threads"]]
        row["share of limit"] = rate / limit


def print_table(result, dtype, threads):
    rows = [row for row in result.rows if (row["dtype"], row["threads"]) == (dtype, threads) and "m" in row]
    if not rows:
        return
    names = [key for key in rows[0] if key.endswith("GF/s")]
    console.print(f"{dtype}, {report.threads_text(threads)}", style="bold")
    table = report.table(["m x n x k", *names, "of limit", "ratio", "of medians"])
    for row in rows:
        shape = f"{row['m']} x {row['n']} x {row['k']}" + (" b transposed" if row["trans_b"] else "")
        colour = "green" if row["ratio"] >= 1 else "red"
        table.add_row(
            shape, *(f"{row[name]:.1f}" for name in names), f"{row['share of limit']:.0%} {row['limit']}",
            f"[{colour}]{row['ratio']:.2f}[/{colour}]", f"{row['ratio of medians']:.2f}",
        )  # fmt: skip
    mean = report.geometric_mean(row["ratio"] for row in rows)
    table.add_section()
    table.add_row("geometric mean", *[""] * len(names), "", f"{mean:.2f}", "")
    console.print(table)


def print_lecture(result, dtype, threads, times):
    flops = 2 * LECTURE**3
    rates = {name: time.rate(flops) for name, time in times.items()}
    for name, rate in rates.items():
        result.add(dtype=dtype, threads=threads, lecture=name, **{"fastconv GF/s": rate})
    best = max((name for name in rates if name.startswith("blocked")), key=rates.get)
    console.print(
        f"the lecture's loops at {LECTURE} cubed: naive {rates['naive']:.2f} GF/s, {best} {rates[best]:.1f} GF/s "
        f"({rates[best] / rates['naive']:.1f}x), packed {rates['packed']:.0f} GF/s\n"
    )


def draw(result):
    """Bars against the peers, and the roofline."""
    products = [row for row in result.rows if "m" in row]
    settings = list(dict.fromkeys((row["dtype"], row["threads"]) for row in products))
    names = [key.removesuffix(" GF/s") for key in products[0] if key.endswith("GF/s")]
    colour = charts.colours(names[:1], names[1:])
    title = f"Matrix products on {result.machine}, {result.date}"
    bars, axes = charts.panels(title, len(settings), width=11, columns=1)
    roofs, roof_axes = charts.panels(title, len(settings), width=7)
    for i, (dtype, threads) in enumerate(settings):
        rows = [row for row in products if (row["dtype"], row["threads"]) == (dtype, threads)]
        peak = result.limits.peak[dtype, threads]
        labels = [f"{row['m']}x{row['n']}x{row['k']}{'ᵀ' if row['trans_b'] else ''}" for row in rows]
        series = {name: [row.get(f"{name} GF/s", math.nan) for row in rows] for name in names}
        panel = f"{dtype}, {report.threads_text(threads)}"
        charts.bars(axes[i], panel, labels, series, colour, peak, legend=i == 0)
        size = np.dtype(dtype).itemsize
        intensity = [2 / size / (1 / row["m"] + 1 / row["n"] + 1 / row["k"]) for row in rows]
        points = {name: list(zip(intensity, values, strict=True)) for name, values in reversed(series.items())}
        charts.roofline(roof_axes[i], panel, peak, result.limits.bandwidth[threads], points, colour)
    charts.save(bars, result.path("_bars.png", "GF/s against the peers, the peak as a line"))
    charts.save(roofs, result.path("_roofline.png", "GF/s under the roof of the FMA peak and the read bandwidth"))


if __name__ == "__main__":
    with report.checked():
        main()
