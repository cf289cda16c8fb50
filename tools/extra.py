"""Prints the requirements of one extra of pyproject.toml, or of its build-system, for `make`: pip alone would build
fastconv again."""

import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text(encoding="utf-8"))
extras = project["project"]["optional-dependencies"] | {"build-system": project["build-system"]["requires"]}
print(*extras[sys.argv[1]], sep="\n")
