"""Files from elsewhere: whatever bytes a safetensors file or the file of measured choices has, reading it gives a
sound result or the documented refusal, takes no more memory than the file has bytes, and touches no other file.

Bytes are changed, cut off and put in; and numbers, names and punctuation of the JSON in both, which random bytes would
only break. Nothing in fastconv can read a pickle."""

import ast
import json
import re
import struct
import tracemalloc
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzzed
from hypothesis import example, given
from hypothesis import strategies as st
from networks import NETWORKS, network
from support import ROOT

import fastconv as fc
from fastconv import nn, tuned

TOKENS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"0", b"-1", b"1e9", b"18446744073709551615", b"null",
          b"true", b"NaN", b"F64", b"BF16", b"I64", b"F32", b"shape", b"data_offsets", b"__metadata__", b"\\u0000",
          b"\xff", b"\x80", b"Linear", b"Sequential", b"_Pool", b"Layer", b"children", b"kind", b"bias", b"../../x",
          b'"a":1,', b"[[[[[[[["]  # fmt: skip


@st.composite
def edits(draw, most=6):
    """Changes of a file: (what, where as a share of its length, bytes)."""
    piece = st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8)
    edit = st.tuples(st.sampled_from(["over", "in", "out", "twice", "cut"]), st.floats(0, 1), piece)
    return draw(st.lists(edit, max_size=most))


def edited(data, edits):
    """The bytes after these changes."""
    data = bytearray(data)
    for what, share, piece in edits:
        at = int(share * len(data))
        end = at + len(piece)
        if what == "cut":
            del data[at:]
        elif what == "twice":
            data[at:at] = data[at:end]
        else:
            data[at : end if what == "over" else at if what == "in" else end] = b"" if what == "out" else piece
    return bytes(data)


def framed(data):
    """The file with the header's length made right again, so that what was changed in the header is read."""
    end = data.rfind(b"}", 0, max(8, len(data) - 8)) + 1
    return struct.pack("<Q", max(0, end - 8)) + data[8:]


@lru_cache(maxsize=len(NETWORKS))
def saved(name, folder):
    """(the network of that name, its file's bytes)."""
    net, _ = network(name, np.float32)
    path = Path(folder) / "saved.safetensors"
    net.save(path)
    return net, path.read_bytes()


def read_within(limit, read):
    """What `read()` returns, or the ValueError it raised; never another error, nor more than `limit` bytes."""
    tracemalloc.start()
    try:
        return read()
    except ValueError as error:
        return error
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < limit, f"{most} bytes of memory for a file that should take {limit}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parsers")


SPACE = 1 << 19  # bytes that reading any of these small files may take: descriptions, messages


@fuzzed(quick=250, share=0.5)
@given(name=st.sampled_from(["dense", "residual", "norm", "groups"]), changes=edits(), frame=st.booleans())
@example(name="dense", changes=[], frame=False)
@example(name="dense", changes=[("cut", 0.0, b"")], frame=False)
@example(name="dense", changes=[("over", 0.0, b"\xff" * 8)], frame=False)
@example(name="dense", changes=[("over", 0.0, b"\0\0\0\0\0\0\0\x80")], frame=False)
@example(name="dense", changes=[("over", 0.0, b"\x80\x02\0\0\0\0\0\0")], frame=False)
def test_any_bytes_of_a_network(name, changes, frame, folder):
    pytest.importorskip("safetensors")
    net, data = saved(name, folder)
    path = folder / "changed.safetensors"
    data = edited(data, changes)
    data = framed(data) if frame else data
    path.write_bytes(data)
    before, limit = net.state(), 40 * len(data) + SPACE
    loaded = read_within(limit, lambda: nn.load(path))
    assert isinstance(loaded, (nn.Sequential, ValueError)) or type(loaded).__module__.startswith("fastconv.nn")
    if not isinstance(loaded, ValueError):
        held = sum(value.nbytes for value in loaded.state().values())
        assert held <= len(data)  # every number it has was in the file
    taken = read_within(limit, lambda: net.load_state(path))
    assert taken is None or isinstance(taken, ValueError)
    if taken is not None:
        for key, value in net.state().items():
            np.testing.assert_array_equal(value, before[key])
    net.load_state(before)
    assert path.read_bytes() == data
    assert {entry.name for entry in folder.iterdir()} <= {"changed.safetensors", "saved.safetensors"}


CHOICES = json.dumps({"fastconv": fc.__version__, "choices": {"first": "direct", "second": "im2col", "third": "fft"}})


@fuzzed(quick=250, share=0.5)
@given(changes=edits())
@example(changes=[])
@example(changes=[("in", 0.5, b"[" * 5000)])
@example(changes=[("in", 0.0, b"\xff\xfe")])
def test_any_bytes_of_the_choices(changes, tmp_path, monkeypatch):
    """row 83: pairs of short strings, or a warning and none; what is remembered then is read again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = tuned.path()
    place.parent.mkdir(exist_ok=True)
    data = edited(CHOICES.encode(), changes)
    place.write_bytes(data)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        choices = read_within(40 * len(data) + SPACE, tuned.load)
    assert isinstance(choices, dict)
    assert all(isinstance(text, str) and len(text) <= tuned.LONGEST for pair in choices.items() for text in pair)
    assert not (choices and warned)
    assert all("is ignored: " in str(w.message) and w.category is RuntimeWarning for w in warned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        tuned.remember({"new": "direct"})
    assert tuned.load() == {**choices, "new": "direct"}
    assert [entry.name for entry in place.parent.iterdir()] == [place.name]
    assert [entry.name for entry in tmp_path.iterdir()] == ["fastconv"]


@fuzzed(quick=60, share=0.1)
@given(changes=edits())
def test_any_bytes_of_an_architecture(changes, folder):
    """The JSON inside a sound file."""
    library = pytest.importorskip("safetensors.numpy")
    net, _ = saved("residual", folder)
    text = edited(json.dumps({"dtype": "float32", "net": nn.files.describe(net)}).encode(), changes)
    path = folder / "changed.safetensors"
    library.save_file(net.state(), path, {"fastconv": text.decode(errors="replace")})
    loaded = read_within(SPACE, lambda: nn.load(path))
    if not isinstance(loaded, ValueError):
        for key, value in loaded.state().items():
            np.testing.assert_array_equal(value, net.state()[key])


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".safetensors"])
def test_a_pickle_is_never_opened(suffix, tmp_path):
    """row 93: whatever it is called; this one would leave a file behind."""
    path = tmp_path / f"model{suffix}"
    trace = tmp_path / "it-ran"
    path.write_bytes(b"\x80\x04cbuiltins\nexec\n(S'open(%r, \"w\")'\ntR." % str(trace).encode())
    net, _ = network("dense", np.float32)
    for read in (nn.load, net.load_state):
        with pytest.raises(ValueError, match=r"looks like a pickle.*safetensors\.torch\.save_file"):
            read(path)
    assert not trace.exists()


READERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}


@pytest.mark.parametrize("path", sorted((ROOT / "fastconv").rglob("*.py")), ids=lambda path: path.name)
def test_nothing_reads_pickles_or_runs_text(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & READERS
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] not in READERS
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else None
            assert called not in CALLS
            of_numpy = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("np", "numpy")
            assert not (of_numpy and node.func.attr in ("load", "fromfile", "memmap"))
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", sorted((ROOT / "fastconv").rglob("*.p[yx][xd]")), ids=lambda path: path.name)
def test_compiled_modules_open_no_files(path):
    assert not re.search(r"import (pickle|marshal)|\b(open|fopen|eval|exec|system)\(", path.read_text())
