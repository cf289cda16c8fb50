"""A library built from the sources with another csrc/isa.def, installed into a folder of its own: for tools that need
fastconv compiled as nobody would ship it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("csrc", "fastconv", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def build(folder, row_of, **environment):
    """Where the library is: folder/site. row_of: what becomes of a row FC_ISA(name, ...), given its name and its line.
    environment: variables for the compiler."""
    source, site = folder / "source", folder / "site"
    shutil.rmtree(folder, ignore_errors=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy2(ROOT / name, source / name)
    table = source / "csrc/isa.def"
    lines = table.read_text().splitlines(keepends=True)
    start = "FC_ISA("
    table.write_text("".join(row_of(line[len(start) :].split(",")[0], line) if line.startswith(start) else line
                             for line in lines))  # fmt: skip
    command = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", str(site), str(source)]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    return site
