"""Measured choices, for whoever asks for them: `python -m fastconv tune` times every algorithm that `auto` may take
for a convolution, with prepared weights, on one thread, and remembers the fastest (fastconv/tuned.py).

Set FASTCONV_TUNED=1 and plans of algorithm "auto" take what was measured on this model of CPU; without it, and for
conv2d, `auto` stays what it is, a function of the shape."""

from time import perf_counter

import numpy as np

from fastconv import tuned
from fastconv._loops.kernels import active_isa
from fastconv.algorithms import ALGORITHMS, row_cost
from fastconv.plan import plan_conv2d
from fastconv.shapes import conv_shape

ROUNDS = 5  # of all contestants in turn, so that a noisy second hurts all of them
BURST = 0.01  # seconds of calls in a round, at least one
HOPELESS = 8.0  # times the cheapest estimate, beyond which an algorithm is not even tried: a guess


def measure(input_shape, weight_shape, dtype="float32", **parameters):
    """{algorithm: seconds of a call} for one convolution, the fastest first; parameters are plan_conv2d's geometry."""
    shape = conv_shape(input_shape, weight_shape, **parameters)
    if 0 in (*shape.input_shape, *shape.output_shape):
        raise ValueError(f"a convolution of {shape.input_shape} to {shape.output_shape} has nothing to time")
    rng = np.random.default_rng(0)
    x = rng.standard_normal(input_shape, np.dtype(dtype))
    weight = rng.standard_normal(weight_shape, np.dtype(dtype))
    costs = {row.name: row_cost(row, shape, x.itemsize, True) for row in ALGORITHMS
             if row.accurate and not row.refuse(shape)}  # fmt: skip
    tried = [name for name, cost in costs.items() if cost <= HOPELESS * min(costs.values())]
    plans = {name: plan_conv2d(input_shape, weight, algorithm=name, **parameters) for name in tried}
    out = np.empty(shape.output_shape, x.dtype)
    times = dict.fromkeys(plans, float("inf"))
    for _ in range(ROUNDS):
        for name, plan in plans.items():
            times[name] = min(times[name], _least(lambda plan=plan: plan(x, out=out, num_threads=1)))
    return dict(sorted(times.items(), key=lambda item: item[1]))


def _least(call):
    """The least seconds of a call within a burst of them."""
    call()  # caches and workspace
    least, end = float("inf"), perf_counter() + BURST
    while True:
        start = perf_counter()
        call()
        stop = perf_counter()
        least = min(least, stop - start)
        if stop > end:
            return least


def tune(input_shape, weight_shape, dtype="float32", **parameters):
    """Measures one convolution and remembers the fastest; what `measure` returns. OSError if that cannot be written."""
    times = measure(input_shape, weight_shape, dtype, **parameters)
    shape = conv_shape(input_shape, weight_shape, **parameters)
    tuned.remember({tuned.key(shape, np.dtype(dtype).itemsize, active_isa()): next(iter(times))})
    return times
