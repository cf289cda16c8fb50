"""Who may know whom: the layers of the house (docs/architecture.md), read from the sources."""

import ast
import re
import subprocess
import sys

import pytest
from support import ROOT

PYTHON = [*sorted((ROOT / "fastconv").glob("*.py")), *sorted((ROOT / "fastconv" / "nn").glob("*.py"))]
FACES = sorted((ROOT / "fastconv").glob("*.py*"))
NESTS = sorted((ROOT / "fastconv" / "_loops").glob("*.p[yx]*"))
C = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".c", ".h", ".def"))
BASE = {"checks", "shapes", "arrays", "blocking", "cores", "filters", "reference"}  # no loops, no threads
MAY_IMPORT = {  # of fastconv, besides _loops
    "reference": set(),
    "checks": set(),
    "shapes": {"checks"},
    "arrays": set(),
    "blocking": {"checks"},
    "cores": set(),
    "threads": {"checks", "cores"},
    "filters": {"checks"},
    "tuned": {"config"},
    "costs": set(),
    "direct_nests": {"costs", "shapes"},
    "algorithms": {"arrays", "checks", "costs", "direct_nests", "shapes", "tuned"},
}
THIRD_PARTIES = {"config": {"threadpoolctl"}, "files": {"safetensors"}, "train": {"tqdm"}, "history": {"matplotlib"}}
NO_LOOPS = BASE | {"images"}  # faces of other faces


def read(path):
    return path.read_text()


