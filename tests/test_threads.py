"""Threads: which limit holds, and the same bits for any number of them and of callers."""

import asyncio
import inspect
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from calls import ODD, TINY, bits, calls
from conv_cases import CASES, shape_of, to_layout
from networks import network
from support import DTYPES, ISAS, LAYOUTS, dtype_name, reals, run_python, use_isa
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
def test_tasks_have_a_limit_each(process_limit):
    """Blocks that begin and end in turn, as those of tasks do."""

    async def limited(n):
        seen = []
        with fc.num_threads(n):
            for _ in range(n):
                await asyncio.sleep(0)
                seen.append(fc.get_num_threads())
        return seen, fc.get_num_threads()

    async def together():
        return await asyncio.gather(limited(1), limited(3), limited(2))

    with threadpool_limits(8, "openmp"):
        before = fc.get_num_threads()
        answers = asyncio.run(together())
        assert answers == [([1], before), ([3] * 3, before), ([2] * 2, before)]
        assert fc.get_num_threads() == before


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


def test_every_public_function_that_takes_num_threads_is_among_the_calls():
    functions = {name: getattr(fc, name) for name in fc.__all__} | {
        f"{module.__name__.partition('.')[2]}.{name}": function
        for module in (fc.hogwild, fc.train)
        for name, function in vars(module).items()
    }
    functions = {name: f for name, f in functions.items() if callable(f) and not inspect.isclass(f)}
    threaded = {name for name, f in functions.items() if "num_threads" in inspect.signature(f).parameters}
    called = {name.split()[0] for name in calls(TINY, np.float32)}
    assert {"gemm", "conv2d", "hogwild.accumulate", "train.fit"} <= threaded
    assert threaded - called == set()
    algorithms = {name.split()[-1] for name in calls(TINY, np.float32) if name.startswith(("conv2d ", "gemm "))}
    assert algorithms >= {row.name for row in ALGORITHMS} | set(products.ALGORITHMS)


@pytest.mark.parametrize(
    ("name", "dtype", "count"),
    [(ISAS[0], np.float32, 8), (ISAS[0], np.float64, 5), *((name, np.float32, 3) for name in ISAS[1:])],
)
def test_everything_gives_the_same_bits_for_any_team(name, dtype, count, eager):
    """Every algorithm, plan, gradient, operation and network, training included, on shapes that nothing divides."""
    with use_isa(name):
        made = calls(ODD, dtype)
        differs = [call for call in made if bits(made[call](num_threads=1)) != bits(made[call](num_threads=count))]
    assert differs == []


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


@pytest.mark.repeated
@pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
def test_16_callers_of_everything_get_the_bits_of_one(dtype, eager):
    """Plans and networks are shared; a call is made by four threads about at once."""
    made = calls(TINY, dtype)
    expected = {name: bits(call(num_threads=1)) for name, call in made.items()}

    def call(i):
        names = list(made)[i % 4 :: 4]
        return [name for name in names if bits(made[name](num_threads=1 + i // 8)) != expected[name]]

    assert at_once(16, call) == 16 * [[]]


@pytest.fixture
def restless():
    """Python threads take turns after a microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.repeated
def test_16_callers_share_a_network_that_keeps_fewer_programs(restless):
    """Batches of all sizes: programs are compiled and dropped while others run them."""
    net, x = network("convolutions", np.float32)
    batches = [np.resize(x, (n, *x.shape[1:])) for n in range(1, 25)]
    expected = [net(batch).tobytes() for batch in batches]

    def call(i):
        order = np.random.default_rng(i).permutation(4 * len(batches)) % len(batches)
        return [n for n in order if net(batches[n], num_threads=1).tobytes() != expected[n]]

    assert at_once(16, call) == 16 * [[]]


def test_an_update_is_seen_whole_or_not_at_all(eager):
    """A call that runs beside update() gives the old result or the new one, weight and bias alike."""
    x, weight = reals((1, 8, 10, 10), 1), reals((9, 8, 3, 3), 2)
    pairs = [(weight, np.zeros(9)), (-weight, np.full(9, 50.0))]
    allowed = {fc.plan_conv2d(x.shape, *pair)(x).tobytes() for pair in pairs}
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


# --- workspace


def test_workspace_is_kept_and_released():
    from fastconv._loops import scratch

    x = np.ones((1, 16, 20, 20), np.float32)
    fc.conv2d(x, np.ones((16, 16, 3, 3), np.float32), algorithm="im2col")
    assert scratch.held_bytes() > 0
    fc.release_memory()
    assert scratch.held_bytes() == 0
    assert (fc.matmul(x[0, 0], x[0, 0]) == 20).all()
