"""Threads swept from one to twice the cores: products, and every convolution algorithm on two layers of VGG-16."""

import numpy as np
from harness import report, sweeps
from harness.layers import layers
from harness.report import console
from harness.timing import ROUNDS

import fastconv as fc

PRODUCTS = {"packed": 1024, "blocked": 512}
VECTOR = 8192  # a matrix of 256 MB in float32, read once
LAYERS = ("conv2_2", "conv5")  # much work in few channels, little work in many


def work():
    """{name: (flops, call of a thread number)}."""
    rng = np.random.default_rng(0)
    found = {}
    for algorithm, size in PRODUCTS.items():
        a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
        found[f"product {size} cubed, {algorithm}"] = (
            2 * size**3,
            lambda n, a=a, b=b, algorithm=algorithm: fc.gemm(a, b, algorithm=algorithm, num_threads=n),
        )
    matrix, column = rng.standard_normal((VECTOR, VECTOR), np.float32), rng.standard_normal((VECTOR, 1), np.float32)
    found[f"{VECTOR} x 1 x {VECTOR}"] = 2 * VECTOR**2, lambda n: fc.gemm(matrix, column, num_threads=n)
    for layer in layers("vgg16"):
        if layer.name in LAYERS:
            found.update(convolutions(layer))
    return found


def convolutions(layer):
    """Every algorithm that does not refuse the layer, the naive one left out."""
    x, weight = layer.data("float32", "NHWC")
    options = {**layer.parameters(), "layout": "NHWC"}
    for row in fc.explain_conv2d(x.shape, weight.shape, prepared=True, **options).rows:
        if row.refusal is None and row.name != "naive":
            plan = fc.plan_conv2d(x.shape, weight, algorithm=row.name, **options)
            yield f"{layer.name}, {row.name}", (layer.flops, lambda n, plan=plan: plan(x, num_threads=n))


def main():
    args = report.parser(__doc__, max_seconds=60, options=("quick",)).parse_args()
    result = report.Report("sweep_threads", args, compares=False)
    series = sweeps.sweep_threads(result, work(), args.max_seconds, 2 if args.quick else ROUNDS)
    result.refresh_limits()
    console.print(sweeps.thread_table(series))
    path = result.path(".png", "GF/s over the number of threads, beyond the cores shaded")
    sweeps.draw_threads(result, series, "float32, layers in NHWC with prepared weights", path)
    result.save()
    result.close()


if __name__ == "__main__":
    main()
