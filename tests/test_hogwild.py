"""fc.hogwild.accumulate: what loses nothing is exact, what may lose shows that it does, and bad input changes
nothing."""

import numpy as np
import pytest
from support import DTYPES, laid_out, whole

import fastconv as fc
from fastconv._loops import hogwild

MODES = ("private", "locked", "atomic", "hogwild")
THREADS = (1, 2, 3)
by_mode = pytest.mark.parametrize("mode", MODES)
EXACT = [(mode, threads) for mode in MODES for threads in THREADS if mode != "hogwild" or threads == 1]
by_exact_way = pytest.mark.parametrize(("mode", "threads"), EXACT)


@by_exact_way
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 255, 256, 257, 1500])
def test_dense(mode, dtype, threads, n, eager):
    updates = whole((23, n), seed=n)
    shared = whole(n, seed=1).astype(dtype)
    expected = shared + 2 * updates.sum(0)
    assert fc.hogwild.accumulate(shared, updates.astype(dtype), scale=2.0, mode=mode, num_threads=threads) is None
    np.testing.assert_array_equal(shared, expected)


@by_exact_way
def test_sparse(mode, threads, eager):
    rng = np.random.default_rng(0)
    updates, indices = whole((40, 7)), rng.integers(0, 300, (40, 7))
    shared, expected = np.zeros(300, np.float32), np.zeros(300)
    np.add.at(expected, indices, -updates)
    fc.hogwild.accumulate(shared, updates.astype(np.float32), indices=indices, scale=-1.0, mode=mode,
                          num_threads=threads)  # fmt: skip
    np.testing.assert_array_equal(shared, expected)


@by_mode
def test_an_index_that_changes_after_the_check_leads_nowhere(mode):
    """The nest reads the caller's own indices, and looks at each again before it adds."""
    indices = np.array([[1, -1, 300, 2**62, -(2**63), 2]] * 20)
    room = np.zeros(900, np.float32)
    for threads in (1, 2):
        hogwild.accumulate(room[300:600], np.ones((20, 6), np.float32), indices, 1.0, mode, False, threads)
    np.testing.assert_array_equal(np.flatnonzero(room), [301, 302])


def test_a_memory_map_is_shared(tmp_path):
    shared = np.memmap(tmp_path / "shared", np.float32, "w+", shape=300)
    fc.hogwild.accumulate(shared, np.ones((2, 300), np.float32))
    assert (shared == 2).all()


def test_updates_that_are_not_aligned():
    updates = np.zeros(65, np.uint8)[1:].view(np.float64).reshape(2, 4)
    updates[...] = whole((2, 4))
    shared = np.zeros(4)
    fc.hogwild.accumulate(shared, updates)
    np.testing.assert_array_equal(shared, updates.sum(0))


def test_threads_share_updates_as_small_as_a_batch_of_examples(monkeypatch):
    """An add to a scattered element takes the time of many FLOPs."""
    teams = []
    monkeypatch.setattr(hogwild, "accumulate", lambda *arguments: teams.append(arguments[-1]))
    fc.hogwild.accumulate(np.zeros(5000), np.ones((20, 5000)), num_threads=2)
    fc.hogwild.accumulate(np.zeros(10**6), np.ones((5000, 20)), indices=np.zeros((5000, 20), int), num_threads=2)
    assert teams == [2, 2]


