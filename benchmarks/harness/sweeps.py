"""Sweeps over the number of threads, for demo.py and sweep_threads.py."""

from harness import charts, machine, report
from harness.timing import Budget, alternate


def thread_counts():
    """One thread to twice the cores; on large machines only some of them."""
    cores = machine.cores()
    return list(range(1, 2 * cores + 1)) if cores <= 8 else sorted({1, 2, cores // 4, cores // 2, cores, 2 * cores})


def sweep_threads(result, work, seconds, rounds):
    """{name: [GF/s of each of thread_counts()]} of work {name: (flops, call of a thread number)}."""
    counts, series = thread_counts(), {name: [] for name in work}
    budget = Budget(seconds, len(counts))
    for n in report.Progressed(counts, "threads"):
        times = alternate({name: lambda c=call, n=n: c(n) for name, (_, call) in work.items()}, budget.share(), rounds)
        for name, (flops, _) in work.items():
            series[name].append(times[name].rate(flops))
            result.add(sweep="threads", case=name, threads=n, oversubscribed=n > machine.cores(),
                       **{"GF/s": series[name][-1], "GF/s by median": flops / times[name].median / 1e9})  # fmt: skip
    return series


def draw_threads(result, series, title, path):
    figure, (axis,) = charts.panels(f"Threads on {result.machine}, {result.date}", width=9.5, height=5.0)
    counts = thread_counts()
    limit = [result.limits.peak["float32", 1] * min(n, machine.cores()) for n in counts]
    charts.scaling(axis, title, counts, series, charts.colours(series), machine.cores(), limit)
    charts.save(figure, path)


def thread_table(series):
    """A table of the GF/s, the columns beyond the cores marked."""
    cores = machine.cores()
    headings = [
        f"{n} thread{'s' * (n > 1)}" if n <= cores else f"[dim]{n}, oversubscribed[/dim]" for n in thread_counts()
    ]
    table = report.table(["GF/s", *headings])
    for name, values in series.items():
        table.add_row(name, *(f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in values))
    return table
