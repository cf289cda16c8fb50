"""Running out of memory is a MemoryError, whichever allocation it meets, after which everything works and nothing is
lost; and memory stays flat over many calls.

A failing allocation is staged in two ways: the nests' own workspace by a hook in fastconv/_loops/scratch.pyx, one
allocation after another; arrays, and all that Python takes, by a limit on the address space of a process of its own.
`make stress` makes 100,000 calls instead of 2000."""

import os
import sys

import numpy as np
import pytest
from calls import TINY, bits, calls, network_calls, unordered_calls
from support import run_python

import fastconv as fc
from fastconv._loops import scratch

MADE = {**calls(TINY, np.float32), **unordered_calls(np.float32)}
LOOPS = ("naive", "naive update", "blocked")  # the lecture's loops need no workspace, as col2im


@pytest.fixture
def allocations():
    """fail_allocation, which is put right in the end."""
    yield scratch.fail_allocation
    scratch.fail_allocation(-1)


def anew(name):
    """The call, with a network that has not run yet."""
    fresh = network_calls(np.float32) if name.startswith(("nn", "train")) else MADE
    return fresh.get(name, MADE[name])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("function", sorted({name.split()[0] for name in MADE}))
def test_each_allocation_may_fail(function, threads, allocations, eager):
    """Each in turn, from the first to the last: MemoryError, and then the same call gives the same bits."""
    for name in [name for name in MADE if name.split()[0] == function]:
        expected, failing = bits(anew(name)(num_threads=1)), 0
        while True:
            call = anew(name)
            fc.release_memory()
            allocations(failing)
            try:
                call(num_threads=threads)
            except MemoryError as error:
                assert "workspace" in str(error)
            else:
                allocations(-1)
                break
            failing += 1
            assert failing < 1000
            assert bits(call(num_threads=1)) == expected, (name, failing)
        assert failing or name.startswith("col2im") or name.endswith(LOOPS), name


# in_use: bytes that malloc has handed out, Python's objects included, but for its cache of looked-up attributes, which
# holds names at random. With thread caches off, which malloc counts as in use, it is exact.
MEASURES = """
import ctypes, gc, os, random, sys
import numpy as np
from calls import TINY, calls, unordered_calls
from support import eager_threads
import fastconv as fc
from fastconv._loops import scratch

class Malloc(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks",
                                                     "fsmblks", "uordblks", "fordblks", "keepcost")]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Malloc
clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache

def in_use():
    fc.release_memory()
    gc.collect()
    clear_caches()
    now = libc.mallinfo2()
    return now.uordblks + now.hblkhd

def resident():
    libc.malloc_trim(0)  # what is free on the heap is nobody's
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[1]) * os.sysconf("SC_PAGESIZE")

made = {**calls(TINY, np.float32), **unordered_calls(np.float32)}
"""
EXACT = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
on_glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc what is allocated")


LEAKS = """
def fail_everywhere():
    failed = 0
    for call in made.values():
        for index in range(3):
            fc.release_memory()
            scratch.fail_allocation(index)
            try:
                call(num_threads=1)
            except MemoryError:
                failed += 1
    scratch.fail_allocation(-1)
    return failed

for _ in range(4):  # a network makes what it keeps once it may, so not in the first passes
    failed = fail_everywhere()
before = in_use()
for _ in range(20):
    fail_everywhere()
    in_use()
print(failed, (in_use() - before) / 20)
"""


@on_glibc
def test_failed_calls_leak_nothing():
    """What fails in turn is the first allocations of every call, twenty times. The heap's odds and ends come and go,
    some 100 bytes in all; a lost block would be 32 bytes or more in each pass."""
    done = run_python(MEASURES + LEAKS, timeout=120, **EXACT)
    assert done.returncode == 0, done.stderr
    failed, leaked = map(float, done.stdout.split())
    assert failed > 500
    assert leaked < 16


# Every call has a process of its own: where mmap fails, malloc takes the heap, which keeps what others have freed.
LIMITED = """
import os, resource
import numpy as np, fastconv as fc
from calls import bits, calls
WANTED = ("3x3 NHWC", "depthwise NCHW", "strided NCHW", "gemm", "matmul", "im2col", "col2im", "pool2d", "relu",
          "linear", "softmax", "conv1d", "filter2d", "conv_transpose2d")
made = {name: call for name, call in calls((1, 16, 24, 140, 140), np.float32).items()
        if any(word in name for word in WANTED)}

def failures_of(call, expected):
    failures, result = 0, None
    for room in (0, 1 << 16, 1 << 18, *range(1 << 19, 1 << 26, 1 << 20)):
        fc.release_memory()
        with open("/proc/self/statm") as sizes:
            pages = int(sizes.read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, resource.RLIM_INFINITY))
        try:
            result = call(num_threads=1)
        except MemoryError:
            result = None
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if result is not None:
            break
        failures += 1
    assert bits(result) == expected == bits(call(num_threads=1))
    return failures

never, wrong = [], []
for name, call in made.items():
    expected = bits(call(num_threads=1))
    child = os.fork()
    if child == 0:
        status = 2
        try:
            status = 0 if failures_of(call, expected) else 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 1 and len(expected) > 1 << 18:  # less may still be free on the heap
        never.append(name)
    elif status > 1 or status < 0:
        wrong.append(name)
print(len(made), never, wrong)
"""


@on_glibc
def test_an_address_space_that_is_full():
    """No room is left to a call, then more and more: MemoryError until it is enough. Every call meets the limit."""
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0", "OMP_NUM_THREADS": "1"}
    done = run_python(LIMITED, timeout=120, **environment)
    assert done.returncode == 0, done.stderr
    count, _, never = done.stdout.partition(" ")
    assert int(count) > 60
    assert never.strip() == "[] []"


FLAT = """
draw, many = random.Random(0), list(made.values())
with eager_threads():
    for call in [*many, *many]:
        call(num_threads=2)
    for i in range({count}):
        if i == {count} // 10:
            before = in_use(), resident()
        draw.choice(many)(num_threads=1 + (i % 10 == 0))
print(in_use() - before[0], resident() - before[1])
"""


@on_glibc
def test_memory_stays_flat():
    """Over 2000 mixed calls, a tenth of them in two threads: what is allocated, and what is resident."""
    count = 2000 * int(os.environ.get("REPEAT") or 1)
    done = run_python(MEASURES + FLAT.replace("{count}", str(count)), timeout=3600, **EXACT)
    assert done.returncode == 0, done.stderr
    print(f"{count} calls: bytes allocated and resident that were not before: {done.stdout}")
    allocated, resident = map(int, done.stdout.split())
    assert allocated < 8 << 10  # what is kept of one kind of call would be more
    assert resident < 1 << 20
