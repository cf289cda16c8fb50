"""Part of `make sanitize`: every nest under ThreadSanitizer, on teams of 2 to 8 threads. A copy of the library is built
by clang into build/tsan, with libomp, and with one row of csrc/isa.def, "portable": nests are the same for all. Archer,
which comes with libomp, tells ThreadSanitizer what OpenMP orders. Python is not instrumented, but is started by a
program that is, which brings the runtime along. Any report ends this with an error; nothing is suppressed."""

import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import patched

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/tsan"
TEAMS = (2, 4, 8)
# What is not instrumented (Python, NumPy, libomp) reports nothing of its own.
OPTIONS = "ignore_noninstrumented_modules=1 exitcode=66"
PROGRAM = "int Py_BytesMain(int, char **);\nint main(int n, char **arguments) { return Py_BytesMain(n, arguments); }\n"


def build():
    """The folder of the library."""
    return patched.build(
        BUILD, lambda name, line: line if name == "portable" else "",
        CC="clang", CFLAGS="-g -fsanitize=thread", LDFLAGS="-fsanitize=thread", TSAN_OPTIONS=OPTIONS,
    )  # fmt: skip


def launcher():
    """A Python interpreter whose main program is instrumented."""
    source, program = BUILD / "python.c", BUILD / "python"
    source.write_text(PROGRAM)
    folder, version, libraries = sysconfig.get_config_vars("LIBDIR", "LDVERSION", "LIBS")
    command = ["clang", "-fsanitize=thread", str(source), "-o", str(program), "-rdynamic", f"-L{folder}",
               f"-Wl,-rpath,{folder}", f"-lpython{version}", *libraries.split(), "-lm"]  # fmt: skip
    subprocess.run(command, check=True)
    return program


def archer():
    """libarcher.so of clang's libomp."""
    found = subprocess.run(["clang", "-print-resource-dir"], capture_output=True, text=True, check=True).stdout.strip()
    library = Path(found).parents[1] / "libarcher.so"
    if not library.exists():  # every start of a team would look like a race
        sys.exit(f"ThreadSanitizer: no {library}; Debian's libomp-dev has it")
    return str(library)


def main():
    started = time.perf_counter()
    print("The nests under ThreadSanitizer (clang, a few minutes)", flush=True)
    path = f"{build()}{os.pathsep}{sysconfig.get_path('purelib')}"
    python = launcher()
    print(f"built in {time.perf_counter() - started:.0f} s", flush=True)
    for threads in TEAMS:
        started = time.perf_counter()
        environment = {
            **os.environ, "PYTHONPATH": path, "PYTHONHOME": sys.base_prefix, "TSAN_OPTIONS": OPTIONS,
            "OMP_TOOL_LIBRARIES": archer(), "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"
        }  # fmt: skip
        if subprocess.run([str(python), "tour.py"], cwd=ROOT / "tests", env=environment).returncode:
            sys.exit(f"ThreadSanitizer: the tour with {threads} threads failed")
        print(f"{threads} threads: no report ({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
