"""Threads: which limit holds, the same bits for any number of them and of callers, forks that finish, and an
interpreter that may be interrupted or ended at any time."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conv_cases import CASES, shape_of, to_layout
from support import DTYPES, LAYOUTS, dtype_name, reals, run_python
from threadpoolctl import threadpool_limits

import fastconv as fc
from fastconv import products, threads
from fastconv._loops import team
from fastconv.algorithms import ALGORITHMS, BY_NAME

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
needs_openmp = pytest.mark.skipif(not team.openmp_version(), reason="a serial build has one thread by design")
PLENTY = 10**12  # FLOPs


@pytest.fixture
def process_limit():
    """Restores the process's limit; None before anybody set it."""
    before = threads._process_limit
    yield
    threads._process_limit = before


# --- which limit holds


@needs_openmp
def test_the_argument_beats_the_block_beats_the_process_beats_the_default(process_limit):
    with threadpool_limits(8, "openmp"):
        default = fc.get_num_threads()
        assert 1 <= default <= 8
        fc.set_num_threads(5)
        assert fc.get_num_threads() == 5
        with fc.num_threads(3):
            assert fc.get_num_threads() == 3
            with fc.num_threads(2):
                assert fc.get_num_threads() == 2
                assert threads.team_size(PLENTY) == 2
                assert threads.team_size(PLENTY, 7) == 7
            assert fc.get_num_threads() == 3
        assert fc.get_num_threads() == 5


@needs_openmp
def test_threadpoolctl_caps_all_but_the_argument(process_limit):
    fc.set_num_threads(5)
    with threadpool_limits(2, "openmp"):
        assert fc.get_num_threads() == 2
        with fc.num_threads(4):
            assert fc.get_num_threads() == 2
        assert threads.team_size(PLENTY) == 2
        assert threads.team_size(PLENTY, 4) == 4
    with threadpool_limits(6, "openmp"):
        assert fc.get_num_threads() == 5


@needs_openmp
def test_a_block_holds_in_its_python_thread_only(process_limit):
    with threadpool_limits(8, "openmp"), ThreadPoolExecutor(1) as pool:
        outside = pool.submit(fc.get_num_threads).result()
        with fc.num_threads(1):
            assert fc.get_num_threads() == 1
            assert pool.submit(fc.get_num_threads).result() == outside


def test_a_block_left_by_an_exception_restores_the_limit():
    before = fc.get_num_threads()
    with pytest.raises(KeyError), fc.num_threads(1):
        raise KeyError
    assert fc.get_num_threads() == before


def test_small_work_runs_alone():
    """A team for microseconds of work costs more than the work, whoever asks for it."""
    assert threads.team_size(1000) == 1
    assert threads.team_size(1000, 8) == 1
    assert 1 <= threads.team_size(3_000_000, 8) <= 3


@pytest.mark.parametrize(
    "set_limit",
    [
        fc.set_num_threads,
        lambda n: fc.num_threads(n).__enter__(),
        lambda n: threads.team_size(PLENTY, n),
        lambda n: fc.matmul(np.ones((2, 2)), np.ones((2, 2)), num_threads=n),
    ],
    ids=["set_num_threads", "num_threads", "team_size", "matmul"],
)
@pytest.mark.parametrize(
    ("n", "error"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), (2.0, TypeError), (True, TypeError), ("2", TypeError)],
)
def test_row38_bad_counts(set_limit, n, error):
    with pytest.raises(error, match="must be"):
        set_limit(n)


def test_row38_a_huge_count_is_capped():
    assert 1 <= threads.team_size(PLENTY, 10**9) <= 1024
    assert threads.team_size(PLENTY, np.int64(2)) <= 2


SHOW = "import fastconv as fc, json; a = fc.get_num_threads(); import numpy as np; \
x = np.ones((300, 300), np.float32); \
print(json.dumps([a, fc.threads.team_size(10**15), float(fc.matmul(x, x).sum())]))"


@pytest.mark.parametrize("value", [None, "", "0", "abc", "4,2", "-3", "1", "3", "100000", "999999999999"])
def test_row84_omp_num_threads(value):
    """Every value gives a working library; a number that makes sense is the number of threads."""
    done = run_python(SHOW, OMP_NUM_THREADS=value)
    assert done.returncode == 0, done.stderr
    count, largest_team, total = json.loads(done.stdout)
    assert total == 300.0**3
    assert count >= 1
    assert 1 <= largest_team <= 1024
    sensible = {"1": 1, "3": 3, "4,2": 4}
    if team.openmp_version() and value in sensible:
        assert count == sensible[value]


# --- the same bits


