"""net(x): the answer of a network to a batch of images. Check, compile once for each shape, run.

Convolution layers run image by image, from the input to the first fully connected layer: an image's activations stay
in the cache, and threads take images; with fewer images than threads, the threads work inside each step. Fully
connected layers run for the whole batch, so that their weights, which are most of the bytes, are read once."""

import numpy as np

from fastconv import threads
from fastconv._loops.kernels import active_isa
from fastconv.arrays import as_array, empty
from fastconv.nn.parameters import store_of
from fastconv.nn.program import Builder, chain, step_work

# Images between two visits to the fully connected layers: what is kept of them in between is small, and a product of
# 64 rows runs at full speed.
SLAB = 64
MOST_PROGRAMS = 16


def check_input(net, x, store):
    """x as an array of the network's dtype, and the shape of the result for one image."""
    x = as_array(x, "x")
    if x.dtype != store.parameters.dtype:
        raise TypeError(f"x is {x.dtype}, but the network is {store.parameters.dtype}")
    if x.ndim not in (2, 4):
        raise ValueError(f"x must be a batch (N, C, H, W) or (N, features), got shape {x.shape}")
    return x, net.output_shape(x.shape[1:])


def as_images(x):
    """(x, strides): x so that every image lies as the programs know it, and the strides of (n, h, w, c) of one image:
    channels-last or channels-first, each without gaps. Others are copied."""
    if x.ndim == 2:
        return np.require(x, requirements="CA"), ()
    last = x.transpose(0, 2, 3, 1)
    if last.flags.c_contiguous and x.flags.aligned:
        return x, ()
    x = np.require(x, requirements="CA")
    _, c, h, w = x.shape
    size = x.itemsize
    return x, (c * h * w * size, w * size, size, h * w * size)


def compiled(store, key, build):
    """A Built of the store, kept with those used last; `key` says what it is."""
    key = (*key, active_isa())
    with store.lock:
        built = store.programs.pop(key, None) or build()
        store.programs[key] = built
        while len(store.programs) > MOST_PROGRAMS:
            store.programs.pop(next(iter(store.programs)))
    return built


def build(store, layers, images, shape, strides=()):
    """The program that evaluates layers for so many images of that shape."""
    to = Builder(store, images)
    y = to.channels_first(to.layers(layers, to.input(shape, strides)))
    return to.finish(y)


def evaluate(net, x, num_threads=None):
    """See Layer.__call__."""
    store = store_of(net)
    x, output_shape = check_input(net, x, store)
    out = empty((len(x), *output_shape), x.dtype)
    if out.size == 0:
        return out
    x, strides = as_images(x)
    layers = chain(net)
    split = next((i for i, layer in enumerate(layers) if layer.reads_much), len(layers))
    body, tail = layers[:split], layers[split:]
    features = x.shape[1:]
    for layer in body:
        features = layer.output_shape(features)
    for first in range(0, len(x), SLAB):
        images, answers = x[first : first + SLAB], out[first : first + SLAB]
        if body or not tail:
            key = net, "body", x.shape[1:], strides
            front = compiled(store, key, lambda: build(store, body, 1, x.shape[1:], strides))
        if tail:
            rows = len(images)
            back = compiled(store, (net, "tail", rows), lambda rows=rows: build(store, tail, rows, features))
        if not tail:
            run_body(store, front, images, answers, num_threads)
        elif not body:
            run_whole(store, back, images, answers, num_threads)
        else:
            with back.room((rows, *features), x.dtype) as between:
                run_body(store, front, images, between, num_threads)
                run_whole(store, back, between, answers, num_threads)
    return out


def run_body(store, built, images, out, num_threads):
    """The layers that run image by image: threads take images, or where there are too few, work inside the steps."""
    team = threads.team_size(built.work * len(images), num_threads)
    prepared = built.refresh(store, team)
    if len(images) >= team:
        built.program.run_images(images, store.parameters, prepared, out, team)
    else:
        for i in range(len(images)):
            run_whole(store, built, images[i : i + 1], out[i : i + 1], num_threads)


def run_whole(store, built, x, out, num_threads):
    """A program for the whole of x."""
    team = threads.team_size(built.work, num_threads)
    prepared = built.refresh(store, team)
    built.program.run_batch(x, store.parameters, prepared, out, team, step_work())
