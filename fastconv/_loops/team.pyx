"""How every nest of kernels runs: `run` is the one prange over its chunks. It owns the team, each thread's
slice of scratch and its floating-point state; a chunk function knows of none of them. `Compiled` is a nest with
its problem, ready to be called; `run_here` calls it without Python, on this thread. (The lecture's own nests, in
naive.pyx, carry their prange in plain sight.)"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.parallel cimport parallel, prange

cimport numpy as cnp

from fastconv._loops.platform cimport (
    fc_end_threads,
    fc_flush_subnormals,
    fc_fp_state,
    fc_has_openmp,
    fc_max_threads,
    fc_openmp_version,
    fc_restore_fp,
    fc_thread_id,
)
from fastconv._loops.scratch cimport Block, borrow, give_back

cnp.import_array()

cdef bint flush = True
cdef bint entered_parallel = False
cdef Py_ssize_t only_chunk = -1


cdef bint flushing() noexcept nogil:
    return flush


cdef int run(chunk_function chunk, const void *problem, Py_ssize_t chunks, size_t scratch_bytes,
             int team, const Operands *at=NULL, Py_ssize_t first=0, bint last_phase=True) except -1:
    """chunk(problem, at, i, scratch) for every i in range(first, first + chunks), on at most `team` threads.

    Which thread runs which chunk is left to chance, so a chunk must write its own part of the output only
    and compute it from its arguments alone."""
    global entered_parallel
    cdef Py_ssize_t i, last = first + chunks
    cdef fc_fp_state state
    cdef bint flush_now = flush
    # A slice per thread, a cache line apart in the sets of L1: 4 KB multiples would collide.
    cdef size_t slice_bytes = (scratch_bytes + 4095) // 4096 * 4096 + 64
    if only_chunk >= 0 and last_phase:
        first, last = max(first, only_chunk), min(only_chunk + 1, last)
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
                chunk(problem, at, i, scratch)
            fc_restore_fp(state)
    else:
        entered_parallel = True
        with nogil, parallel(num_threads=team):
            state = fc_flush_subnormals(flush_now)
            for i in prange(first, last, schedule="dynamic"):
                chunk(problem, at, i, scratch + fc_thread_id() * slice_bytes)
            fc_restore_fp(state)
    give_back(block)
    return 0


cdef int run_nest(const Nest *nest, const Operands *at, int team) except -1:
    """The whole nest on at most `team` threads."""
    cdef Py_ssize_t round_
    cdef int phase
    for round_ in range(nest.rounds):
        for phase in range(nest.phase_count):
            run(nest.phases[phase].chunk, nest.problem, nest.phases[phase].chunks, nest.scratch_bytes, team, at,
                round_ * nest.phases[phase].chunks, phase == nest.phase_count - 1)
    return 0


cdef void run_here(const Nest *nest, const Operands *at, char *scratch) noexcept nogil:
    """The whole nest on this thread, whose floating-point state is the caller's business."""
    cdef Py_ssize_t round_, i
    cdef int phase
    for round_ in range(nest.rounds):
        for phase in range(nest.phase_count):
            for i in range(nest.phases[phase].chunks):
                nest.phases[phase].chunk(nest.problem, at, round_ * nest.phases[phase].chunks + i, scratch)


cdef Compiled compile(const void *problem, size_t problem_bytes, chunk_function chunk, Py_ssize_t chunks,
                      size_t scratch_bytes):
    """The nest of one phase; the problem is copied. See followed_by."""
    cdef Compiled made = Compiled.__new__(Compiled)
    made.problem = PyBytes_FromStringAndSize(<const char *>problem, problem_bytes)
    made.nest.problem = PyBytes_AS_STRING(made.problem)
    made.nest.phases[0].chunk, made.nest.phases[0].chunks = chunk, chunks
    made.nest.phase_count, made.nest.rounds = 1, 1
    made.nest.scratch_bytes, made.nest.shared_bytes = scratch_bytes, 0
    return made


cdef Compiled followed_by(Compiled made, chunk_function chunk, Py_ssize_t chunks, size_t shared_bytes,
                          Py_ssize_t rounds=1):
    """The nest with a second phase, which starts when the first has ended, and scratch that the team shares; so many
    rounds of both, `chunks` and those of the first phase being one round's."""
    made.nest.phases[1].chunk, made.nest.phases[1].chunks = chunk, chunks
    made.nest.phase_count, made.nest.rounds, made.nest.shared_bytes = 2, rounds, shared_bytes
    return made


cdef char *address(cnp.ndarray array):
    return NULL if array is None else cnp.PyArray_BYTES(array)


cdef class Compiled:
    """A nest for one shape, dtype, ISA and set of strides."""

    @property
    def workspace_bytes(self):
        """(scratch of each thread, scratch of the whole team) in bytes."""
        return self.nest.scratch_bytes, self.nest.shared_bytes

    def run(self, x, weights, bias, y, int team):
        """Fills y; the arrays have the shapes and strides that the nest was compiled for, weights are those that the
        row's prepare made, bias is contiguous. An operand that the nest does without is None."""
        cdef Operands at
        cdef Block shared = borrow(self.nest.shared_bytes) if self.nest.shared_bytes else None
        at.x, at.weights, at.bias, at.y = address(x), address(weights), address(bias), address(y)
        at.shared = NULL if shared is None else shared.data
        run_nest(&self.nest, &at, team)
        if shared is not None:
            give_back(shared)


def max_threads():
    """omp_get_max_threads() of the calling thread: what OMP_NUM_THREADS and threadpoolctl set."""
    return fc_max_threads()


def openmp_version():
    """The _OPENMP date the library was built with, 0 for a serial build."""
    return fc_openmp_version if fc_has_openmp else 0


def end_threads():
    """Has OpenMP end the threads that wait for this one's next parallel region, whoever's region the last was."""
    with nogil:
        fc_end_threads()


def note_parallel():
    """Called by nests that carry their own prange."""
    global entered_parallel
    entered_parallel = True


def has_run_parallel():
    """Whether this process, or the one it was forked from, has entered a parallel region."""
    return entered_parallel


def set_flush_denormals(on):
    """Whether nests flush subnormal numbers to zero, in all threads from now on; True at first.

    Raises TypeError unless `on` is True or False."""
    global flush
    if on is not True and on is not False:
        raise TypeError(f"on must be True or False, got {on!r}")
    flush = on


def run_only_chunk(Py_ssize_t index):
    """For tests: from now on nests run this chunk only; -1 ends that."""
    global only_chunk
    only_chunk = index
