"""Forks and workers that finish and are right, imports and calls at odd moments, and an interpreter that may be
interrupted or ended at any time. Each case runs in a process of its own, under a time limit: a hang is a failure.

`make stress` runs each 50 times."""

import multiprocessing
import os
import platform

import pytest
from support import run_python

from fastconv._loops import team

COUNT = 2 if team.openmp_version() else 1  # threads where two are asked for
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
needs_openmp = pytest.mark.skipif(not team.openmp_version(), reason="a serial build has one thread by design")
pytestmark = pytest.mark.repeated


def lines_of(code, **environment):
    """What that program prints; it must end well."""
    done = run_python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# --- forked children and workers

FORK = """
import os
from worker import answer
every = {every}
before = answer(1, every)
if {parallel}:
    answer(2, every=50)
child = os.fork()
if child == 0:
    first, again = answer(2, every), answer(2, every=50)
    print(first.digest == before.digest, first.warnings, again.warnings, first.limit, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print(answer(2, every=9) == answer(1, every=9), flush=True)
"""


FOREIGN = """
import ctypes, os
from worker import answer
region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
ctypes.CDLL("libgomp.so.1").GOMP_parallel(region, None, 2, 0)
child = os.fork()
if child == 0:
    print(answer(2, every=9).digest, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print(answer(1, every=9).digest, flush=True)
"""


@needs_fork
@pytest.mark.skipif(not platform.libc_ver()[0] or not team.openmp_version(), reason="GCC's OpenMP of Linux")
def test_a_child_forked_after_another_library_s_threads_ran_finishes():
    """torch's regions leave threads in the same libgomp."""
    digests = lines_of(FOREIGN)
    assert len(digests) == 2 and digests[0] == digests[1]


@needs_fork
@needs_openmp
def test_row80_a_child_forked_after_threads_ran_finishes():
    """It warns once, runs on one thread, and gives the same bits; the parent goes on as before."""
    code = FORK.format(every=1, parallel=True)
    assert lines_of(code, OMP_NUM_THREADS="2") == ["True ['RuntimeWarning'] [] 1", "True"]


@needs_fork
def test_a_child_forked_before_any_thread_ran_has_them_all():
    assert lines_of(FORK.format(every=9, parallel=False), OMP_NUM_THREADS="2") == [f"True [] [] {COUNT}", "True"]


BUSY_FORK = """
import os, signal, sys, threading
from networks import network
net, x = network("convolutions")
net[0].weight  # handed out: each call looks whether it has changed, and holds a lock meanwhile
expected = net(x, num_threads=1)
def call():
    while True:
        net(x, num_threads=1)
sys.setswitchinterval(1e-6)
for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(not (net(x, num_threads=1) == expected).all())
    _, status = os.waitpid(child, 0)
    assert status == 0, status
print("every child")
"""


@needs_fork
def test_a_child_forked_while_threads_call_finishes():
    """Locks that other threads held at that moment are nobody's in the child."""
    assert lines_of(BUSY_FORK) == ["every child"]


WORKERS = """
import multiprocessing
from worker import answer
mine = answer(every=9)
with multiprocessing.get_context("{by}").Pool(2) as pool:
    answers = [task.get(50) for task in [pool.apply_async(answer, (2, 9)) for _ in range(4)]]
"""
JOBLIB = """
import joblib
from worker import answer
mine = answer(every=9)
answers = joblib.Parallel(n_jobs=2, backend="{by}", timeout=50)(joblib.delayed(answer)(2, 9) for _ in range(4))
"""
SHOW_ANSWERS = """
assert all(task.digest == mine.digest for task in answers)
print(sorted({task.limit for task in answers}), any(task.warnings for task in answers))
"""


@needs_openmp
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(method):
    """Forked workers are serial and warn; others have all threads."""
    shown = "[1] True" if method == "fork" else "[2] False"
    assert lines_of(WORKERS.format(by=method) + SHOW_ANSWERS, OMP_NUM_THREADS="2") == [shown]


@needs_openmp
@pytest.mark.parametrize(("backend", "shown"), [("loky", "[1] False"), ("multiprocessing", "[1] True")])
def test_joblib(backend, shown):
    """loky's workers start afresh and are told to share two cores; multiprocessing's are forked."""
    pytest.importorskip("joblib")
    with_two_cores = {"OMP_NUM_THREADS": None, "LOKY_MAX_CPU_COUNT": "2"}
    assert lines_of(JOBLIB.format(by=backend) + SHOW_ANSWERS, **with_two_cores) == [shown]


# --- imports, exits, finalizers, signals, interrupts

IMPORT = """
import threading
def first():
    from worker import answer
    answers.append(answer(every=9))
answers = []
thread = threading.Thread(target=first)
thread.start()
thread.join()
first()
print(answers[0] == answers[1])
"""