TEAMS = (1, 2, 3, 5)
GEMMS = [(130, 300, 1300, "NN"), (15, 300, 70, "NN"), (61, 2100, 9, "NN"), (1, 5000, 30, "NN"), (5000, 1, 30, "NN"),
         (7, 1003, 500, "NT"), (300, 40, 77, "TN"), (1, 3000, 2000, "NT"), (1, 700, 3000, "NN")]  # fmt: skip


@pytest.mark.parametrize("algorithm", [name for name in products.ALGORITHMS if name != "auto"])  # it is "packed"
@pytest.mark.parametrize("shape", GEMMS, ids=str)
@by_dtype
def test_gemm_gives_the_same_bits_for_any_team(shape, algorithm, dtype, eager, isa):
    m, n, k, trans = shape
    if algorithm == "naive" and m * n * k > 3e6:
        n, k = n // 10 + 1, k // 10 + 1
    a, b, c = reals((m, k), 1, dtype), reals((k, n), 2, dtype), reals((m, n), 3, dtype)
    a = a if trans[0] == "N" else np.asfortranarray(a)
    b = b if trans[1] == "N" else np.asfortranarray(b)
    results = [fc.gemm(a, b, c, alpha=0.3, beta=0.7, algorithm=algorithm, num_threads=team).tobytes() for team in TEAMS]
    assert len(set(results)) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
@by_dtype
def test_conv2d_gives_the_same_bits_for_any_team(algorithm, layout, dtype, eager, isa):
    for case in CASES[::2]:
        if BY_NAME[algorithm].refuse(shape_of(case, layout)) or 0 in case.x + case.weight:
            continue
        x, weight, bias = (reals(s, i, dtype) for i, s in enumerate((case.x, case.weight, case.weight[:1])))
        call = {"layout": layout, "algorithm": algorithm, **case.parameters}
        results = [fc.conv2d(to_layout(x, layout), to_layout(weight, layout), bias, num_threads=team, **call).tobytes()
                   for team in TEAMS]  # fmt: skip
        assert len(set(results)) == 1, case.name


@pytest.mark.parametrize("layout", LAYOUTS)
@by_dtype
def test_lowering_gives_the_same_bits_for_any_team(layout, dtype, eager):
    x = reals((2, 7, 15, 16), 1, dtype)
    call = {"kernel_size": 3, "stride": (1, 2), "padding": 1, "layout": layout}
    cols = [fc.im2col(x, num_threads=team, **call) for team in TEAMS]
    assert len({c.tobytes() for c in cols}) == 1
    assert len({fc.col2im(cols[0], x.shape, num_threads=team, **call).tobytes() for team in TEAMS}) == 1


def test_auto_does_not_depend_on_threads(process_limit):
    chosen = set()
    for limit in (1, 2, 64):
        fc.set_num_threads(limit)
        chosen.add(fc.explain_conv2d((1, 64, 56, 56), (64, 64, 3, 3), padding=1).chosen)
    assert len(chosen) == 1


# --- many callers


def at_once(count, call):
    """The results of `count` Python threads that start `call` together."""
    barrier = threading.Barrier(count)

    def wait_and_call(i):
        barrier.wait(30)
        return call(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_call, range(count)))


@pytest.mark.parametrize("callers", [5, 16])
def test_callers_at_once_get_the_same_bits(callers, eager):
    """OpenBLAS#1401: concurrent identical products must agree."""
    a, b = reals((128, 200), 1, np.float32), reals((200, 900), 2, np.float32)
    expected = fc.gemm(a, b).tobytes()
    results = at_once(callers, lambda i: {fc.gemm(a, b, num_threads=1 + i % 3).tobytes() for _ in range(10)})
    assert set.union(*results) == {expected}


@pytest.mark.parametrize("algorithm", [row.name for row in ALGORITHMS])
@pytest.mark.parametrize(
    ("x_shape", "weight_shape"),
    [((2, 16, 14, 14), (20, 16, 3, 3)), ((1, 150, 5, 6), (300, 150, 3, 3))],
    ids=["small", "large-weights"],  # these make transforms run in two phases
)
def test_row78_callers_share_a_plan(algorithm, x_shape, weight_shape, eager):
    x, weight, bias = (reals(size, i, np.float32) for i, size in enumerate((x_shape, weight_shape, weight_shape[0])))
    plan = fc.plan_conv2d(x.shape, weight, bias, padding=1, algorithm=algorithm, activation="relu")
    images = [x * (i + 1) for i in range(16)]
    expected = [plan(image).tobytes() for image in images]
    results = at_once(16, lambda i: {plan(images[i], num_threads=1 + i % 3).tobytes() for _ in range(4)})
    assert results == [{bits} for bits in expected]


