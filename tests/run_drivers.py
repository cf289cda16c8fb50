"""Compiles csrc's kernels with the drivers of tests/drivers, without Python, and runs them:

python tests/run_drivers.py native       this machine's ISAs as they are shipped, memory between forbidden pages
python tests/run_drivers.py sanitized    every row of csrc/isa.def, as a vector width and a tile, under
                                         AddressSanitizer and UndefinedBehaviorSanitizer
python tests/run_drivers.py aarch64      AArch64's rows as they are shipped, under qemu-aarch64

CC is the compiler of the first, clang that of the second. What fails says which kernel, which row and which sizes."""

import os
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from kernel_builds import ROOT, isa_rows, kernel_flags, macros

ARCHITECTURES = {"x86_64": "FC_X86", "aarch64": "FC_ARM", "arm64": "FC_ARM"}
KERNEL_SOURCES = [path for path in (ROOT / "csrc").rglob("*") if path.is_file()]
DRIVERS = sorted((ROOT / "tests/drivers").glob("*.c"))


class Way(NamedTuple):
    compiler: list
    architecture: str
    flags: list
    every_shape: bool = False
    runner: tuple = ()


HERE = ARCHITECTURES.get(platform.machine())
CC = shlex.split(os.environ.get("CC", "gcc"))
# Unoptimised: instrumented and unrolled, an object takes clang 12 s, and minutes at -O1.
SANITIZERS = ["-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
WAYS = {
    "native": Way(CC, HERE, []),
    "sanitized": Way(["clang"], HERE, SANITIZERS, every_shape=True),
    "aarch64": Way(["aarch64-linux-gnu-gcc"], "FC_ARM", [], runner=("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")),
}


def compile_if_older(command, source, target, sources):
    """Compiles unless target is newer than all sources and was made by the same command."""
    command = [*command, "-c", str(source), "-o", str(target)]
    made_by = target.with_suffix(".command")
    if (target.exists() and made_by.exists() and made_by.read_text() == shlex.join(command)
            and target.stat().st_mtime > max(path.stat().st_mtime for path in sources)):  # fmt: skip
        return
    made_by.unlink(missing_ok=True)
    subprocess.run(command, check=True)
    made_by.write_text(shlex.join(command))


def build(name, way):
    """The path of the program."""
    folder = ROOT / "build/drivers" / name
    folder.mkdir(parents=True, exist_ok=True)
    jobs, objects = [], []

    def add(source, stem, sources, *flags):
        objects.append(folder / f"{stem}.o")
        jobs.append(([*way.compiler, *flags], source, objects[-1], sources))

    for isa in isa_rows():
        if way.every_shape or isa.architecture in ("FC_ANY", way.architecture):
            for real_bytes in (4, 8):
                flags = [*kernel_flags(), "-w", *([] if way.every_shape else isa.flags), *macros(isa, real_bytes),
                         *way.flags]  # fmt: skip
                add(ROOT / "csrc/kernels.c", f"{isa.name}_f{8 * real_bytes}", KERNEL_SOURCES, *flags)
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", f"-I{ROOT / 'csrc'}", *["-DEVERY_SHAPE"] * way.every_shape]
    if not way.every_shape:  # else driver.c has its own list of rows
        add(ROOT / "csrc/select.c", "select", KERNEL_SOURCES, *flags)
    for source in DRIVERS:
        add(source, source.stem, [*KERNEL_SOURCES, *DRIVERS, ROOT / "tests/drivers/driver.h"], *flags)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        _ = list(pool.map(lambda job: compile_if_older(*job), jobs))
    program = folder / "drivers"
    subprocess.run([*way.compiler, *way.flags, *map(str, objects), "-lm", "-o", str(program)], check=True)
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
