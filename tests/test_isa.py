"""FASTCONV_ISA chooses the kernels at import, refuses what is not there by name, and every choice gives the same
whole-numbered results; `python -m fastconv info` says which runs."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support import INSTALLED, ISAS, ROOT, run_python, use_isa

import fastconv as fc
from fastconv._loops import kernels

CODE = """
import json, numpy as np, fastconv as fc
from fastconv._loops import kernels
a = np.arange(35 * 40, dtype=np.float32).reshape(35, 40) % 7
print(json.dumps([kernels.active_isa(), float((fc.gemm(a, a.T) - a @ a.T).sum()), kernels.tile_sizes(4)]))
"""


def rows_of_isa_def():
    """(name, architecture, vector bytes, MR, NV) of the rows of csrc/isa.def, best first."""
    text = (ROOT / "csrc/isa.def").read_text()
    return re.findall(r"^FC_ISA\((\w+),\s*(\w+),.*?,\s*(\d+),\s*(\d+),\s*(\d+),", text, re.M)


@pytest.mark.parametrize("name", ISAS)
def test_each_isa_by_environment(name):
    done = run_python(CODE, FASTCONV_ISA=name)
    assert done.returncode == 0, done.stderr
    active, difference, (MR, NR, lanes) = json.loads(done.stdout)
    assert (active, difference) == (name, 0)
    _, _, vector_bytes, mr, nv = next(row for row in rows_of_isa_def() if row[0] == name)
    assert (MR, lanes, NR) == (int(mr), int(vector_bytes) // 4, int(nv) * int(vector_bytes) // 4)


@pytest.mark.parametrize("name", [None, ""], ids=["unset", "empty"])
def test_the_best_isa_without_a_choice(name):
    done = run_python(CODE, FASTCONV_ISA=name)
    assert json.loads(done.stdout)[0] == ISAS[0]


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "avx2 ", "0"])
def test_an_unknown_isa_is_an_import_error_that_lists_the_available(name):
    done = run_python("import fastconv", FASTCONV_ISA=name)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: FASTCONV_ISA:")
    assert repr(name) in last
    assert all(isa in last for isa in ISAS)


def test_the_compiled_isas_are_those_of_isa_def():
    here = [name for name, architecture, *_ in rows_of_isa_def()]
    compiled = [name for name, _, _ in kernels.isa_rows()]
    assert [name for name in here if name in compiled] == compiled
    assert set(ISAS) <= set(compiled)
    assert "portable" in ISAS
    assert {name for name, architecture, *_ in rows_of_isa_def() if architecture == "FC_ANY"} <= set(compiled)


def test_every_isa_has_another_tile_or_vector():
    """The rows are worth having: no two are the same for both dtypes and flags."""
    assert len({flags for _, flags, _ in kernels.isa_rows()}) == len(kernels.isa_rows())


def test_swapping_in_process():
    before = kernels.active_isa()
    for name in ISAS:
        with use_isa(name):
            assert kernels.active_isa() == name
            assert (fc.matmul(np.ones((20, 20)), np.ones((20, 20))) == 20).all()
    assert kernels.active_isa() == before
    with pytest.raises(ValueError, match="'mmx' is not available here; available: "):
        kernels.select_isa("mmx")
    assert kernels.active_isa() == before


def test_info_from_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "fastconv", "info"],
        env={**os.environ, "PYTHONPATH": INSTALLED},
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert fc.__version__ in done.stdout
    assert all(name in done.stdout for name in ISAS)
    assert "in use" in done.stdout


def test_the_command_line_refuses_other_commands():
    done = subprocess.run(
        [sys.executable, "-m", "fastconv", "fly"],
        env={**os.environ, "PYTHONPATH": INSTALLED},
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "info" in done.stderr
