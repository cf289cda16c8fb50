"""Builds fastconv: csrc/kernels.c for every row of csrc/isa.def and both dtypes, then the Cython modules.

Metadata is in pyproject.toml. Environment: FASTCONV_NO_OPENMP=1 builds a serial library; CC, CFLAGS and
LDFLAGS are setuptools' own, and -g in CFLAGS keeps debug information and symbols."""

import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError
from setuptools.modified import newer_group

DEBUG = "-g" in os.environ.get("CFLAGS", "").split()
FLAGS = ["-O3", "-std=gnu11"] + ([] if DEBUG else ["-g0"])
# Kernels: contraction to FMA is wanted, errno and -ffast-math are not. Never -march=native.
KERNEL_FLAGS = [*FLAGS, "-ffp-contract=fast", "-fno-math-errno"]
GLUE_FLAGS = [*FLAGS, "-Wno-unused-function", "-Wno-unknown-pragmas"]
STRIP = [] if DEBUG or sys.platform == "darwin" else ["-Wl,--strip-all"]
OPENMP_FLAGS = [["-fopenmp"]] + ([["-Xpreprocessor", "-fopenmp", "-lomp"]] if sys.platform == "darwin" else [])
ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "amd64", "i386", "i486", "i586", "i686"), "FC_X86"),
    **dict.fromkeys(("aarch64", "arm64"), "FC_ARM"),
}
DIRECTIVES = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
# What Cython makes of NumPy's declarations compiles with the headers of the same NumPy only.
CYTHON = {"build_dir": f"build/numpy-{numpy.__version__}", "language_level": 3, "compiler_directives": DIRECTIVES}
KERNELS = "fastconv._loops.kernels"  # the module that the tables of kernels are linked into
KERNEL_SOURCES = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in (".c", ".h", ".def"))
GLUE_HEADERS = ["csrc/kernels.h", "csrc/platform.h", "csrc/shared.h"]
PROGRAM = "#include <Python.h>\nint main(void) { return 0; }\n"
OPENMP_PROGRAM = """#include <omp.h>
int main(void) { int n = 0;
#pragma omp parallel reduction(+ : n)
n += 1;
return n < 1; }"""
NO_COMPILER = (
    "fastconv is compiled when it is installed, and a small C program that includes Python.h could not be "
    "compiled, linked and run (tried: {tried}). On Debian or Ubuntu: apt-get install gcc python3-dev. On Fedora: "
    "dnf install gcc python3-devel. On macOS: xcode-select --install. For another compiler, set CC."
)
NO_OPENMP = (
    "fastconv runs on all cores through OpenMP, and a program that uses it could not be compiled, linked and run "
    "(tried: {tried}). GCC brings OpenMP along: on Debian or Ubuntu, apt-get install gcc. Clang needs libomp: "
    "apt-get install libomp-dev; on macOS, brew install libomp and add its folders to CFLAGS and LDFLAGS. "
    "FASTCONV_NO_OPENMP=1 builds a library that runs on one core instead."
)


def isa_rows():
    """(name, vector bytes, MR, NV, flags) of the rows of csrc/isa.def for this architecture."""
    row = r'^FC_ISA\((\w+),\s*(\w+),.*?,\s*(\d+),\s*(\d+),\s*(\d+),\s*"(.*)"\)$'
    rows = re.findall(row, Path("csrc/isa.def").read_text(), re.M)
    here = ("FC_ANY", ARCHITECTURES.get(platform.machine().lower()))
    return [(name, *tile, flags.split()) for name, where, *tile, flags in rows if where in here]


