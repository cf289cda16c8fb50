"""From layers to a flat program: layers append their steps to a Builder, which places every activation in one arena
and hands the list to fastconv/_loops/program.pyx. Used by evaluation.py and by fastconv/train.py.

Activations are channels-last. An activation's place is free again after the last step that reads it: so an evaluation
uses little more than its two largest neighbours, and in training, where backward steps read what forward steps made,
everything that is needed stays. The same rule serves both."""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fastconv import threads
from fastconv._loops import hogwild, linear, pointwise, softmax, sums, transpose
from fastconv._loops.program import Program
from fastconv.algorithms import choose_weight_grad
from fastconv.arrays import LINE, empty, zeros

# A step shares its work out if there is this many times what a call of its own would need for each thread, 50 us: a
# program has many steps, and at the end of each a thread that the system has taken away holds up the others.
CALLS_PER_STEP = 5


def step_work():
    """FLOPs of a step for each thread that works on it."""
    return CALLS_PER_STEP * threads.WORK_PER_THREAD


def chain(net):
    """The layers of a network one after another, Sequentials opened."""
    if not net.is_sequence:
        return [net]
    return [layer for child in net.children.values() for layer in chain(child)]


class Memory:
    """Where values lie: a piece of the arena, in use from step `first` to step `last`, or another base."""

    def __init__(self, size, base="arena"):
        self.size, self.base = -(-size // LINE) * LINE, base
        self.first = self.last = None
        self.offset = 0


@dataclass(eq=False)
class Value:
    """What a step reads or writes: `images` times `shape`, in `memory`."""

    images: int
    shape: tuple  # (C, H, W), lying as H W C, or (features,)
    itemsize: int
    memory: Memory
    strides: tuple = ()  # in bytes: of (n, h, w, c), or (n, feature)
    differentiable: bool = False  # whether parameters have had a part in it, so that its gradient is wanted

    def __post_init__(self):
        if not self.strides:
            self.strides = packed_strides(self.images, self.shape, self.itemsize)

    @property
    def count(self):
        return self.images * math.prod(self.shape)


def packed_strides(images, shape, itemsize):
    """The strides of contiguous channels-last images, or of rows of features."""
    lying = (*shape[1:], shape[0])
    strides = [itemsize]
    for size in reversed(lying):
        strides.insert(0, strides[0] * size)
    return tuple(strides)


@dataclass
class Prepared:
    """Weights as a nest wants them: `fill(bytes, team)` makes them anew when the layers `sources` have changed."""

    offset: int
    size: int
    sources: tuple
    fill: object


class Built:
    """A program, its prepared weights, and what has to be known to run it."""

    def __init__(self, program, work, prepared, prepared_bytes, statistics):
        self.program, self.work, self.statistics = program, work, statistics
        self._prepared, self._version = prepared, None
        self._rooms = []
        self.memory = zeros((prepared_bytes,), np.dtype(np.uint8))

    def refresh(self, store, team):
        """Prepares the weights anew if the store's values have changed; returns them."""
        if not self._prepared:
            return self.memory
        with store.lock:
            store.look()
            if self._version != store.version:
                for piece in self._prepared:
                    piece.fill(self.memory[piece.offset : piece.offset + piece.size], team)
                self._version = store.version
        return self.memory

    @contextmanager
    def room(self, shape, dtype):
        """An array for what the program is to read, kept from one call to the next."""
        try:
            array = self._rooms.pop()
        except IndexError:  # none, or another thread took the last
            array = empty(shape, dtype)
        try:
            yield array
        finally:
            self._rooms.append(array)


class Builder:
    """Collects the steps of one network for so many images. shared: whether threads add their gradients to one vector,
    so that they are formed in panels and handed to a sink, or write them to one of their own."""

    def __init__(self, store, images, training=False, shared=False):
        self.store, self.images, self.training, self.shared = store, images, training, shared
        self.itemsize = store.parameters.itemsize
        self.steps, self.tape, self.gradients = [], [], {}
        self.prepared_weights, self.prepared_bytes, self.dropouts = [], 0, 0
        self.memories, self.statistics = [], []

    # What layers call.

    def layers(self, layers, x):
        """Appends the steps of layers one after another; a layer may take in some that follow it."""
        following = [layer for given in layers for layer in chain(given)]
        while following:
            x = following.pop(0).forward_before(following, self, x)
        return x

    def value(self, shape, images=None):
        """A new contiguous activation, of the program's images or of another number of rows."""
        images = self.images if images is None else images
        self.memories.append(Memory(images * math.prod(shape) * self.itemsize))
        return Value(images, tuple(shape), self.itemsize, self.memories[-1])

    def like(self, value):
        return self.value(value.shape)

    def step(self, nest, x, weights, bias, y, work=None, kind="run", count=0, total=0):
        """Appends a step. Operands are Values, (Value, bytes from its start), (base, bytes from it) or None."""
        if work is None:
            work = threads.ELEMENT_WORK * max((v.count for v in (x, y) if isinstance(v, Value)), default=0)
        for operand in (x, weights, bias, y):
            value = operand[0] if isinstance(operand, tuple) else operand
            if isinstance(value, Value):
                memory = value.memory
                memory.first = len(self.steps) if memory.first is None else memory.first
                memory.last = len(self.steps)
        self.steps.append((kind, nest, x, weights, bias, y, count, total, work))

    def parameter(self, layer, name):
        """The operand of a layer's parameter, or None if it has none of that name."""
        place = self.store.places.get((layer, name))
        return None if place is None else ("parameters", place.offset * self.itemsize)

    def gradient(self, layer, name):
        """The operand of a parameter's gradient."""
        return ("gradients", self.parameter(layer, name)[1])

    def prepared(self, size, sources, fill):
        """The operand of so many bytes that fill(bytes, team) makes of the parameters of the layers `sources`."""
        self.prepared_weights.append(Prepared(self.prepared_bytes, size, sources, fill))
        self.prepared_bytes += -(-size // LINE) * LINE
        return ("prepared", self.prepared_weights[-1].offset)

    def made(self, layer, y, inputs, backward):
        """y, of which backward(gradient) appends the steps that give the gradients of the inputs and parameters."""
        y.differentiable = bool(layer.parameter_shapes()) or any(x.differentiable for x in inputs)
        if self.training and y.differentiable:
            self.tape.append((y, backward))
        return y

    def give(self, x, grad):
        """A part of the gradient of x."""
        if x.differentiable:
            before = self.gradients.get(x)
            if before is not None:
                total = self.like(x)
                self.step(pointwise.compiled("add", x.count, self.itemsize), before, grad, None, total)
                grad = total
            self.gradients[x] = grad

    def contiguous(self, x):
        """x as contiguous channels-last images: the input of the network may lie otherwise."""
        if x.strides == packed_strides(x.images, x.shape, self.itemsize):
            return x
        return self.transposed(x, x.shape[0], math.prod(x.shape[1:]), x.shape)

    def channels_first(self, x):
        """x as features in torch's order, (C, H, W)."""
        pixels = math.prod(x.shape[1:])
        flat = (math.prod(x.shape),)
        if len(x.shape) == 1:
            return x
        lies_so = x.strides[3] == pixels * self.itemsize  # an input that was channels-first
        if pixels == 1 or x.shape[0] == 1 or lies_so:
            return Value(x.images, flat, self.itemsize, x.memory, differentiable=x.differentiable)
        return self.transposed(x, pixels, x.shape[0], flat)

    def channels_last(self, flat, shape):
        """The reverse of channels_first, to images of that shape."""
        pixels = math.prod(shape[1:])
        if len(shape) == 1 or pixels == 1 or shape[0] == 1:
            return Value(flat.images, shape, self.itemsize, flat.memory)
        return self.transposed(flat, shape[0], pixels, shape)

    def transposed(self, x, rows, columns, shape):
        y = self.value(shape)
        self.step(transpose.compiled(self.images, rows, columns, self.itemsize), x, None, None, y)
        return y

    def copy(self, x, y=None, count=None):
        """Copies a value, or `count` elements of an operand, to y or to a new value, which it returns."""
        y = self.like(x) if y is None else y
        self.step(transpose.compiled(1, x.count if count is None else count, 1, self.itemsize), x, None, None, y)
        return y

    def zero(self, x):
        """Fills a value with zeros."""
        self.step(transpose.zeros(x.count, self.itemsize), None, None, None, x)

    def pointwise(self, layer, name, x):
        """The steps of "relu" or "sigmoid"."""
        x, y = self.contiguous(x), self.like(x)
        self.step(pointwise.compiled(name, x.count, self.itemsize), x, None, None, y)
        return self.made(layer, y, (x,), lambda grad: self.give(x, self.pointwise_gradient(name, grad, y)))

    def pointwise_gradient(self, name, grad, y):
        """The gradient before "relu" or "sigmoid" of the one behind it."""
        dx = self.like(grad)
        self.step(pointwise.compiled(f"{name}_grad", grad.count, self.itemsize), grad, y, None, dx)
        return dx

    def dropout_numbers(self):
        """The operand of the numbers that decide the masks of one more dropout layer."""
        self.dropouts += 1
        return ("dropout", 24 * (self.dropouts - 1))

    def batch_statistics(self, layer, rows, count):
        """So many elements for the mean and 1 / sqrt(variance + eps) of a batch, of which the layer learns."""
        state = self.value((count,), 1)
        self.statistics.append((layer, state, rows))
        return state

    def weight_gradient(self, shape, x, grad, target):
        """The gradient of a convolution's filters."""
        nest = choose_weight_grad(shape, self.itemsize).nest
        sink, deliver = (("sink", 0), hogwild.to_sink) if self.shared else (None, 0)
        step = nest.compiled(shape.packed, self.itemsize, x.strides, grad.strides, deliver)
        self.step(step, x, grad, sink, target, shape.work)

    def linear_weight_gradient(self, sizes, x, grad, target, work):
        """The gradient of a fully connected layer's weights."""
        _, n_in, n_out, _ = sizes
        nest = linear.linear_weight_grad(*sizes, False)
        if self.shared:
            panel = linear.panel_rows(n_in, self.itemsize) * n_in
            self.step(nest, x, grad, None, target, work, "panels", panel, n_in * n_out)
        else:
            self.step(nest, x, grad, None, target, work)

    def sum_rows(self, grad, rows, target):
        """The sums of so many rows of the gradient: the gradient of a bias."""
        count = grad.count // rows
        nest = sums.sum_rows(rows, count, self.itemsize, False)
        if self.shared:
            total = self.value((count,), 1)
            self.step(nest, grad, None, None, total)
            self.step(None, total, None, None, target, 0, "deliver", count)
        else:
            self.step(nest, grad, None, None, target)

    # What evaluation and training call.

    def input(self, shape, strides=()):
        """The Value that the network starts from."""
        return Value(self.images, tuple(shape), self.itemsize, Memory(0, "input"), strides)

    def loss(self, logits, kind):
        """The steps of the loss of each image and of its gradient; the logits go to the output as well."""
        dlogits = self.like(logits)
        if kind == "cross_entropy":
            nest = softmax.cross_entropy(self.images, math.prod(logits.shape), self.itemsize, 1)
        else:
            nest = softmax.binary_cross_entropy(self.images, logits.count, self.itemsize, logits.count // self.images)
        self.step(nest, logits, ("labels", 0), ("losses", 0), dlogits)
        self.give(logits, dlogits)

    def backward(self):
        """The steps of the backward pass, from the last layer to the first."""
        for y, backward in reversed(self.tape):
            grad = self.gradients.pop(y, None)
            if grad is not None:
                backward(grad)

    def finish(self, output):
        """The program; `output` goes to the base "output" instead of the arena."""
        if output.memory.base == "input":  # a network that only hands its input on still has a step
            output = self.copy(output)
        output.memory.base = "output"
        for _, state, _ in self.statistics:
            state.memory.last = len(self.steps)  # read when the program has run
        arena = place([memory for memory in self.memories if memory.base == "arena" and memory.first is not None])
        self.store.prepared.update(layer for piece in self.prepared_weights for layer in piece.sources)
        steps = [
            (kind, nest, *map(resolve, (x, weights, bias, y)), count, total, work)
            for kind, nest, x, weights, bias, y, count, total, work in self.steps
        ]
        return Built(
            Program(steps, arena, self.itemsize, self.dropouts), sum(step[-1] for step in steps), self.prepared_weights,
            self.prepared_bytes, [(layer, state.memory.offset, rows) for layer, state, rows in self.statistics],
        )  # fmt: skip


def resolve(operand):
    """The (base, offset) of a step's operand."""
    if operand is None:
        return ("nothing", 0)
    value, more = operand if isinstance(operand, tuple) else (operand, 0)
    return (value.memory.base, value.memory.offset + more) if isinstance(value, Value) else (value, more)


def place(memories):
    """Gives every memory an offset in the arena, first fit in the order of first use; returns the arena's bytes."""
    taken, arena = [], 0  # (offset, end, last step) of those in use
    for memory in sorted(memories, key=lambda memory: memory.first):
        taken = sorted(held for held in taken if held[2] >= memory.first)
        for start, end, _ in taken:
            if memory.offset + memory.size <= start:
                break
            memory.offset = max(memory.offset, end)
        taken.append((memory.offset, memory.offset + memory.size, memory.last))
        arena = max(arena, memory.offset + memory.size)
    return arena
