"""Compiles csrc's kernels with the drivers of tests/drivers, without Python, and runs them:

python tests/run_drivers.py native       this machine's ISAs as they are shipped, memory between forbidden pages
python tests/run_drivers.py sanitized    every row of csrc/isa.def, as a vector width and a tile, under
                                         AddressSanitizer and UndefinedBehaviorSanitizer
python tests/run_drivers.py aarch64      AArch64's rows as they are shipped, under qemu-aarch64

CC is the compiler of the first two. What fails says which kernel, of which row, at which sizes."""

import os
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from kernel_builds import ROOT, isa_rows, kernel_flags, macros

ARCHITECTURES = {"x86_64": "FC_X86", "aarch64": "FC_ARM", "arm64": "FC_ARM"}
DRIVERS = sorted((ROOT / "tests/drivers").glob("*.c"))
SOURCES = [*(path for path in (ROOT / "csrc").rglob("*") if path.is_file()), *(ROOT / "tests/drivers").iterdir(),
           *(ROOT / name for name in ("setup.py", "tests/run_drivers.py", "tests/kernel_builds.py"))]  # fmt: skip


class Way(NamedTuple):
    compiler: list
    architecture: str
    flags: list
    every_shape: bool = False
    runner: tuple = ()


HERE = ARCHITECTURES.get(platform.machine())
CC = shlex.split(os.environ.get("CC", "gcc"))
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
WAYS = {
    "native": Way(CC, HERE, []),
    "sanitized": Way(CC, HERE, SANITIZERS, every_shape=True),
    "aarch64": Way(
        ["aarch64-linux-gnu-gcc"], "FC_ARM", [], runner=("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
    ),
}


def build(name, way):
    """The path of the program; what is newer than all sources is not compiled again."""
    folder = ROOT / "build/drivers" / f"{name}-{way.compiler[-1]}"
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(path.stat().st_mtime for path in SOURCES)
    shape = ["-DEVERY_SHAPE"] if way.every_shape else []
    glue = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", f"-I{ROOT / 'csrc'}", *shape, *way.flags]
    jobs = [(path, folder / f"{path.stem}.o", glue) for path in [*DRIVERS, ROOT / "csrc/select.c"]]
    for isa in isa_rows():
        if way.every_shape or isa.architecture in ("FC_ANY", way.architecture):
            isa_flags = [] if way.every_shape else isa.flags
            for real_bytes in (4, 8):
                flags = [*kernel_flags(), "-w", *isa_flags, *macros(isa, real_bytes), *way.flags]
                jobs.append((ROOT / "csrc/kernels.c", folder / f"{isa.name}_f{8 * real_bytes}.o", flags))
    if way.every_shape:  # select.c knows this machine's rows only
        jobs = [job for job in jobs if job[0].name != "select.c"]

    def compile_one(source, target, flags):
        if not target.exists() or target.stat().st_mtime < newest:
            subprocess.run([*way.compiler, *flags, "-c", str(source), "-o", str(target)], check=True)

    # The kernels take longest.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        _ = list(pool.map(lambda job: compile_one(*job), reversed(jobs)))
    program = folder / "drivers"
    objects = [str(target) for _, target, _ in jobs]
    subprocess.run([*way.compiler, *way.flags, *objects, "-lm", "-o", str(program)], check=True)
    return program


def main(names):
    if not names or not set(names) <= set(WAYS):
        sys.exit(__doc__)
    for name in names:
        print(f"The kernels' drivers, {name}", flush=True)
        program = build(name, WAYS[name])
        if subprocess.run([*WAYS[name].runner, str(program)]).returncode:
            sys.exit(f"{' '.join(sys.argv)}: failed")


if __name__ == "__main__":
    main(sys.argv[1:])