def code_of_c(path):
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(\\.|[^"\\])*"', " ", read(path), flags=re.S)


def imported(path):
    """The modules that a Python file imports, as dotted names; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_by_cython(path):
    """The modules that a Cython file imports or cimports."""
    found = re.findall(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+([\w, ]+)|c?import\s+([\w.]+))", read(path), re.M)
    for module, names, plain in found:
        yield module or plain
        yield from (f"{module}.{name.split(' as ')[0].strip()}" for name in names.split(",") if module)


def siblings(names):
    """Modules of fastconv, by their first name."""
    modules = {path.stem for path in FACES}
    return {name.split(".")[1] for name in names if re.fullmatch(r"fastconv\.\w+(\.\w+)*", name)} & (
        modules | {"_loops"}
    )


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_python_modules_know_their_place(path):
    known = siblings(imported(path))
    if path.stem in MAY_IMPORT:
        assert known - {"_loops"} <= MAY_IMPORT[path.stem]
    if path.stem in NO_LOOPS:
        assert "_loops" not in known


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_third_parties(path):
    """NumPy and the standard library; threadpoolctl where other libraries' threads are told, and what extras bring
    where it is used; reference.py NumPy only, checks.py and shapes.py the standard library only."""
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots - {"fastconv"} <= {"numpy"} | THIRD_PARTIES.get(path.stem, set()) | sys.stdlib_module_names
    if path.stem == "reference":
        assert roots == {"numpy"}
    if path.stem in ("checks", "shapes"):
        assert roots - {"fastconv"} <= sys.stdlib_module_names


def test_the_reference_stands_alone():
    """It can be copied out of the project and imported."""
    code = "import importlib.util, sys; s = importlib.util.spec_from_file_location('r', 'fastconv/reference.py'); \
m = importlib.util.module_from_spec(s); s.loader.exec_module(m); \
print(any(name.startswith('fastconv') for name in sys.modules), m.conv2d.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "conv2d"]


def test_the_reference_has_a_twin_of_every_public_function():
    import fastconv as fc
    from fastconv import reference

    about_running = re.compile(r"(set_|get_|show_|release_|explain_|plan_|num_threads)")
    functions = {name for name in fc.__all__ if callable(getattr(fc, name)) and name[0].islower()}
    twins = {name for name in functions if not about_running.match(name)}
    twins |= {name for name in ("gaussian", "sobel_x", "sobel_y", "box") if hasattr(fc.filters, name)}
    assert "conv2d" in twins
    assert not [name for name in sorted(twins) if not callable(getattr(reference, name, None))]


@pytest.mark.parametrize("path", NESTS, ids=lambda path: path.name)
def test_nests_know_nests_only(path):
    known = {name for name in imported_by_cython(path) if name.startswith("fastconv")}
    assert all(name == "fastconv" or name.startswith("fastconv._loops") for name in known)


def test_threads_start_in_the_nests_only():
    for path in FACES:
        assert not re.search(r"\bprange\b|\bimport (multiprocessing|concurrent)|threading\.Thread\(", read(path)), path
    assert any("prange" in read(path) for path in NESTS)


def test_nests_have_no_simd():
    for path in NESTS + FACES:
        assert not re.search(r"immintrin|arm_neon|__m\d{3}|_mm\d*_", read(path)), path


@pytest.mark.parametrize("path", C, ids=lambda path: str(path.relative_to(ROOT)))
def test_c_has_no_python_no_memory_and_no_threads(path):
    """Kernels get memory and are called from threads; the platform's header alone asks OpenMP."""
    text = read(path)
    code = code_of_c(path)
    assert "Python.h" not in text
    assert not re.search(r"\b(malloc|calloc|realloc|free|alloca|posix_memalign|aligned_alloc)\s*\(", code)
    if path.name != "platform.h":
        assert not re.search(r"\bomp_\w+|_OPENMP", code)
        assert "#pragma omp" not in text
        assert not re.search(r"#include <(omp|pthread|stdio)\.h>", text)
    if path.name not in ("simd.h", "platform.h"):
        assert not re.search(r"immintrin|arm_neon|__m\d{3}|_mm\d+_", text)


@pytest.mark.parametrize("path", C, ids=lambda path: str(path.relative_to(ROOT)))
def test_c_names_no_isa_outside_the_list(path):
    """A new ISA is a row of isa.def, and a test of CPUID in select.c."""
    names = re.findall(r"^FC_ISA\((\w+)", read(ROOT / "csrc/isa.def"), re.M)
    if path.name not in ("isa.def", "select.c"):
        assert not [name for name in names if re.search(rf"\b{name}\b|_{name}\b", code_of_c(path))]


def test_python_names_no_isa_outside_the_table_of_costs():
    """NOMINAL in costs.py has a row for each ISA; nothing else in Python branches on one."""
    from fastconv.costs import NOMINAL

    names = re.findall(r"^FC_ISA\((\w+)", read(ROOT / "csrc/isa.def"), re.M)
    assert set(NOMINAL) == set(names)
    for path in FACES + NESTS:
        if path.stem != "costs" and path.suffix in (".py", ".pyx", ".pxd"):
            constants = re.findall(r'["\'](\w+)["\']', read(path))
            assert not set(constants) & set(names), path


@pytest.mark.parametrize("path", [*C, *FACES, *NESTS, ROOT / "setup.py"], ids=lambda path: path.name)
def test_nothing_is_left_to_do(path):
    if path.suffix in (".c", ".h", ".def", ".py", ".pyx", ".pxd"):
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", read(path))


@pytest.mark.parametrize(
    "path", [*PYTHON, *(p for p in NESTS + FACES if p.suffix == ".pyx")], ids=lambda path: path.name
)
def test_every_file_opens_with_what_it_is(path):
    opening = [line for line in read(path).splitlines() if line.strip() and not line.startswith("# cython:")]
    assert not opening or opening[0].startswith('"""')


def test_flags_promise_portability():
    """No -march=native, no -ffast-math, anywhere in the build."""
    for path in (ROOT / "setup.py", ROOT / "csrc/isa.def", ROOT / "pyproject.toml"):
        flags = re.findall(r'"(-[^"]*)"', read(path))
        assert not [flag for flag in flags if "march=native" in flag or "fast-math" in flag]
