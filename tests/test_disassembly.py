"""The compiler keeps the accumulators of the register tile in registers: the loop over k of the largest tile holds
MR * NV fused multiply-adds (multiplies and adds without FMA) and touches the stack nowhere. A lost `unroll` pragma or
an innocent edit of csrc/kernels/tile.c would cost half the speed and no other test would see it."""

import ast
import itertools
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


# csrc/kernels.c with the tile alone: all kernels take ten times as long to compile.
BEFORE_THE_KERNELS, _, _ = (ROOT / "csrc/kernels.c").read_text().partition('#include "kernels/')
TILES_ONLY = f"""{BEFORE_THE_KERNELS}
#include "kernels/tile.c"
fc_tile *const tiles[][FC_MAX_MR] = TILE_TABLE, *const row_tiles[][FC_MAX_MR] = ROW_TILE_TABLE;
"""


def assembly(folder, isa, real_bytes):
    """The compiler's output for the tiles of one ISA and dtype, with the flags of setup.py."""
    _, vector_bytes, mr, nv, flags = TILES[isa]
    macros = {"FC_ISA_NAME": isa, "FC_VECTOR_BYTES": vector_bytes, "FC_MR": mr, "FC_NV": nv,
              "FC_REAL_BYTES": real_bytes}  # fmt: skip
    source, target = folder / "tiles.c", folder / "tiles.s"
    source.write_text(TILES_ONLY)
    command = [COMPILER, *kernel_flags(), *flags.split(), *(f"-D{k}={v}" for k, v in macros.items()),
               f"-I{ROOT / 'csrc'}", "-S", str(source), "-o", str(target)]  # fmt: skip
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
    """For every row and vector count of the tile: nests balance their rows over all of them."""
    _, _, mr, nv, flags = TILES[isa]
    suffix = "s" if real_bytes == 4 else "d"
    multiply = rf"vfm\w+p{suffix}\b" if "fma" in flags else rf"v?mulp{suffix}\b"
    text = assembly(tmp_path, isa, real_bytes)
    for kind, rows, vectors in itertools.product(("tile", "row_tile"), range(1, int(mr) + 1), range(1, int(nv) + 1)):
        tile = f"{kind}_{rows}_{vectors}"
        found = loops(text, tile)
        assert found, tile
        loop = max(found, key=lambda lines: sum(bool(re.match(multiply, line)) for line in lines))
        assert sum(bool(re.match(multiply, line)) for line in loop) == rows * vectors, tile
        assert not [line for line in loop if "(%rsp" in line], tile
        assert not [line for line in loop if re.match(r"\w+\s+%[xyz]mm\d+,.*\(.*\)$", line)], tile  # stores
        assert not [line for line in loop if line.startswith("call")], tile
