"""The benchmarks' scripts fit together: what they take from their harness is there. They are run by hand, with peers
that the tests do without, so a name that a merge had lost went unnoticed."""

import ast

import pytest
from support import ROOT

HARNESS = {path.stem: path for path in (ROOT / "benchmarks/harness").glob("*.py")}
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


def names_in(path):
    """What a module defines, or imports, at its top level or in its branches."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_takes_from_the_harness_is_there(script):
    tree, modules = ast.parse(script.read_text()), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            modules |= {alias.asname or alias.name: HARNESS[alias.name] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
            assert {alias.name for alias in node.names} <= names_in(HARNESS[node.module.split(".")[1]])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert node.attr in names_in(modules[node.value.id]), f"{node.value.id}.{node.attr}"
