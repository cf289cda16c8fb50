"""Training: stochastic gradient descent with momentum and weight decay, and the gradients alone. Check, compile the
forward and backward pass to one program, run it over mini-batches.

    velocity = momentum * velocity + (the batch's mean gradient + weight_decay * parameters)
    parameters -= lr * velocity

parallel="images": threads take the images of a mini-batch, each forward and backward without Python, and their
gradients meet as `accumulation` says (fastconv/_loops/training.pyx). parallel="operations": threads work inside the
steps of a program for the whole mini-batch."""

import math
import time
from contextlib import contextmanager, suppress

import numpy as np

from fastconv import hogwild, threads
from fastconv._loops.training import Session
from fastconv.arrays import as_array, as_integers
from fastconv.checks import to_choice, to_count, to_flag, to_real
from fastconv.history import History
from fastconv.nn.activations import Sigmoid, Softmax
from fastconv.nn.evaluation import check_input, compiled
from fastconv.nn.layer import Layer
from fastconv.nn.normalisation import BatchNorm2d
from fastconv.nn.parameters import store_of
from fastconv.nn.program import Builder, chain, step_work

UPDATES = ("sync", "async")
PARALLEL = ("auto", "images", "operations")
# "auto", by the FLOPs of an average step for one image. From SHARED_STEP on threads share the step itself: a team's
# start, 3 us, is then 2 % of it on two cores. Below SMALL_STEP, a microsecond, what a step costs is calling it, and it
# runs for the whole mini-batch: lenet on 8 x 8 pixels gains 1.6 times from that, on Zen 3.
SHARED_STEP = 20e6
SMALL_STEP = 0.1e6
# Images between two preparations of the convolutions' weights with update="async", or a mini-batch if that is more.
STALE_IMAGES = 64


