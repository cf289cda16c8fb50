"""Right calls with data, drawn whole by Hypothesis, for test_fuzz.py: geometry, numbers, where every array lies in
memory, algorithm, blocks, threads. Constructive: the output's size comes first and the input's follows from it, the
algorithm is one of those that do the shape, so that no draw is thrown away."""

from typing import NamedTuple

import numpy as np
from bounds import wide
from conv_cases import Case, shape_of
from hypothesis import strategies as st
from support import DTYPES, LAYOUTS, laid_out, reals, whole

import fastconv as fc
from fastconv import products
from fastconv.algorithms import ALGORITHMS
from fastconv.shapes import input_grad_parts


class Numbers(NamedTuple):
    """What the arrays of a call hold: whole numbers, or normal deviates; and their dtype."""

    whole: bool
    dtype: type
    seed: int

    def array(self, shape, index):
        """The index-th array of the call: int64, or of the dtype."""
        seed = self.seed + index
        return whole(shape, seed) if self.whole else reals(shape, seed, self.dtype)

    def exact(self, array):
        """As the reference takes it."""
        return array if self.whole else array.astype(wide(self.dtype))


numbers = st.builds(Numbers, st.booleans(), st.sampled_from(DTYPES), st.integers(0, 2**32))


class Memory(NamedTuple):
    """Where an array lies. repeated: axes along which it is one value, with strides of 0; odd: the stride of axes of
    length 1, which means nothing; the rest is laid_out's."""

    order: tuple
    steps: tuple
    offset: int
    repeated: tuple
    odd: int | None

    def values(self, array):
        """The array with the values that it has here."""
        first = array[tuple(slice(0, 1) if again and size else slice(None) for again, size in
                            zip(self.repeated, array.shape, strict=True))]  # fmt: skip
        return np.broadcast_to(first, array.shape)

    def place(self, array, dtype):
        """These values, of `values`, in memory."""
        first = array[tuple(slice(0, 1) if again and size else slice(None) for again, size in
                            zip(self.repeated, array.shape, strict=True))]  # fmt: skip
        view = laid_out(first.astype(dtype), self.order, self.steps, self.offset)
        view = np.broadcast_to(view, array.shape)
        if self.odd is None:
            return view
        strides = [self.odd if size == 1 else step for size, step in zip(view.shape, view.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(view, strides=strides)


def memories(ndim):
    plain = st.just(Memory(tuple(range(ndim)), (1,) * ndim, 0, (False,) * ndim, None))
    return plain | st.builds(
        Memory,
        st.permutations(range(ndim)).map(tuple),
        st.tuples(*[st.sampled_from([1, 1, 1, 2, 3, -1, -2])] * ndim),
        st.sampled_from([0, 0, 1, 2, 4, 7]),
        st.tuples(*[st.sampled_from([False] * 7 + [True])] * ndim),
        st.sampled_from([None, None, None, 0, -8, 20, 12345678]),
    )


def axis(kernels, unit):
    """Output size, kernel, stride, dilation, padding, and pixels that no output reaches, along one axis."""
    step = st.just(1) if unit else st.integers(1, 3)
    return st.fixed_dictionaries(
        {"output": st.integers(1, 13), "kernel": kernels, "stride": step, "dilation": step,
         "rest": st.integers(0, 2), "before": st.integers(0, 4), "after": st.integers(0, 4)})  # fmt: skip


# Any geometry; those that Winograd does; those with a kernel that only FFT does well.
GEOMETRIES = [
    [(axis(st.integers(1, 5), False),) * 2],
    [(axis(st.just(3), True),) * 2, (axis(st.just(3), True), axis(st.just(1), True)),
     (axis(st.just(1), True), axis(st.just(3), True))],
    [(axis(st.integers(1, 20), True),) * 2],
]  # fmt: skip


@st.composite
def cases(draw, rows=None):
    """A Case. rows: how many rows the image has, and the kernel, where that is fixed."""
    h, w = (draw(one) for one in draw(st.sampled_from(draw(st.sampled_from(GEOMETRIES)))))
    if rows:
        h = {"output": rows, "kernel": 1, "stride": 1, "dilation": 1, "rest": 0, "before": 0, "after": 0}
    sizes, sides = [], []
    for a in (h, w):
        padded = (a["output"] - 1) * a["stride"] + a["dilation"] * (a["kernel"] - 1) + 1
        before = min(a["before"], padded)
        after = min(a["after"], padded - before)
        sizes.append(padded - before - after + min(a["rest"], a["stride"] - 1))
        sides.append((before, after))
    images = draw(st.sampled_from([1, 1, 1, 2, 3, 0]))
    if draw(st.integers(0, 4)) == 0:  # depthwise
        groups, channels, filters = draw(st.integers(2, 40)), 1, 1
    else:
        groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
        channels = draw(st.integers(1, 9) | st.sampled_from([0, 16, 17, 33]))
        filters = draw(st.integers(1, 40) | st.just(0))
    return Case("", (images, groups * channels, *sizes), (groups * filters, channels, h["kernel"], w["kernel"]),
                {"stride": (h["stride"], w["stride"]), "dilation": (h["dilation"], w["dilation"]),
                 "padding": tuple(sides), "groups": groups})  # fmt: skip


threads = st.integers(1, 4)
blocks = st.builds(fc.Blocking, *[st.integers(1, 100)] * 3)


class How(NamedTuple):
    """How a convolution is computed."""

    layout: str
    algorithm: str
    blocking: object
    num_threads: int

    def parameters(self):
        return self._asdict()


@st.composite
def ways(draw, case, shapes):
    """A How for which the algorithm does each of the ConvShapes that `shapes` gives of a layout."""
    layout = draw(st.sampled_from(LAYOUTS))
    able = [row for row in ALGORITHMS if not any(map(row.refuse, shapes(layout)))]
    row = draw(st.sampled_from(able))
    return How(layout, row.name, draw(st.none() | blocks) if row.takes_blocking else None, draw(threads))


class Convolution(NamedTuple):
    case: Case
    numbers: Numbers
    how: How
    memory: tuple  # of x and weight, or of grad and weight
    bias: bool
    relu: bool
    plan: str | None  # made for these weights, "made", or for others and then "updated"


@st.composite
def convolutions(draw, rows=None):
    case = draw(cases(rows))
    return Convolution(
        case, draw(numbers), draw(ways(case, lambda layout: [shape_of(case, layout)])),
        (draw(memories(4)), draw(memories(4))), draw(st.booleans()), draw(st.booleans()),
        draw(st.sampled_from([None, None, "made", "updated"])),
    )  # fmt: skip


class Gradient(NamedTuple):
    case: Case
    numbers: Numbers
    how: How  # of the input gradient
    memory: tuple  # of x, weight and grad
    out: bool


@st.composite
def gradients(draw, rows=None):
    case = draw(cases(rows))
    how = draw(ways(case, lambda layout: [part.shape for part in input_grad_parts(shape_of(case, layout))[0]]))
    return Gradient(case, draw(numbers), how, tuple(draw(memories(4)) for _ in range(3)), draw(st.booleans()))


class Product(NamedTuple):
    sizes: tuple  # m, n, k
    numbers: Numbers
    memory: tuple  # of a, b and c
    transposed: tuple
    alpha: float
    beta: float | None
    out: str  # "none", "new", "c"
    algorithm: str
    blocking: object
    num_threads: int


@st.composite
def gemms(draw):
    algorithm = draw(st.sampled_from(products.ALGORITHMS))
    out = draw(st.sampled_from(["none", "new", "c"]))
    drawn = draw(numbers)
    factor = st.integers(-2, 2) if drawn.whole else st.sampled_from([0.0, 1.0, -1.0, 0.3, -2.5])
    with_c = out == "c" or draw(st.booleans())
    size = st.integers(1, 70) | st.sampled_from([0, 1, 2, 130, 257])
    return Product(
        (draw(size), draw(size), draw(size)), drawn, tuple(draw(memories(2)) for _ in range(3)),
        (draw(st.booleans()), draw(st.booleans())), draw(factor), draw(st.none() | factor) if with_c else 0, out,
        algorithm, draw(st.none() | blocks) if algorithm != "naive" else None, draw(threads),
    )  # fmt: skip
