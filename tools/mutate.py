"""`make mutate`: breaks fastconv in the places of tools/mutations.py, one at a time; each must turn a test red.

A mutation is applied to a copy of a built tree in build/mutate, never to the checkout. What it touches is compiled
there, and the tests that should notice run until the first one fails; if none does, the rest of the suite runs. A
mutation that nobody notices makes the command fail, as does one whose place is not found: the table cannot rot.

    python tools/mutate.py [WORD ...]      only the mutations whose file or text has one of these words
    python tools/mutate.py --check         whether every mutation finds its place and tests (part of `make lint`)"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from mutations import MUTATIONS

ROOT = Path(__file__).resolve().parent.parent
BASE, TREE = (ROOT / "build" / "mutate" / name for name in ("base", "tree"))
NOT_SOURCES = shutil.ignore_patterns(".git", ".venv", "build", "dist", "out", "*.so", "*.egg-info", "*cache*", ".hyp*")
HANGS = 1500  # seconds, several times what the whole suite takes, after which tests are stopped: a deadlock shows too
PASSED, FAILED = 0, 1  # what pytest returns; the rest is trouble of its own


def mutated(mutation):
    """The file's text with the mutation; ends the program unless the old text is there exactly once, and all tests
    that should notice."""
    text = (ROOT / mutation.file).read_text()
    if text.count(mutation.old) != 1 or mutation.old == mutation.new:
        sys.exit(f"make mutate: {mutation.file} has {text.count(mutation.old)} places, not 1, for the mutation "
                 f"{mutation.breaks!r}:\n{mutation.old}")  # fmt: skip
    for test in mutation.tests.split():
        name, _, function = test.partition("::")
        path = ROOT / "tests" / name
        if not path.exists() or (function and f"def {function}(" not in path.read_text()):
            sys.exit(f"make mutate: there is no {test}, which should notice {mutation.breaks!r}")
    return text.replace(mutation.old, mutation.new)


def build(tree):
    """Compiles what has changed; ends the program if that fails, since then nothing is tested."""
    compiler = os.environ.get("CC", "gcc")
    if shutil.which("ccache") and "ccache" not in compiler:
        compiler = f"ccache {compiler}"
    environment = {**os.environ, "CC": compiler}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"make mutate: the build failed\n{done.stderr[-3000:]}")


def spare(tree, isa):
    """Makes the kernels of the other instruction sets look up to date: they stay as they were, right."""
    for kernels in tree.glob("build/temp*/*/csrc/kernels.o"):
        if not kernels.parent.parent.name.startswith(f"{isa}_"):
            os.utime(kernels)


def run(tree, *command):
    """(process, output) of a command of that tree's Python, run in its tests; no process if it had to be stopped."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "CI": "1"}  # hypothesis draws the same every time
    process = subprocess.Popen([sys.executable, *command], cwd=tree / "tests", env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        return process, process.communicate(timeout=HANGS)[0]
    except subprocess.TimeoutExpired:
        return None, ""
    finally:  # also the children that hang, of tests that fork
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def noticed(tree, tests):
    """How the tests fail, or None where they pass."""
    # A folder of its own: pytest clears up the one that all its runs share, and may meet another run there.
    command = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--basetemp={tree}-tmp")
    process, output = run(tree, *command, *tests)
    if process is None:
        return f"hangs in {' '.join(tests)}"
    if process.returncode < 0:
        return f"dies of {signal.Signals(-process.returncode).name} in {' '.join(tests)}"
    if process.returncode == PASSED:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.M)
    if process.returncode != FAILED or not found:
        sys.exit(f"make mutate: pytest could not run {' '.join(tests)}\n{output[-3000:]}")
    return found[1]


def outcome(mutation, text, isa):
    """How the tests notice the mutation, or None."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(BASE, TREE)
    (TREE / mutation.file).write_text(text)
    if mutation.file.startswith("csrc/"):
        spare(TREE, isa)
    if not mutation.file.endswith(".py"):
        build(TREE)
    named = mutation.tests.split()
    others = sorted({path.name for path in (ROOT / "tests").glob("test_*.py")} - set(named))
    return noticed(TREE, named) or noticed(TREE, others)


def main(words):
    texts = [(mutation, mutated(mutation)) for mutation in MUTATIONS]
    if words == ["--check"]:
        return
    chosen = [(m, text) for m, text in texts if not words or any(word in f"{m.file}: {m.breaks}" for word in words)]
    started = time.monotonic()
    shutil.rmtree(BASE / "tests", ignore_errors=True)
    shutil.copytree(ROOT, BASE, ignore=NOT_SOURCES, dirs_exist_ok=True)
    build(BASE)
    isa = run(BASE, "-c", "from fastconv._loops import kernels as k; print(k.active_isa())")[1].strip()
    failure = noticed(BASE, sorted({test for mutation, _ in chosen for test in mutation.tests.split()}))
    if failure:
        sys.exit(f"make mutate: without a mutation, {failure}")
    print(f"Built, and green without a mutation, in {time.monotonic() - started:.0f} s; kernels of {isa} are mutated")
    survivors = []
    for mutation, text in chosen:
        before = time.monotonic()
        how = outcome(mutation, text, isa)
        took = f"{time.monotonic() - before:4.0f} s"
        print(f"{took}  {mutation.file}: {mutation.breaks}: {how or 'NOT NOTICED'}", flush=True)
        survivors += [] if how else [mutation.breaks]
    minutes = (time.monotonic() - started) / 60
    print(f"{len(chosen)} mutations, {len(chosen) - len(survivors)} noticed, in {minutes:.0f} minutes")
    if survivors:
        sys.exit("make mutate: no test notices: " + "; ".join(survivors))


if __name__ == "__main__":
    main(sys.argv[1:])
