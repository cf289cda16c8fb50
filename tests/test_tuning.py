"""Measured tuning: off, it is never read; on, a plan takes what was measured if `auto` might have; and whatever is in
the file (row 83: corrupt, cut short, of another version, too large, no file at all), nothing breaks; any
bytes: test_parsers.py."""

import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import run_python

import fastconv as fc
from fastconv import algorithms, tuned, tuning
from fastconv._loops import kernels
from fastconv.shapes import conv_shape

X, WEIGHT = (1, 8, 12, 12), (8, 8, 3, 3)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The path of an empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tuned.path().parent.mkdir()
    return tuned.path()


@pytest.fixture
def in_use(file, monkeypatch):
    """As if FASTCONV_TUNED=1 had been set at import."""
    monkeypatch.setattr(tuned, "IN_USE", True)

    def forget():
        tuned._loaded.cache_clear()
        algorithms._choose.cache_clear()

    forget()
    yield forget
    monkeypatch.undo()
    forget()


def content(choices, version=fc.__version__):
    return json.dumps({"fastconv": version, "choices": choices})


def key():
    return tuned.key(conv_shape(X, WEIGHT), 4, kernels.active_isa())


def chosen(prepared=True, **parameters):
    return fc.explain_conv2d(X, WEIGHT, prepared=prepared, **parameters).chosen


def test_what_was_measured_is_taken(in_use, file):
    prepared, unprepared = chosen(), chosen(prepared=False)
    able = [row.name for row in algorithms.ALGORITHMS if row.accurate and not row.refuse(conv_shape(X, WEIGHT))]
    other = next(name for name in able if name not in (prepared, unprepared))
    tuned.remember({key(): other})
    in_use()
    assert chosen() == other
    assert chosen(prepared=False) == unprepared  # conv2d prepares weights at each call, which was not measured


def test_it_is_never_read_unless_asked_for(file, monkeypatch):
    monkeypatch.setattr(tuned, "load", lambda: pytest.fail("the file was read"))
    algorithms._choose.cache_clear()
    tuned._loaded.cache_clear()
    assert chosen() in algorithms.BY_NAME


@pytest.mark.parametrize("name", ["winograd6x6", "auto", "no-such", ""])
def test_a_choice_that_auto_would_not_take_counts_for_nothing(in_use, name):
    usual = chosen()
    tuned.remember({key(): name})
    in_use()
    assert chosen() == usual
    strict = fc.explain_conv2d(X, WEIGHT, prepared=True, strict=True).chosen
    assert algorithms.BY_NAME[strict].strict


def test_tune_measures_accurate_rows_and_remembers_the_fastest(file):
    times = tuning.tune(X, WEIGHT, padding=1)
    assert list(times.values()) == sorted(times.values())
    assert all(algorithms.BY_NAME[name].accurate for name in times)
    assert tuned.load() == {tuned.key(conv_shape(X, WEIGHT, padding=1), 4, kernels.active_isa()): next(iter(times))}


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    tuned.remember({"a": "direct"})
    monkeypatch.setattr(os, "replace", None)
    with pytest.raises(TypeError):
        tuned.remember({"b": "im2col"})
    assert tuned.load() == {"a": "direct"}
    assert list(file.parent.iterdir()) == [file]


