"""Choose an algorithm: see what each would cost for a layer, run one by name, and compare their results.

python examples/02_choose_an_algorithm.py
"""

import time

import numpy as np

import fastconv as fc

rng = np.random.default_rng(0)
x = rng.standard_normal((1, 64, 56, 56)).astype(np.float32)
weight = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)

# What the library knows before it runs anything: costs on a nominal core, memory, or why an algorithm refuses.
explained = fc.explain_conv2d(x.shape, weight.shape, padding=1, prepared=True)
print(explained)

# float64 by the definition, to compare with.
exact = fc.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1, algorithm="direct")
for row in explained.rows:
    if row.refusal or row.name == "naive":
        continue
    plan = fc.plan_conv2d(x.shape, weight, padding=1, algorithm=row.name)  # weights prepared once
    y = plan(x)
    start = time.perf_counter()
    for _ in range(5):
        plan(x, out=y)
    seconds = (time.perf_counter() - start) / 5
    print(f"{row.name:>12}: {seconds * 1e3:6.2f} ms, largest error {abs(y - exact).max() / abs(exact).max():.1e}")

# strict=True admits only algorithms that multiply what the definition multiplies.
print("strict:", fc.plan_conv2d(x.shape, weight, padding=1, strict=True).algorithm)
