"""What every layer is: a small description of shapes and parameters. Nothing here computes: a network is compiled to
a flat program (program.py) which fastconv/_loops/program.pyx runs."""

from typing import ClassVar

import numpy as np

from fastconv.nn.evaluation import evaluate
from fastconv.nn.files import load_state, save
from fastconv.nn.parameters import store_of
from fastconv.nn.summary import summarise


class Parameter:
    """An attribute of a layer that is a parameter: reading gives a view in torch's order, writing copies in. A layer
    that joins a network takes its values along, and views that were taken before stay behind."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        if self.name not in layer.parameter_shapes() and self.name not in layer.statistic_shapes():
            return None
        return store_of(layer).lend(layer, self.name)

    def __set__(self, layer, value):
        store = store_of(layer)
        if (layer, self.name) not in store.places:
            raise ValueError(f"{layer!r} has no {self.name}")
        store.assign(layer, self.name, value)


class Misfit(ValueError):
    """A layer does not take the shape it gets; the message names the layer by its path."""

    def __init__(self, path, layer, reason):
        super().__init__(f"layer {path!r}, {layer}, does not fit: {reason}")
        self.path, self.layer, self.reason = path, layer, reason


class Layer:
    """One layer, or a network of them. Shapes of layers are those of one image: (C, H, W), or (features,).

    A layer says: parameter_shapes, statistic_shapes (running statistics), initialise, output_shape, and `forward`,
    which appends its steps to a program and leaves there how its gradients are made."""

    dtype = np.dtype(np.float32)
    seed = 0
    is_sequence = False
    reads_much = False  # whether its weights are worth reading for many images at once
    hands_on = False  # whether evaluation does nothing here
    kinds: ClassVar = {}  # {name: class} of all layers

    def __init_subclass__(cls):
        if not cls.__name__.startswith("_"):
            Layer.kinds[cls.__name__] = cls

    def __init__(self, *none, **arguments):
        if none or (arguments and type(self).__init__ is Layer.__init__):
            given = ", ".join([*map(repr, none), *arguments])
            raise TypeError(f"{type(self).__name__} takes no arguments, got {given}")
        self.arguments = arguments  # of the constructor: what save() writes and repr() shows
        self.__dict__.update(arguments)
        self.children = {}
        self.parent = None
        self._store = None

    def parameter_shapes(self):
        """{name: shape in torch's order}."""
        return {}

    def statistic_shapes(self):
        """As parameter_shapes, of what training keeps but does not train."""
        return {}

    def initialise(self, name, view, rng):
        """Fills a parameter before training."""

    def output_shape(self, shape):
        """The shape of the result for one image of that shape; ValueError where they do not fit."""
        return shape

    @classmethod
    def of(cls, children, **arguments):
        """The layer with these children and arguments of the constructor."""
        return cls(**children, **arguments)

    def cost(self, shape, images, itemsize):
        """(FLOPs, elements of the im2col matrix, algorithm) for so many images of that shape."""
        return 0, 0, ""

    def takes_in(self, layer):
        """Whether `layer`, behind this one, runs inside it."""
        return False

    def checked_output_shape(self, shape, name):
        """output_shape for the container that knows this layer by that name, and says so if it does not fit."""
        try:
            return self.output_shape(shape)
        except Misfit as inner:
            raise Misfit(f"{name}.{inner.path}", inner.layer, inner.reason) from None
        except ValueError as error:
            raise Misfit(name, repr(self), str(error)) from None

    def forward(self, to, x):
        """Appends the steps of this layer to the program `to` and returns the Value they make."""
        raise NotImplementedError

    def forward_before(self, following, to, x):
        """forward, for a layer that can do the work of some of those that follow: it takes them off the list."""
        return self.forward(to, x)

    def named_layers(self, path=""):
        """(path, layer) of this layer and all below it, in order; paths as torch writes them."""
        yield path, self
        for name, child in self.children.items():
            yield from child.named_layers(f"{path}.{name}".lstrip("."))

    def adopt(self, children):
        """Makes layers the children of this one."""
        seen = {id(self)}
        for name, child in children.items():
            if not isinstance(child, Layer):
                hint = f"; write {child.__name__}()" if isinstance(child, type) and issubclass(child, Layer) else ""
                raise TypeError(f"layer {name!r} must be one of fastconv.nn, got {type(child).__name__}{hint}")
            if child.parent is not None or id(child) in seen:
                raise ValueError(f"layer {name!r}, {child!r}, is part of a network already")
            seen.add(id(child))
        for name, child in children.items():
            child.parent = self
            self.children[name] = child

    def __call__(self, x, *, num_threads=None):
        """The network's answer to a batch of images, x (N, C, H, W) or (N, features). This always evaluates: Dropout
        does nothing and BatchNorm2d uses its running statistics. num_threads: at most so many.

        Raises ValueError or TypeError where x does not fit; the message names the layer."""
        return evaluate(self, x, num_threads)

    def summary(self, input_shape):
        """What the network costs for inputs of that shape, N included: print it, or read .rows; see Summary."""
        return summarise(self, input_shape)

    def state(self):
        """{torch's name: a copy of the parameter or running statistic, in torch's order}."""
        store = store_of(self)
        return {name: store.view(layer, own).copy() for name, (layer, own) in self.named_parameters().items()}

    def named_parameters(self):
        """{torch's name: (layer, name there)} of parameters and running statistics."""
        return {
            f"{path}.{name}".lstrip("."): (layer, name)
            for path, layer in self.named_layers()
            for name in (*layer.parameter_shapes(), *layer.statistic_shapes())
        }

    def save(self, path):
        """Writes tensors and architecture to a safetensors file, whole or not at all."""
        save(self, path)

    def load_state(self, source):
        """Takes parameters from a safetensors file, or from a dictionary of arrays with torch's names and shapes.

        Everything is checked before anything is changed."""
        load_state(self, source)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"
