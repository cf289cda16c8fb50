"""What must not make calls slow: weights too small to be normal numbers, and other libraries' threads in the process.

Subnormal weights: each algorithm, with weights of 1e-40 and of ordinary size in turn; as fastconv runs, and with
set_flush_denormals(False). Other libraries: a process that has run nothing but fastconv, and one in which NumPy's
OpenBLAS and torch run too, in turn. There each call follows a product by fastconv, or by NumPy or torch, whose idle
threads may still spin: OpenBLAS's do for 0.1 s, which costs every OpenMP program that wants their cores (torch as
well), and which OPENBLAS_THREAD_TIMEOUT=4 ends."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from statistics import median
from time import perf_counter

import numpy as np
from harness import peers, report
from harness.layers import Layer
from harness.report import console
from harness.timing import ROUNDS, alternate

import fastconv as fc
from fastconv.algorithms import ALGORITHMS

LAYER = Layer("3x3", 1, 64, 28, 28, 64, 3, 3, padding=1)
TINY = np.float32(1e-40)
MOST_SUBNORMAL, MOST_BESIDE = 1.2, 1.1  # how many times slower a call may be
CALLS = 40  # of a visit to a process: half a second at most


def subnormal_pairs():
    """{name: (call with ordinary weights, call with weights of 1e-40)}."""
    x, weight = LAYER.data("float32", "NCHW")
    tiny = np.where(weight < 0, -TINY, TINY)
    pairs = {}
    for row in ALGORITHMS:
        how = {"algorithm": row.name, "padding": 1}
        pairs[f"conv2d {row.name}"] = [lambda w=w, how=how: fc.conv2d(x, w, **how) for w in (weight, tiny)]
        plans = [fc.plan_conv2d(x.shape, w, **how) for w in (weight, tiny)]
        pairs[f"plan {row.name}"] = [lambda plan=plan: plan(x) for plan in plans]
    a, b = x.reshape(224, 224), weight.reshape(-1)[: 224 * 160].reshape(224, 160)
    tiny = np.where(b < 0, -TINY, TINY)
    pairs["gemm"] = [lambda b=b: fc.gemm(a, b) for b in (b, tiny)]
    pairs["linear, 1 row"] = [lambda w=w: fc.linear(a[:1], w) for w in (b.T.copy(), tiny.T.copy())]
    return pairs


def measure_subnormals(result, threads, rounds):
    table = report.table(["weights of 1e-40", "flushed", "kept"])
    for name, (ordinary, tiny) in report.Progressed(subnormal_pairs().items(), "subnormal weights"):
        slower = {}
        for flush in (True, False):
            fc.set_flush_denormals(flush)
            times = alternate({"ordinary": ordinary, "tiny": tiny}, rounds=rounds)
            slower[flush] = times["tiny"].least / times["ordinary"].least
        fc.set_flush_denormals(True)
        result.add(condition="subnormal weights", call=name, threads=threads, slower=slower[True], kept=slower[False],
                   target=MOST_SUBNORMAL)  # fmt: skip
        table.add_row(name, f"{slower[True]:.2f}x", f"{slower[False]:.2f}x")
    console.print(table)


# --- in processes of their own


def products(n):
    """{library: its product of two matrices of 512}."""
    a, b = np.random.default_rng(0).standard_normal((2, 512, 512), np.float32)
    calls = {"fastconv": lambda: fc.gemm(a, b, num_threads=n), "numpy": lambda: a @ b}
    if peers.torch:
        left, right = map(peers.torch.from_numpy, (a, b))
        calls["torch"] = lambda: peers.torch.mm(left, right)
    return calls


def ours(n):
    """{name: call} whose time is taken."""
    x, weight = LAYER.data("float32", "NCHW")
    plan = fc.plan_conv2d(x.shape, weight, padding=1)
    a, b = np.random.default_rng(0).standard_normal((2, 300, 300), np.float32)
    out = np.empty((300, 300), np.float32)
    return {"plan 3x3": lambda: plan(x, num_threads=n), "gemm of 300": lambda: fc.gemm(a, b, out=out, num_threads=n)}


def visit(threads, name, before):
    """Run in a process: {library: the median seconds of the call, each right after a product by that library}."""
    peers.set_threads(threads)
    call, others = ours(threads)[name], products(threads)
    seconds = {}
    for library in before:
        samples = []
        for _ in range(CALLS):
            others[library]()
            started = perf_counter()
            call()
            samples.append(perf_counter() - started)
        seconds[library] = median(samples)
    return seconds


@contextmanager
def process(**environment):
    """An executor of one fresh process with these variables, which stays."""
    os.environ.update(environment)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # it is there, with the variables, which the next one does without
        for name in environment:
            del os.environ[name]
        yield pool


def measure_company(result, threads, rounds):
    libraries = [name for name in products(threads) if name != "fastconv"]
    short = "numpy, OPENBLAS_THREAD_TIMEOUT=4"
    columns = ["fastconv", *libraries, short]
    table = report.table(["beside NumPy and torch, right after", *columns])
    with process() as alone, process() as beside, process(OPENBLAS_THREAD_TIMEOUT="4") as patient:
        for name in ours(threads):
            seconds = {column: [] for column in ("alone", *columns)}
            for _ in range(rounds):
                seconds["alone"].append(alone.submit(visit, threads, name, ["fastconv"]).result()["fastconv"])
                for library, time in beside.submit(visit, threads, name, [*libraries, "fastconv"]).result().items():
                    seconds[library].append(time)
                seconds[short].append(patient.submit(visit, threads, name, ["numpy"]).result()["numpy"])
            slower = {column: min(seconds[column]) / min(seconds["alone"]) for column in columns}
            result.add(condition="beside", call=name, threads=threads, target=MOST_BESIDE, **slower)
            table.add_row(name, *(f"{slower[column]:.2f}x" for column in columns))
    console.print(table)


def main():
    args = report.parser(__doc__, max_seconds=120, options=("threads", "quick")).parse_args()
    result = report.Report("conditions", args)
    rounds = 2 if args.quick else ROUNDS
    for threads in args.threads:
        console.print(f"float32, {report.threads_text(threads)}: times as slow", style="bold")
        with fc.num_threads(threads):
            measure_subnormals(result, threads, rounds)
        measure_company(result, threads, rounds)
    result.save()
    result.close()


if __name__ == "__main__":
    main()