def test_an_update_is_seen_whole_or_not_at_all(eager):
    """A call that runs beside update() gives the old result or the new one, weight and bias alike."""
    x, weight = reals((1, 8, 10, 10), 1), reals((9, 8, 3, 3), 2)
    pairs = [(weight, np.zeros(9)), (-weight, np.full(9, 50.0))]
    allowed = {fc.conv2d(x, *pair).tobytes() for pair in pairs}
    plan = fc.plan_conv2d(x.shape, *pairs[0])

    def call(i):
        if i == 0:
            for turn in range(60):
                plan.update(*pairs[turn % 2])
            return allowed
        return {plan(x).tobytes() for _ in range(60)}

    assert set.union(*at_once(4, call)) <= allowed


def test_row67_x_changed_by_another_thread_crashes_nothing(eager):
    x, weight = reals((2, 16, 20, 20), 1, np.float32), reals((16, 16, 3, 3), 2, np.float32)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            x[...] = -x

    changer = threading.Thread(target=change)
    changer.start()
    try:
        shapes = {fc.conv2d(x, weight, padding=1).shape for _ in range(30)}
    finally:
        stop.set()
        changer.join()
    assert shapes == {(2, 16, 20, 20)}


# --- fork, interrupts, the end

FORK = """
import os, sys, warnings
import numpy as np, fastconv as fc
from fastconv import threads
threads.SERIAL_WORK, threads.WORK_PER_THREAD = 0, 1
x = np.ones((200, 200), np.float32); w = np.ones((8, 8, 3, 3), np.float32); image = np.ones((1, 8, 20, 20), np.float32)
calls = [lambda: fc.gemm(x, x, num_threads=2), lambda: fc.conv2d(image, w, algorithm="naive", num_threads=2),
         lambda: fc.conv2d(image, w, algorithm="im2col", num_threads=2),
         lambda: fc.gemm(x, x, algorithm="blocked", num_threads=2),
         lambda: fc.col2im(fc.im2col(image, 3, num_threads=2), image.shape, 3, num_threads=2)]
before = [call().copy() for call in calls] if {first} else None
child = os.fork()
if child == 0:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        after = [call() for call in calls for _ in range(2)][::2]
    right = float(after[0][0, 0]) == 200 and float(after[2][0, 0, 0, 0]) == 72
    if before is not None:
        right = right and all((a == b).all() for a, b in zip(before, after))
    print(right, [w.category.__name__ for w in caught], fc.get_num_threads(), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert (fc.gemm(x, x, num_threads=2) == 200).all()
print("parent", flush=True)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
@needs_openmp
def test_row80_a_child_forked_after_threads_ran_finishes():
    """It warns once, runs on one thread, and gives the same bits; the parent goes on as before."""
    done = run_python(FORK.replace("{first}", "True"), timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True ['RuntimeWarning'] 1", "parent"]


@needs_fork
def test_a_child_forked_before_any_thread_ran_has_them_all():
    done = run_python(FORK.replace("{first}", "False"), timeout=30, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    count = 2 if team.openmp_version() else 1
    assert done.stdout.splitlines() == [f"True [] {count}", "parent"]


INTERRUPT = """
import signal, threading, os, time
import numpy as np, fastconv as fc
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
a = np.ones((900, 900), np.float32)
plan = fc.plan_conv2d((1, 8, 20, 20), np.ones((8, 8, 3, 3), np.float32))
image = np.ones((1, 8, 20, 20), np.float32)
interrupted = 0
for turn in range(5):
    timer = threading.Timer(0.01 * (turn + 1), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            fc.gemm(a, a, num_threads=2); plan(image)
    except KeyboardInterrupt:
        interrupted += 1
    assert (fc.gemm(a, a, num_threads=2) == 900).all() and (plan(image) == 72).all()
print(interrupted)
"""


def test_row82_an_interrupt_leaves_everything_working():
    done = run_python(INTERRUPT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5"]


END = """
import atexit
import numpy as np, fastconv as fc
a = np.ones((400, 400), np.float32)
class Last:
    def __del__(self, call=fc.matmul, a=a):
        print("del", float(call(a, a)[0, 0]), flush=True)
atexit.register(lambda: print("atexit", float(fc.gemm(a, a, num_threads=2)[0, 0]), flush=True))
fc.gemm(a, a, num_threads=2)
last = Last()
del last
"""


def test_row81_calls_at_exit_and_in_finalizers():
    done = run_python(END, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["del 400.0", "atexit 400.0"]


def test_workspace_is_kept_and_released():
    from fastconv._loops import scratch

    x = np.ones((1, 16, 20, 20), np.float32)
    fc.conv2d(x, np.ones((16, 16, 3, 3), np.float32), algorithm="im2col")
    assert scratch.held_bytes() > 0
    fc.release_memory()
    assert scratch.held_bytes() == 0
    assert (fc.matmul(x[0, 0], x[0, 0]) == 20).all()
