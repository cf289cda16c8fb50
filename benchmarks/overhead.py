"""What a small call costs, in microseconds: there the checks and the dispatch are most of the time."""

import numpy as np
from harness import check, peers, report
from harness.layers import Layer
from harness.report import console
from harness.timing import ROUNDS, alternate

import fastconv as fc

CUBES = (8, 16)
LAYER = Layer("1x3x8x8", 1, 3, 8, 8, 8, 3, 3)


def products(size, dtype):
    """Calls as a user writes them, without an output given; every library allocates its own."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.dtype(dtype)) for _ in range(2))
    calls = {"fastconv": lambda: fc.gemm(a, b), "fastconv matmul": lambda: fc.matmul(a, b), "numpy": lambda: a @ b}
    if peers.torch:
        left, right = peers.torch.from_numpy(a), peers.torch.from_numpy(b)
        calls["torch"] = lambda: peers.torch.mm(left, right)
    check.check_gemm(a, b, {name: peers.dense(call()) for name, call in calls.items()})
    return calls


def convolution(dtype):
    x, weight = LAYER.data(dtype, "NCHW")
    plan = fc.plan_conv2d(x.shape, weight)
    calls = {"fastconv": lambda: fc.conv2d(x, weight), "fastconv plan": lambda: plan(x)}
    calls |= peers.torch_conv(LAYER, x, weight, "NCHW")
    calls |= peers.onnx_conv(LAYER, x, weight, "NCHW", 1)
    check.check_conv(LAYER, x, weight, {name: peers.dense(call()) for name, call in calls.items()})
    return calls


def main():
    args = report.parser(__doc__, max_seconds=60).parse_args()
    result = report.Report("overhead", args)
    for dtype in args.dtype:
        cases = {f"gemm of {size} cubed": products(size, dtype) for size in CUBES}
        cases["conv2d of 1x3x8x8, 8 filters of 3x3"] = convolution(dtype)
        for threads in args.threads:
            peers.set_threads(threads)
            console.print(f"{dtype}, at most {report.threads_text(threads)}", style="bold")
            table = report.table(["call", "by", "us", "median us"])
            with fc.num_threads(threads):
                for name, calls in report.Progressed(cases.items(), "small calls"):
                    times = alternate(calls, rounds=2 if args.quick else ROUNDS)
                    for by, time in times.items():
                        result.add(call=name, by=by, dtype=dtype, threads=threads,
                                   us=time.least * 1e6, median_us=time.median * 1e6)  # fmt: skip
                        table.add_row(name, by, f"{time.least * 1e6:.2f}", f"{time.median * 1e6:.2f}")
                    table.add_section()
            console.print(table)
    result.save()
    result.close()


if __name__ == "__main__":
    with report.checked():
        main()