def fit(net, x, y, *, epochs, batch_size, lr, momentum=0.0, weight_decay=0.0, accumulation="private", update="sync",
        parallel="auto", num_threads=None, seed=0, progress=True):  # fmt: skip
    """Trains a network in place and returns the History.

    x: images (N, C, H, W) or rows (N, features). y: integer labels (N,), for the softmax loss of what the network
    gives; or targets in [0, 1] of the shape of its result, for the binary cross entropy. A last Softmax or Sigmoid
    belongs to the loss. All of the network's dtype. Images are shuffled by `seed` in each of `epochs` epochs.
    batch_size None: all of them, full-batch descent. For each mini-batch

        velocity = momentum * velocity + (its mean gradient + weight_decay * parameters)
        parameters -= lr * velocity

    with lr and weight_decay of at least 0 and momentum in [0, 1). num_threads: at most so many. progress: a bar, where
    tqdm is installed (the extra "train").

    accumulation, with parallel="images": "private": every image's gradient is formed in a copy of its own and added
    in the order of images: exact, the same bits for any number of threads, a gradient's memory for each thread.
    "locked", "atomic": one shared vector, nothing lost, sums in any order. "hogwild": one shared vector, no locks, an
    add now and then lost.
    update="async", with the last three: each image is a step of descent on the shared parameters at once, threads do
    not wait for each other, each has a momentum of its own, and the convolutions' prepared weights are renewed every
    64 images (or every batch, if that is larger).
    parallel: "images", "operations", or "auto", which decides from layer shapes. BatchNorm2d, which couples the images
    of a batch, needs "operations".

    Raises ValueError or TypeError before anything is changed."""
    settings = check_settings(lr, momentum, weight_decay, seed)
    epochs, progress = to_count(epochs, "epochs"), to_flag(progress, "progress")
    batch_size = None if batch_size is None else to_count(batch_size, "batch_size")
    job = Job(net, x, y, accumulation, update, parallel)
    batch_size = min(batch_size or len(job.x), len(job.x))
    history = History({**settings, "batch_size": batch_size, "accumulation": accumulation, "update": update,
                       "parallel": job.parallel})  # fmt: skip
    session = job.session(batch_size, momentum != 0, num_threads)
    history.settings["gradient_bytes"] = session.gradient_bytes
    order = np.random.default_rng(seed)
    batches = -(-len(job.x) // batch_size)
    with bar(progress, epochs * batches) as advance:
        for epoch in range(epochs):
            started = time.perf_counter()
            job.epoch(session, order.permutation(len(job.x)), epoch * batches, batch_size, settings, num_threads,
                      advance)  # fmt: skip
            history.times.append(time.perf_counter() - started)
            history.losses.append(job.loss_of_images())
            history.accuracy.append(job.accuracy())
            advance(0, loss=history.losses[-1])
    return history


def gradients(net, x, y, *, accumulation="private", parallel="auto", num_threads=None):
    """(loss, {torch's name: gradient}) of the mean loss over a batch, for a training loop of one's own.

    Parameters and errors are fit's. Dropout masks are those of the first step of seed 0; BatchNorm2d's running
    statistics move, as in training."""
    job = Job(net, x, y, accumulation, "sync", parallel)
    session = job.session(len(job.x), False, num_threads)
    job.forward_backward(session, np.arange(len(job.x)), 0, 0, num_threads, len(job.x))
    sums = session.gradients
    made = {
        name: np.ascontiguousarray(job.store.places[layer, own].view(sums)) / len(job.x)
        for name, (layer, own) in net.named_parameters().items()
        if job.store.places[layer, own].trained
    }
    return job.loss_of_images(), made


class Job:
    """A network with what it is to learn, checked."""

    def __init__(self, net, x, y, accumulation, update, parallel):
        to_choice(accumulation, "accumulation", hogwild.MODES)
        to_choice(update, "update", UPDATES)
        to_choice(parallel, "parallel", PARALLEL)
        if not isinstance(net, Layer):
            raise TypeError(f"net must be a network of fastconv.nn, got {type(net).__name__}")
        self.net, self.store = net, store_of(net)
        if not net.named_parameters():
            raise ValueError("net has no parameters to train")
        x, output_shape = check_input(net, x, self.store)
        if len(x) == 0:
            raise ValueError("x is empty: there is nothing to learn from")
        self.x = np.require(x, requirements="CA")
        self.layers = chain(net)
        self.loss, self.y = check_targets(y, len(x), output_shape, self.store.parameters.dtype)
        last = {"cross_entropy": Softmax, "binary_cross_entropy": Sigmoid}
        if isinstance(self.layers[-1], (Softmax, Sigmoid)):
            if not isinstance(self.layers[-1], last[self.loss]):
                raise ValueError(f"{self.layers[-1]!r} at the end does not go with y: {self.loss} is taken before "
                                 f"a {last[self.loss].__name__}")  # fmt: skip
            self.layers = self.layers[:-1]
        self.outputs = np.empty((len(x), math.prod(output_shape)), x.dtype)
        self.losses = np.empty(len(x))  # of an image, summed over the results that are compared with targets
        trained = [place for layer, own in net.named_parameters().values()
                   if (place := self.store.places[layer, own]).trained]  # fmt: skip
        self.span = trained[0].offset, trained[-1].offset + trained[-1].size
        self.accumulation, self.update = accumulation, update
        self.parallel = self.choose_parallel(parallel)
        self.of_batch = {}  # images -> Built; the last batch may be smaller

    def choose_parallel(self, parallel):
        """ "images" or "operations", from the layers' shapes; ValueError where what was asked for does not combine."""
        couples = any(isinstance(layer, BatchNorm2d) for _, layer in self.net.named_layers())
        shares = self.accumulation != "private" or self.update == "async"
        if self.update == "async" and self.accumulation == "private":
            raise ValueError("update='async' changes the shared parameters at once, which accumulation='private', "
                             "copies added up in order, does not do; use 'locked', 'atomic' or 'hogwild'")  # fmt: skip
        if couples and (parallel == "images" or shares):
            raise ValueError("BatchNorm2d takes its mean over the images of a batch, so that they cannot go forward "
                             "one by one: it needs parallel='operations' with accumulation='private' and "
                             "update='sync'")  # fmt: skip
        if parallel == "operations" and shares:
            raise ValueError("with parallel='operations' one batch has one gradient, and there is nothing to "
                             "accumulate across threads; accumulation and update are for 'images'")  # fmt: skip
        if parallel != "auto":
            return parallel
        if couples:
            return "operations"
        built = self.program(1, shares)
        return "images" if shares or SMALL_STEP <= built.work / len(built.program) < SHARED_STEP else "operations"

    def program(self, images, shares):
        """The forward and backward pass of so many images, compiled."""

        def build():
            to = Builder(self.store, images, training=True, shared=shares)
            shape, strides = self.x.shape[1:], ()
            if len(shape) == 3:
                of_image = self.x.strides[1:]
                strides = (math.prod(shape) * self.x.itemsize, of_image[1], of_image[2], of_image[0])
            logits = to.channels_first(to.layers(self.layers, to.input(shape, strides)))
            to.loss(logits, self.loss)
            to.backward()
            return to.finish(logits)

        key = (self.net, "training", images, self.x.shape[1:], shares, self.loss, len(self.layers))
        return compiled(self.store, key, build)

    def for_batch(self, images):
        """The pass of a whole mini-batch."""
        if images not in self.of_batch:
            self.of_batch[images] = self.program(images, False)
        return self.of_batch[images]

    def session(self, batch_size, momentum, num_threads):
        """The memory to train in."""
        self.built = self.program(1, self.accumulation != "private") if self.parallel == "images" else None
        if self.built is None:
            whole = self.for_batch(batch_size)
            return Session(whole.program, self.store.parameters, None, False, momentum, 1)
        team = min(threads.team_size(self.built.work * batch_size, num_threads), len(self.x))
        return Session(self.built.program, self.store.parameters, self.accumulation, self.update == "async", momentum,
                       team)  # fmt: skip

    def epoch(self, session, order, step, batch_size, settings, num_threads, advance):
        """Once through the images in that order."""
        lr, decay, momentum, seed = (settings[name] for name in ("lr", "weight_decay", "momentum", "seed"))
        descends = self.update == "async"
        together = max(batch_size, STALE_IMAGES // batch_size * batch_size) if descends else batch_size
        if descends:
            session.set_descent(lr / batch_size, decay, momentum)
        for first in range(0, len(order), together):
            part = order[first : first + together]
            try:
                self.forward_backward(session, part, seed, step + first // batch_size, num_threads, batch_size)
                if not descends:
                    low, high = self.span
                    team = threads.team_size(threads.ELEMENT_WORK * (high - low), num_threads)
                    session.update(low, high, lr, decay, momentum, 1 / len(part), team)
            finally:  # a signal's exception comes when the parameters have changed
                self.store.changed()
            advance(-(-len(part) // batch_size))

    def forward_backward(self, session, order, seed, step, num_threads, batch_size):
        """Adds the gradients of the images of that order to the session's, or descends along them."""
        if self.parallel == "images":
            prepared = self.built.refresh(self.store, 1)
            session.images(self.x, self.y, order, prepared, self.outputs, self.losses, seed, step, batch_size)
            return
        built = self.for_batch(len(order))
        team = threads.team_size(built.work, num_threads)
        prepared = built.refresh(self.store, team)
        outputs, losses = np.empty_like(self.outputs[: len(order)]), np.empty(len(order))
        session.batch(built.program, self.x[order], self.y[order], prepared, outputs, losses, seed, step, team,
                      step_work())  # fmt: skip
        self.outputs[order], self.losses[order] = outputs, losses
        for layer, offset, rows in built.statistics:
            layer.learn(self.store, session.arena[offset:].view(self.x.dtype), rows)
        if built.statistics:
            self.store.changed()

    def loss_of_images(self):
        """The mean loss: over the images, and with targets over each one's results."""
        compared = self.outputs.shape[1] if self.loss == "binary_cross_entropy" else 1
        return float(self.losses.mean()) / compared

    def accuracy(self):
        """The share of right answers at the time each image was last learnt from, or None."""
        return float((self.outputs.argmax(1) == self.y).mean()) if self.loss == "cross_entropy" else None


def check_targets(y, images, output_shape, dtype):
    """(loss, y): "cross_entropy" with int64 labels in range, or "binary_cross_entropy" with targets of that dtype."""
    if not hasattr(y, "dtype"):
        raise TypeError(f"y must be an array of integer labels or of float targets, got {type(y).__name__}; "
                        "np.asarray(y) makes one")  # fmt: skip
    if np.asarray(y).dtype.kind in "iu":
        y = as_integers(y, "y")
        if y.shape != (images,):
            raise ValueError(f"y must be ({images},), one label an image, got shape {y.shape}")
        classes = math.prod(output_shape)
        if len(output_shape) != 1 or classes < 2:
            raise ValueError(f"y: labels need a network that gives at least two classes, not {output_shape} an image")
        if y.min() < 0 or y.max() >= classes:
            raise ValueError(f"y has labels from {y.min()} to {y.max()}, but the network has {classes} classes")
        return "cross_entropy", y
    y = as_array(y, "y")
    if y.dtype != dtype:
        raise TypeError(f"y is {y.dtype}, but the network is {dtype}")
    if y.shape != (images, *output_shape):
        raise ValueError(f"targets y must have the shape of the network's result, {(images, *output_shape)}, "
                         f"got {y.shape}")  # fmt: skip
    if not (y.min() >= 0 and y.max() <= 1):
        raise ValueError("targets y must lie in [0, 1]")
    return "binary_cross_entropy", np.ascontiguousarray(y.reshape(images, -1))


def check_settings(lr, momentum, weight_decay, seed):
    """The numbers of the descent as a dictionary; ValueError for NaN and other nonsense."""
    settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    for name in settings:
        settings[name] = value = to_real(settings[name], name)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
    if settings["momentum"] >= 1:
        raise ValueError(f"momentum must be below 1, got {momentum}")
    return settings | {"seed": to_count(seed, "seed", least=0, most=2**64 - 1)}


@contextmanager
def bar(progress, total):
    """A function advance(batches, **figures) that moves a progress bar, where one is wanted and tqdm is there."""
    tqdm = None
    if progress:
        with suppress(ImportError):
            from tqdm.auto import tqdm
    if tqdm is None:
        yield lambda batches, **figures: None
        return
    with tqdm(total=total, unit="batch") as shown:

        def advance(batches, **figures):
            shown.update(batches)
            if figures:
                shown.set_postfix(figures)

        yield advance
