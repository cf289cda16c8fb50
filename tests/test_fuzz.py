"""Drawn calls against truth (drawn_calls.py): whole numbers give the int64 reference's bits wherever the algorithm is
exact on them, reals stay within the algorithm's bound, whatever the geometry, memory, algorithm, blocks, threads and
instruction set. What was wrong once stays as an @example. `make fuzz` draws 10,000 for each instruction set."""

import numpy as np
import pytest
from bounds import EXACT, bound
from conv_cases import shape_of, to_layout
from drawn_calls import convolutions, gemms, gradients, memories, numbers, threads
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from support import LAYOUTS, gamma, poison

import fastconv as fc
from fastconv import nn, reference
from fastconv.algorithms import ALGORITHMS

POOLS = {nn.MaxPool2d: fc.max_pool2d, nn.AvgPool2d: fc.avg_pool2d}
WEIGHT_GRADS = [row for row in ALGORITHMS if row.weight_grad is not None]
pytestmark = pytest.mark.usefixtures("eager")


def assert_near(got, expected, limit, dtype):
    """limit: None for bit for bit, or how far each element may be off."""
    assert got.dtype == dtype
    assert got.flags.c_contiguous
    assert got.shape == expected.shape
    if limit is None:
        np.testing.assert_array_equal(got, expected)
    else:
        wrong = ~(abs(got - expected) <= limit)  # NaN is wrong
        assert not wrong.any(), f"{wrong.sum()} of {wrong.size} are off by up to {abs(got - expected).max()}"


def in_layout(memory, drawn, shape, index, layout):
    """(values in NCHW order as the reference takes them, the array in memory) of the index-th array of a call."""
    values = memory.values(to_layout(drawn.array(shape, index), layout))
    placed = memory.place(values, drawn.dtype)
    return drawn.exact(values if layout == "NCHW" else np.moveaxis(values, 3, 1)), placed


def limits(drawn, algorithm, terms, sums, layout):
    """What assert_near takes, for results of that algorithm; sums() are those of the absolute values, NCHW."""
    if drawn.whole and algorithm in EXACT:
        return None
    return to_layout(np.broadcast_to(bound(algorithm, drawn.dtype, terms, sums := sums()), sums.shape), layout)


def run_convolution(call, isa):
    case, drawn, how = call.case, call.numbers, call.how
    x, x_ = in_layout(call.memory[0], drawn, case.x, 0, how.layout)
    weight, weight_ = in_layout(call.memory[1], drawn, case.weight, 1, how.layout)
    bias = drawn.array(case.weight[:1], 2) if call.bias else None
    bias_, bias = (None, None) if bias is None else (bias.astype(drawn.dtype), drawn.exact(bias))
    activation = "relu" if call.relu else None
    expected = to_layout(reference.conv2d(x, weight, bias, activation=activation, **case.parameters), how.layout)
    parameters = {**case.parameters, **how.parameters(), "activation": activation}
    if call.plan is None:
        got = fc.conv2d(x_, weight_, bias_, out=poison(expected.shape, drawn.dtype), **parameters)
    else:
        first = weight_ if call.plan == "made" else np.zeros_like(weight_)
        plan = fc.plan_conv2d(x_.shape, first, bias_, **parameters)
        before = plan(x_, num_threads=how.num_threads)
        if call.plan == "updated":
            plan.update(weight_, bias_)
        got = plan(x_, num_threads=how.num_threads)
        assert call.plan == "updated" or got.tobytes() == before.tobytes()

    def sums():
        return reference.conv2d(abs(x), abs(weight), None if bias is None else abs(bias), **case.parameters)

    terms = int(np.prod(case.weight[1:])) + 1
    assert_near(got, expected, limits(drawn, how.algorithm, terms, sums, how.layout), drawn.dtype)


@fuzzed(quick=100)
@given(call=convolutions())
def test_conv2d(call, isa):
    run_convolution(call, isa)


