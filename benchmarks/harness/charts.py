"""Charts: bars against peers, rooflines, heat maps and curves, all in one style, written as PNG."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's colours, which most colour-blind readers can tell apart; greys for the peers.
OURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
PEERS = ("#4d4d4d", "#8c8c8c", "#b3b3b3", "#d0d0d0", "#e3e3e3")
LIMIT = "#a50026"

plt.rcParams.update(
    {
        "figure.dpi": 130,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
)
LABEL_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
KILO = FuncFormatter(lambda value, _: f"{value:g}")


def colours(ours, peers=()):
    """{name: colour}: bright for fastconv's own, grey for the peers."""
    cycle = {name: OURS[i % len(OURS)] for i, name in enumerate(ours)}
    return {**cycle, **{name: PEERS[i % len(PEERS)] for i, name in enumerate(peers)}}


def panels(title, count=1, width=8.0, height=4.6, columns=2):
    """A figure with a title and its list of axes."""
    columns = min(columns, count)
    lines = -(-count // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(width * columns, height * lines + 0.5), squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:count])


def save(figure, path):
    figure.savefig(path)
    plt.close(figure)


def limit_line(axis, value, text):
    """The limit, as a dashed line that says what it is."""
    axis.axhline(value, color=LIMIT, linestyle="--", linewidth=1.2, zorder=1)
    axis.annotate(
        text, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
        color=LIMIT, ha="right", va="bottom", fontsize=9, bbox=LABEL_GROUND,
    )  # fmt: skip


def bars(axis, title, groups, series, colour, peak, legend=True):
    """Grouped bars of GF/s under the peak; series {name: values}, NaN where there is none."""
    width = 0.84 / max(1, len(series))
    at = np.arange(len(groups))
    for i, (name, values) in enumerate(series.items()):
        axis.bar(at + (i - (len(series) - 1) / 2) * width, values, width * 0.94, label=name, color=colour[name])
    limit_line(axis, peak, f"measured FMA peak {peak:.0f}")
    axis.set(title=title, ylabel="effective GF/s", xlim=(-0.6, len(groups) - 0.4))
    axis.set_xticks(at, groups, rotation=35, ha="right", rotation_mode="anchor")
    axis.grid(axis="x", visible=False)
    top = max([peak, *(v for values in series.values() for v in values if v == v)])
    axis.set_ylim(0, top * 1.12)
    if legend:
        axis.figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=len(series))


def roofline(axis, title, peak, bandwidth, series, colour):
    """GF/s over arithmetic intensity under the roof; series {name: [(FLOP per byte, GF/s), ...]}."""
    points = [point for values in series.values() for point in values]
    ridge = peak / bandwidth
    left, right = min(0.3 * ridge, *(0.6 * x for x, _ in points)), max(1.6 * x for x, _ in points)
    bottom = min(0.7 * left * bandwidth, *(0.7 * y for _, y in points))
    axis.plot([left, ridge, max(right, ridge)], [left * bandwidth, peak, peak], color=LIMIT, linewidth=1.5)
    axis.annotate(
        f"FMA peak {peak:.0f} GF/s", (right, peak), xytext=(-2, 4), textcoords="offset points",
        ha="right", va="bottom", color=LIMIT, fontsize=9, bbox=LABEL_GROUND,
    )  # fmt: skip
    middle = (left * ridge) ** 0.5
    axis.annotate(
        f"reading at {bandwidth:.0f} GB/s", (middle, middle * bandwidth), xytext=(8, -4), textcoords="offset points",
        color=LIMIT, fontsize=9, va="top", bbox=LABEL_GROUND,
    )  # fmt: skip
    for (name, values), marker in zip(series.items(), "oDs^vPX*", strict=False):
        axis.plot(*zip(*values, strict=True), marker, color=colour[name], label=name, markersize=6, alpha=0.85)
    axis.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, 2.5 * peak), title=title)
    axis.set(xlabel="FLOP of the definition per byte of operands, each read or written once", ylabel="effective GF/s")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(KILO)
        side.set_minor_formatter(NullFormatter())
    axis.legend(loc="lower right")


def heat_map(axis, title, grid, rows, columns, row_label, column_label, best=True):
    """GF/s of every pair of sizes, each cell with its figure, the best one framed."""
    grid = np.asarray(grid, float)
    image = axis.imshow(grid, cmap="viridis", aspect="auto", vmin=0, origin="lower")
    middle = np.nanmax(grid) / 2
    for (i, j), value in np.ndenumerate(grid):
        if value == value:
            colour = "white" if value < middle * 1.3 else "black"
            axis.text(j, i, f"{value:.0f}" if value >= 10 else f"{value:.1f}", ha="center", va="center",
                      color=colour, fontsize=8)  # fmt: skip
    if best and not np.isnan(grid).all():
        i, j = np.unravel_index(np.nanargmax(grid), grid.shape)
        axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=LIMIT, linewidth=2.5))
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.set(title=title, xlabel=column_label, ylabel=row_label)
    axis.grid(visible=False)
    axis.figure.colorbar(image, ax=axis, label="GF/s", shrink=0.9)


def scaling(axis, title, threads, series, colour, cores, limit=None):
    """GF/s over threads; beyond the cores the ground is shaded. limit: GF/s of the peak per thread number."""
    axis.axvspan(cores + 0.5, max(threads) + 0.6, color="#f3e9e2", zorder=0)
    if max(threads) > cores:
        axis.annotate(
            f"more threads than the {cores} cores", (1, 0.97), xycoords="axes fraction", va="top",
            xytext=(-4, 0), textcoords="offset points", ha="right", fontsize=9, color="#8a5a3c",
        )  # fmt: skip
    if limit:
        axis.plot(threads, limit, "--", color=LIMIT, linewidth=1.2, label="FMA peak of one core times the cores")
    for name, values in series.items():
        axis.plot(threads, values, "o-", color=colour[name], label=name)
    axis.set(title=title, xlabel="threads", ylabel="effective GF/s", xlim=(0.6, max(threads) + 0.6))
    axis.set_xticks(threads)
    axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
    axis.figure.legend(loc="outside lower center", ncols=2)