def test_the_command(tmp_path):
    """Tunes, then a process with FASTCONV_TUNED=1 takes what the file says."""
    call = "import sys; sys.argv = ['fastconv', *{}]; from fastconv.__main__ import main; main()"
    done = run_python(call.format(["tune", "1x4x9x9", "5x4x3x3", "--padding", "1"]), XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "direct" in done.stdout
    layers = tmp_path / "layers.txt"
    layers.write_text("# a comment\nname 1 4 8 8 6 3 3 1 1 2 3\n")
    done = run_python(call.format(["tune", "--file", str(layers), "--layout", "NHWC"]), XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout.startswith("1x8x8x4 * 6x3x3x2: ")
    place = tmp_path / "fastconv" / "tuned-v1.json"
    place.write_text(place.read_text().replace('"direct"', '"im2col"'))
    names = list(json.loads(place.read_text())["choices"].values())
    show = (
        "import fastconv as fc; print(fc.explain_conv2d((1, 4, 9, 9), (5, 4, 3, 3), padding=1, prepared=True).chosen)"
    )
    done = run_python(show, XDG_CACHE_HOME=str(tmp_path), FASTCONV_TUNED="1")
    assert done.stdout.strip() == names[0]


@pytest.mark.parametrize(
    "arguments",
    [[], ["1x4x9x9"], ["1x4x9x9", "5x4x3x3", "--file", "x"], ["1x4x9x9", "--file", "x"], ["1x4", "axb"],
     ["--file", "x", "--stride", "2"]],
)  # fmt: skip
def test_the_command_refuses(arguments):
    done = run_python(f"import sys; sys.argv = ['fastconv', 'tune', *{arguments}]; "
                      "from fastconv.__main__ import main; main()")  # fmt: skip
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [("square 512 512 512", "expected `name N C H W K R S stride padding groups`, got 'square 512 512 512'"),
     ("a 1 4 8 8 6 3 3 1 x 1", "expected `name N C H W K R S stride padding groups`, got 'a 1 4"),
     ("a 1 4 8 8 6 3 3 1 1 0", "groups must be at least 1"),
     ("a 0 4 8 8 6 3 3 1 1 1", "nothing to time")],
)  # fmt: skip
def test_a_file_of_something_else(line, message, tmp_path):
    layers = tmp_path / "layers.txt"
    layers.write_text(f"{line}\n")
    done = run_python(f"import sys; sys.argv = ['fastconv', 'tune', '--file', {str(layers)!r}]; "
                      "from fastconv.__main__ import main; main()")  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("home", ["a file", "/proc"])
def test_row83_a_cache_that_cannot_be_written(home, tmp_path):
    """Everything works but remembering, which the command says in a line."""
    if home == "a file":
        (tmp_path / "file").touch()
        home = tmp_path / "file"
    call = (
        "import sys; sys.argv = ['fastconv', 'tune', '1x4x9x9', '5x4x3x3']; from fastconv.__main__ import main; main()"
    )
    done = run_python(call, XDG_CACHE_HOME=str(home), FASTCONV_TUNED="1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "fastconv tune:" in done.stderr


BAD = {
    "empty": "",
    "cut short": content({"a": "direct"})[:-4],
    "no object": "[1, 2]",
    "another form": '{"choices": {}}',
    "more members": '{"fastconv": "0", "choices": {}, "more": 1}',
    "another version": content({"a": "direct"}, "0.0.1"),
    "a version that is none": content({}, {}),
    "choices of a list": content(["direct"]),
    "a choice of a number": content({"a": 1}),
    "a choice too long": content({"a": "b" * 1000}),
    "too many": content({str(i): "direct" for i in range(tuned.MOST_CHOICES + 1)}),
    "too large": " " * tuned.MOST_BYTES + content({}),
    "deep": "[" * 100_000,
    "a large number": "1" * 10_000,
}


@pytest.mark.parametrize("name", BAD)
def test_row83_a_bad_file_is_ignored_with_a_warning(name, file):
    file.write_text(BAD[name])
    with pytest.warns(RuntimeWarning, match="is ignored: "):
        assert tuned.load() == {}
    with pytest.warns(RuntimeWarning, match="is ignored: "):
        tuned.remember({"a": "direct"})
    assert tuned.load() == {"a": "direct"}  # whole again


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)],
                         ids=["a directory", "a pipe", "a link to a device"])  # fmt: skip
def test_row83_what_is_no_file_is_ignored(make, file):
    make(file)
    with pytest.warns(RuntimeWarning, match="is ignored: "):
        assert tuned.load() == {}


def test_the_file_is_bounded(file):
    """The oldest choices go; one that is measured again is new."""
    tuned.remember({str(i): "direct" for i in range(tuned.MOST_CHOICES)})
    tuned.remember({"0": "im2col", "new": "fft"})
    choices = tuned.load()
    assert len(choices) == tuned.MOST_CHOICES
    assert "1" not in choices
    assert list(choices)[-2:] == ["0", "new"]
    tuned.remember({f"{i:0{tuned.LONGEST}}"[: tuned.LONGEST]: "d" * 12 for i in range(tuned.MOST_CHOICES)})
    assert len(tuned.load()) == tuned.MOST_CHOICES  # as long as they may be, they still fit


def test_writers_at_once_leave_a_whole_file(file):
    """Readers see a file of somebody's choices at any time, and no temporary file stays."""
    tuned.remember({"a": "direct"})

    def write_and_read(i):
        for turn in range(15):
            tuned.remember({f"{i}.{turn}": "direct"})
            assert tuned.load()["a"] == "direct"

    with warnings.catch_warnings(), ThreadPoolExecutor(6) as pool:
        warnings.simplefilter("error")
        list(pool.map(write_and_read, range(6)))
    assert os.listdir(file.parent) == [file.name]
