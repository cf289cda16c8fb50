"""How every nest of kernels runs: `run` is the one prange over its chunks. It owns the team, each thread's
slice of scratch and its floating-point state; a chunk function knows of none of them. (The lecture's own
nests, in naive.pyx, carry their prange in plain sight.)"""
from cython.parallel cimport parallel, prange

from fastconv._loops.platform cimport (
    fc_flush_subnormals,
    fc_fp_state,
    fc_has_openmp,
    fc_max_threads,
    fc_openmp_version,
    fc_restore_fp,
    fc_thread_id,
)
from fastconv._loops.scratch cimport Block, borrow, give_back

cdef bint flush = True
cdef bint entered_parallel = False
cdef Py_ssize_t only_chunk = -1


cdef bint flushing() noexcept nogil:
    return flush


cdef int run(chunk_function chunk, const void *problem, Py_ssize_t chunks, size_t scratch_bytes,
             int team) except -1:
    """chunk(problem, i, scratch) for every i in range(chunks), on at most `team` threads.

    Which thread runs which chunk is left to chance, so a chunk must write its own part of the output only
    and compute it from `problem` and i alone."""
    global entered_parallel
    cdef Py_ssize_t i, first = 0, last = chunks
    cdef fc_fp_state state
    cdef bint flush_now = flush
    # A slice per thread, a cache line apart in the sets of L1: 4 KB multiples would collide.
    cdef size_t slice_bytes = (scratch_bytes + 4095) // 4096 * 4096 + 64
    if only_chunk >= 0:
        first, last = only_chunk, min(only_chunk + 1, chunks)
    if team > last - first:
        team = <int>(last - first)
    if team < 1:
        return 0
    cdef Block block = borrow(slice_bytes * team)
    cdef char *scratch = block.data
    if team == 1:
        with nogil:
            state = fc_flush_subnormals(flush_now)
            for i in range(first, last):
                chunk(problem, i, scratch)
            fc_restore_fp(state)
    else:
        entered_parallel = True
        with nogil, parallel(num_threads=team):
            state = fc_flush_subnormals(flush_now)
            for i in prange(first, last, schedule="dynamic"):
                chunk(problem, i, scratch + fc_thread_id() * slice_bytes)
            fc_restore_fp(state)
    give_back(block)
    return 0


def max_threads():
    """omp_get_max_threads() of the calling thread: what OMP_NUM_THREADS and threadpoolctl set."""
    return fc_max_threads()


def openmp_version():
    """The _OPENMP date the library was built with, 0 for a serial build."""
    return fc_openmp_version if fc_has_openmp else 0


def note_parallel():
    """Called by nests that carry their own prange."""
    global entered_parallel
    entered_parallel = True


def has_run_parallel():
    """Whether this process, or the one it was forked from, has entered a parallel region."""
    return entered_parallel


def set_flush_denormals(bint on):
    """Whether nests flush subnormal numbers to zero."""
    global flush
    flush = on


def run_only_chunk(Py_ssize_t index):
    """For tests: from now on nests run this chunk only; -1 ends that."""
    global only_chunk
    only_chunk = index
