"""Lock-free accumulation: many threads add to one vector, and to see what it costs, the ways that lose nothing."""

import numpy as np

from fastconv import threads
from fastconv._loops import hogwild as _hogwild
from fastconv.arrays import as_array, as_integers, check_same_dtype, shares_memory
from fastconv.checks import to_choice, to_flag, to_real

MODES = _hogwild.MODES


def check_shared(array, name):
    """Refuses what threads cannot add to in place."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, which is changed in place, got {type(array).__name__}")
    as_array(array, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name} must be contiguous and aligned, got strides {array.strides}")


def check_indices(indices, shared, shape, team):
    """The indices as int64, not copied if they are: the nest looks again. ValueError unless they have that shape, lie
    in shared's range and not in its memory."""
    indices, size = as_integers(indices, "indices", copy=False), shared.size
    if indices.shape != shape:
        raise ValueError(f"indices must have the shape of updates, {shape}, got {indices.shape}")
    if shares_memory(shared, indices):
        raise ValueError("shared shares memory with indices")
    if indices.size and not (size and _hogwild.all_below(indices, size, team)):
        raise ValueError(f"indices must be in range({size}), got {indices.min()} to {indices.max()}")
    return indices


def accumulate(shared, updates, *, indices=None, scale=1.0, mode="hogwild", num_threads=None, count_lost=False):
    """shared += scale * (the sum of the rows of updates), in place; each thread takes rows, and threads write the
    same elements at the same time.

    shared: (n,), contiguous, float32 or float64. updates, of its dtype: (U, n); or (U, k) with indices, integers of the
    same shape: then row u adds updates[u, j] to shared[indices[u, j]].
    mode: "hogwild": no locks, relaxed loads and stores; of two threads that add to one element at once, one may be
    lost, so the result may differ from call to call. "atomic": atomic adds, and "locked": locks, each for some of
    the vector; nothing is lost, but the order of the sum is left to chance. "private": each thread owns a part of
    the vector and takes its part of every row: the same bits for any number of threads.

    count_lost=True returns the number of adds that were seen to be lost, which makes "hogwild" slower, since every
    store then looks at what it replaces; else the result is None.

    Raises ValueError and TypeError as the message says, before anything is added."""
    check_shared(shared, "shared")
    updates = as_array(updates, "updates")
    check_same_dtype("shared", shared, "updates", updates)
    if updates.ndim != 2:
        raise ValueError(f"updates must be 2-D, one row an update, got shape {updates.shape}")
    if indices is None and updates.shape[1] != shared.size:
        raise ValueError(f"updates must have {shared.size} columns, as shared has elements, got {updates.shape[1]}")
    mode, scale, count_lost = to_choice(mode, "mode", MODES), to_real(scale, "scale"), to_flag(count_lost, "count_lost")
    if shares_memory(shared, updates):
        raise ValueError("shared shares memory with updates")
    team = threads.team_size(threads.ELEMENT_WORK * updates.size, num_threads)
    if indices is not None:
        indices = check_indices(indices, shared, updates.shape, team)
    lost = 0
    if updates.size:
        if updates.strides[1] != updates.itemsize or not updates.flags.aligned:
            updates = np.require(updates, requirements="CA")
        lost = _hogwild.accumulate(shared, updates, indices, scale, mode, count_lost, team)
    return lost if count_lost else None
