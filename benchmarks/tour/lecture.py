"""The lecture's open question, answered by a sweep: do you want as big a block as possible? And threads."""

import math
from time import perf_counter

import numpy as np
from harness import charts, check, machine, report, sweeps
from harness.layers import layers
from harness.report import console
from harness.timing import alternate, timed

import fastconv as fc

SIZES = (1024, 768, 512, 256)  # of the matrices: the first whose sweep fits the budget
BLOCKS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
SWEPT = {"blocked": "the lecture's six loops", "packed": "five loops around a register tile"}
NAIVE_SLOWER = 4  # times slower per FLOP at 1024 than at 256, where all of b is in L2 (Zen 4, 2026-11)
ROUNDS = 5
PRODUCT = 512  # size of the matrices when threads are swept
THREADS_SHARE, THREADS_ROUNDS = 0.25, 7


def matrices(size):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((size, size), np.float32) for _ in range(2)]


def fitting_size(seconds):
    """The largest of SIZES at which a call of the naive loops takes less than a third of `seconds`."""
    small = SIZES[-1]
    a, b = matrices(small)
    once = timed(lambda: fc.gemm(a, b, algorithm="naive", num_threads=1), 0)
    return next((s for s in SIZES if NAIVE_SLOWER * once * (s / small) ** 3 < seconds / 3), small)


def products(a, b):
    """{(algorithm, block or None): (call, the output it fills)} on one core, whose caches are its own."""

    def product(algorithm, block=None):
        blocking, out = block and fc.Blocking(block, block, block), np.empty_like(a)
        return lambda: fc.gemm(a, b, algorithm=algorithm, blocking=blocking, out=out, num_threads=1), out

    swept = {(name, block): product(name, block) for name in SWEPT for block in BLOCKS if block <= len(a)}
    return {("naive", None): product("naive"), ("packed", None): product("packed"), **swept}


def sweep_blocks(result, seconds):
    """The size of the matrices, and {(algorithm, block or None): GF/s}; what the first round computed is checked."""
    end = perf_counter() + seconds
    size = fitting_size(seconds)
    a, b = matrices(size)
    made = products(a, b)
    rates = {}
    for key, (call, _) in report.Progressed(made.items(), "every block size"):
        rates[key] = alternate({key: call}, rounds=1)[key].rate(2 * size**3)
    check.check_gemm(a, b, {f"{name}, blocks of {block}": out for (name, block), (_, out) in made.items()})
    calls = {key: call for key, (call, _) in made.items() if key[0] != "naive"}  # its seconds are enough once
    for _ in report.Progressed(range(ROUNDS - 1), "again, for the best of the rounds"):
        if perf_counter() > end:
            break
        for key, time in alternate(calls, rounds=1).items():
            rates[key] = max(rates[key], time.rate(2 * size**3))
    for (name, block), rate in rates.items():
        result.add(sweep="blocks", algorithm=name, size=size, block=block, threads=1, **{"GF/s": rate})
    return size, rates


def curve(rates, name):
    """{block: GF/s} of one algorithm."""
    return {block: rate for (swept, block), rate in rates.items() if swept == name and block}


