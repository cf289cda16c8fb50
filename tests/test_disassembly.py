"""The compiler keeps the accumulators of the register tile in registers: the loop over k of the largest tile holds
MR * NV fused multiply-adds (multiplies and adds without FMA) and touches the stack nowhere. A lost `unroll` pragma or
an innocent edit of csrc/kernels/tile.c would cost half the speed and no other test would see it."""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys

import pytest
from support import ROOT

COMPILER = shutil.which("gcc") or shutil.which("cc")
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
ROW = re.compile(r'^FC_ISA\((\w+),\s*(\w+),.*?,\s*(\d+),\s*(\d+),\s*(\d+),\s*"(.*)"\)$', re.M)
# portable has more accumulators than SSE2 registers, by choice: csrc/isa.def says so.
TILES = {name: row for name, *row in ROW.findall((ROOT / "csrc/isa.def").read_text()) if name != "portable"}

pytestmark = pytest.mark.skipif(not COMPILER or not IS_X86, reason="needs a C compiler for x86-64")


def kernel_flags():
    """KERNEL_FLAGS of setup.py, from its own assignments."""
    values = {"os": os, "sys": sys}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("DEBUG", "FLAGS", "KERNEL_FLAGS"):
            exec(compile(ast.Module([node], []), "setup.py", "exec"), values)
    return values["KERNEL_FLAGS"]


def assembly(folder, isa, real_bytes):
    """The compiler's output for one ISA and dtype, with the flags of setup.py."""
    _, vector_bytes, mr, nv, flags = TILES[isa]
    macros = {"FC_ISA_NAME": isa, "FC_VECTOR_BYTES": vector_bytes, "FC_MR": mr, "FC_NV": nv,
              "FC_REAL_BYTES": real_bytes}  # fmt: skip
    target = folder / "kernels.s"
    command = [COMPILER, *kernel_flags(), *flags.split(), *(f"-D{k}={v}" for k, v in macros.items()),
               "-S", str(ROOT / "csrc/kernels.c"), "-o", str(target)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target.read_text()


def loops(text, function):
    """The instructions of each innermost loop of a function: from a label to the jump back to it."""
    body = re.search(rf"^{function}:\n(.*?)^\t\.size\t{function}", text, re.M | re.S).group(1)
    lines = [line.strip() for line in body.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    found = []
    for i, line in enumerate(lines):
        jump = re.match(r"j\w+\s+(\.L\w+)$", line)
        if jump and labels.get(jump.group(1), i) < i:
            inside = lines[labels[jump.group(1)] + 1 : i]
            if not any(re.fullmatch(r"\.L\w+:", other) for other in inside):
                found.append(inside)
    return found


@pytest.mark.parametrize("isa", TILES)
@pytest.mark.parametrize("real_bytes", [4, 8], ids=["f32", "f64"])
def test_the_loop_over_k_lives_in_registers(isa, real_bytes, tmp_path):
    _, _, mr, nv, flags = TILES[isa]
    suffix = "s" if real_bytes == 4 else "d"
    multiply = rf"vfm\w+p{suffix}\b" if "fma" in flags or "avx512" in flags else rf"v?mulp{suffix}\b"
    text = assembly(tmp_path, isa, real_bytes)
    counts = [(sum(bool(re.match(multiply, line)) for line in loop), loop) for loop in loops(text, f"tile_{mr}_{nv}")]
    count, loop = max(counts, key=lambda pair: pair[0])
    assert count == int(mr) * int(nv)
    assert not [line for line in loop if "(%rsp" in line or "(%rbp" in line]
    assert not [line for line in loop if re.match(rf"v?(mova|movu)p{suffix}.*,\s*-?\d*\(%", line)]  # no vector stores
    assert not [line for line in loop if line.startswith("call")]


@pytest.mark.parametrize("isa", TILES)
def test_every_row_count_lives_in_registers(isa, tmp_path):
    """Nests balance rows over all counts up to MR; float32."""
    _, _, mr, nv, _ = TILES[isa]
    text = assembly(tmp_path, isa, 4)
    for rows in range(1, int(mr) + 1):
        for vectors in range(1, int(nv) + 1):
            kernel = loops(text, f"tile_{rows}_{vectors}")
            spilling = [line for loop in kernel for line in loop if re.search(r"%rsp.*%[xyz]mm|%[xyz]mm.*%rsp", line)]
            assert kernel
            assert not spilling, (rows, vectors)