def test_import_from_a_thread():
    assert lines_of(IMPORT) == ["True"]


END = """
import atexit
import numpy as np, fastconv as fc
from worker import answer
expected = answer(every=9).digest
class Last:
    def __del__(self, answer=answer):
        print("del", answer(every=9).digest == expected, flush=True)
atexit.register(lambda: print("atexit", answer(every=9).digest == expected, flush=True))
last = Last()
del last
"""


def test_row81_calls_at_exit_and_in_finalizers():
    assert lines_of(END) == ["del True", "atexit True"]


SIGNAL = """
import signal
import numpy as np, fastconv as fc
from networks import network
net, x = network("convolutions")
net[0].weight  # handed out: each call looks whether it has changed, and holds a lock meanwhile
a = np.ones((130, 130), np.float32)
expected, handled = net(x), 0
def handle(*_):
    global handled
    assert (net(x) == expected).all() and (fc.gemm(a, a, num_threads=2) == 130).all()
    handled += 1
    if handled < 150:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + handled % 7 * 0.0001)
signal.signal(signal.SIGALRM, handle)
handle()
while handled < 150:
    assert (net(x) == expected).all()
    assert (fc.gemm(a, a, num_threads=2) == 130).all()
print("handled")
"""


def test_row81_calls_in_a_signal_handler():
    """The handler runs in the middle of other calls of the same thread, perhaps while they hold a lock."""
    assert lines_of(SIGNAL) == ["handled"]


INTERRUPT = """
import os, signal, threading, time
import numpy as np, fastconv as fc
from calls import TINY, bits, calls, fitted
from networks import network
from support import eager_threads
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
a = np.ones((700, 700), np.float32)
def long_call():
    fc.gemm(a, a, algorithm="naive", num_threads=2)
def many_calls():
    for call in made.values():
        call(num_threads=2)
def training():
    fitted("residual", np.float32, parallel="images", num_threads=2)
with eager_threads():
    made = calls(TINY, np.float32)
    some = list(made)[::20]
    expected = {name: bits(made[name](num_threads=1)) for name in some}
    for turn in range(3):
        timer = threading.Timer(0.05 * (turn + 1), os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                {what}()
        except KeyboardInterrupt:
            print("interrupted")
        assert all(bits(made[name](num_threads=2)) == expected[name] for name in some)
"""


@pytest.mark.parametrize("what", ["long_call", "many_calls", "training"])
def test_row82_an_interrupt_leaves_everything_working(what):
    assert lines_of(INTERRUPT.replace("{what}", what)) == 3 * ["interrupted"]


INTERRUPTED_FIT = """
import os, signal, threading
import numpy as np
from calls import LABELS
from networks import network
from fastconv import train
signal.signal(signal.SIGINT, signal.default_int_handler)
net, x = network("convolutions", np.float32)
before = train.gradients(net, x, LABELS[: len(x)])[0]
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    train.fit(net, x, LABELS[: len(x)], epochs=10**6, batch_size=3, lr=0.01, progress=False)
except KeyboardInterrupt:
    print("interrupted")
loss = train.gradients(net, x, LABELS[: len(x)])[0]
assert loss < before and np.isfinite(net(x)).all()
again = train.fit(net, x, LABELS[: len(x)], epochs=20, batch_size=3, lr=0.01, progress=False)
assert again.losses[0] == loss and again.losses[-1] < loss
print("learns on")
"""


def test_row82_an_interrupted_training_keeps_what_it_has_learnt():
    assert lines_of(INTERRUPTED_FIT) == ["interrupted", "learns on"]


# --- other libraries' threads

COMPANY = """
import threading
import numpy as np, fastconv as fc
a = np.random.default_rng(0).standard_normal((400, 400), np.float32)
x, weight = a.reshape(4, 16, 50, 50), np.ones((16, 16, 3, 3), np.float32)
def fastconv():
    return fc.gemm(a, a, num_threads=2).tobytes(), fc.conv2d(x, weight, padding=1, num_threads=2).tobytes()
def numpy():
    return a @ a
def sklearn():
    from sklearn.metrics import pairwise_distances_argmin
    return pairwise_distances_argmin(a, a)
def torch():
    import torch
    torch.set_num_threads(2)
    return torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight))
expected = fastconv()
def call():
    for _ in range(10):
        {other}()
        right.append(fastconv() == expected)
        {other}()
right = []
call()
callers = [threading.Thread(target=call) for _ in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
print(len(right), all(right))
"""


@pytest.mark.parametrize("other", ["numpy", "sklearn", "torch"])
def test_beside_another_library_that_runs_threads(other):
    """In one process, in turn and at once, in four Python threads: the same bits, and no deadlock."""
    pytest.importorskip(other)
    assert lines_of(COMPANY.replace("{other}", other)) == ["50 True"]
