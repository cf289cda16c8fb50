"""Data, memory layouts and switches for the tests. Whole-numbered data small enough that every sum is exact in
float32 makes results comparable bit for bit with an int64 reference."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import threads
from fastconv._loops import kernels, team

ROOT = Path(__file__).resolve().parent.parent
ISAS = kernels.available_isas()
DTYPES = (np.float32, np.float64)
LAYOUTS = ("NCHW", "NHWC")
dtype_name = {np.float32: "f32", np.float64: "f64"}.get


@contextmanager
def use_isa(name):
    """Runs the block on that instruction set."""
    before = kernels.active_isa()
    kernels.select_isa(name)
    try:
        yield
    finally:
        kernels.select_isa(before)


@contextmanager
def eager_threads():
    """Within the block the smallest work is shared between threads."""
    before = threads.SERIAL_WORK, threads.WORK_PER_THREAD
    threads.SERIAL_WORK, threads.WORK_PER_THREAD = 0, 1
    try:
        yield
    finally:
        threads.SERIAL_WORK, threads.WORK_PER_THREAD = before


@contextmanager
def only_chunk(index):
    """Within the block a nest runs the chunk of that index only."""
    team.run_only_chunk(index)
    try:
        yield
    finally:
        team.run_only_chunk(-1)


def whole(shape, seed=0, limit=3):
    """Integers in [-limit, limit] as int64: exact in float32 for sums of up to 2**24 / limit**2 products."""
    return np.random.default_rng(seed).integers(-limit, limit + 1, shape)


def reals(shape, seed=0, dtype=np.float64):
    """Normal deviates."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gamma(terms, dtype):
    """Higham's bound on the relative error of a sum of so many products, in any order."""
    u = np.finfo(dtype).eps / 2
    return terms * u / (1 - terms * u)


def slope(function, x, toward, step=1e-5):
    """The derivative of a real function of float64 arrays along a direction, by a central difference."""
    return (function(x + step * toward) - function(x - step * toward)) / (2 * step)


def poison(shape, dtype):
    """An array of NaN with a payload that no operation makes, for `written`."""
    bits = {4: 0x7FC12345, 8: 0x7FF8123456789ABC}[np.dtype(dtype).itemsize]
    return np.full(shape, bits, f"u{np.dtype(dtype).itemsize}").view(dtype)


def written(array):
    """Which elements of an array made by `poison` have been written since."""
    bits = f"u{array.itemsize}"
    return array.view(bits) != poison((), array.dtype).view(bits)


def laid_out(values, order=None, steps=None, offset=0):
    """The same values elsewhere in memory: axes stored in `order`, slowest first, neighbours `steps` elements apart
    (negative: backwards), the whole `offset` bytes past an element's boundary. The gaps hold NaN."""
    order = tuple(range(values.ndim)) if order is None else order
    steps = (1,) * values.ndim if steps is None else steps
    stored = [values.shape[axis] * abs(steps[axis]) for axis in order]
    size = int(np.prod(stored)) * values.itemsize
    memory = np.zeros(size + offset, np.uint8)[offset:].view(values.dtype).reshape(stored)
    memory[...] = np.nan
    view = memory[tuple(slice(None, None, steps[axis]) for axis in order)].transpose(np.argsort(order))
    view[...] = values
    return view


def read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view


MEMORY = {
    "C": lambda a: a.copy(),
    "Fortran": lambda a: np.asfortranarray(a),
    "gaps": lambda a: laid_out(a, steps=(2,) * a.ndim),
    "reversed": lambda a: laid_out(a, steps=(-1,) * a.ndim),
    "backwards-gaps": lambda a: laid_out(a, order=tuple(reversed(range(a.ndim))), steps=(-3,) * a.ndim),
    "misaligned": lambda a: laid_out(a, offset=1),
    "misaligned-Fortran": lambda a: laid_out(a, order=tuple(reversed(range(a.ndim))), offset=3),
    "read-only": lambda a: read_only(a.copy()),
}


# Where this fastconv was imported from: in the checkout's root a child would find the sources, perhaps uncompiled.
INSTALLED = str(Path(fc.__file__).parents[1])


def run_python(code, timeout=60, **environment):
    """The finished process of `python -c code` with these variables (None: unset), warnings shown."""
    env = {**os.environ, "PYTHONPATH": INSTALLED, **environment}
    env = {name: value for name, value in env.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT / "tests", capture_output=True, text=True, timeout=timeout
    )
