"""Block sizes swept in pairs, as heat maps: the lecture's loops, the packed product, and the im2col convolution."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from harness import charts, check, peers, report
from harness.layers import layers, to_nchw
from harness.report import console
from harness.timing import alternate

import fastconv as fc

SIZES = (16, 32, 64, 128, 256, 512, 1024)
ALL = 1 << 20  # a block beyond any dimension: the whole of it
MATRIX = 1024
ROUNDS = 3


@dataclass(frozen=True)
class Panel:
    """One heat map: `down` and `along` are swept, `fixed` gives all three sizes their values otherwise."""

    title: str
    down: str
    along: str
    fixed: dict

    def blocking(self, down, along):
        return fc.Blocking(**{**self.fixed, self.down: down, self.along: along})


GEMM = {
    "blocked": Panel("the lecture's loops, {0} cubed, mc = 64", "kc", "nc", {"mc": 64}),
    "packed": Panel("packed product, {0} cubed, nc whole", "kc", "mc", {"nc": ALL}),
}
CONV = {
    "NHWC": Panel("im2col NHWC, {0}; mc in pixels, nc (filters) whole", "kc", "mc", {"nc": ALL}),
    "NCHW": Panel("im2col NCHW, {0}; nc in pixels, mc (filters) whole", "kc", "nc", {"mc": ALL}),
}


def gemm_calls(name, panel, size, dtype, threads):
    """({blocking or None: call} of a product, its flops), checked."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.dtype(dtype)) for _ in range(2))

    def call(blocking):
        return lambda: fc.gemm(a, b, algorithm=name, blocking=blocking, num_threads=threads)

    calls = {blocking: call(blocking) for blocking in [None, *cells(panel)]}
    check.check_gemm(a, b, {f"{name} {blocking}": run() for blocking, run in calls.items()})
    return calls, 2 * size**3


def conv_calls(layout, panel, layer, dtype, threads):
    """The same of an im2col convolution with prepared weights."""
    x, weight = layer.data(dtype, layout)

    def call(blocking):
        plan = fc.plan_conv2d(
            x.shape, weight, layout=layout, algorithm="im2col", blocking=blocking, **layer.parameters()
        )
        return lambda: plan(x, num_threads=threads)

    calls = {blocking: call(blocking) for blocking in [None, *cells(panel)]}
    answers = {f"im2col {blocking}": to_nchw(run(), layout) for blocking, run in calls.items()}
    check.check_conv(layer, to_nchw(x, layout), to_nchw(weight, layout), answers)
    return calls, layer.flops


def cells(panel):
    return [panel.blocking(down, along) for down, along in product(SIZES, SIZES)]


def main():
    parse = report.parser(__doc__, max_seconds=240)
    parse.add_argument("--size", type=int, default=MATRIX, help="of the matrices")
    parse.add_argument("--layer", default="conv4_2", help="of shapes/vgg16.txt")
    args = parse.parse_args()
    result = report.Report("sweep_blocks", args, compares=False)
    layer = next(layer for layer in layers("vgg16") if layer.name == args.layer)
    size = args.size // 2 if args.quick else args.size
    made = [(GEMM[name], name, gemm_calls, name, size) for name in GEMM]
    made += [(CONV[layout], "im2col", conv_calls, layout, layer) for layout in CONV]
    settings = list(product(args.dtype, args.threads, made))
    drawn = []
    for dtype, threads, (panel, algorithm, build, which, problem) in report.Progressed(settings, "heat maps"):
        peers.set_threads(threads)
        calls, flops = build(which, panel, problem, dtype, threads)
        times = alternate(calls, args.max_seconds / len(settings), 1 if args.quick else ROUNDS)
        rates = {blocking: time.rate(flops) for blocking, time in times.items()}
        title = panel.title.format(problem if build is gemm_calls else layer.name)
        title += f"\n{dtype}, {report.threads_text(threads)}"
        drawn.append((panel, title, rates))
        for blocking, rate in rates.items():
            sizes = {"mc": blocking.mc, "nc": blocking.nc, "kc": blocking.kc} if blocking else {}
            result.add(algorithm=algorithm, of=which, dtype=dtype, threads=threads, **sizes, **{"GF/s": rate})
    print_table(drawn)
    draw(result, drawn)
    result.save()
    result.close()


def print_table(drawn):
    table = report.table(["swept", "best", "GF/s", "its own blocks", "of best"])
    for panel, title, rates in drawn:
        best = max((key for key in rates if key), key=rates.get)
        sizes = f"{panel.down} {getattr(best, panel.down)}, {panel.along} {getattr(best, panel.along)}"
        own = rates[None]
        table.add_row(title.replace("\n", "; "), sizes, f"{rates[best]:.1f}", f"{own:.1f}", f"{own / rates[best]:.0%}")
    console.print(table)


def draw(result, drawn):
    figure, axes = charts.panels(f"Block sizes on {result.machine}, {result.date}", len(drawn), 6.6, 5.2)
    for axis, (panel, title, rates) in zip(axes, drawn, strict=True):
        grid = [[rates[panel.blocking(down, along)] for along in SIZES] for down in SIZES]
        own = f"{title}; own blocks: {rates[None]:.0f} GF/s"
        charts.heat_map(axis, own, grid, SIZES, SIZES, panel.down, panel.along)
    charts.save(figure, result.path(".png", "heat maps of GF/s over pairs of block sizes, the best framed"))


if __name__ == "__main__":
    with report.checked():
        main()
