"""Networks in safetensors files: tensors under torch's names, and the architecture as JSON in the file's metadata.
Everything is checked before anything is changed; a file is written whole or not at all."""

import json
import os
import secrets
from pathlib import Path

import numpy as np

from fastconv.arrays import as_array
from fastconv.nn.parameters import root_of, store_of

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
ARCHITECTURE = "fastconv"  # the key of the metadata
UNTRAINED = "num_batches_tracked"  # torch's BatchNorm2d counts its batches; fastconv's does not


def safetensors():
    """The safetensors package, which an extra brings."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError("fastconv reads and writes networks with the safetensors package, which is not installed: "
                          "pip install 'fastconv[nn]'") from None  # fmt: skip
    return safetensors


def describe(layer):
    """A layer as JSON can hold it."""
    described = {"kind": type(layer).__name__, **layer.arguments}
    if layer.children:
        described["children"] = {name: describe(child) for name, child in layer.children.items()}
    return described


def save(net, path):
    """See Layer.save."""
    library, path = safetensors(), to_path(path)
    store = store_of(net)
    metadata = {ARCHITECTURE: json.dumps({"dtype": str(store.parameters.dtype), "net": describe(net)})}
    written = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    with open(written, "xb") as file:
        permissions = os.fstat(file.fileno()).st_mode  # of any new file; the package gives its own others
    try:
        library.numpy.save_file(net.state(), written, metadata)
        os.chmod(written, permissions)
        os.replace(written, path)
    except BaseException:
        os.unlink(written)
        raise


def to_path(path):
    """A Path of a string or of what the operating system takes for a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or a path, got {type(path).__name__}")
    return Path(path)


def looks_pickled(path):
    """Whether that is a file which runs code when it is read. Its first bytes say so only of a file that is no sound
    safetensors: there they are the header's length, which may be any."""
    with open(path, "rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def refuse_pickle(path):
    raise ValueError(
        f"{path} looks like a pickle, which can run any code when it is read, so fastconv does not; convert it "
        "where you trust it: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
    )


def read(path):
    """(tensors, metadata) of a safetensors file; ValueError for what is not a sound one."""
    path, library = to_path(path), safetensors()
    if path.suffix in PICKLES:
        refuse_pickle(path)
    try:
        with library.safe_open(path, "numpy") as file:
            tensors = {}
            for name in list(file.keys()):
                kind = file.get_slice(name).get_dtype()
                if kind not in ("F32", "F64") and not name.endswith(UNTRAINED):
                    raise ValueError(f"tensor {name!r} is {kind}; fastconv takes F32 and F64")
                if kind in ("F32", "F64"):
                    tensors[name] = file.get_tensor(name)
            metadata = file.metadata() or {}
    except library.SafetensorError as error:
        if looks_pickled(path):
            refuse_pickle(path)
        raise ValueError(f"{path} is not a sound safetensors file: {error}") from None
    with open(path, "rb") as file:  # the package takes the last of several tensors of one name
        parsed(file.read(int.from_bytes(file.read(8), "little")))
    return tensors, metadata


def parsed(text):
    """What a text of JSON says; ValueError where an object has two members of one name."""

    def unique(members):
        if len(dict(members)) < len(members):
            raise ValueError(f"a name stands twice among {short(sorted(name for name, _ in members))}")
        return dict(members)

    return json.loads(text, object_pairs_hook=unique)


def load_state(net, source):
    """See Layer.load_state."""
    if not isinstance(source, (dict, str, os.PathLike)):
        raise TypeError(f"source must be a path or a dictionary of arrays, got {type(source).__name__}")
    tensors = source if isinstance(source, dict) else read(source)[0]
    wanted, dtype = net.named_parameters(), root_of(net).dtype
    tensors = {name: value for name, value in tensors.items() if not str(name).endswith(UNTRAINED)}
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(map(str, tensors.keys() - wanted.keys()))
    if missing or unknown:
        raise ValueError(f"the names do not fit the network: missing {short(missing)}, unknown {short(unknown)}")
    values = {}
    for name, (layer, own) in wanted.items():
        value, shape = as_array(tensors[name], name), (layer.parameter_shapes() | layer.statistic_shapes())[own]
        if value.dtype != dtype:
            raise TypeError(f"{name} is {value.dtype}, but the network is {dtype}; convert it with .astype")
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}, but the network's is {shape}")
        values[name] = value
    store = store_of(net)  # only now: a file must not make us allocate what it does not hold
    for name, value in values.items():
        if np.may_share_memory(value, store.parameters) or np.may_share_memory(value, store.statistics):
            values[name] = value.copy()  # a view of the network's own, which is about to change
    for name, (layer, own) in wanted.items():
        store.view(layer, own)[...] = values[name]
    store.changed()


def short(names):
    """A list for an error message."""
    return f"{', '.join(names[:5])}{' and so on' if len(names) > 5 else ''}" if names else "nothing"
