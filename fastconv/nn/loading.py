"""Networks from files that say what they are made of."""

from fastconv.arrays import to_dtype
from fastconv.nn.files import ARCHITECTURE, load_state, parsed, read
from fastconv.nn.layer import Layer


def load(path):
    """The network that save() wrote: architecture and parameters.

    Raises ValueError for a file that is not sound, or that has no architecture (then build the network, and use
    load_state)."""
    tensors, metadata = read(path)
    if ARCHITECTURE not in metadata:
        raise ValueError(f"{path} holds no architecture: it was not written by fastconv; build the network and call "
                         "its load_state(path)")  # fmt: skip
    try:
        described = parsed(metadata[ARCHITECTURE])
        net = build(described["net"])
        net.dtype = to_dtype(described["dtype"])
        load_state(net, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} holds an architecture that fastconv does not know, or not its parameters: "
                         f"{error}") from None  # fmt: skip
    return net


def build(described):
    """The layer that describe() described."""
    arguments = {name: as_tuples(value) for name, value in described.items() if name not in ("kind", "children")}
    kind = Layer.kinds[described["kind"]]
    children = {name: build(child) for name, child in described.get("children", {}).items()}
    return kind.of(children, **arguments)


def as_tuples(value):
    """JSON's lists as the tuples they were."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
