"""How many threads a call uses: decided here, once per call, from the limits that hold and the work there is.

The limit is the first of: the call's num_threads; `with num_threads(n)` in this Python thread (or context, as tasks of
asyncio have them); set_num_threads (the process); OMP_NUM_THREADS as it was at import; one thread for each core this
process may use. All but the first are capped by omp_get_max_threads() at each call, so threadpoolctl holds."""

import os
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

from fastconv._loops import team as _team
from fastconv.checks import to_count
from fastconv.cores import usable_cores

# A team costs 2-5 us to start while its threads still spin, 50 us when they sleep (Zen 4, 2 cores,
# 2026-11): below 1 MFLOP a thread, some 10 us, it does not pay.
SERIAL_WORK = 2_000_000
WORK_PER_THREAD = 1_000_000
ELEMENT_WORK = 50  # an element read and written takes some 0.5 ns, the time of so many FLOPs
MOST_THREADS = 1024

_process_limit = None
_scoped_limit = ContextVar("fastconv's limit of threads", default=None)
_forked_after_parallel = False
_warned = False


def _checked(n, name):
    return min(to_count(n, name), MOST_THREADS)


def _asked_of_openmp():
    """The number that OMP_NUM_THREADS starts with, or None: OpenMP takes nonsense for all cores of the machine."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isdecimal() and int(first) > 0 else None


_openmp_limit = _asked_of_openmp()
_default_limit = _openmp_limit or usable_cores()


def set_num_threads(n):
    """Sets the process's limit to n >= 1 threads: a maximum, not a promise.

    Raises TypeError if n is not an integer, ValueError if it is below 1."""
    global _process_limit
    _process_limit = _checked(n, "n")


def get_num_threads():
    """The limit that a call without num_threads has in this Python thread now."""
    scoped = _scoped_limit.get()
    if _forked_after_parallel:
        return 1
    if scoped is not None:
        limit = scoped
    elif _process_limit is not None:
        limit = _process_limit
    else:
        limit = _default_limit
    return max(1, min(limit, _team.max_threads()))  # OpenMP takes nonsense for a number of threads


@contextmanager
def num_threads(n):
    """Within the block, calls of this Python thread use at most n >= 1 threads. Raises ValueError or TypeError for
    another n."""
    before = _scoped_limit.set(_checked(n, "n"))
    try:
        yield
    finally:
        _scoped_limit.reset(before)


def team_size(work, num_threads=None):
    """Threads for `work` FLOPs under the limits: one where that is too little to share."""
    if num_threads is not None:
        num_threads = _checked(num_threads, "num_threads")
    if work < SERIAL_WORK:
        return 1
    if _forked_after_parallel:
        _warn_once()
        return 1
    if num_threads is None:
        num_threads = get_num_threads()
    return max(1, min(num_threads, int(min(work, 1e18)) // WORK_PER_THREAD))


def _warn_once():
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "fastconv: this process was forked from one that had run threads, whose OpenMP threads did not "
            "survive; calls run on one thread here. Start workers by spawn or forkserver to have them back.",
            RuntimeWarning,
            stacklevel=4,
        )


def _after_fork_in_child():
    """The OpenMP threads of the parent do not exist here, and waiting for them would hang for ever."""
    global _forked_after_parallel, _default_limit
    _forked_after_parallel = _team.has_run_parallel()
    _default_limit = _openmp_limit or usable_cores()


# Another library's regions leave threads as well, which a child would wait for: torch's and fastconv's are those of one
# libgomp. They are made anew at the next region.
os.register_at_fork(before=_team.end_threads, after_in_child=_after_fork_in_child)