def run_gradients(call, isa):
    case, drawn, how = call.case, call.numbers, call.how
    grad_shape = shape_of(case).output_shape
    x, x_ = in_layout(call.memory[0], drawn, case.x, 0, how.layout)
    weight, weight_ = in_layout(call.memory[1], drawn, case.weight, 1, how.layout)
    grad, grad_ = in_layout(call.memory[2], drawn, grad_shape, 2, how.layout)

    def out_like(array):
        return poison(array.shape, drawn.dtype) if call.out else None

    got = fc.conv2d_input_grad(grad_, weight_, x_.shape, out=out_like(x_), **case.parameters, **how.parameters())
    expected = reference.conv2d_input_grad(grad, weight, case.x, **case.parameters)
    terms = case.weight[0] // case.parameters["groups"] * case.weight[2] * case.weight[3]

    def input_sums():
        return reference.conv2d_input_grad(abs(grad), abs(weight), case.x, **case.parameters)

    assert_near(got, to_layout(expected, how.layout), limits(drawn, how.algorithm, terms, input_sums, how.layout),
                drawn.dtype)  # fmt: skip
    rest = {**case.parameters, "layout": how.layout, "num_threads": how.num_threads}
    expected = reference.conv2d_weight_grad(x, grad, case.weight[2:], **case.parameters)
    terms = grad_shape[0] * grad_shape[2] * grad_shape[3]

    def weight_sums():
        return reference.conv2d_weight_grad(abs(x), abs(grad), case.weight[2:], **case.parameters)

    for row in WEIGHT_GRADS:
        if not row.weight_grad.refuse(shape_of(case, how.layout)):
            got = fc.conv2d_weight_grad(x_, grad_, case.weight[2:], algorithm=row.name, out=out_like(weight_), **rest)
            assert_near(got, to_layout(expected, how.layout),
                        limits(drawn, row.name, terms, weight_sums, how.layout), drawn.dtype)  # fmt: skip
    got = fc.conv2d_bias_grad(grad_, layout=how.layout, num_threads=how.num_threads)
    limit = None if drawn.whole else gamma(terms, drawn.dtype) * reference.conv2d_bias_grad(abs(grad))
    assert_near(got, reference.conv2d_bias_grad(grad), limit, drawn.dtype)


@fuzzed(quick=50)
@given(call=gradients())
def test_gradients(call, isa):
    run_gradients(call, isa)


def as_signals(case):
    """The parameters of conv1d for a Case of one row."""
    return {"stride": case.parameters["stride"][1], "dilation": case.parameters["dilation"][1],
            "padding": case.parameters["padding"][1], "groups": case.parameters["groups"]}  # fmt: skip


@fuzzed(quick=20)
@given(call=gradients(rows=1), bias=st.booleans())
def test_conv1d(call, bias, isa):
    """conv1d and its gradients, of the same shape: whole numbers only, as the rest is conv2d's."""
    case, how = call.case, call.how
    drawn = call.numbers._replace(whole=True)
    parameters, axis = {**as_signals(case), "layout": how.layout}, 2 if how.layout == "NCHW" else 1
    arrays = []
    for memory, shape in zip(call.memory, (case.x, case.weight, shape_of(case).output_shape), strict=True):
        values = memory.values(to_layout(drawn.array(shape, len(arrays)), how.layout)).squeeze(axis)
        one_row = [i for i in memory.order if i != axis]
        memory = memory._replace(order=tuple(i - (i > axis) for i in one_row),
                                 **{name: tuple(v for i, v in enumerate(getattr(memory, name)) if i != axis)
                                    for name in ("steps", "repeated")})  # fmt: skip
        arrays.append((values, memory.place(values, drawn.dtype)))
    (x, x_), (weight, weight_), (grad, grad_) = arrays
    bias = drawn.array(case.weight[:1], 3) if bias else None
    how = {"num_threads": how.num_threads, "strict": True}
    got = fc.conv1d(x_, weight_, None if bias is None else bias.astype(drawn.dtype), **parameters, **how)
    assert_near(got, reference.conv1d(x, weight, bias, **parameters), None, drawn.dtype)
    got = fc.conv1d_input_grad(grad_, weight_, x.shape, **parameters, **how)
    assert_near(got, reference.conv1d_input_grad(grad, weight, x.shape, **parameters), None, drawn.dtype)
    got = fc.conv1d_weight_grad(x_, grad_, case.weight[3], **parameters, **how)
    assert_near(got, reference.conv1d_weight_grad(x, grad, case.weight[3], **parameters), None, drawn.dtype)


