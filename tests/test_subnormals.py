"""row 49: inside a nest subnormal numbers are zeros, unless set_flush_denormals(False); outside it, in the calling
Python thread, nothing changes."""

import platform
import sys

import numpy as np
import pytest
from calls import TINY, calls, cases, unordered_calls
from conv_cases import shape_of
from support import DTYPES, dtype_name, run_python

import fastconv as fc
from fastconv.algorithms import ALGORITHMS, BY_NAME

CALLS = {
    **{f"gemm-{name}": lambda a, b, name=name: fc.gemm(a, b, algorithm=name, num_threads=2)
       for name in ("naive", "blocked", "packed")},
    "gemm-one-row": lambda a, b: fc.gemm(a[:1], b),
    "gemm-dots": lambda a, b: fc.gemm(a[:2], np.asfortranarray(b)),
    **{f"conv2d-{row.name}": lambda a, b, row=row: fc.conv2d(a[:, :, None, None], b.T[:, :, None, None],
                                                            algorithm=row.name, num_threads=2)
       for row in ALGORITHMS if row.strict},
}  # fmt: skip


@pytest.fixture
def flushing():
    yield
    fc.set_flush_denormals(True)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("flush", [True, False], ids=["flushed", "kept"])
def test_subnormals(call, dtype, flush, flushing, eager, isa):
    tiny = np.finfo(dtype).smallest_normal / dtype(8)
    assert tiny > 0
    a, b = np.full((20, 30), tiny), np.ones((30, 40), dtype)
    expected = 30 * tiny
    fc.set_flush_denormals(flush)
    got = CALLS[call](a, b)
    assert (got == (0 if flush else expected)).all()
    # The caller's own arithmetic still has subnormals, as operands and as results.
    assert tiny * dtype(1) == tiny
    assert np.finfo(dtype).smallest_normal / dtype(8) == tiny
    normal = CALLS[call](a * dtype(2.0**40), b)
    assert (normal == expected * dtype(2.0**40)).all()


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("what", ["x", "weight"])
def test_subnormals_in_every_algorithm(what, algorithm, dtype, flushing, isa):
    """Of x or of the filters, which are packed or transformed first; an algorithm that rewrites the sum rounds what it
    keeps to the few bits that a subnormal has."""
    tiny = np.finfo(dtype).smallest_normal / dtype(64)
    for case in cases((1, 5, 9, 8, 9)).values():
        if BY_NAME[algorithm].refuse(shape_of(case)):
            continue
        x, weight = (np.full(shape, tiny if name == what else 1, dtype)
                     for name, shape in (("x", case.x), ("weight", case.weight)))  # fmt: skip
        results = {}
        for flush in (True, False):
            fc.set_flush_denormals(flush)
            results[flush] = fc.conv2d(x, weight, algorithm=algorithm, **case.parameters)
        assert (results[True] == 0).all()
        terms = fc.conv2d(np.ones_like(x), np.ones_like(weight), algorithm="naive", **case.parameters)
        np.testing.assert_allclose(results[False] / tiny, terms, rtol=1e-5, atol=0.1)


def test_no_call_leaves_the_caller_flushing(eager):
    """Whatever ran, on one thread or two, the caller's subnormals are there again."""
    tiny = np.finfo(np.float32).smallest_normal / np.float32(8)
    for name, call in {**calls(TINY, np.float32), **unordered_calls(np.float32)}.items():
        for threads in (1, 2):
            call(num_threads=threads)
            assert tiny * np.float32(1) == tiny > 0, (name, threads)


def test_what_gemm_does_behind_its_nests_is_flushed_as_well(flushing):
    """The parts of a sum that come together, and C where there is no product."""
    tiny, a, b = np.float32(2.0**-127), np.zeros((1, 512), np.float32), np.ones((512, 8), np.float32)
    a[0, 0], a[0, -1] = 1.5 * 2.0**-126, -(2.0**-126)
    for flush in (True, False):
        fc.set_flush_denormals(flush)
        assert (fc.gemm(a, b) == (0 if flush else tiny)).all()
        c = np.full((1, 8), tiny)
        assert (fc.gemm(a, b, c, alpha=0.0, beta=0.5) == (0 if flush else tiny / 2)).all()
        assert (fc.gemm(a[:, :0], b[:0], c, beta=0.5) == (0 if flush else tiny / 2)).all()


def test_products_that_underflow_are_flushed(flushing):
    """Two normal numbers whose product is subnormal."""
    small = np.full((4, 4), np.float32(2.0**-70))
    assert (fc.matmul(small, small) == 0).all()
    fc.set_flush_denormals(False)
    assert (fc.matmul(small, small) == np.float32(4 * 2.0**-140)).all()


@pytest.mark.parametrize("mode", ["private", "locked", "atomic", "hogwild"])
@pytest.mark.parametrize("scattered", [False, True], ids=["rows", "indices"])
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
def test_shared_sums_that_underflow_are_flushed(dtype, scattered, mode, flushing, eager):
    tiny = np.finfo(dtype).smallest_normal / dtype(8)
    places = np.arange(600).reshape(2, 300) if scattered else None
    for flush in (True, False):
        fc.set_flush_denormals(flush)
        for threads in (1, 2):
            shared = np.zeros(600 if scattered else 300, dtype)
            updates = np.full((2, 300), tiny) * np.array([[1], [0]], dtype)
            fc.hogwild.accumulate(shared, updates, indices=places, mode=mode, num_threads=threads)
            assert (shared[:300] == (0 if flush else tiny)).all()


TRAPPING = """
import ctypes, numpy as np, fastconv as fc
x, w, a = np.ones((1, 8, 9, 9), np.float32), np.ones((16, 8, 3, 3), np.float32), np.ones((40, 40), np.float32)
libm = ctypes.CDLL("libm.so.6")
libm.feenableexcept(1)
for flush in (True, False):
    fc.set_flush_denormals(flush)
    for threads in (1, 2):
        assert (fc.conv2d(x, w, num_threads=threads) == 72).all() and (fc.gemm(a, a, num_threads=threads) == 40).all()
assert libm.fegetexcept() == 1
"""


ROUNDING = """
import ctypes, numpy as np, fastconv as fc
a = np.random.default_rng(0).standard_normal((300, 300), np.float32)
expected = fc.gemm(a, a, num_threads=1)
libm = ctypes.CDLL("libm.so.6")
libm.fesetround(0x800)  # upward
for threads in (1, 2):
    assert (fc.gemm(a, a, num_threads=threads) == expected).all()
assert libm.fegetround() == 0x800
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="glibc's modes of x86")
def test_a_caller_that_rounds_otherwise_gets_the_same_bits():
    done = run_python(ROUNDING)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="glibc's traps of x86")
def test_a_process_that_traps_invalid_operations_goes_on():
    """Kernels compare with NaN; the exceptions are masked inside of a nest only."""
    done = run_python(TRAPPING)
    assert done.returncode == 0, done.stderr
