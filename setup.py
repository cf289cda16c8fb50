"""Builds fastconv: every row of csrc/isa.def for both dtypes, then the Cython modules.

All metadata is in pyproject.toml. Environment: FASTCONV_NO_OPENMP=1 builds a serial library; CC and CFLAGS
are setuptools' own."""

import os
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError

# Kernels: contraction to FMA is wanted, errno and -ffast-math are not. Never -march=native.
KERNEL_FLAGS = ["-O3", "-ffp-contract=fast", "-fno-math-errno", "-std=gnu11", "-g0"]
GLUE_FLAGS = ["-O3", "-std=gnu11", "-g0", "-Wno-unused-function"]
REAL_BYTES = {"f32": 4, "f64": 8}
IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
MODULES = ["_loops.kernels", "_loops.scratch", "_loops.team", "_loops.naive", "_loops.gemm", "_loops.im2col",
           "_loops.probe", "products"]

OPENMP_PROBE = """
#include <omp.h>
int main(void) {
    int n = 0;
#pragma omp parallel reduction(+ : n)
    n += 1;
    return n < 1;
}
"""

NO_COMPILER = (
    "fastconv is compiled when it is installed, and no working C compiler was found (tried: {tried}). "
    "On Debian or Ubuntu: apt-get install gcc python3-dev. On Fedora: dnf install gcc python3-devel. "
    "On macOS: xcode-select --install. If a compiler has another name, set CC."
)
NO_OPENMP = (
    "fastconv runs on all cores through OpenMP, and {compiler} could not compile, link and run a program that "
    "uses it. GCC brings OpenMP along (on Debian or Ubuntu: apt-get install gcc); Clang needs libomp "
    "(apt-get install libomp-dev; on macOS: brew install libomp). To build a library that runs on one core "
    "instead, set FASTCONV_NO_OPENMP=1."
)


def isa_rows():
    """(name, vector bytes, MR, NV, flags) of the rows of csrc/isa.def for this architecture."""
    row = re.compile(r'^FC_ISA\((\w+),\s*(\w+),.*?,\s*(\d+),\s*(\d+),\s*(\d+),\s*"(.*)"\)$', re.M)
    return [
        (name, vector_bytes, mr, nv, flags.split())
        for name, architecture, vector_bytes, mr, nv, flags in row.findall(Path("csrc/isa.def").read_text())
        if architecture == "FC_ANY" or IS_X86
    ]


class Build(build_ext):
    """build_ext that finds the compiler and OpenMP out by trying, and compiles on all cores."""

    def build_extensions(self):
        command = self.compiler.compiler_so
        if not self.runs("int main(void) { return 0; }", []):
            raise CCompilerError(NO_COMPILER.format(tried=command[0]))
        openmp = [] if os.environ.get("FASTCONV_NO_OPENMP") == "1" else self.openmp_flags()
        for extension in self.extensions:
            extension.extra_compile_args = GLUE_FLAGS + openmp
            extension.extra_link_args = openmp + ([] if sys.platform == "darwin" else ["-Wl,--strip-all"])
        kernels = next(e for e in self.extensions if e.name == "fastconv._loops.kernels")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(self.compile_kernels, *row, dtype) for row in isa_rows() for dtype in REAL_BYTES]
            modules = [pool.submit(self.build_extension, e) for e in self.extensions if e is not kernels]
            kernels.extra_objects = [job.result() for job in jobs]
            for module in modules:
                module.result()
        self.build_extension(kernels)

    def compile_kernels(self, isa, vector_bytes, mr, nv, flags, dtype):
        """csrc/kernels.c for one ISA and dtype; the path of the object."""
        macros = [("FC_ISA_NAME", isa), ("FC_VECTOR_BYTES", vector_bytes), ("FC_MR", mr), ("FC_NV", nv),
                  ("FC_REAL_BYTES", str(REAL_BYTES[dtype]))]
        folder = str(Path(self.build_temp) / f"{isa}_{dtype}")
        return self.compiler.compile(["csrc/kernels.c"], output_dir=folder, macros=macros,
                                     extra_postargs=KERNEL_FLAGS + flags, depends=kernel_sources())[0]

    def openmp_flags(self):
        """The first flags with which a program that uses OpenMP compiles, links and runs."""
        apple = ["-Xpreprocessor", "-fopenmp", "-lomp"]
        for flags in [["-fopenmp"]] + ([apple] if sys.platform == "darwin" else []):
            if self.runs(OPENMP_PROBE, flags):
                return flags
        raise CCompilerError(NO_OPENMP.format(compiler=self.compiler.compiler_so[0]))

    def runs(self, source, flags):
        """Whether that C program compiles, links and runs."""
        with tempfile.TemporaryDirectory() as folder:
            probe, program = Path(folder, "probe.c"), Path(folder, "probe")
            probe.write_text(source)
            build = [self.compiler.compiler_so[0], str(probe), "-o", str(program), *flags]
            try:
                return all(subprocess.run(c, capture_output=True).returncode == 0 for c in (build, [program]))
            except OSError:
                return False


def kernel_sources():
    return [str(path) for pattern in ("*.c", "*.h", "*.def", "kernels/*.c") for path in Path("csrc").glob(pattern)]


def module(name):
    sources = ["fastconv/" + name.replace(".", "/") + ".pyx"]
    if name == "_loops.kernels":
        sources.append("csrc/select.c")
    return Extension("fastconv." + name, sources, include_dirs=["csrc", numpy.get_include()], depends=kernel_sources(),
                     define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")])


setup(
    ext_modules=cythonize(
        [module(name) for name in MODULES],
        nthreads=os.cpu_count(),
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    ),
    cmdclass={"build_ext": Build},
)