@fuzzed(quick=40)
@given(call=gradients(), bias=st.booleans(), more=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_conv_transpose2d(call, bias, more, isa):
    """The transposed convolution of what a convolution gives, and its gradients: whole numbers, strict algorithms."""
    case, drawn, layout = call.case, call.numbers._replace(whole=True), call.how.layout
    parameters = {**case.parameters}
    more = tuple(min(m, max(s, d) - 1) for m, s, d in
                 zip(more, parameters["stride"], parameters["dilation"], strict=True))  # fmt: skip
    parameters |= {"output_padding": more}
    x_shape = shape_of(case).output_shape
    x, x_ = in_layout(call.memory[0], drawn, x_shape, 0, layout)
    weight, weight_ = in_layout(call.memory[1], drawn, case.weight, 1, layout)
    bias = drawn.array((case.x[1],), 3) if bias else None
    expected = reference.conv_transpose2d(x, weight, bias, **parameters)
    how = {"layout": layout, "num_threads": call.how.num_threads, "strict": True}
    got = fc.conv_transpose2d(x_, weight_, None if bias is None else bias.astype(drawn.dtype), **parameters, **how)
    assert_near(got, to_layout(expected, layout), None, drawn.dtype)
    grad, grad_ = in_layout(call.memory[2], drawn, expected.shape, 2, layout)
    got = fc.conv_transpose2d_input_grad(grad_, weight_, x_.shape, **parameters, **how)
    expected = reference.conv_transpose2d_input_grad(grad, weight, x.shape, **parameters)
    assert_near(got, to_layout(expected, layout), None, drawn.dtype)
    got = fc.conv_transpose2d_weight_grad(x_, grad_, case.weight[2:], **parameters, **how)
    expected = reference.conv_transpose2d_weight_grad(x, grad, case.weight[2:], **parameters)
    assert_near(got, to_layout(expected, layout), None, drawn.dtype)


@fuzzed(quick=60)
@given(call=gemms())
def test_gemm(call, isa):
    (m, n, k), drawn = call.sizes, call.numbers
    arrays = []
    for memory, (rows, columns), flipped in zip(call.memory, ((m, k), (k, n), (m, n)), (*call.transposed, False),
                                                strict=True):  # fmt: skip
        values = memory.values(drawn.array((columns, rows) if flipped else (rows, columns), len(arrays)))
        arrays.append((drawn.exact(values), memory.place(values, drawn.dtype)))
    (a, a_), (b, b_), (c, c_) = arrays
    if call.beta == 0 and call.out != "c":
        c = c_ = None
    if call.out == "c":
        c_ = c_.copy()  # in place needs an array of its own
    parameters = {"alpha": call.alpha, "beta": call.beta, "trans_a": call.transposed[0], "trans_b": call.transposed[1]}
    out = {"none": None, "new": poison((m, n), drawn.dtype), "c": c_}[call.out]
    expected = reference.gemm(a, b, c, **parameters)
    got = fc.gemm(a_, b_, c_, out=out, algorithm=call.algorithm, blocking=call.blocking,
                  num_threads=call.num_threads, **parameters)  # fmt: skip
    assert out is None or got is out
    limit = None
    if not drawn.whole:
        sizes = [abs(v) if v is not None else None for v in (a, b, c, call.alpha, call.beta)]
        sums = reference.gemm(*sizes[:3], **{**parameters, "alpha": sizes[3], "beta": sizes[4]})
        limit = gamma(k + 3, drawn.dtype) * sums
    assert_near(got, expected, limit, drawn.dtype)


@fuzzed(quick=20)
@given(
    data=st.data(), drawn=numbers, layout=st.sampled_from(LAYOUTS), team=threads, memory=memories(4),
    grad_memory=memories(4), counted=st.booleans(), kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), images=st.integers(0, 2), channels=st.integers(0, 35),
)  # fmt: skip
def test_pooling(data, drawn, layout, team, memory, grad_memory, counted, kernel, stride, images, channels, isa):
    """Both kinds and their gradients. Means of whole numbers are rounded; the largest and its gradient are exact."""
    sides = tuple((data.draw(st.integers(0, k - 1)), data.draw(st.integers(0, k - 1))) for k in kernel)
    size = tuple(max(1, k - sum(p)) + data.draw(st.integers(0, 12)) for k, p in zip(kernel, sides, strict=True))
    window = {"stride": stride, "padding": sides, "layout": layout}
    x, x_ = in_layout(memory, drawn, (images, channels, *size), 0, layout)
    x = x if layout == "NCHW" else np.moveaxis(x, 1, 3)
    how, taps = {**window, "num_threads": team}, kernel[0] * kernel[1]
    largest = reference.max_pool2d(x, kernel, **window)
    assert_near(fc.max_pool2d(x_, kernel, **how), largest, None, drawn.dtype)
    shape = largest.shape if layout == "NCHW" else np.moveaxis(largest, 3, 1).shape
    grad, grad_ = in_layout(grad_memory, drawn, shape, 1, layout)
    grad = grad if layout == "NCHW" else np.moveaxis(grad, 1, 3)
    sums = reference.max_pool2d_grad(abs(grad), x, kernel, **window)
    limit = None if drawn.whole else gamma(taps, drawn.dtype) * sums
    assert_near(fc.max_pool2d_grad(grad_, x_, kernel, **how), reference.max_pool2d_grad(grad, x, kernel, **window),
                limit, drawn.dtype)  # fmt: skip
    mean = {**window, "count_include_pad": counted}
    limit = gamma(taps + 1, drawn.dtype) * reference.avg_pool2d(abs(x), kernel, **mean)
    assert_near(fc.avg_pool2d(x_, kernel, **mean, num_threads=team), reference.avg_pool2d(x, kernel, **mean), limit,
                drawn.dtype)  # fmt: skip
    limit = gamma(taps + 1, drawn.dtype) * reference.avg_pool2d_grad(abs(grad), x.shape, kernel, **mean)
    assert_near(fc.avg_pool2d_grad(grad_, x_.shape, kernel, **mean, num_threads=team),
                reference.avg_pool2d_grad(grad, x.shape, kernel, **mean), limit, drawn.dtype)  # fmt: skip


