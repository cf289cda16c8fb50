"""Where a network's numbers live: all parameters in one contiguous vector, all running statistics in another. A
layer's `weight` is a view of its place there, in torch's order of axes."""

import math
import os
import threading
from dataclasses import dataclass
from weakref import WeakSet

import numpy as np

from fastconv._loops.program import fingerprint
from fastconv.arrays import as_array, zeros

ALIGNMENT = 16  # elements: where parameters start in them, on a line for both dtypes

# Signal handlers and finalizers may call a network in the middle of a call, with its lock held: locks are re-entrant.
_making = threading.RLock()
_forks = 0  # between this process and the one that imported the library


@dataclass(frozen=True)
class Place:
    """Where a parameter lies: `size` elements from `offset` of the vector. Convolution filters lie channels-last."""

    name: str  # torch's, e.g. features.0.weight
    shape: tuple  # in torch's order
    offset: int
    trained: bool  # in the vector of parameters, or a running statistic

    @property
    def size(self):
        return math.prod(self.shape)

    def stored(self, vector):
        """The parameter as it lies in memory."""
        lying = vector[self.offset : self.offset + self.size]
        if len(self.shape) == 4:
            k, c, r, s = self.shape
            return lying.reshape(k, r, s, c)
        return lying.reshape(self.shape)

    def view(self, vector):
        """The parameter in torch's order."""
        stored = self.stored(vector)
        return stored.transpose(0, 3, 1, 2) if len(self.shape) == 4 else stored


class Lease:
    """What keeps a vector alive for the views of it that were handed out, and is gone when the last of them is."""

    def __init__(self, vector):
        self.vector, self.__array_interface__ = vector, vector.__array_interface__


class Store:
    """The vectors of one network. `version` counts the changes: those made through the store, and, as long as somebody
    has a view that was lent out, those that are found in what programs have prepared."""

    def __init__(self, root):
        self.places = {}  # (layer, name) -> Place
        self.version = 0
        self.prepared = set()  # layers of whose parameters programs keep another form
        self._leases, self._lends, self._settled, self._seen = WeakSet(), 0, 0, None
        self._lock = _forks, threading.RLock()
        self.programs = {}
        sizes = {True: 0, False: 0}
        made = []
        for path, layer in root.named_layers():
            shapes = [(name, shape, True) for name, shape in layer.parameter_shapes().items()]
            shapes += [(name, shape, False) for name, shape in layer.statistic_shapes().items()]
            for name, shape, trained in shapes:
                place = Place(f"{path}.{name}".lstrip("."), shape, sizes[trained], trained)
                sizes[trained] += -(-place.size // ALIGNMENT) * ALIGNMENT
                self.places[layer, name] = place
                made.append((layer, name))
        self.parameters, self.statistics = (zeros((sizes[trained],), root.dtype) for trained in (True, False))
        rng = np.random.default_rng(root.seed)
        for layer, name in made:
            if layer._store is None:
                layer.initialise(name, self.view(layer, name), rng)
            else:  # the layer has been used on its own
                self.view(layer, name)[...] = layer._store.view(layer, name)
        for _, layer in root.named_layers():
            layer._store = self

    @property
    def lock(self):
        """Of this process: a forked child makes its own."""
        if self._lock[0] != _forks:
            with _making:
                if self._lock[0] != _forks:
                    self._lock = _forks, threading.RLock()
        return self._lock[1]

    def view(self, layer, name):
        """A layer's parameter in torch's order."""
        place = self.places[layer, name]
        return place.view(self._vector(place))

    def lend(self, layer, name):
        """The same for users, who may change its values at any time, as long as they keep it."""
        place = self.places[layer, name]
        lease = Lease(self._vector(place))
        with self.lock:
            self._leases.add(lease)
            self._lends += 1
        return place.view(np.asarray(lease))

    def look(self):
        """Counts a change if prepared parameters are not what they were at the last look, nor known to be others. Costs
        nothing unless a view has been out since then."""
        lends, settled = self._lends, not self._leases
        if lends == self._settled:
            return
        seen = [
            (layer, name, fingerprint(place.stored(self._vector(place))))
            for (layer, name), place in self.places.items()
            if layer in self.prepared
        ]
        if seen != self._seen:
            self.changed()
        self._seen = seen
        if settled:
            self._settled = lends

    def _vector(self, place):
        return self.parameters if place.trained else self.statistics

    def stored(self, layer, name):
        """A layer's parameter as it lies in memory: filters (K, R, S, C/groups), contiguous."""
        return self.places[layer, name].stored(self.parameters)

    def assign(self, layer, name, value):
        """Sets a layer's parameter; TypeError or ValueError unless it has the shape and a float dtype."""
        target, value = self.view(layer, name), as_array(value, name)
        if value.shape != target.shape:
            raise ValueError(f"{name} must have shape {target.shape}, got {value.shape}")
        target[...] = value
        self.changed()

    def changed(self):
        """The values are other ones from now on."""
        self.version += 1
        self._seen = None


def _after_fork_in_child():
    """Threads that held a lock at that moment do not exist here, and nobody would ever let go of it."""
    global _making, _forks
    _making = threading.RLock()
    _forks += 1


os.register_at_fork(after_in_child=_after_fork_in_child)


def root_of(layer):
    """The outermost network that a layer belongs to."""
    return layer if layer.parent is None else root_of(layer.parent)


def store_of(layer):
    """The store of the network that a layer belongs to, made and initialised the first time."""
    root = root_of(layer)
    with _making:
        if root._store is None or any(part._store is not root._store for _, part in root.named_layers()):
            Store(root)
    return layer._store


def uniform(view, fan_in, rng):
    """He et al. (2015): variance 2 / fan_in keeps the size of what ReLUs pass on."""
    bound = math.sqrt(6 / max(1, fan_in))
    lying = view.transpose(0, 2, 3, 1) if view.ndim == 4 else view
    rng.random(out=lying, dtype=view.dtype)
    view *= 2 * bound
    view -= bound
