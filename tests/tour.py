"""A walk through every nest, for tools that watch a run (valgrind, ThreadSanitizer, an emulated CPU) and are too slow
for the test suite. Results are compared with the references. A program: `python tour.py`, on as many threads as
OMP_NUM_THREADS says, which start for the smallest work. `python tour.py unfenced` forbids no pages around arguments:
QEMU 7.2 reads 16 bytes for the 4 of a scalar multiplication's operand, and those lanes of a load that are masked."""

import sys

import numpy as np
from networks import COUPLED, NETWORKS, expected, network
from support import eager_threads
from test_guard_pages import run_everything

import fastconv as fc
from fastconv._loops import kernels


def add_to_shared_vectors():
    """Every mode of hogwild.accumulate, whole rows and scattered ones; the number of calls."""
    rng = np.random.default_rng(0)
    updates = rng.integers(-3, 4, (64, 700)).astype(np.float32)
    indices = rng.integers(0, 5000, updates.shape)
    calls = 0
    for mode in fc.hogwild.MODES:
        for count_lost in (False, True):
            shared, scattered = np.zeros(700, np.float32), np.zeros(5000, np.float32)
            fc.hogwild.accumulate(shared, updates, mode=mode, count_lost=count_lost)
            fc.hogwild.accumulate(scattered, updates, indices=indices, mode=mode, count_lost=count_lost)
            if mode != "hogwild":  # may lose adds
                np.testing.assert_array_equal(shared, updates.sum(0))
                np.testing.assert_array_equal(scattered, np.bincount(indices.ravel(), updates.ravel(), 5000))
            calls += 2
    return calls


def run_networks():
    """Evaluation and every way to train; the number of calls."""
    calls = 0
    ways = [("private", "sync"), *((mode, update) for mode in fc.hogwild.MODES[1:] for update in ("sync", "async"))]
    for name in NETWORKS:
        net, x = network(name)
        np.testing.assert_allclose(net(x), expected(net, x), rtol=0, atol=1e-11)
        many, labels = np.tile(x, (4,) + (1,) * (x.ndim - 1)), np.arange(4 * len(x)) % 3
        for accumulation, update in ways[:1] if name in COUPLED else ways:
            net, _ = network(name)
            history = fc.train.fit(net, many, labels, epochs=3, batch_size=5, lr=0.01, momentum=0.5, weight_decay=0.01,
                                   accumulation=accumulation, update=update, progress=False,
                                   parallel="operations" if name in COUPLED else "images")  # fmt: skip
            assert np.isfinite(history.losses).all()
            calls += 1
    return calls


def main():
    fc.set_num_threads(64)  # as many as OpenMP gives
    with eager_threads():
        at_end = None if sys.argv[1:] == ["unfenced"] else False
        calls = add_to_shared_vectors() + run_networks()
        calls += run_everything([(dtype, at_end) for dtype in (np.float32, np.float64)])
    print(f"{calls} calls on {fc.get_num_threads()} threads, {kernels.active_isa()}")


if __name__ == "__main__":
    main()
