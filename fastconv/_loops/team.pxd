# How a nest runs: see team.pyx.
ctypedef void (*chunk_function)(const void *problem, Py_ssize_t index, char *scratch) noexcept nogil

cdef int run(chunk_function chunk, const void *problem, Py_ssize_t chunks, size_t scratch_bytes,
             int team) except -1
cdef bint flushing() noexcept nogil
