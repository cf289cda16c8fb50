"""Networks in safetensors files: what is written comes back bit for bit; files that are not sound change nothing."""

import json
import os
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from networks import NETWORKS, network

import fastconv as fc
from fastconv import nn

library = pytest.importorskip("safetensors.numpy")


@pytest.mark.parametrize("name", NETWORKS)
def test_save_and_load(name, tmp_path):
    net, x = network(name)
    net.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    assert repr(again) == repr(net)
    np.testing.assert_array_equal(again(x), net(x))
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]  # nothing half-written is left


def test_named_layers_come_back(tmp_path):
    net = nn.Sequential(features=nn.Sequential(nn.Conv2d(1, 2, 3, padding=((1, 0), (0, 1)))), flatten=nn.Flatten())
    net.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    assert list(again.state()) == ["features.0.weight", "features.0.bias"]
    assert again.features[0].padding == ((1, 0), (0, 1))


def test_a_networks_own_views_may_change_places():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    before = net.state()
    net.load_state({"0.weight": net[1].weight, "1.weight": net[0].weight})
    np.testing.assert_array_equal(net[0].weight, before["1.weight"])
    np.testing.assert_array_equal(net[1].weight, before["0.weight"])


@pytest.mark.skipif(os.name != "posix", reason="the permissions of POSIX")
def test_a_file_has_the_permissions_of_a_new_one(tmp_path):
    nn.Sequential(nn.Linear(2, 2)).save(tmp_path / "net.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_state_dict_of_torchs_names(tmp_path):
    """As safetensors.torch.save_file writes one: no architecture, the batches counted by BatchNorm2d among it."""
    net, x = network("norm", np.float32)
    state = {**net.state(), "1.num_batches_tracked": np.array(7)}
    library.save_file(state, tmp_path / "state.safetensors")
    other, _ = network("norm", np.float32, seed=9)
    assert abs(other(x) - net(x)).max() > 1e-3
    other.load_state(str(tmp_path / "state.safetensors"))
    np.testing.assert_array_equal(other(x), net(x))
    other, _ = network("norm", np.float32, seed=9)
    other.load_state(state)
    np.testing.assert_array_equal(other(x), net(x))
    with pytest.raises(ValueError, match="no architecture"):
        nn.load(tmp_path / "state.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    net, _ = network("dense")
    path = tmp_path / "net.safetensors"
    net.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(library, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        net.save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


def sound(tensors):
    """A file of tensors {name: (dtype, shape, begin, end)} over 48 bytes of data, its header as a dictionary."""
    return {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        for name, (dtype, shape, begin, end) in tensors.items()
    }


def packed(header, data=bytes(48), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


WEIGHT, BIAS = ("F32", [3, 3], 0, 36), ("F32", [3], 36, 48)
GOOD = packed(sound({"0.weight": WEIGHT, "0.bias": BIAS}))
BAD = {
    "empty": b"",
    "truncated": GOOD[:-1],
    "oversized": GOOD + bytes(4),
    "header longer than the file": packed(sound({"0.weight": WEIGHT, "0.bias": BIAS}), length=1 << 20),
    "header of no length": packed({}, length=0),
    "header of 2**63 bytes": packed({}, length=1 << 63),
    "overlapping": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [3], 24, 36)}), bytes(36)),
    "a hole": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [3], 40, 52)}), bytes(52)),
    "reversed": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [3], 48, 36)})),
    "outside": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [3], 36, 4800)})),
    "shape and bytes differ": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [4], 36, 48)})),
    "a shape that overflows": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [2**62, 2**62], 36, 48)})),
    "a negative shape": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [-3], 36, 48)})),
    "a fractional shape": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [3.0], 36, 48)})),
    "unknown dtype": packed(sound({"0.weight": WEIGHT, "0.bias": ("F99", [3], 36, 48)})),
    "half precision": packed(sound({"0.weight": WEIGHT, "0.bias": ("BF16", [6], 36, 48)})),
    "a name twice": packed(
        json.dumps(sound({"0.weight": WEIGHT, "0.bias": BIAS})).encode()[:-1]
        + b', "0.bias": {"dtype": "F32", "shape": [3], "data_offsets": [36, 48]}}'
    ),
    "a size that is NaN": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [float("nan")], 36, 48)})),
    "a size that is a truth": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [True, 3], 36, 48)})),
    "not JSON": packed(b"{]", bytes(48)),
    "not text": packed(b"\xff\xfe\xfd", bytes(48)),
    "deeply nested": packed(b"[" * 100_000 + b"]" * 100_000),
    "wrong names": packed(sound({"0.weight": WEIGHT, "1.bias": BIAS})),
    "wrong shape": packed(sound({"0.weight": WEIGHT, "0.bias": ("F32", [1, 3], 36, 48)})),
    "a pickle": b"\x80\x04" + bytes(60),
    "a torch archive": b"PK\x03\x04" + bytes(60),
}


