"""Convolution layers and matrix products to time, from the files in benchmarks/shapes, with their data."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastconv.arrays import empty

SHAPES = Path(__file__).parent.parent / "shapes"


def normal(rng, shape, dtype):
    """Random numbers at a cache line, where the results of torch and fastconv begin, and so the next layer's input."""
    array = empty(shape, np.dtype(dtype))
    rng.standard_normal(out=array, dtype=dtype)
    return array


@dataclass(frozen=True)
class Layer:
    """One convolution; pairs are (h, w). count: how often the network has it."""

    name: str
    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)
    groups: int = 1
    dilation: tuple = (1, 1)
    count: int = 1

    @property
    def P(self):
        return (self.H + 2 * self.padding[0] - self.dilation[0] * (self.R - 1) - 1) // self.stride[0] + 1

    @property
    def Q(self):
        return (self.W + 2 * self.padding[1] - self.dilation[1] * (self.S - 1) - 1) // self.stride[1] + 1

    @property
    def flops(self):
        """Of the direct algorithm, whatever algorithm runs: figures from it are called effective."""
        return 2 * self.N * self.K * self.P * self.Q * (self.C // self.groups) * self.R * self.S

    def bytes(self, itemsize):
        """Input, weights and output, each once."""
        weights = self.K * self.C // self.groups * self.R * self.S
        return itemsize * (self.N * (self.C * self.H * self.W + self.K * self.P * self.Q) + weights)

    def parameters(self):
        """The keyword arguments that fastconv's functions take."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def with_batch(self, n):
        return replace(self, N=n)

    def data(self, dtype, layout, seed=0):
        """Random (x, weight), C-contiguous in the layout."""
        rng = np.random.default_rng(seed)
        x_shape, w_shape = (self.N, self.C, self.H, self.W), (self.K, self.C // self.groups, self.R, self.S)
        if layout == "NHWC":
            x_shape, w_shape = (tuple(shape[i] for i in (0, 2, 3, 1)) for shape in (x_shape, w_shape))
        return normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)

    def __str__(self):
        kernel = f"{self.R}x{self.S}" + (f"/{self.stride[0]}" if self.stride != (1, 1) else "")
        groups = f" in {self.groups} groups" if self.groups > 1 else ""
        return f"{self.name} ({self.C}->{self.K}, {self.H}x{self.W}, {kernel}{groups})"


def rows(name):
    """The fields of each line of a shape file; # starts a comment."""
    lines = (line.split("#")[0].split() for line in (SHAPES / f"{name}.txt").read_text().splitlines())
    return [line for line in lines if line]


def layers(name):
    """The layers of shapes/NAME.txt: name N C H W K R S stride padding groups [count]."""
    found = []
    for label, *numbers in rows(name):
        n, c, h, w, k, r, s, stride, padding, groups, *count = map(int, numbers)
        found.append(
            Layer(label, n, c, h, w, k, r, s, (stride, stride), (padding, padding), groups, count=sum(count) or 1)
        )
    return found


def products():
    """(m, n, k, trans_b) of shapes/gemm.txt."""
    return [tuple(map(int, row)) for row in rows("gemm")]


def to_nchw(array, layout):
    """A view with the axes (n, c, h, w) or (k, c, r, s)."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)