@st.composite
def layers(draw):
    """(a layer's class, its arguments, the shape of a batch): small sizes, of which most fit."""
    size, sizes = st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4))
    kernel, small = draw(size | sizes), st.integers(0, 2)
    window = {"kernel_size": kernel, "padding": draw(st.sampled_from([0, 0, 1, 2, 4]) | st.tuples(small, small))}
    pixels = st.sampled_from([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    batch = (draw(st.sampled_from([2, 1, 2, 1, 2, 0])), draw(size), draw(pixels), draw(pixels))
    kind = draw(st.sampled_from([nn.Conv2d, *POOLS]))
    if kind is nn.Conv2d:
        channels = batch[1] + draw(st.sampled_from([0] * 9 + [1]))
        more = {"stride": draw(size | sizes), "in_channels": channels, "out_channels": draw(size),
                "dilation": draw(st.sampled_from([1, 1, 2]) | sizes)}  # fmt: skip
    else:
        more = {"stride": draw(st.none() | size | sizes)}
        more |= {} if kind is nn.MaxPool2d else {"count_include_pad": draw(st.booleans())}
    return kind, window | more, batch


def outcome(call):
    """What a call gives, or the error that it raises."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        return error


@fuzzed(quick=300)
@given(drawn=layers())
def test_a_layer_is_its_function(drawn):
    """The same numbers, or both refuse."""
    kind, arguments, batch = drawn
    layer, x = kind(**arguments), np.random.default_rng(0).standard_normal(batch).astype(np.float32)
    of_window = {key: value for key, value in arguments.items() if not key.endswith("channels")}
    kernel = of_window.pop("kernel_size")
    if kind is nn.Conv2d:
        wanted = outcome(lambda: fc.conv2d(x, layer.weight, layer.bias, **of_window))
    else:
        wanted = outcome(lambda: POOLS[kind](x, kernel, **of_window))
    got = outcome(lambda: nn.Sequential(layer)(x))
    if isinstance(wanted, ValueError):
        assert isinstance(got, ValueError), f"refused by the function only: {wanted}"
    else:
        np.testing.assert_allclose(got, wanted, atol=1e-5)
