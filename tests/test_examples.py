"""Every example runs, quickly where it can be told to."""

import os
import subprocess
import sys

import pytest
from support import INSTALLED, ROOT, run_python

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
QUICK = {"04_train_on_digits": ["1"], "05_train_hogwild": ["1"]}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    done = subprocess.run(
        [sys.executable, str(path), *QUICK.get(path.stem, [])],
        env={**os.environ, "PYTHONPATH": INSTALLED}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_there_are_six():
    assert [path.name[:2] for path in EXAMPLES] == [f"0{i}" for i in range(1, 7)]


def test_the_code_of_the_readme():
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "winograd4x4" in done.stdout