def test_the_good_file_is_good(tmp_path):
    (tmp_path / "good.safetensors").write_bytes(GOOD)
    net = nn.Sequential(nn.Linear(3, 3))
    net.load_state(tmp_path / "good.safetensors")
    assert not net[0].weight.any()


@pytest.mark.parametrize("what", BAD)
def test_bad_files_change_nothing(what, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(BAD[what])
    net = nn.Sequential(nn.Linear(3, 3))
    before = net.state()
    with pytest.raises(ValueError):
        net.load_state(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError):
        nn.load(tmp_path / "bad.safetensors")
    for key, value in net.state().items():
        np.testing.assert_array_equal(value, before[key])


def test_without_safetensors_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'fastconv\[nn\]'"):
        nn.Linear(2, 2).save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_messages_say_what_to_do(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3))
    for name in ("model.pt", "model.pth", "model.pkl"):
        (tmp_path / name).write_bytes(GOOD)
        with pytest.raises(ValueError, match=r"safetensors\.torch\.save_file"):
            net.load_state(tmp_path / name)
    (tmp_path / "half.safetensors").write_bytes(BAD["half precision"])
    with pytest.raises(ValueError, match=r"'0\.bias' is BF16"):
        net.load_state(tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=r"missing 0.bias, unknown 1.bias"):
        (tmp_path / "names.safetensors").write_bytes(BAD["wrong names"])
        net.load_state(tmp_path / "names.safetensors")
    with pytest.raises(TypeError, match="float64"):
        net.load_state({key: value.astype(np.float64) for key, value in net.state().items()})
    with pytest.raises(FileNotFoundError):
        net.load_state(tmp_path / "none.safetensors")


@pytest.mark.parametrize("length", [0x4B50, 0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_looks_like_a_pickle(length, tmp_path):
    """The first two bytes of a sound file are its header's length: 640 is b"\\x80\\x02", with which pickles begin."""
    header = GOOD[8:-48].ljust(length)
    (tmp_path / "good.safetensors").write_bytes(packed(header, np.arange(12, dtype=np.float32).tobytes()))
    net = nn.Sequential(nn.Linear(3, 3))
    net.load_state(tmp_path / "good.safetensors")
    np.testing.assert_array_equal(net[0].bias, [9, 10, 11])


def described(*layers, dtype="float32"):
    children = {str(i): layer for i, layer in enumerate(layers)}
    return json.dumps({"dtype": dtype, "net": {"kind": "Sequential", "children": children}})


LINEAR = {"kind": "Linear", "in_features": 3, "out_features": 3, "bias": False}


@pytest.mark.parametrize(
    "architecture",
    [
        "{]",
        "[]",
        json.dumps({"dtype": "float32"}),
        json.dumps({"dtype": "int8", "net": {"kind": "Linear", "in_features": 3, "out_features": 3, "bias": True}}),
        json.dumps({"dtype": "float32", "net": {"kind": "Parameter"}}),
        json.dumps({"dtype": "float32", "net": {"kind": "Linear", "units": 3}}),
        json.dumps({"dtype": "float32", "net": {"kind": "Linear", "in_features": 0, "out_features": 3}}),
        json.dumps({"dtype": "float32", "net": {"kind": "Linear", "in_features": "3", "out_features": 3}}),
        described({**LINEAR, "in_features": 2**40, "out_features": 2**20}),  # 4 EB of parameters
        described({**LINEAR, "in_features": 2**15, "out_features": 2**15}),  # 4 GB, which could be had
        described(LINEAR, dtype="float64"),
        described(LINEAR, dtype=">f4"),
        described(LINEAR, dtype=None),
        described(LINEAR, {"kind": "ReLU", "forward": "mine"}),
        described(LINEAR, {"kind": "_Pool", "kernel_size": 2, "stride": 2, "padding": 0}),
        described(LINEAR, {"kind": "Layer"}),
        described(LINEAR, {"kind": "Dropout", "p": "0.5"}),
    ],
)
def test_architectures_that_are_none(architecture, tmp_path):
    name = "0.weight" if "Sequential" in architecture else "weight"
    library.save_file({name: np.zeros((3, 3), np.float32)}, tmp_path / "net.safetensors", {"fastconv": architecture})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds an architecture that fastconv does not know"):
            nn.load(tmp_path / "net.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # whatever the file says
    finally:
        tracemalloc.stop()


def test_the_architecture_of_a_linear_layer_is_one(tmp_path):
    """So the others of the test above are refused for what is wrong with them."""
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    library.save_file({"0.weight": weight}, tmp_path / "net.safetensors", {"fastconv": described(LINEAR)})
    np.testing.assert_array_equal(nn.load(tmp_path / "net.safetensors")[0].weight, weight)


def test_a_loaded_network_trains(tmp_path):
    net, x = network("convolutions")
    net.save(tmp_path / "net.safetensors")
    again = nn.load(tmp_path / "net.safetensors")
    y = np.zeros(len(x), int)
    for trained in (net, again):
        fc.train.fit(trained, x, y, epochs=1, batch_size=2, lr=0.1, progress=False)
    np.testing.assert_array_equal(again(x), net(x))
