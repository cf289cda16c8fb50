"""VGG-16 and AlexNet end to end against torch (contiguous, channels-last) and ONNX Runtime: same weights, same images,
answers within 1e-3 of the largest before a time is printed. Ratios are the best peer's least time over fastconv's."""

import numpy as np
from harness import networks, peers, report
from harness.report import console
from harness.timing import ROUNDS, Budget, alternate

from fastconv import nn

NETWORKS = {"vgg16": nn.vgg16, "alexnet": nn.alexnet}
NEAR = 1e-3


def arguments():
    parse = report.parser(__doc__, max_seconds=600, options=("threads", "quick"))
    parse.add_argument("--networks", type=report.names, default=",".join(NETWORKS), help="vgg16, alexnet")
    parse.add_argument("--batch", type=report.numbers, default="1,8", help="batch sizes")
    return parse.parse_args()


def compare(net, x, threads, rounds, seconds):
    """{contestant: Timing}, after the answers were compared."""
    peers.set_threads(threads)
    calls = {"fastconv": lambda: net(x, num_threads=threads), **networks.torch_networks(net, x),
             **networks.onnx_network(net, x, threads)}  # fmt: skip
    answers = {name: peers.dense(call()) for name, call in calls.items()}
    largest = abs(answers["fastconv"]).max()
    for name, answer in answers.items():
        difference = abs(answer - answers["fastconv"]).max() / largest
        if not difference < NEAR:
            raise report.check.WrongAnswer(f"{name} and fastconv differ by {difference:.1e} of the largest answer")
    return alternate(calls, seconds, rounds)


def main():
    args = arguments()
    result = report.Report("networks", args)
    cases = [(name, batch, threads) for name in args.networks for batch in args.batch for threads in args.threads]
    budget = Budget(args.max_seconds, len(cases))
    nets = {}
    for name, batch, threads in report.Progressed(cases, "networks"):
        seconds = budget.share()
        if not seconds:
            continue
        net = nets.setdefault(name, NETWORKS[name]())
        x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), np.float32)
        times = compare(net, x, threads, 2 if args.quick else ROUNDS, seconds)
        rivals = [time for rival, time in times.items() if rival != "fastconv"]
        ratio = min(time.least for time in rivals) / times["fastconv"].least if rivals else float("nan")
        result.add(network=name, batch=batch, threads=threads, ratio=ratio,
                   **{f"{contestant} ms": time.least * 1e3 for contestant, time in times.items()})  # fmt: skip
    contestants = [key for key in dict.fromkeys(key for row in result.rows for key in row) if key.endswith(" ms")]
    table = report.table(["network", "batch", "threads", *contestants, "x"])
    for row in result.rows:
        table.add_row(row["network"], str(row["batch"]), str(row["threads"]),
                      *(f"{row[key]:.1f}" for key in contestants), f"{row['ratio']:.2f}")  # fmt: skip
    console.print(table)
    result.save()
    result.close(budget)


if __name__ == "__main__":
    with report.checked():
        main()