def draw_blocks(result, size, rates):
    figure, (axis,) = charts.panels(
        f"Do you want as big a block as possible? {result.machine}, 1 thread, {result.date}", width=9.5, height=6.0
    )
    for (name, what), colour in zip(SWEPT.items(), charts.OURS, strict=False):
        points = curve(rates, name)
        best = max(points, key=points.get)
        axis.plot(*zip(*points.items(), strict=True), "o-", color=colour, linewidth=2, label=f"{name}: {what}")
        axis.plot(best, points[best], "o", color=colour, markersize=13, markerfacecolor="none", markeredgewidth=2)
        for block, value in points.items():
            axis.annotate(
                f"{value:.3g}", (block, value), xytext=(0, -17), textcoords="offset points", ha="center",
                color=colour, bbox=charts.LABEL_GROUND,
            )  # fmt: skip
    naive, peak = rates["naive", None], result.limits.peak["float32", 1]
    axis.axhline(naive, color=charts.OURS[2], label=f"naive: the definition's three loops, {naive:.2g}")
    axis.axhline(peak, color=charts.LIMIT, linestyle="--", label=f"measured FMA peak, {peak:.0f}")
    for name, capacity in machine.caches().items():
        edge = math.sqrt(capacity / 12)  # three blocks of floats
        if BLOCKS[0] < edge < size:
            axis.axvline(edge, color="#777777", linestyle=":", linewidth=1.5)
            axis.annotate(
                f"three blocks\nfill the {name}\n({capacity // 1024} KB)", (edge, 0.02),
                xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points", fontsize=8.5,
                color="#555555", va="bottom", bbox=charts.LABEL_GROUND,
            )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="block size b: blocks of b x b of all three matrices", ylabel="GF/s")
    axis.set_ylim(min(rates.values()) / 2.5, 1.6 * peak)
    blocks = list(curve(rates, "blocked"))
    axis.set_xticks(blocks, map(str, blocks))
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_formatter(charts.KILO)
    axis.set_title(f"float32 matrices of {size} x {size}")
    figure.legend(loc="outside lower center", ncols=2)
    charts.save(figure, result.path("_blocks.png", "GF/s over the block size, with the caches marked"))


def thread_work():
    """What the threads are swept over: {name: (flops, call of a thread number)}."""
    a, b = matrices(PRODUCT)
    layer = next(layer for layer in layers("vgg16") if layer.name == "conv3_2")
    x, weight = layer.data("float32", "NHWC")
    plan = fc.plan_conv2d(x.shape, weight, layout="NHWC", **layer.parameters())
    return {
        f"product {PRODUCT} cubed, packed": (2 * PRODUCT**3, lambda n: fc.gemm(a, b, num_threads=n)),
        f"product {PRODUCT} cubed, blocked": (
            2 * PRODUCT**3,
            lambda n: fc.gemm(a, b, algorithm="blocked", num_threads=n),
        ),
        f"VGG-16's conv3_2, {plan.algorithm}": (layer.flops, lambda n: plan(x, num_threads=n)),
    }


def show(result, seconds):
    """Both sweeps, their charts, and the answer in words."""
    size, rates = sweep_blocks(result, (1 - THREADS_SHARE) * seconds)
    result.refresh_limits()
    draw_blocks(result, size, rates)
    naive, blocked = rates["naive", None], curve(rates, "blocked")
    console.print(f"Do you want as big a block as possible? Matrices of {size} x {size}, one core, GF/s:")
    table = report.table(["blocks of", *map(str, blocked)])
    for name in SWEPT:
        table.add_row(name, *(f"{rate:.3g}" for rate in curve(rates, name).values()))
    console.print(table)
    console.print(
        f"naive {naive:.2g}, so the best block is worth {max(blocked.values()) / naive:.0f}x; "
        f"packed with its own blocks {rates['packed', None]:.0f}."
    )
    for name in SWEPT:
        console.print(f"{name}: {verdict(curve(rates, name))}")
    console.print(
        "A larger block reuses each value more often, and that pays until something else is what the loops wait for; "
        "once blocks outgrow a cache, their values come from the next one. The faster the loops, the more it matters.\n"
    )
    series = sweeps.sweep_threads(result, thread_work(), THREADS_SHARE * seconds, THREADS_ROUNDS)
    path = result.path("_threads.png", "GF/s over the number of threads, to twice the cores")
    sweeps.draw_threads(result, series, "float32", path)
    console.print("Threads:")
    console.print(sweeps.thread_table(series))


def verdict(points):
    """The answer for one algorithm, as the figures of this run have it."""
    best, largest = max(points, key=points.get), max(points)
    enough = min(block for block, rate in points.items() if rate > 0.95 * points[best])
    lost = 1 - points[largest] / points[best]
    if lost > 0.05:
        return f"no. Blocks of {best} are best; with blocks of {largest}, {lost:.0%} of the speed is gone."
    if enough < largest:
        return f"no need. Blocks of {enough} already reach 95 % of the best rate."
    return "in this run yes: the largest block was the fastest by more than 5 %."
