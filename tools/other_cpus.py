"""`make other-cpus`: the installed library on CPUs that this machine is not, emulated by Debian's qemu-user. An x86-64
that has no AVX at all, and one that has AVX2 and no AVX-512: a stray instruction of a higher ISA, anywhere in what is
imported or called, ends the process. Then the kernels of AArch64 in their drivers; and the shape of AVX-512, vectors
of 64 bytes and its tile, in instructions of AVX: all but its masks, on CPUs that have no AVX-512.

Run by the Python that the library is installed for; what is imported beside it has to run on those CPUs too (NumPy's
wheels need SSE4.2, so an older one than Nehalem is out of reach)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import patched

ROOT = Path(__file__).resolve().parent.parent
CPUS = {"Nehalem": ["sse2", "portable"], "Haswell": ["avx2", "sse2", "portable"]}
WIDE = 'FC_ISA(avx512, FC_X86, cpu_has_avx2(), 64, 14, 2, "-mavx -mfma -mno-avx2 -mno-avx512f -Wno-psabi")\n'
LIST = "from fastconv._loops import kernels; print(*kernels.available_isas())"


def emulated(cpu, *arguments, isa=""):
    """What Python prints on that CPU; ends the program where it fails."""
    environment = {**os.environ, "FASTCONV_ISA": isa, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    command = ["qemu-x86_64", "-cpu", cpu, sys.executable, *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT / "tests", env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"other-cpus: {cpu}: {' '.join(arguments)} with FASTCONV_ISA={isa!r} ended with {done.returncode}")
    print(f"{cpu} {isa}: {done.stdout.strip()} ({time.perf_counter() - started:.0f} s)", flush=True)
    return done.stdout


def main():
    for cpu, isas in CPUS.items():
        if emulated(cpu, "-c", LIST).split() != isas:
            sys.exit(f"other-cpus: {cpu} should have {isas}")
        emulated(cpu, str(ROOT / "tools/smoke.py"))
        for isa in isas:
            emulated(cpu, "tour.py", "unfenced", isa=isa)
    subprocess.run([sys.executable, str(ROOT / "tests/run_drivers.py"), "aarch64"], check=True)
    site = patched.build(ROOT / "build/wide", lambda name, line: {"avx512": WIDE, "portable": line}.get(name, ""))
    environment = {**os.environ, "PYTHONPATH": str(site), "FASTCONV_ISA": "avx512"}
    subprocess.run([sys.executable, "tour.py"], cwd=ROOT / "tests", env=environment, check=True)


if __name__ == "__main__":
    main()
