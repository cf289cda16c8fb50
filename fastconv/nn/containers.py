"""Layers made of layers."""

import numpy as np

from fastconv._loops import pointwise
from fastconv.arrays import to_dtype
from fastconv.checks import to_count
from fastconv.nn.layer import Layer


class Sequential(Layer):
    """Layers one after another, named "0", "1", ... as torch names them, or by keyword.

    dtype: float32 or float64, of the whole network; seed: of the initial parameters. Both are the outermost
    network's to say."""

    is_sequence = True

    def __init__(self, *layers, dtype=np.float32, seed=0, **named):
        super().__init__()
        self.dtype, self.seed = to_dtype(dtype), to_count(seed, "seed", least=0)
        self.adopt({**{str(i): layer for i, layer in enumerate(layers)}, **named})

    def output_shape(self, shape):
        for name, layer in self.children.items():
            shape = layer.checked_output_shape(shape, name)
        return shape

    def forward(self, to, x):
        return to.layers(self.children.values(), x)

    def __getitem__(self, index):
        return list(self.children.values())[index]

    def __len__(self):
        return len(self.children)

    def __getattr__(self, name):
        # children is set first of all; looking it up here before that must not come back here
        try:
            return self.__dict__["children"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}") from None

    def __repr__(self):
        lines = [f"({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self.children.items()]
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"


class Residual(Layer):
    """body(x) + shortcut(x); without a shortcut, body(x) + x."""

    def __init__(self, body, shortcut=None):
        super().__init__()
        self.adopt({"body": body} | ({} if shortcut is None else {"shortcut": shortcut}))

    def output_shape(self, shape):
        made = self.children["body"].checked_output_shape(shape, "body")
        if "shortcut" in self.children:
            shape = self.children["shortcut"].checked_output_shape(shape, "shortcut")
        if made != shape:
            raise ValueError(f"its body makes shape {made}, its shortcut {shape}")
        return made

    def forward(self, to, x):
        x = to.contiguous(x)
        body = self.children["body"].forward(to, x)
        shortcut = self.children["shortcut"].forward(to, x) if "shortcut" in self.children else x
        y = to.like(body)
        to.step(pointwise.compiled("add", y.count, to.itemsize), body, shortcut, None, y)

        def backward(grad):
            to.give(body, grad)
            to.give(shortcut, grad)

        return to.made(self, y, (body, shortcut), backward)

    def __repr__(self):
        lines = [f"({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self.children.items()]
        return "\n  ".join(["Residual(", *lines]) + "\n)"
