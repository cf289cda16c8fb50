"""What a network costs before it runs: shapes, parameters, bytes, FLOPs, the energy of reading its weights, and the
algorithm each convolution will use."""

import math
from dataclasses import dataclass

from fastconv.nn.parameters import root_of
from fastconv.shapes import to_shape

# Energy of a 32-bit access to DRAM, in joules (Horowitz, 2014; the lecture's 640 pJ).
DRAM_ACCESS = 640e-12


@dataclass(frozen=True)
class Row:
    """One layer. Bytes are exact; a layer that runs inside the one before it has no activations of its own."""

    name: str
    kind: str
    output_shape: tuple  # N included
    parameters: int
    weight_bytes: int
    activation_bytes: int
    im2col_bytes: int  # of the matrix that convolution as one product would need
    flops: int
    energy: float  # joules, to read the weights from DRAM once
    algorithm: str


@dataclass(frozen=True)
class Summary:
    """Print it, or read `rows`. Totals in bytes: `evaluation_bytes`: weights and the two largest neighbouring
    activations; `training_bytes`: weights three times (values, gradients, momentum), all activations and their
    gradients."""

    input_shape: tuple
    input_bytes: int
    rows: tuple

    @property
    def parameters(self):
        return sum(row.parameters for row in self.rows)

    @property
    def weight_bytes(self):
        return sum(row.weight_bytes for row in self.rows)

    @property
    def activation_bytes(self):
        """The input's and every layer's."""
        return self.input_bytes + sum(row.activation_bytes for row in self.rows)

    @property
    def flops(self):
        return sum(row.flops for row in self.rows)

    @property
    def energy(self):
        return sum(row.energy for row in self.rows)

    @property
    def evaluation_bytes(self):
        kept = [self.input_bytes, *(row.activation_bytes for row in self.rows if row.activation_bytes)]
        return self.weight_bytes + max(a + b for a, b in zip(kept, [*kept[1:], 0], strict=True))

    @property
    def training_bytes(self):
        return 3 * self.weight_bytes + 2 * self.activation_bytes

    def __str__(self):
        titles = ("layer", "kind", "result", "parameters", "weights", "activations", "im2col", "MFLOP", "DRAM uJ",
                  "algorithm")  # fmt: skip
        table = [
            (row.name, row.kind, "x".join(map(str, row.output_shape)), f"{row.parameters:,}", size(row.weight_bytes),
             size(row.activation_bytes), size(row.im2col_bytes), f"{row.flops / 1e6:,.1f}",
             f"{row.energy * 1e6:,.1f}" if row.parameters else "", row.algorithm)
            for row in self.rows
        ]  # fmt: skip
        widths = [max(len(line[i]) for line in [titles, *table]) for i in range(len(titles))]
        left = (0, 1, 9)
        lines = [
            "  ".join(f"{cell:<{w}}" if i in left else f"{cell:>{w}}"
                      for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
            for line in [titles, *table]
        ]  # fmt: skip
        return "\n".join([
            f"input {'x'.join(map(str, self.input_shape))}, {size(self.input_bytes)}", *lines,
            f"{self.parameters:,} parameters, {size(self.weight_bytes)}; activations {size(self.activation_bytes)}; "
            f"{self.flops / 1e9:,.2f} GFLOP; {self.energy * 1e3:.3g} mJ to read the weights from DRAM once",
            f"evaluation: {size(self.evaluation_bytes)} (weights, two neighbouring activations); training with "
            f"momentum: {size(self.training_bytes)} (weights x 3, activations and their gradients)",
        ])  # fmt: skip


def size(count):
    """Bytes for people: 98 KB is 98 * 1024."""
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.4g} {unit}" if count else ""
        count /= 1024
    return f"{count:.4g} GB"


def leaves(layer, shape, path=""):
    """(path, layer, input shape, output shape) of every layer that makes a result of its own, in order: all but
    sequences, a Residual's sum behind the layers in it."""
    given = shape
    for name, child in layer.children.items():
        yield from leaves(child, shape, f"{path}.{name}".lstrip("."))
        if layer.is_sequence:
            shape = child.output_shape(shape)
    if not layer.is_sequence:
        yield path, layer, given, layer.output_shape(given)


def line(layer):
    """What a layer's neighbours have in common with it: the outermost Sequential around it, up to a Residual."""
    return line(layer.parent) if layer.parent is not None and layer.parent.is_sequence else layer


def check_shape(shape):
    """An input's shape, N included, as a tuple."""
    sizes = to_shape(shape, "input_shape", 2 if hasattr(shape, "__len__") and len(shape) == 2 else 4)
    if min(sizes) < 1:
        raise ValueError(f"input_shape must be (N, C, H, W) or (N, features), all at least 1, got {shape!r}")
    return sizes


def summarise(net, input_shape):
    """See Layer.summary."""
    input_shape = check_shape(input_shape)
    net.output_shape(input_shape[1:])  # says which layer does not fit
    images, itemsize = input_shape[0], root_of(net).dtype.itemsize
    rows, before = [], None
    for path, layer, shape, made in leaves(net, input_shape[1:]):
        parameters = sum(math.prod(s) for s in layer.parameter_shapes().values())
        inside = layer.hands_on or (before is not None and line(before) is line(layer) and before.takes_in(layer))
        flops, lowered, algorithm = layer.cost(shape, images, itemsize)
        rows.append(Row(
            path, type(layer).__name__, (images, *made), parameters, parameters * itemsize,
            0 if inside else images * math.prod(made) * itemsize, lowered * itemsize, flops,
            parameters * itemsize / 4 * DRAM_ACCESS, algorithm,
        ))  # fmt: skip
        before = layer
    return Summary(input_shape, math.prod(input_shape) * itemsize, tuple(rows))