def test_hogwild_of_one_thread_and_private_of_any_are_the_plain_loop(eager):
    updates = np.random.default_rng(0).standard_normal((50, 700)).astype(np.float32)
    expected = np.zeros(700, np.float32)
    for row in updates:
        expected += row
    for mode, threads in (("hogwild", 1), ("private", 1), ("private", 2), ("private", 3)):
        shared = np.zeros(700, np.float32)
        fc.hogwild.accumulate(shared, updates, mode=mode, num_threads=threads)
        np.testing.assert_array_equal(shared, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_contention(dtype, eager):
    """64 elements that two threads add to without pause: only Hogwild loses, and the debug counter sees it."""
    updates = np.broadcast_to(np.ones(64, dtype), (200_000, 64))
    for mode in ("private", "locked", "atomic"):
        shared = np.zeros(64, dtype)
        assert fc.hogwild.accumulate(shared, updates, mode=mode, num_threads=2, count_lost=True) == 0
        np.testing.assert_array_equal(shared, len(updates))
    lost = seen = 0
    for _ in range(100):  # a busy machine may run one thread after the other
        shared = np.zeros(64, dtype)
        fc.hogwild.accumulate(shared, updates, num_threads=2)
        lost += updates.size - shared.sum()
        shared = np.zeros(64, dtype)
        seen += fc.hogwild.accumulate(shared, updates, num_threads=2, count_lost=True)
        if lost and seen:
            break
    assert lost > 0
    assert seen > 0


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "private"])
def test_zeros_are_left_out(mode):
    """An update of zeros does not even read, and -0 stays. ("private" adds what a thread owns in one chain.)"""
    shared = np.full(600, -0.0, np.float32)
    updates = np.zeros((3, 600), np.float32)
    fc.hogwild.accumulate(shared, updates, mode=mode)
    assert np.signbit(shared).all()


def test_updates_of_any_strides():
    updates = whole((9, 11))
    for laid in (laid_out(updates.astype(np.float64), steps=(-2, 3)), np.asfortranarray(updates, np.float64)):
        shared = np.zeros(11)
        fc.hogwild.accumulate(shared, laid)
        np.testing.assert_array_equal(shared, updates.sum(0))


def test_nothing_to_add():
    shared = np.ones(5)
    fc.hogwild.accumulate(shared, np.zeros((0, 5)))
    fc.hogwild.accumulate(shared, np.zeros((3, 0)), indices=np.zeros((3, 0), int))
    np.testing.assert_array_equal(shared, 1)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "shared, updates, options, error, message",
    [
        (np.zeros(4), np.zeros((2, 5)), {}, ValueError, "4 columns"),
        (np.zeros((2, 2)), np.zeros((2, 4)), {}, ValueError, "shared must be 1-D"),
        (np.zeros(4), np.zeros(4), {}, ValueError, "updates must be 2-D"),
        (np.zeros(8)[::2], np.zeros((2, 4)), {}, ValueError, "contiguous"),
        (read_only(np.zeros(4)), np.zeros((2, 4)), {}, ValueError, "read-only"),
        (np.zeros(4), np.zeros((2, 4), np.float32), {}, TypeError, "convert"),
        (np.zeros(4, int), np.zeros((2, 4)), {}, TypeError, "shared must be float32 or float64"),
        ([0.0] * 4, np.zeros((2, 4)), {}, TypeError, "shared must be"),
        (np.zeros(4), np.zeros((2, 4)), {"mode": "fast"}, ValueError, "mode must be one of"),
        (np.zeros(4), np.zeros((2, 4)), {"num_threads": 0}, ValueError, "num_threads"),
        (np.zeros(4), np.zeros((2, 2)), {"indices": np.array([[0, 4], [1, 2]])}, ValueError, "range"),
        (np.zeros(4), np.zeros((2, 2)), {"indices": np.array([[0, -1], [1, 2]])}, ValueError, "range"),
        (np.zeros(4), np.zeros((2, 2)), {"indices": np.array([[0.0, 1], [1, 2]])}, TypeError, "integers"),
        (np.zeros(4), np.zeros((2, 2)), {"indices": np.array([0, 1])}, ValueError, "shape of updates"),
    ],
)
def test_bad_input_changes_nothing(shared, updates, options, error, message):
    with pytest.raises(error, match=message):
        fc.hogwild.accumulate(shared, updates, **options)
    np.testing.assert_array_equal(np.asarray(shared), 0)


def test_row94_more_threads_than_elements_or_rows(eager):
    for n, rows in ((1, 1), (1, 9), (3, 1)):
        shared = np.zeros(n)
        fc.hogwild.accumulate(shared, np.ones((rows, n)), mode="atomic", num_threads=64)
        np.testing.assert_array_equal(shared, rows)


def test_an_update_must_not_be_the_shared_vector():
    memory = np.zeros((3, 4))
    with pytest.raises(ValueError, match="shares memory"):
        fc.hogwild.accumulate(memory[0], memory)
    with pytest.raises(ValueError, match="shares memory"):
        fc.hogwild.accumulate(memory[0], np.ones((1, 2)), indices=memory[0, :2].view(np.int64)[None])
