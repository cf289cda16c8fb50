"""A right call of every public function, drawn, and for each of its arguments the ways to break it (breakage.py).
test_mutated_calls.py makes the calls and breaks them.

An argument of an immense call takes no memory, all its strides are 0, but the result would have 2**44 elements or more:
whatever allocates before it has checked raises MemoryError there."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from breakage import (
    Arrayish,
    Broken,
    array,
    axes,
    choice,
    count,
    flag,
    integers,
    out,
    padding,
    pair,
    real,
    shape,
    threads,
    types,
    values,
)
from hypothesis import strategies as st
from support import DTYPES, LAYOUTS, read_only

import fastconv as fc
from fastconv import nn, train

IMMENSE = 2**44  # images or rows
ROOM = 1 << 15  # elements, more than any result has, behind every array, for an `out` that overlaps it


class Call(NamedTuple):
    function: Callable
    arguments: dict
    broken: dict  # {argument: [Broken]}
    immense: bool = False


CALLS = {}  # {what is called: a function draw -> Call}


def call_of(*names):
    """Registers a function of (draw, name) as the maker of calls of those names."""

    def register(make):
        CALLS.update(dict.fromkeys(names, make))
        return make

    return register


# --- drawing right arguments


def memory(shape, dtype):
    """An array of ones with ROOM elements behind it in the same memory; of no memory if it is immense."""
    size = int(np.prod(shape, dtype=object))
    if size > 2**24:
        return np.broadcast_to(np.dtype(dtype).type(1), shape)
    return np.ones(size + ROOM, dtype)[:size].reshape(shape)


def finish(draw, function, arguments, broken, inputs=(), immense=False):
    """The call; with an `out`, drawn, if `inputs` names the arguments that must not share memory with it. Arguments
    that have a default are left out now and then, so that defaults are called."""
    if inputs and not immense and draw(st.booleans()):
        result = function(**arguments)
        arguments["out"] = np.full_like(result, np.nan)
        broken["out"] = out(result, *(arguments[name] for name in inputs))
    return Call(function, arguments, broken, immense)


def geometry(draw, axes=2):
    """The parameters of a convolution whose kernel is 2 or 4, so that Winograd refuses it, and its sizes."""
    each = st.integers(1, 2)
    stride, dilation = (tuple(draw(each) for _ in range(axes)) for _ in range(2))
    kernel = tuple(draw(st.sampled_from((2, 4))) for _ in range(axes))
    sides = tuple((draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in range(axes))
    groups, C, K = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 4)) for d, k in zip(dilation, kernel, strict=True))
    return {"stride": stride, "dilation": dilation, "kernel": kernel, "padding": sides, "groups": groups, "C": C,
            "K": K, "size": size, "layout": draw(st.sampled_from(LAYOUTS)), "dtype": draw(st.sampled_from(DTYPES)),
            "N": draw(st.integers(1, 2))}  # fmt: skip


def placed(g, first, channels, sizes):
    """A shape in the layout of the geometry."""
    return (first, *sizes, channels) if g["layout"] == "NHWC" else (first, channels, *sizes)


def outputs(g):
    return tuple((i + sum(p) - d * (k - 1) - 1) // s + 1 for i, p, d, k, s in
                 zip(g["size"], g["padding"], g["dilation"], g["kernel"], g["stride"], strict=True))  # fmt: skip


def parameters(g, algorithm=True):
    """The parameters that all convolutions have, and how they break."""
    right = {name: g[name] for name in ("stride", "padding", "dilation", "groups", "layout")}
    kernel = ("kernel", "weight")
    broken = {
        "stride": pair(1, 2**64),
        "dilation": pair(1, 2**31, 2**62, 2**64),
        "padding": padding(g["stride"]),
        "groups": count(7, 2**64, but=()),
        "layout": choice("nchw", "NCHW "),
        "algorithm": choice("AUTO", "winograd4x4"),
        "strict": flag(),
        "blocking": types((64, (8, 8, 8), "8", {}, True)),
        "num_threads": threads(),
    }
    broken["padding"] = [b._replace(names=(*b.names, "padded")) for b in broken["padding"]]
    broken["dilation"] = [b._replace(names=(*b.names, *kernel)) for b in broken["dilation"]]
    right |= {"algorithm": "auto", "strict": False, "blocking": None, "num_threads": 1}
    if not algorithm:
        for name in ("algorithm", "strict", "blocking", "groups"):
            del broken[name], right[name]
    return right, broken


def as_signal(g, right, broken):
    """The parameters of a convolution as those of conv1d."""
    right |= {"stride": g["stride"][0], "dilation": g["dilation"][0], "padding": g["padding"][0]}
    broken |= {"stride": count(2**64), "dilation": [b._replace(names=("kernel",)) for b in count(2**31, 2**62, 2**64)],
               "padding": values("foo", "SAME", (1, -1), -1, (), (1,), (1, 1, 1), 2**62, 2**64, names=("padded",))
               + types((None, True, 1.0, 1.5, b"11", (1, 1.0), ((1, 1), (1, 1)), object()))}  # fmt: skip
    return right, broken


# Where sizes do not agree, a message may name any of those that should.
SIZES = ("x", "grad", "weight", "bias", "out", "cols", "input_shape", "input", "output", "kernel", "filters")


def of_input_grad(right, broken, x, weight, grad, channel):
    """The arrays of a gradient of x, and their names."""
    right |= {"grad": grad, "weight": weight, "input_shape": x.shape}
    broken |= {"grad": array(grad, *range(x.ndim), names=SIZES), "weight": array(weight, 0, channel, names=SIZES),
               "input_shape": shape(x.shape)}  # fmt: skip
    return "grad", "weight"


def convolution(draw, name):
    """conv1d, conv2d and their gradients."""
    signal = name.startswith("conv1d")
    immense = draw(st.booleans()) and not name.endswith("weight_grad")
    g = geometry(draw, 1 if signal else 2)
    N, groups, dtype = IMMENSE if immense else g["N"], g["groups"], g["dtype"]
    x = memory(placed(g, N, groups * g["C"], g["size"]), dtype)
    weight = memory(placed(g, groups * g["K"], g["C"], g["kernel"]), dtype)
    grad = memory(placed(g, N, groups * g["K"], outputs(g)), dtype)
    right, broken = parameters(g)
    if signal:
        right, broken = as_signal(g, right, broken)
    channel = x.ndim - 1 if g["layout"] == "NHWC" else 1
    pixels = [axis for axis in range(x.ndim) if axis not in (0, channel)]
    if name.endswith("input_grad"):
        inputs = of_input_grad(right, broken, x, weight, grad, channel)
    elif name.endswith("weight_grad"):
        right |= {"x": x, "grad": grad, "kernel_size": g["kernel"][0] if signal else g["kernel"]}
        size = count(2**31, 2**62, 2**64) if signal else pair(1, 2**31, 2**62, 2**64)
        broken |= {"x": array(x, 0, names=SIZES), "grad": array(grad, 0, *pixels, names=SIZES),
                   "kernel_size": [b._replace(names=("kernel",)) for b in size]}  # fmt: skip
        del right["blocking"], broken["blocking"]
        inputs = "x", "grad"
    else:
        bias = memory((groups * g["K"],), dtype)
        right |= {"x": x, "weight": weight, "bias": bias, "activation": draw(st.sampled_from((None, "relu")))}
        broken |= {"x": array(x, channel, names=SIZES), "weight": array(weight, 0, channel, names=SIZES),
                   "bias": array(bias, 0, optional=True), "activation": [b for b in choice("ReLU", "tanh")
                                                                         if b.value is not None]}  # fmt: skip
        inputs = "x", "weight", "bias"
    return finish(draw, getattr(fc, name), right, broken, inputs, immense)


call_of("conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv1d", "conv1d_input_grad", "conv1d_weight_grad")(
    convolution
)


@call_of("conv_transpose2d", "conv_transpose2d_input_grad", "conv_transpose2d_weight_grad")
def transposed(draw, name):
    immense = draw(st.booleans()) and not name.endswith("weight_grad")
    g = geometry(draw)
    N, groups, dtype = IMMENSE if immense else g["N"], g["groups"], g["dtype"]
    more = tuple(max(s, d) - 1 for s, d in zip(g["stride"], g["dilation"], strict=True))
    along = zip(g["size"], g["stride"], g["dilation"], g["kernel"], more, g["padding"], strict=True)
    result = tuple((i - 1) * s + d * (k - 1) + 1 + m - sum(p) for i, s, d, k, m, p in along)
    x = memory(placed(g, N, groups * g["C"], g["size"]), dtype)
    weight = memory(placed(g, groups * g["C"], g["K"], g["kernel"]), dtype)
    grad = memory(placed(g, N, groups * g["K"], result), dtype)
    right, broken = parameters(g)
    right["output_padding"] = more
    broken["output_padding"] = pair(0, 2, 2**31, 2**62, 2**64)
    # What padding takes away here is of the output.
    broken["padding"] = [b._replace(names=("output",)) for b in broken["padding"]]
    broken["stride"] += values(2**62, names=("stride", "output_padding"))
    channel = 3 if g["layout"] == "NHWC" else 1
    if name.endswith("input_grad"):
        inputs = of_input_grad(right, broken, x, weight, grad, channel)
    elif name.endswith("weight_grad"):
        right |= {"x": x, "grad": grad, "kernel_size": g["kernel"]}
        broken |= {"x": array(x, 0, names=SIZES), "grad": array(grad, 0, names=SIZES),
                   "kernel_size": [b._replace(names=("kernel",)) for b in pair(1, 2**31, 2**62, 2**64)]}  # fmt: skip
        del right["blocking"], broken["blocking"]
        inputs = "x", "grad"
    else:
        bias = memory((groups * g["K"],), dtype)
        right |= {"x": x, "weight": weight, "bias": bias}
        broken |= {"x": array(x, channel, names=SIZES), "weight": array(weight, 0, channel, names=SIZES),
                   "bias": array(bias, 0, optional=True)}  # fmt: skip
        inputs = "x", "weight", "bias"
    return finish(draw, getattr(fc, name), right, broken, inputs, immense)


@call_of("conv1d_bias_grad")
def bias_gradient_of_signals(draw, name):
    g = geometry(draw)
    signal = (g["N"], g["K"], outputs(g)[1])
    grad = memory(signal if g["layout"] == "NCHW" else (signal[0], signal[2], signal[1]), g["dtype"])
    right = {"grad": grad, "layout": g["layout"], "num_threads": 2}
    broken = {"grad": array(grad, pair_of=False), "layout": choice("NWHC"), "num_threads": threads()}
    return Call(fc.conv1d_bias_grad, right, broken)


@call_of("conv2d_bias_grad")
def bias_gradient(draw, name):
    g = geometry(draw)
    grad = memory(placed(g, g["N"], g["K"], outputs(g)), g["dtype"])
    right = {"grad": grad, "layout": g["layout"], "num_threads": 2}
    broken = {"grad": array(grad, pair_of=False), "layout": choice("NWHC"), "num_threads": threads()}
    return Call(fc.conv2d_bias_grad, right, broken)


@call_of("plan_conv2d", "explain_conv2d")
def planned(draw, name):
    g = geometry(draw)
    x, weight_shape = placed(g, g["N"], g["groups"] * g["C"], g["size"]), placed(
        g, g["groups"] * g["K"], g["C"], g["kernel"])  # fmt: skip
    right, broken = parameters(g)
    right["input_shape"], broken["input_shape"] = x, shape(x, [*x[:3], 2**62], (2**62, *x[1:]))
    channel = 3 if g["layout"] == "NHWC" else 1
    if name == "plan_conv2d":
        weight, bias = memory(weight_shape, g["dtype"]), memory((g["groups"] * g["K"],), g["dtype"])
        right |= {"weight": weight, "bias": bias, "activation": None}
        broken |= {"weight": array(weight, 0, channel, names=SIZES), "bias": array(bias, 0, optional=True),
                   "activation": [b for b in choice("ReLU") if b.value is not None]}  # fmt: skip
    else:
        del right["num_threads"], broken["num_threads"]
        right |= {"weight_shape": weight_shape, "dtype": "float32", "prepared": draw(st.booleans())}
        not_dtypes = (None, int, "float16", ">f4", "real", "f4,f4", object(), np.ones(2), 4, [], {}, np.complex64)
        broken |= {"weight_shape": shape(weight_shape), "dtype": types(not_dtypes), "prepared": flag()}
    broken["input_shape"] = [b._replace(names=SIZES) for b in broken["input_shape"]]
    return Call(getattr(fc, name), right, broken)


@call_of("Plan.__call__", "Plan.update")
def plan(draw, name):
    g = geometry(draw)
    x = memory(placed(g, g["N"], g["groups"] * g["C"], g["size"]), g["dtype"])
    weight = memory(placed(g, g["groups"] * g["K"], g["C"], g["kernel"]), g["dtype"])
    right, _ = parameters(g)
    made = fc.plan_conv2d(x.shape, weight, **right)
    if name == "Plan.update":
        bias = memory((g["groups"] * g["K"],), g["dtype"])
        broken = {"weight": array(weight, *range(4)), "bias": array(bias, 0, optional=True)}
        return Call(made.update, {"weight": weight, "bias": bias}, broken)
    broken = {"x": array(x, *range(4)), "num_threads": threads()}
    return finish(draw, made, {"x": x, "num_threads": None}, broken, ("x",))


@call_of("im2col", "col2im")
def lowering(draw, name):
    immense = draw(st.booleans())
    g = geometry(draw)
    N = IMMENSE if immense else g["N"]
    x, pixels = placed(g, N, g["C"], g["size"]), outputs(g)
    right, broken = parameters(g, algorithm=False)
    right["kernel_size"], broken["kernel_size"] = g["kernel"], pair(1, 2**31, 2**62, 2**64)
    broken["kernel_size"] = [b._replace(names=("kernel",)) for b in broken["kernel_size"]]
    if name == "im2col":
        right["x"] = memory(x, g["dtype"])
        broken["x"] = array(right["x"], pair_of=False)
    else:
        right["cols"] = memory((N * pixels[0] * pixels[1], g["C"] * g["kernel"][0] * g["kernel"][1]), g["dtype"])
        right["input_shape"] = x
        broken["cols"], broken["input_shape"] = array(right["cols"], 0, 1, pair_of=False), shape(x)
    for name_ in ("padding", "dilation", "stride"):
        broken[name_] = [b._replace(names=(*b.names, *SIZES)) for b in broken[name_]]
    return Call(getattr(fc, name), right, broken, immense)


# --- products


@call_of("gemm")
def gemm(draw, name):
    immense, dtype = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    m, n, k = IMMENSE if immense else draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    trans_a, trans_b, with_c = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    a, b = memory((k, m) if trans_a else (m, k), dtype), memory((n, k) if trans_b else (k, n), dtype)
    right = {"a": a, "b": b, "c": memory((m, n), dtype) if with_c else None, "alpha": 1.0, "beta": None,
             "trans_a": trans_a, "trans_b": trans_b, "algorithm": "auto", "blocking": None,
             "num_threads": None}  # fmt: skip
    both = ("a", "b", "c", "op")
    broken = {"a": array(a, 0 if trans_a else 1, names=both), "b": array(b, 1 if trans_b else 0, names=both),
              "alpha": real(), "beta": real() if with_c else values(1, -2.0, float("nan")), "trans_a": flag(),
              "trans_b": flag(), "algorithm": choice("goto", "direct"), "blocking": types((64, (8, 8, 8), "8")),
              "num_threads": threads()}  # fmt: skip
    broken["beta"] = [b for b in broken["beta"] if b.value is not None]
    if with_c:
        broken["c"] = array(right["c"], 0, 1, optional=True)
    return finish(draw, fc.gemm, right, broken, ("a", "b"), immense)


@call_of("matmul")
def matmul(draw, name):
    immense, dtype = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    batch = draw(st.sampled_from([(), (2,), (3, 1)]))
    m, n, k = IMMENSE if immense else draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    a, b = memory((*batch, m, k), dtype), memory((k, n), dtype)
    broken = {"a": array(a, a.ndim - 1, rank=False), "b": array(b, 0, rank=False), "num_threads": threads()}
    for name_ in "ab":
        broken[name_] += values(np.zeros((), dtype), np.zeros((4, *batch, k + 1, k + 1), dtype))
        broken[name_] = [b._replace(names=("a", "b")) for b in broken[name_]]
    return finish(draw, fc.matmul, {"a": a, "b": b, "num_threads": 1}, broken, ("a", "b"), immense)


@call_of("linear", "linear_grad")
def linear(draw, name):
    immense, dtype = draw(st.booleans()) and name == "linear", draw(st.sampled_from(DTYPES))
    N, n_in, n_out = IMMENSE if immense else draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    x, weight, bias, grad = (memory(size, dtype) for size in ((N, n_in), (n_out, n_in), (n_out,), (N, n_out)))
    broken = {"x": array(x, 1, names=SIZES), "weight": array(weight, 0, 1, names=SIZES), "num_threads": threads()}
    if name == "linear":
        broken["bias"] = array(bias, 0, optional=True)
        right = {"x": x, "weight": weight, "bias": bias, "num_threads": None}
        return finish(draw, fc.linear, right, broken, ("x", "weight", "bias"), immense)
    broken["grad"] = array(grad, 0, 1, names=SIZES)
    return Call(fc.linear_grad, {"grad": grad, "x": x, "weight": weight, "num_threads": 2}, broken)


# --- activations, losses, pooling, images


@call_of("relu", "sigmoid", "softmax", "relu_grad", "sigmoid_grad", "softmax_grad")
def pointwise(draw, name):
    immense, dtype = draw(st.booleans()), draw(st.sampled_from(DTYPES))
    size = (IMMENSE if immense else draw(st.integers(1, 4)), *draw(st.sampled_from([(), (3,), (2, 3)])))
    first, other = memory(size, dtype), memory(size, dtype)
    two = name.endswith("grad")
    right = {"grad": first, "y": other} if two else {"x": first}
    broken = {argument: array(value, *(range(len(size)) if two else ()), rank=False, pair_of=two, names=("grad", "y"))
              for argument, value in right.items()}  # fmt: skip
    right["num_threads"], broken["num_threads"] = None, threads()
    if name.startswith("softmax"):
        right["axis"], broken["axis"] = draw(st.integers(-len(size), len(size) - 1)), axes(len(size))
        return Call(getattr(fc, name), right, broken, immense)
    return finish(draw, getattr(fc, name), right, broken, () if two else ("x",), immense)


@call_of("cross_entropy", "cross_entropy_grad", "binary_cross_entropy", "binary_cross_entropy_grad")
def losses(draw, name):
    dtype, N, classes = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 5)), draw(st.integers(2, 5))
    logits, function = memory((N, classes), dtype), getattr(fc, name)
    broken = {"logits": array(logits, 0, 1, rank=False, pair_of=name.startswith("binary"), names=("labels", "targets")),
              "num_threads": threads()}  # fmt: skip
    if name.startswith("binary"):
        targets = memory((N, classes), dtype)
        broken["targets"] = array(targets, 0, 1, rank=False) + values(targets * 2, -targets, targets * np.nan)
        return Call(function, {"logits": logits, "targets": targets, "num_threads": None}, broken)
    labels = np.full(N, classes - 1)
    broken["labels"] = integers(labels, classes, 0)
    broken["logits"] = [b for b in broken["logits"] if b.error is TypeError or np.shape(b.value) != (N, classes + 1)]
    broken["logits"] += values(logits[0], logits[None])
    return Call(function, {"logits": logits, "labels": labels, "num_threads": None}, broken)


@call_of("max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad")
def pooling(draw, name):
    immense = draw(st.booleans())
    g = geometry(draw)
    g |= {"padding": tuple((min(a, 1), min(b, 1)) for a, b in g["padding"]), "dilation": (1, 1)}
    x = memory(placed(g, IMMENSE if immense else g["N"], g["C"], g["size"]), g["dtype"])
    grad = memory(placed(g, x.shape[0], g["C"], outputs(g)), g["dtype"])
    right = {"kernel_size": g["kernel"], "stride": g["stride"], "padding": g["padding"], "layout": g["layout"],
             "num_threads": None}  # fmt: skip
    broken = {"kernel_size": pair(1, 2**31, 2**62, 2**64), "stride": pair(1, 2**64, but=(None,)),
              "padding": padding(g["stride"]), "layout": choice("HWC"), "num_threads": threads()}  # fmt: skip
    broken["kernel_size"] = [b._replace(names=("kernel",)) for b in broken["kernel_size"]]
    broken["padding"] = [b._replace(names=("padded",)) for b in broken["padding"]]
    inputs = []
    if name.endswith("grad"):
        right["grad"], broken["grad"] = grad, array(grad, *range(4), pair_of=name.startswith("max"))
        inputs.append("grad")
    if name == "avg_pool2d_grad":
        right["input_shape"] = x.shape
        broken["input_shape"] = [b._replace(names=SIZES) for b in shape(x.shape)]
    else:
        right["x"], broken["x"] = x, array(x, pair_of=name.endswith("grad"))
        inputs.append("x")
    if name.startswith("avg"):
        right["count_include_pad"], broken["count_include_pad"] = draw(st.booleans()), flag()
    return finish(draw, getattr(fc, name), right, broken, inputs, immense)


@call_of("filter2d")
def filter2d(draw, name):
    dtype, border = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(("zero", "reflect", "nearest")))
    size = draw(st.sampled_from([(4, 5), (5, 4, 1), (4, 4, 3)]))
    image, kernel = memory(size, dtype), memory((3, 2), dtype)
    broken = {"image": array(image, rank=False) + values(image[0, 0], image.reshape(1, 1, *size)),
              "kernel": array(kernel) + values(kernel[:0], kernel[:, :0]), "border": choice("wrap", "constant"),
              "num_threads": threads()}  # fmt: skip
    return Call(fc.filter2d, {"image": image, "kernel": kernel, "border": border, "num_threads": None}, broken)


@call_of("filters.gaussian", "filters.box")
def filters(draw, name):
    right, broken = {"size": draw(st.integers(1, 5))}, {"size": count(2**31, 2**62, 2**64)}
    if name == "filters.gaussian":
        right["sigma"] = draw(st.floats(0.5, 3))
        broken["sigma"] = real(0, 0.0, -1.0, float("nan"), float("inf"))
    return Call(getattr(fc.filters, name.split(".")[1]), right, broken)


# --- threads, blocks, switches


@call_of("set_num_threads", "num_threads")
def limits(draw, name):
    def function(n):
        with fc.num_threads(n):
            if name == "set_num_threads":
                before = fc.threads._process_limit
                fc.set_num_threads(n)
                fc.threads._process_limit = before

    return Call(function, {"n": draw(st.integers(1, 9))}, {"n": count()})


@call_of("set_flush_denormals")
def flushing(draw, name):
    return Call(fc.set_flush_denormals, {"on": True}, {"on": flag()})


@call_of("Blocking")
def blocking(draw, name):
    return Call(fc.Blocking, dict.fromkeys(("mc", "nc", "kc"), draw(st.integers(1, 99))),
                {size: count(2**31, 2**64) for size in ("mc", "nc", "kc")})  # fmt: skip


@call_of("hogwild.accumulate")
def accumulate(draw, name):
    dtype, U, n = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    shared, indexed, k = np.ones(n, dtype), draw(st.booleans()), draw(st.integers(1, 3))
    updates = memory((U, k if indexed else n), dtype)
    indices = np.zeros((U, k), int) if indexed else None
    mode = draw(st.sampled_from(("private", "locked", "atomic", "hogwild")))
    right = {"shared": shared, "updates": updates, "indices": indices, "scale": 0.5, "num_threads": 2, "mode": mode,
             "count_lost": False}  # fmt: skip
    same = ("shared", "updates", "indices")
    broken = {
        "shared": array(shared, *(() if indexed else (0,)), names=same)
        + values(np.ones(2 * n, dtype)[::-2], read_only(shared.copy()), names=same)
        + types([Arrayish(), [1.0] * n]),
        "updates": array(updates, 1, names=same),
        "scale": real(),
        "mode": choice("fast"),
        "num_threads": threads(),
        "count_lost": flag(),
    }
    if not indexed:
        broken["updates"] += values(np.lib.stride_tricks.as_strided(shared, (U, n), (0, shared.itemsize)))
        broken["shared"] = [b for b in broken["shared"] if np.shape(b.value) != (2 * n,)]
    else:
        broken["indices"] = [b for b in integers(indices, n, 1) if b.value is not None]
    return Call(fc.hogwild.accumulate, right, broken)


# --- networks and training


@call_of("nn.Conv2d")
def conv_layer(draw, name):
    right = {"in_channels": 4, "out_channels": 6, "kernel_size": draw(st.integers(1, 3)), "stride": 2, "padding": 1,
             "dilation": (1, 2), "groups": 2, "bias": draw(st.booleans()), "algorithm": "auto"}  # fmt: skip
    channels = ("in_channels", "out_channels", "groups")
    broken = {name_: [b._replace(names=channels) for b in count(7)] for name_ in channels}
    broken |= {"kernel_size": pair(1, 2**64), "stride": pair(1, 2**64), "dilation": pair(1, 2**64), "bias": flag(),
               "padding": [b for b in padding(2) if type(b.value) is not int or b.value < 0],
               "algorithm": choice("naive", "dct")}  # fmt: skip
    return Call(nn.Conv2d, right, broken)


@call_of("nn.MaxPool2d", "nn.AvgPool2d")
def pool_layer(draw, name):
    right = {"kernel_size": (2, 3), "stride": draw(st.none() | st.just(2)), "padding": 1}
    broken = {"kernel_size": pair(1, 2**64), "stride": pair(1, 2**64, but=(None,)),
              "padding": [b for b in padding(2) if type(b.value) is not int or b.value < 0]}  # fmt: skip
    if name == "nn.AvgPool2d":
        right["count_include_pad"], broken["count_include_pad"] = True, flag()
    return Call(getattr(nn, name[3:]), right, broken)


@call_of("nn.Linear", "nn.Dropout", "nn.BatchNorm2d", "nn.LocalResponseNorm", "nn.Sequential", "nn.Residual")
def layer(draw, name):
    nan, infinite = float("nan"), float("inf")
    right, broken = {
        "nn.Linear": ({"in_features": 3, "out_features": 2, "bias": True},
                      {"in_features": count(), "out_features": count(), "bias": flag()}),
        "nn.Dropout": ({"p": draw(st.floats(0, 0.9))}, {"p": real(-0.1, 1, 1.5, nan, infinite)}),
        "nn.BatchNorm2d": ({"num_features": 3, "eps": 1e-3, "momentum": 0.5},
                           {"num_features": count(), "eps": real(-1.0, nan, infinite),
                            "momentum": real(-0.5, 1.5, nan, infinite)}),
        "nn.LocalResponseNorm": ({"size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
                                 {"size": count(2**64), "alpha": real(nan, infinite), "beta": real(nan, infinite),
                                  "k": real(nan, infinite)}),
        "nn.Sequential": ({"dtype": np.float64, "seed": 3},
                          {"dtype": types((None, int, "f2", ">f8", object(), [], np.ones(2))),
                           "seed": count(least=0)}),
        "nn.Residual": ({"body": nn.ReLU(), "shortcut": None},
                        {"body": types((None, 3, "x", nn.ReLU, np.ones(2))), "shortcut": types((3, "x", nn.ReLU))}),
    }[name]  # fmt: skip
    if name == "nn.Residual":  # a layer belongs to one network
        return Call(lambda body, shortcut: nn.Residual(nn.ReLU() if isinstance(body, nn.ReLU) else body, shortcut),
                    right, broken)  # fmt: skip
    return Call(getattr(nn, name[3:]), right, broken)


@call_of("nn.vgg16", "nn.alexnet", "nn.lenet")
def model(draw, name):
    right = {"num_classes": draw(st.integers(1, 9)), "dtype": "float32", "seed": 1}
    broken = {"num_classes": count(), "dtype": types((None, int, ">f4")), "seed": count(least=0)}
    if name == "nn.alexnet":
        right["variant"] = draw(st.sampled_from(("torchvision", "krizhevsky")))
        broken["variant"] = choice("resnet")
    if name == "nn.lenet":
        right["input_shape"], broken["input_shape"] = (1, 8, 8), shape((1, 8, 8), (1, 3, 8), (0, 8, 8))
    return Call(getattr(nn, name[3:]), right, broken)


def small_network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3), dtype=np.float64)


@call_of("net.__call__", "net.summary", "net.load_state", "net.save", "nn.load")
def network(draw, name):
    net = small_network()
    x = memory((draw(st.integers(1, 3)), 1, 4, 4), np.float64)
    if name == "net.__call__":
        broken = {"x": array(x, 1, 2, 3, names=("x", "layer")), "num_threads": threads()}
        broken["x"] = [b._replace(names=("x", "layer")) for b in broken["x"]]
        return Call(net, {"x": x, "num_threads": None}, broken)
    if name == "net.summary":
        broken = shape(x.shape, (0, 1, 4, 4)) + values((1, 8), [1, 2, 4, 4], names=("layer",))
        return Call(net.summary, {"input_shape": x.shape}, {"input_shape": broken})
    not_paths = (None, 3, 1.5, [], object(), np.ones(2))
    if name != "net.load_state":
        use = net.save if name == "net.save" else nn.load
        return Call(lambda path: path == "right" or use(path) if isinstance(path, str) else use(path),
                    {"path": "right"}, {"path": types((*not_paths, {}, b"x"))})  # fmt: skip
    state, key = net.state(), draw(st.sampled_from(sorted(net.state())))
    broken = [Broken({**state, key: b.value}, b.error, (key,)) for b in array(state[key], *range(state[key].ndim))]
    broken += values({}, {1: state[key]}, {**state, "more": state[key]}, {**state, 3: state[key]}, names=("names",))
    broken += [Broken(value, TypeError, ("source",)) for value in not_paths]
    return Call(net.load_state, {"source": state}, {"source": broken})


@call_of("train.fit", "train.gradients")
def training(draw, name):
    net, N = small_network(), draw(st.integers(1, 4))
    x, y = memory((N, 1, 4, 4), np.float64), np.arange(N) % 3
    right = {"net": net, "x": x, "y": y, "accumulation": draw(st.sampled_from(("private", "hogwild"))),
             "parallel": draw(st.sampled_from(("auto", "images"))), "num_threads": 2}  # fmt: skip
    broken = {
        "net": types((None, 3, "net", nn.Linear, object(), np.ones(2)), but=()),
        "x": [b._replace(names=("x", "y", "layer")) for b in array(x, 0, 1, 2, 3)],
        "y": [b for b in integers(y, 4, 0) if getattr(b.value, "dtype", None) != np.dtype(float)]
        + values(y.astype(float)),  # targets then, of the wrong shape
        "accumulation": choice("fast"),
        "parallel": choice("threads"),
        "num_threads": threads(),
    }  # fmt: skip
    if name == "train.gradients":
        return Call(train.gradients, right, broken)
    right |= {"epochs": 1, "batch_size": draw(st.none() | st.just(2)), "lr": 0.1, "momentum": 0.5, "weight_decay": 0.0,
              "update": "sync", "seed": 0, "progress": False}  # fmt: skip
    nan, infinite = float("nan"), float("inf")
    broken |= {"epochs": count(), "batch_size": count(but=(None,)), "lr": real(-1.0, nan, infinite),
               "momentum": real(-0.5, 1, nan, infinite), "weight_decay": real(-1.0, nan, infinite),
               "update": choice("later"), "seed": count(2**64, least=0), "progress": flag()}  # fmt: skip
    return Call(train.fit, right, broken)


@st.composite
def calls(draw, name):
    """A right call of that name."""
    return CALLS[name](draw, name)
