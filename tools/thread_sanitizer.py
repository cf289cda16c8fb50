"""Part of `make sanitize`: every nest under ThreadSanitizer, on teams of 2 to 8 threads. A copy of the library is built
by clang into build/tsan, with libomp, whose Archer tells ThreadSanitizer what OpenMP orders, and with one row of
csrc/isa.def, "portable": nests are the same for all. The runtime is preloaded, as Python is not instrumented. Any
report ends this with an error; there is no suppression."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/tsan"
SOURCES = ("csrc", "fastconv", "setup.py", "pyproject.toml", "README.md", "LICENSE")
TEAMS = (2, 4, 8)
# What is not instrumented (Python, NumPy, libomp) reports nothing of its own.
OPTIONS = "ignore_noninstrumented_modules=1 halt_on_error=0 exitcode=66"


def build():
    """The folder of the library."""
    source, site = BUILD / "source", BUILD / "site"
    shutil.rmtree(BUILD, ignore_errors=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy2(ROOT / name, source / name)
    table = source / "csrc/isa.def"
    lines = table.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("FC_ISA(") or line.startswith("FC_ISA(portable,")]
    table.write_text("".join(kept))
    environment = {**os.environ, "CC": "clang", "CFLAGS": "-g -fsanitize=thread", "LDFLAGS": "-fsanitize=thread",
                   "TSAN_OPTIONS": OPTIONS}  # fmt: skip
    command = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", str(site), str(source)]
    subprocess.run(command, env=environment, check=True)
    return site


def runtime():
    """clang's shared ThreadSanitizer."""
    folder = subprocess.run(["clang", "-print-runtime-dir"], capture_output=True, text=True, check=True).stdout.strip()
    return next(Path(folder).glob("libclang_rt.tsan-*.so"))


def main():
    started = time.perf_counter()
    print("The nests under ThreadSanitizer (clang, a few minutes)", flush=True)
    site = build()
    print(f"built in {time.perf_counter() - started:.0f} s", flush=True)
    for threads in TEAMS:
        started = time.perf_counter()
        environment = {**os.environ, "LD_PRELOAD": str(runtime()), "TSAN_OPTIONS": OPTIONS, "PYTHONPATH": str(site),
                       "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip
        if subprocess.run([sys.executable, "tour.py"], cwd=ROOT / "tests", env=environment).returncode:
            sys.exit(f"ThreadSanitizer: the tour with {threads} threads failed")
        print(f"{threads} threads: no report ({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
