"""The losses, means over the batch, and their gradients: check, allocate, delegate to fastconv/_loops/softmax.pyx."""

import numpy as np

from fastconv import threads
from fastconv._loops import softmax as _softmax
from fastconv.arrays import as_array, as_integers, check_same_dtype

SPAN = 4096  # elements of binary cross entropy that one chunk adds up


def _as_labels(labels, N, classes):
    """The labels as int64, each below `classes`: the index of each row's class."""
    labels = as_integers(labels, "labels")
    if labels.shape != (N,):
        raise ValueError(f"labels must have shape ({N},), one for each row of logits, got {labels.shape}")
    if N and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(f"labels must be in 0..{classes - 1}, got {labels.min()}..{labels.max()}")
    return labels


def _cross_entropy(logits, labels, with_gradient, num_threads):
    logits = as_array(logits, "logits")
    if logits.ndim != 2:
        raise ValueError(f"logits must be 2-D, (N, classes), got shape {logits.shape}")
    N, classes = logits.shape
    labels = _as_labels(labels, N, classes)
    team = threads.team_size(2 * threads.ELEMENT_WORK * logits.size, num_threads)
    losses = np.empty(N)
    gradient = np.empty(logits.shape, logits.dtype) if with_gradient else None
    if N:
        nest = _softmax.cross_entropy(N, classes, logits.itemsize, N)
        nest.run(np.ascontiguousarray(logits), labels, losses, gradient, team)
    return losses, gradient


def cross_entropy(logits, labels, *, num_threads=None):
    """The mean over the batch of log(sum(exp(logits))) - logits[label]: a float, 0.0 for an empty batch.

    logits: (N, classes), float32 or float64; labels: (N,), the integer index of each row's class.
    Raises TypeError for types and dtypes, ValueError for shapes or labels that do not fit."""
    losses, _ = _cross_entropy(logits, labels, False, num_threads)
    return float(losses.sum() / max(1, len(losses)))


def cross_entropy_grad(logits, labels, *, num_threads=None):
    """The gradient of cross_entropy by the logits, (softmax(logits) - one_hot(labels)) / N. Errors as
    cross_entropy's."""
    return _cross_entropy(logits, labels, True, num_threads)[1]


def _binary_cross_entropy(logits, targets, with_gradient, num_threads):
    logits, targets = as_array(logits, "logits"), as_array(targets, "targets")
    check_same_dtype("logits", logits, "targets", targets)
    if targets.shape != logits.shape:
        raise ValueError(f"targets must have the shape of logits, {logits.shape}, got {targets.shape}")
    if not ((targets >= 0) & (targets <= 1)).all():
        raise ValueError("targets must be between 0 and 1")
    team = threads.team_size(2 * threads.ELEMENT_WORK * logits.size, num_threads)
    spans = -(-logits.size // SPAN)
    losses, gradient = np.empty(spans), np.empty(logits.shape, logits.dtype) if with_gradient else None
    if spans:
        nest = _softmax.binary_cross_entropy(spans, logits.size, logits.itemsize, logits.size)
        nest.run(np.ascontiguousarray(logits), np.ascontiguousarray(targets), losses, gradient, team)
    return losses.sum() / max(1, logits.size), gradient


def binary_cross_entropy(logits, targets, *, num_threads=None):
    """The mean over all elements of -t * log(y) - (1 - t) * log(1 - y) for y = sigmoid(logits), t the targets,
    computed from the logits so that nothing overflows: a float, 0.0 for an empty batch.

    logits, targets: one shape and dtype, float32 or float64; targets between 0 and 1.
    Raises TypeError for types and dtypes, ValueError for shapes or targets that do not fit."""
    return float(_binary_cross_entropy(logits, targets, False, num_threads)[0])


def binary_cross_entropy_grad(logits, targets, *, num_threads=None):
    """The gradient of binary_cross_entropy by the logits: (sigmoid(logits) - targets) / their number. Errors as
    binary_cross_entropy's."""
    return _binary_cross_entropy(logits, targets, True, num_threads)[1]
