"""A convolution layer's training step, the forward pass and both gradients, against torch's (shapes/training.txt).

Nothing is prepared on either side, as the weights of a step are new. Ratios are fastconv over torch in the same layout
(NHWC: channels_last), of the least times; a step's time is the sum of its three."""

import numpy as np
from harness import check, layers, peers, report
from harness.layers import to_nchw
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc

OPERATIONS = ("forward", "input gradient", "weight gradient")


def arguments():
    parse = report.parser(__doc__, max_seconds=300)
    parse.add_argument("shapes", nargs="*", default=["training"], help="files of benchmarks/shapes, without .txt")
    parse.add_argument("--layouts", type=report.names, default="NHWC,NCHW", help="NCHW, NHWC or both")
    parse.add_argument("--only", default="", help="only layers whose name has this in it")
    return parse.parse_args()


def data(layer, dtype, layout):
    """(x, weight, grad), C-contiguous in the layout."""
    x, weight = layer.data(dtype, layout)
    output = (layer.N, layer.P, layer.Q, layer.K) if layout == "NHWC" else (layer.N, layer.K, layer.P, layer.Q)
    return x, weight, np.random.default_rng(1).standard_normal(output, np.dtype(dtype))


def ours(layer, x, weight, grad, layout, threads):
    """A callable for each of OPERATIONS."""
    options = {**layer.parameters(), "layout": layout, "num_threads": threads}
    return (
        lambda: fc.conv2d(x, weight, **options),
        lambda: fc.conv2d_input_grad(grad, weight, x.shape, **options),
        lambda: fc.conv2d_weight_grad(x, grad, (layer.R, layer.S), **options),
    )


def answers_are_right(layer, operation, arrays, layout, calls):
    """Checks what every contestant answers."""
    x, weight, grad = (to_nchw(array, layout) for array in arrays)
    answers = {name: peers.dense(call()) for name, call in calls.items()}
    answers["fastconv"] = to_nchw(answers["fastconv"], layout)
    if operation == "forward":
        check.check_conv(layer, x, weight, answers)
    elif operation == "input gradient":
        check.check_input_grad(layer, grad, weight, answers)
    else:
        check.check_weight_grad(layer, x, grad, answers)


def main():
    args = arguments()
    cases = [
        (dtype, layout, threads, layer)
        for dtype in args.dtype
        for layout in args.layouts
        for threads in args.threads
        for shapes in args.shapes
        for layer in layers.layers(shapes)
        if args.only in layer.name
    ]
    result = report.Report("training", args)
    budget = Budget(args.max_seconds, len(cases))
    for dtype, layout, threads, layer in report.Progressed(cases, "layers"):
        seconds = budget.share()
        if not seconds:
            continue
        peers.set_threads(threads)
        arrays = data(layer, dtype, layout)
        rivals = peers.torch_training(layer, *arrays, layout)
        row = {"dtype": dtype, "layout": layout, "threads": threads, "layer": str(layer)}
        steps = {}
        for i, (operation, call) in enumerate(zip(OPERATIONS, ours(layer, *arrays, layout, threads), strict=True)):
            calls = {"fastconv": call, **{name: operations[i] for name, operations in rivals.items()}}
            answers_are_right(layer, operation, arrays, layout, calls)
            times = alternate(calls, seconds / len(OPERATIONS), 2 if args.quick else ROUNDS)
            for name, time in times.items():
                row[f"{operation}, {name} GF/s"] = time.rate(layer.flops)
                steps[name] = steps.get(name, 0.0) + time.least
        row.update((f"step, {name} ms", 1e3 * least) for name, least in steps.items())
        result.add(**row)
    result.refresh_limits()
    for setting in dict.fromkeys((row["dtype"], row["layout"], row["threads"]) for row in result.rows):
        print_table(setting, [r for r in result.rows if (r["dtype"], r["layout"], r["threads"]) == setting])
    result.save()
    result.close(budget)


def print_table(setting, rows):
    dtype, layout, threads = setting
    console.print(f"{layout}, {dtype}, {report.threads_text(threads)}: effective GF/s, fastconv / torch", style="bold")
    table = report.table(["layer", *OPERATIONS, "step, ms", "ratio"])
    ratios = []
    for row in rows:
        cells = ["{:.0f} / {:.0f}".format(*both(row, operation, "GF/s")) for operation in OPERATIONS]
        mine, torchs = both(row, "step", "ms")
        ratios.append(torchs / mine)
        table.add_row(row["layer"], *cells, f"{mine:.1f} / {torchs:.1f}", f"{ratios[-1]:.2f}x")
    table.add_section()
    table.add_row("geometric mean", *[""] * (len(OPERATIONS) + 1), f"{report.geometric_mean(ratios):.2f}x")
    console.print(table)


def both(row, what, unit):
    """fastconv's figure and torch's, NaN where there is no torch."""
    return tuple(row.get(f"{what}, {name} {unit}", float("nan")) for name in ("fastconv", "torch"))


if __name__ == "__main__":
    with report.checked():
        main()
