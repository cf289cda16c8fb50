# Adding to a vector that other threads add to as well: see hogwild.pyx.
cdef extern from "shared.h" nogil:
    ctypedef struct fc_lock:
        pass

cdef enum Mode:
    PRIVATE
    LOCKED
    ATOMIC
    HOGWILD

# A vector that threads share, and how they add to it. `locks` is LOCKS long in the locked mode.
cdef struct Shared:
    char *vector
    fc_lock *locks
    Mode mode
    Py_ssize_t itemsize

# Where a network's gradients go, where threads share a vector; one for each thread. `descending`: `to` are the
# parameters, and a gradient is a step down from where they are (update="async"); velocity is the thread's own, as long
# as `to`, or NULL without momentum. `part`: where, of a whole, this thread starts.
cdef struct Sink:
    Shared to
    bint descending
    double lr, decay, momentum
    char *velocity
    double part

cdef size_t locks_bytes
cdef Mode mode_of(str name) except *
cdef void read_shared(const Shared *vector, Py_ssize_t n, char *copy) noexcept nogil
cdef void deliver(const Sink *sink, Py_ssize_t first, Py_ssize_t n, char *gradient) noexcept nogil
