# How a nest runs: see team.pyx.

# What one call of a nest reads and writes. A nest's problem knows sizes and strides only, so that one problem serves
# many calls at once; which operands a chunk uses is the nest's business. `shared` is scratch of the whole team.
cdef struct Operands:
    const char *x
    const char *weights
    const char *bias
    char *y
    char *shared

ctypedef void (*chunk_function)(const void *problem, const Operands *at, Py_ssize_t index,
                                char *scratch) noexcept nogil

cdef struct Phase:
    chunk_function chunk
    Py_ssize_t chunks                # of one round

# `rounds` times: all chunks of one phase, in any order, then all of the next. Chunks are counted through the rounds.
cdef struct Nest:
    const void *problem
    Phase phases[2]
    int phase_count
    Py_ssize_t rounds
    size_t scratch_bytes             # of each thread
    size_t shared_bytes              # of the team

# A nest with the problem that it holds: what a row of fastconv/algorithms.py compiles a shape to.
cdef class Compiled:
    cdef Nest nest
    cdef bytes problem

cdef Compiled compile(const void *problem, size_t problem_bytes, chunk_function chunk, Py_ssize_t chunks,
                      size_t scratch_bytes)
cdef Compiled followed_by(Compiled made, chunk_function chunk, Py_ssize_t chunks, size_t shared_bytes,
                          Py_ssize_t rounds=*)
cdef int run(chunk_function chunk, const void *problem, Py_ssize_t chunks, size_t scratch_bytes,
             int team, const Operands *at=*, Py_ssize_t first=*, bint last_phase=*) except -1
cdef int run_nest(const Nest *nest, const Operands *at, int team) except -1
cdef void run_here(const Nest *nest, const Operands *at, char *scratch) noexcept nogil
cdef bint flushing() noexcept nogil
