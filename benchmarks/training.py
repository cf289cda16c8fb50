"""A convolution layer's training step, the forward pass and both gradients, against torch's (shapes/training.txt);
and epochs of whole networks against torch's own loop, from the same weights over the same images in the same order.

Nothing is prepared on either side, as the weights of a step are new. Ratios are fastconv over torch in the same layout
(NHWC: channels_last), of the least times; a step's time is the sum of its three. Those of networks are against the
better of torch's two layouts. Losses are compared before a time is printed."""

import numpy as np
from harness import check, layers, networks, peers, report
from harness.layers import to_nchw
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

import fastconv as fc

OPERATIONS = ("forward", "input gradient", "weight gradient")
NETWORKS = ("lenet", "cifar")  # VGG-16 drops at random, so that its losses cannot be compared
DESCENT = {"lr": 0.01, "momentum": 0.9}
NEAR = 1e-3  # of losses, after an epoch


def arguments():
    parse = report.parser(__doc__, max_seconds=300)
    parse.add_argument("shapes", nargs="*", default=["training"], help="files of benchmarks/shapes, without .txt")
    parse.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS, help="none, or some")
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


def compare_layer(dtype, layout, layer, threads, rounds, seconds):
    """The row of a layer."""
    arrays = data(layer, dtype, layout)
    rivals = peers.torch_training(layer, *arrays, layout)
    row = {"dtype": dtype, "layout": layout, "threads": threads, "layer": str(layer)}
    steps = {}
    for i, (operation, call) in enumerate(zip(OPERATIONS, ours(layer, *arrays, layout, threads), strict=True)):
        calls = {"fastconv": call, **{name: operations[i] for name, operations in rivals.items()}}
        answers_are_right(layer, operation, arrays, layout, calls)
        times = alternate(calls, seconds / len(OPERATIONS), rounds)
        for name, time in times.items():
            row[f"{operation}, {name} GF/s"] = time.rate(layer.flops)
            steps[name] = steps.get(name, 0.0) + time.least
    return row | {f"step, {name} ms": 1e3 * least for name, least in steps.items()}


def compare_network(name, threads, rounds, seconds):
    """The row of a network."""
    net, x, y, batch_size = networks.TASKS[name]()
    order = np.random.default_rng(0).permutation(len(x))  # as fit shuffles
    rivals = networks.torch_trainings(net, x, y, batch_size, order, **DESCENT)

    def epoch():
        history = fc.train.fit(net, x, y, epochs=1, batch_size=batch_size, num_threads=threads, progress=False,
                               **DESCENT)  # fmt: skip
        return history.losses[0]

    calls = {"fastconv": epoch, **rivals}
    losses = {contestant: call() for contestant, call in calls.items()}
    for contestant, loss in losses.items():
        if not abs(loss - losses["fastconv"]) < NEAR * losses["fastconv"]:
            raise check.WrongAnswer(f"{name}, an epoch: {contestant}'s loss {loss}, fastconv's {losses['fastconv']}")
    times = alternate(calls, seconds, rounds)
    best = min((time.least for rival, time in times.items() if rival != "fastconv"), default=float("nan"))
    return {"network": name, "threads": threads, "ratio": best / times["fastconv"].least,
            **{f"{contestant} images/s": len(x) / time.least for contestant, time in times.items()}}  # fmt: skip


def main():
    args = arguments()
    cases = [
        (compare_layer, threads, dtype, layout, layer)
        for dtype in args.dtype
        for layout in args.layouts
        for threads in args.threads
        for shapes in args.shapes
        for layer in layers.layers(shapes)
        if args.only in layer.name
    ]
    cases += [(compare_network, threads, name) for name in args.networks for threads in args.threads]
    result = report.Report("training", args)
    budget = Budget(args.max_seconds, len(cases))
    for compare, threads, *case in report.Progressed(cases, "layers and networks"):
        seconds = budget.share()
        if not seconds:
            continue
        peers.set_threads(threads)
        result.add(**compare(*case, threads, 2 if args.quick else ROUNDS, seconds))
    result.refresh_limits()
    rows = [row for row in result.rows if "layer" in row]
    for setting in dict.fromkeys((row["dtype"], row["layout"], row["threads"]) for row in rows):
        print_layers(setting, [r for r in rows if (r["dtype"], r["layout"], r["threads"]) == setting])
    if args.networks:
        print_networks([row for row in result.rows if "network" in row])
    result.save()
    result.close(budget)


def print_networks(rows):
    contestants = list(dict.fromkeys(key for row in rows for key in row if key.endswith(" images/s")))
    table = report.table(["network", "threads", *contestants, "x"])
    for row in rows:
        table.add_row(row["network"], str(row["threads"]), *(f"{row[key]:,.0f}" for key in contestants),
                      f"{row['ratio']:.2f}")  # fmt: skip
    console.print(table)


def print_layers(setting, rows):
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
