"""Tries an installed fastconv, from any folder and without anything but its own dependencies."""

import importlib.metadata
import os
import subprocess
import sys

import numpy as np

import fastconv as fc


def python(*arguments, **environment):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def naive_conv(x, weight):
    """A valid correlation, stride 1, by the definition; NCHW."""
    rows, columns = (size - kernel + 1 for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True))
    y = np.zeros((len(x), len(weight), rows, columns), x.dtype)
    for r, s in np.ndindex(weight.shape[2:]):
        y += np.einsum("nchw,kc->nkhw", x[:, :, r : r + rows, s : s + columns], weight[:, :, r, s])
    return y


assert os.path.commonpath([fc.__file__, sys.prefix]) == sys.prefix, f"not the installed library: {fc.__file__}"
assert importlib.metadata.version("fastconv") == fc.__version__

info = python("-m", "fastconv", "info")
assert info.returncode == 0 and "in use" in info.stdout, info.stderr
print(info.stdout)
refused = python("-c", "import fastconv", FASTCONV_ISA="no-such")
assert "ImportError" in refused.stderr and "portable" in refused.stderr, refused.stderr

draw = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    a, b = (draw.integers(-8, 9, shape).astype(dtype) for shape in ((131, 67), (67, 93)))
    np.testing.assert_array_equal(fc.gemm(a, b), a @ b)
    x, weight = (draw.integers(-8, 9, shape).astype(dtype) for shape in ((2, 5, 33, 31), (7, 5, 3, 3)))
    np.testing.assert_array_equal(fc.conv2d(x, weight), naive_conv(x, weight))
print("import, info, gemm and conv2d work")