class Build(build_ext):
    """build_ext that finds the compiler and OpenMP out by trying, and compiles on all cores."""

    def run(self):
        """Builds; then drops what an earlier build left in build_lib, or it would get into the wheel."""
        super().run()
        if not self.inplace:
            now = [*self.get_finalized_command("build_py").get_outputs(False), *self.get_outputs()]
            for path in {*Path(self.build_lib, "fastconv").rglob("*.*")} - {*map(Path, now)}:
                path.unlink()

    def build_extensions(self):
        if not self.runs(PROGRAM):
            raise stop(NO_COMPILER.format(tried=self.compiler.compiler_so[0]))
        openmp = [] if os.environ.get("FASTCONV_NO_OPENMP") == "1" else self.openmp_flags()
        command = self.command_file(openmp)
        kernels = next(extension for extension in self.extensions if extension.name == KERNELS)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            tables = [(*row, real_bytes) for row in isa_rows() for real_bytes in (4, 8)]
            objects = [pool.submit(self.compile_kernels, command, *table) for table in tables]
            modules = []
            for extension in self.extensions:
                # Cython runs here, in one thread, while the pool's compilers work on what it has made.
                extension.sources = cythonize(extension, force=self.force or None, **CYTHON)[0].sources
                extension.extra_compile_args = GLUE_FLAGS + openmp
                extension.extra_link_args = openmp + STRIP
                extension.depends = [*extension.depends, "setup.py", command]
                if extension is not kernels:
                    modules.append(pool.submit(self.build_extension, extension))
            kernels.extra_objects = [job.result() for job in objects]
            self.build_extension(kernels)
            _ = [job.result() for job in modules]

    def compile_kernels(self, command, isa, vector_bytes, mr, nv, flags, real_bytes):
        """csrc/kernels.c for one ISA and dtype; the path of the object."""
        folder = f"{self.build_temp}/{isa}_f{8 * real_bytes}"
        (compiled,) = self.compiler.object_filenames(["csrc/kernels.c"], output_dir=folder)
        if self.force or newer_group([*KERNEL_SOURCES, "setup.py", command], compiled):
            macros = [("FC_ISA_NAME", isa), ("FC_VECTOR_BYTES", vector_bytes), ("FC_MR", mr), ("FC_NV", nv),
                      ("FC_REAL_BYTES", str(real_bytes))]  # fmt: skip
            flags = KERNEL_FLAGS + flags
            self.compiler.compile(["csrc/kernels.c"], output_dir=folder, macros=macros, extra_postargs=flags)
        return compiled

    def command_file(self, openmp):
        """A file that is as new as the last change of the commands: all that is compiled depends on it."""
        path = Path(self.build_temp, "command.txt")
        text = repr([self.compiler.compiler_so, self.compiler.linker_so, openmp, DEBUG, numpy.__version__])
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(path)

    def openmp_flags(self):
        """The first flags with which a program that uses OpenMP compiles, links and runs."""
        for flags in OPENMP_FLAGS:
            if self.runs(OPENMP_PROGRAM, flags):
                return flags
        raise stop(NO_OPENMP.format(tried=f"{self.compiler.compiler_so[0]} {shlex.join(flags)}"))

    def runs(self, source, flags=()):
        """Whether that C program compiles, links and runs."""
        with tempfile.TemporaryDirectory() as folder:
            probe, program = Path(folder, "probe.c"), Path(folder, "probe")
            probe.write_text(source)
            flags = [*(f"-I{path}" for path in self.include_dirs), *flags, *shlex.split(os.environ.get("LDFLAGS", ""))]
            build = [*self.compiler.compiler_so, str(probe), "-o", str(program), *flags]
            try:
                return all(subprocess.run(c, capture_output=True).returncode == 0 for c in (build, [program]))
            except OSError:
                return False


def stop(paragraph):
    """The error that ends the build with that paragraph as its last words."""
    return CCompilerError("\n\n" + textwrap.fill(paragraph, 100, break_on_hyphens=False) + "\n")


def module(path):
    name = ".".join(path.with_suffix("").parts)
    more, depends = (["csrc/select.c"], KERNEL_SOURCES) if name == KERNELS else ([], GLUE_HEADERS)
    return Extension(name, [str(path), *more], include_dirs=["csrc", numpy.get_include()], depends=depends,
                     define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")])  # fmt: skip


setup(ext_modules=[module(path) for path in sorted(Path("fastconv").rglob("*.pyx"))], cmdclass={"build_ext": Build})
