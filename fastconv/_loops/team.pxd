# How a nest runs: see team.pyx.
ctypedef void (*chunk_function)(const void *problem, Py_ssize_t index, char *scratch) noexcept nogil

# [start, stop): the index-th of `parts` balanced spans of range(total), in units of `unit`.
cdef inline Py_ssize_t span_start(Py_ssize_t total, Py_ssize_t parts, Py_ssize_t unit,
                                  Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t units = (total + unit - 1) // unit
    cdef Py_ssize_t at = (units * index // parts) * unit
    return at if at < total else total

cdef int run(chunk_function chunk, const void *problem, Py_ssize_t chunks, size_t scratch_bytes,
             int team) except -1
cdef bint flushing() noexcept nogil
