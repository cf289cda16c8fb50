"""How setup.py compiles csrc/kernels.c: the rows of csrc/isa.def and the flags, for what compiles it again without
setup.py: the disassembly test and the drivers."""

import ast
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Isa(NamedTuple):
    name: str
    architecture: str
    vector_bytes: int
    MR: int
    NV: int
    flags: list


def isa_rows():
    """The rows of csrc/isa.def, best first."""
    text = (ROOT / "csrc/isa.def").read_text()
    rows = re.findall(r'^FC_ISA\((\w+),\s*(\w+),.*?,\s*(\d+),\s*(\d+),\s*(\d+),\s*"(.*)"\)$', text, re.M)
    return [Isa(name, where, int(size), int(mr), int(nv), flags.split()) for name, where, size, mr, nv, flags in rows]


def kernel_flags():
    """KERNEL_FLAGS of setup.py, from its own assignments."""
    values = {"os": os, "sys": sys}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("DEBUG", "FLAGS", "KERNEL_FLAGS"):
            exec(compile(ast.Module([node], []), "setup.py", "exec"), values)
    return values["KERNEL_FLAGS"]


def macros(isa, real_bytes):
    """What makes one row and dtype of csrc/kernels.c."""
    values = {"FC_ISA_NAME": isa.name, "FC_VECTOR_BYTES": isa.vector_bytes, "FC_MR": isa.MR, "FC_NV": isa.NV,
              "FC_REAL_BYTES": real_bytes}  # fmt: skip
    return [f"-D{name}={value}" for name, value in values.items()]
