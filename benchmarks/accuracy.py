"""How far every algorithm is from the exact result, beside direct summation and torch: writes docs/accuracy.md, and
fails where a row of fastconv/algorithms.py errs more than its `error` says.

One image of 24x24 pixels, 16 filters; x and weights normal deviates, results about 1. The exact result is NumPy's sum
in float64 for float32, in np.longdouble for float64."""

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS, MOST_ERROR

SIZE, FILTERS = 24, 16
CHANNELS = (3, 16, 64, 256, 1024, 2048)
PUBLISHED = 16  # channels from which on the table's `error` holds
KERNELS = (3, 7, 15)
WIDER = {"float32": np.float64, "float64": np.longdouble}
DIRECT, TORCH = "naive", "torch"
HEAD = """# Accuracy

Written by `benchmarks/accuracy.py`, {date}, on {isa} ({cpu}).

`auto` takes only algorithms whose rms error in float32 is at most {most:g} times that of direct summation, the
definition's loops with one sum in order ("naive"). These run by name only: {excluded}.
Each row's bound is `Algorithm.error` in `fastconv/algorithms.py`; the script fails if one is exceeded, and
`tests/test_accuracy.py` holds every instruction set to them:

{bounds}.

The bounds hold from {published} channels on. With fewer, direct summation rounds so rarely that every transform looks
worse beside it, though no error grows: the column of 3 channels shows how much.

- **NaN and Inf** go exactly where the definition sends them with "direct", "im2col" and "naive". Winograd and FFT
  transform tiles: one in x may reach all results of its tile and group (m x m of them for F(m x m), up to 128 x 128
  for "fft"), one in a filter all results of that filter. Every other result is right. In weight gradients, taps that
  meet padding may get NaN too: padding is multiplied there, as zeros, and in networks by every algorithm.
- **Signed zeros**: a sum begins at +0, or at the bias, so a result of zero is +0, unless that bias is -0 and so is
  every product, or a negative sum underflowed. The largest value and the mean of a window of -0 alone are -0.
- **Subnormal numbers** are zeros inside every nest, x, weights and results alike, for the duration of the call;
  `set_flush_denormals(False)` keeps them.
- **Whole numbers** small enough for exact sums are exact in "winograd2x2", whose transforms only add and halve.
- **float64** has the same ratios; float32 and float64 are held to the same bounds.
- **"naive"** sums in one order, as torch does, nearly, for 3x3 and 7x7; "direct" and "im2col" begin a new sum every
  1024 products, which is why they are more exact on deep layers ("direct" not where sums are short as a rule: in
  channels-first first layers, depthwise, for many small images or for few filters).

Data: normal deviates, one image of {size}x{size} pixels, {filters} filters, "same" padding, results of rms 1. A cell is
the rms error, and in brackets its ratio to direct summation; the last column is the largest error of any result.
"""


def measure(dtype, channels, kernel):
    """{name: (rms error, largest error)} of torch and of every row that does the layer; the rms of the results is 1."""
    rng = np.random.default_rng(channels)
    x = rng.standard_normal((1, channels, SIZE, SIZE)).astype(dtype)
    weight = rng.standard_normal((FILTERS, channels, kernel, kernel)) / np.sqrt(channels * kernel**2)
    weight = weight.astype(dtype)
    padding = kernel // 2
    exact = reference.conv2d(x.astype(WIDER[dtype]), weight.astype(WIDER[dtype]), padding=padding)
    results = {
        TORCH: torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=padding).numpy()
    }
    for row in fc.explain_conv2d(x.shape, weight.shape, dtype=dtype, padding=padding).rows:
        if row.refusal is None:
            results[row.name] = fc.conv2d(x, weight, padding=padding, algorithm=row.name)
    unit = np.sqrt(np.mean(exact**2))
    errors = {name: abs(result - exact) / unit for name, result in results.items()}
    return {name: (float(np.sqrt(np.mean(e**2))), float(e.max())) for name, e in errors.items()}


def ratio(errors, name):
    return errors[name][0] / errors[DIRECT][0]


def table(dtype, kernel, measured):
    """The lines of Markdown of {channels: what `measure` says}."""
    lines = [
        f"## {dtype}, {kernel}x{kernel}",
        "| | " + " | ".join(f"C = {channels}" for channels in measured) + " | largest |",
        "|---|" + "---|" * (len(measured) + 1),
    ]
    for name in measured[PUBLISHED]:
        cells = [f"{errors[name][0]:.1e} ({ratio(errors, name):.2f})" for errors in measured.values()]
        largest = max(errors[name][1] for errors in measured.values())
        lines.append(f"| {name} | {' | '.join(cells)} | {largest:.1e} |")
    return lines


def exceeded(dtype, kernel, measured):
    """A line for every row that errs more than it says."""
    return [
        f"{row.name}, {dtype}, {kernel}x{kernel}, C = {channels}: {ratio(errors, row.name):.2f} > {row.error}"
        for channels, errors in measured.items()
        for row in ALGORITHMS
        if channels >= PUBLISHED and row.name in errors and ratio(errors, row.name) > row.error
    ]


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    home = Path(__file__).parent.parent / "docs" / "accuracy.md"
    parse.add_argument("--out", type=Path, default=home, help="the file to write")
    out = parse.parse_args().out
    lines, wrong = [], []
    for dtype in WIDER:
        for kernel in KERNELS:
            measured = {channels: measure(dtype, channels, kernel) for channels in CHANNELS}
            lines += ["", *table(dtype, kernel, measured)]
            wrong += exceeded(dtype, kernel, measured)
    head = HEAD.format(
        date=f"{date.today():%Y-%m}", isa=fc.config.config()["isa"], cpu=fc.config.cpu_model(), most=MOST_ERROR,
        excluded=", ".join(f'"{row.name}"' for row in ALGORITHMS if not row.accurate), published=PUBLISHED, size=SIZE,
        filters=FILTERS, bounds=", ".join(f"{row.name} {row.error:g}" for row in ALGORITHMS),
    )  # fmt: skip
    out.write_text(head + "\n".join(lines) + "\n")
    print(f"wrote {out}")
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
