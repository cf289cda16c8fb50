"""The compiler keeps the accumulators of the register tile in registers: the loop over k of the largest tile holds
MR * NV fused multiply-adds (multiplies and adds without FMA) and touches the stack nowhere. A lost `unroll` pragma or
an innocent edit of csrc/kernels/tile.c would cost half the speed and no other test would see it."""

import itertools
import platform
import re
import shutil
import subprocess

import pytest
from kernel_builds import ROOT, isa_rows, kernel_flags, macros

# portable has more accumulators than SSE2 registers, by choice: csrc/isa.def says so.
TILES = [row for row in isa_rows() if row.name != "portable"]
COMPILERS = {"FC_X86": ("x86_64", "x86_64-linux-gnu-gcc"), "FC_ARM": ("aarch64", "aarch64-linux-gnu-gcc")}
# What an instruction that multiplies, one that touches the stack, one that stores and one that jumps looks like.
PATTERNS = {
    "FC_X86": (r"{x86}p{suffix}\b", r"\(%rsp", r"\w+\s+%[xyz]mm\d+,.*\(.*\)$", r"j\w+\s+(\.L\w+)$"),
    "FC_ARM": (r"fmla\s.*\.\d{suffix}", r"\[sp", r"st\w+\s", r"(?:b\.?\w+|cbn?z\s+\w+,)\s*(\.L\w+)$"),
}


def compiler(architecture):
    """The compiler for that architecture, or None."""
    machine, cross = COMPILERS[architecture]
    here = platform.machine().lower() in (machine, {"x86_64": "amd64", "aarch64": "arm64"}[machine])
    return shutil.which("gcc") or shutil.which("cc") if here else shutil.which(cross)


def assembly(folder, isa, real_bytes):
    """The compiler's output for the tiles of one ISA and dtype, with the flags of setup.py: csrc/kernels.c without its
    other kernels, which take ten times as long."""
    begin, _, rest = (ROOT / "csrc/kernels.c").read_text().partition('#include "kernels/tile.c"')
    assert rest
    source, target = folder / "tiles.c", folder / "tiles.s"
    tables = "const fc_kernels table = {.tile = TILE_TABLE};"
    source.write_text(f'{begin}#include "kernels/tile.c"\n{tables}\n')
    command = [compiler(isa.architecture), *kernel_flags(), *isa.flags, *macros(isa, real_bytes),
               f"-I{ROOT / 'csrc'}", "-S", str(source), "-o", str(target)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target.read_text()


def loops(text, function, jumps):
    """The instructions of each innermost loop of a function: from a label to the jump back to it."""
    body = re.search(rf"^{function}:\n(.*?)^\t\.size\t{function}", text, re.M | re.S).group(1)
    lines = [line.strip() for line in body.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    found = []
    for i, line in enumerate(lines):
        jump = re.match(jumps, line)
        if jump and labels.get(jump.group(1), i) < i:
            inside = lines[labels[jump.group(1)] + 1 : i]
            if not any(re.fullmatch(r"\.L\w+:", other) for other in inside):
                found.append(inside)
    return found


@pytest.mark.parametrize("isa", TILES, ids=lambda isa: isa.name)
@pytest.mark.parametrize("real_bytes", [4, 8], ids=["f32", "f64"])
def test_the_loop_over_k_lives_in_registers(isa, real_bytes, tmp_path):
    """For every row and vector count of the tile: nests balance their rows over all of them. One vector leaves
    registers for more rows, up to twice as many and 14."""
    if compiler(isa.architecture) is None:
        pytest.skip(f"needs a C compiler for {isa.architecture}")
    multiply, stack, store, jump = PATTERNS[isa.architecture]
    x86 = r"vfm\w+" if "-mfma" in isa.flags else "v?mul"
    multiply = multiply.format(suffix="s" if real_bytes == 4 else "d", x86=x86)
    text = assembly(tmp_path, isa, real_bytes)
    tallest = {v: isa.MR if v > 1 else min(2 * isa.MR, 14) for v in range(1, isa.NV + 1)}
    sizes = [(rows, v) for v, most in tallest.items() for rows in range(1, most + 1)]
    for kind, (rows, vectors) in itertools.product(("product_tile", "tap_tile", "row_tile"), sizes):
        tile = f"{kind}_{rows}_{vectors}"
        found = loops(text, tile, jump)
        assert found, tile
        loop = max(found, key=lambda lines: sum(bool(re.match(multiply, line)) for line in lines))
        assert sum(bool(re.match(multiply, line)) for line in loop) == rows * vectors, tile
        assert not [line for line in loop if re.search(stack, line)], tile
        assert not [line for line in loop if re.match(store, line)], tile
        assert not [line for line in loop if re.match(r"call|bl\b", line)], tile


@pytest.mark.skipif(compiler("FC_X86") is None, reason="needs a C compiler for x86")
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_every_row_compiles_where_the_compiler_takes_more_for_granted(level):
    """As some distributions' do, and as CFLAGS may say: a vector is as long as its row has it all the same."""
    for isa in isa_rows():
        if isa.architecture != "FC_ARM":
            command = [compiler("FC_X86"), f"-march={level}", *kernel_flags(), *isa.flags, *macros(isa, 4)]
            subprocess.run([*command, "-fsyntax-only", ROOT / "csrc/kernels.c"], check=True)
