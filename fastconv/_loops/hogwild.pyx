"""Adding to a vector that several threads share: with locks, with atomic adds, or Hogwild (Niu, Recht, Re and Wright,
2011), with neither. Called by fastconv/hogwild.py and, in training, by fastconv/_loops/training.pyx.

    shared[first + i] += scale * update[i]

This is the only file of fastconv in which two threads may write the same element. The arrays that race are `shared` of
`accumulate` and, in training, the vector of gradients (update="sync") or that of parameters (update="async"). Every
access to an element is relaxed atomic: a reader sees some value that was stored, whole. In Hogwild's mode an add that
falls between another thread's load and store is lost; stochastic gradient descent bears that as it bears the noise of
its batches, and the fewer elements two updates have in common the less is lost.

An update is added PIECE elements at a time. A piece of zeros is left out, so that threads meet less; each thread
starts at another place of the vector, `part` of the way through, for the same reason; and a piece is what one of the
striped locks guards."""
from cython cimport floating
from cython.parallel cimport parallel, prange
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

cimport numpy as cnp

from fastconv._loops.cut cimport ceil_div, least, span_start
from fastconv._loops.kernels cimport fc_kernels
from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp, fc_thread_id
from fastconv._loops.scratch cimport Block, borrow, give_back
from fastconv._loops.team cimport flushing

from fastconv._loops.team import note_parallel

cnp.import_array()

cdef extern from "shared.h" nogil:
    float fc_load_f32(const float *p)
    double fc_load_f64(const double *p)
    void fc_store_f32(float *p, float value)
    void fc_store_f64(double *p, double value)
    bint fc_swap_f32(float *p, float loaded, float value)
    bint fc_swap_f64(double *p, double loaded, double value)
    void fc_atomic_add_f32(float *p, float value)
    void fc_atomic_add_f64(double *p, double value)
    int64_t fc_load_index(const int64_t *p)
    void fc_fetch_to_write(const void *p)
    void fc_acquire(fc_lock *lock)
    void fc_release(fc_lock *lock)

# PIECE: 16 cache lines of floats, a lock's 20 ns against 100 ns of adds. LOCKS: many more than threads, so that they
# seldom meet (both are guesses; benchmarks/hogwild.py times what comes of them). AHEAD: scattered elements are fetched
# so many adds before theirs, some 80 ns; 16 to 64 did the same, 4 was slower on two threads (Zen 3, 2026-11).
cdef enum:
    PIECE = 256
    LOCKS = 256
    AHEAD = 32

locks_bytes = LOCKS * sizeof(fc_lock)
MODES = ("private", "locked", "atomic", "hogwild")


cdef Mode mode_of(str name) except *:
    return <Mode><int>MODES.index(name)


cdef inline floating load(const floating *p) noexcept nogil:
    if floating is float:
        return fc_load_f32(p)
    else:
        return fc_load_f64(p)


cdef inline void store(floating *p, floating value) noexcept nogil:
    if floating is float:
        fc_store_f32(p, value)
    else:
        fc_store_f64(p, value)


cdef inline void atomic_add(floating *p, floating value) noexcept nogil:
    if floating is float:
        fc_atomic_add_f32(p, value)
    else:
        fc_atomic_add_f64(p, value)


cdef inline bint counted_store(floating *p, floating loaded, floating value) noexcept nogil:
    """Stores, and tells whether that loses another thread's add."""
    if floating is float:
        return fc_swap_f32(p, loaded, value)
    else:
        return fc_swap_f64(p, loaded, value)


cdef inline bint is_zero(const floating *update, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint found = False
    for i in range(n):
        found |= update[i] != 0
    return not found


cdef Py_ssize_t add_piece(const Shared *to, Py_ssize_t first, Py_ssize_t n, const floating *update,
                          floating scale, bint count) noexcept nogil:
    """Returns how many adds of other threads were seen to be lost; they are looked for if count is set."""
    cdef floating *shared = <floating *>to.vector + first
    cdef floating before
    cdef fc_lock *lock
    cdef Py_ssize_t i, lost = 0
    if to.mode == LOCKED:
        lock = &to.locks[first // PIECE % LOCKS]
        fc_acquire(lock)
        for i in range(n):
            store(&shared[i], load(&shared[i]) + scale * update[i])
        fc_release(lock)
    elif to.mode == ATOMIC:
        for i in range(n):
            atomic_add(&shared[i], scale * update[i])
    elif count:
        for i in range(n):
            before = load(&shared[i])
            lost += counted_store(&shared[i], before, before + scale * update[i])
    else:
        for i in range(n):
            store(&shared[i], load(&shared[i]) + scale * update[i])
    return lost


cdef Py_ssize_t add_pieces(const Shared *to, Py_ssize_t first, Py_ssize_t n, const floating *update,
                           floating scale, double part, bint count) noexcept nogil:
    """shared[first : first + n] += scale * update, from `part` of the way on and round; returns the adds seen lost."""
    # Pieces are those of the shared vector, so that each lies under one lock.
    cdef Py_ssize_t begin = first // PIECE, pieces = ceil_div(first + n, PIECE) - begin
    cdef Py_ssize_t start = <Py_ssize_t>(part * pieces), index, low, high, lost = 0
    for index in range(pieces):
        low = (begin + (start + index) % pieces) * PIECE
        high = least(low + PIECE, first + n)
        low = max(low, first)
        if not is_zero(update + low - first, high - low):
            lost += add_piece(to, low, high - low, update + low - first, scale, count)
    return lost


cdef void make_step(const floating *parameters, Py_ssize_t n, floating *gradient, floating decay, floating momentum,
                    floating *velocity) noexcept nogil:
    """The step of descent in place of the gradient, with the parameters as they are at this moment."""
    cdef Py_ssize_t i
    if decay != 0:
        for i in range(n):
            gradient[i] += decay * load(&parameters[i])
    if velocity != NULL:
        for i in range(n):
            velocity[i] = momentum * velocity[i] + gradient[i]
            gradient[i] = velocity[i]


cdef void deliver_typed(const Sink *sink, Py_ssize_t first, Py_ssize_t n, floating *gradient) noexcept nogil:
    if sink.descending:
        make_step(<floating *>sink.to.vector + first, n, gradient, <floating>sink.decay, <floating>sink.momentum,
                  NULL if sink.velocity == NULL else <floating *>sink.velocity + first)
        add_pieces(&sink.to, first, n, gradient, <floating>-sink.lr, sink.part, False)
    else:
        add_pieces(&sink.to, first, n, gradient, <floating>1, sink.part, False)


cdef void deliver(const Sink *sink, Py_ssize_t first, Py_ssize_t n, char *gradient) noexcept nogil:
    """A finished piece of the gradient, n elements from `first` on, goes where the sink says. It is overwritten."""
    if sink.to.itemsize == sizeof(float):
        deliver_typed[float](sink, first, n, <float *>gradient)
    else:
        deliver_typed[double](sink, first, n, <double *>gradient)


cdef void read_shared(const Shared *vector, Py_ssize_t n, char *copy) noexcept nogil:
    """A copy of n elements, each as it was before another thread's add or after it: what kernels may read."""
    cdef Py_ssize_t i
    if vector.itemsize == sizeof(float):
        for i in range(n):
            (<float *>copy)[i] = load(<float *>vector.vector + i)
    else:
        for i in range(n):
            (<double *>copy)[i] = load(<double *>vector.vector + i)


cdef void deliver_panel(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row, char *target,
                        Py_ssize_t target_row, Py_ssize_t rows, Py_ssize_t count, const void *to) noexcept nogil:
    """deliver, for the nest of weight gradients, whose operand `bias` is the sink."""
    cdef const Sink *sink = <const Sink *>to
    cdef Py_ssize_t row
    for row in range(rows):
        deliver(sink, (target + row * target_row - sink.to.vector) // kernels.itemsize, count,
                <char *>panel + row * panel_row)


# For the nests of a convolution's weight gradient: panels go to the sink that is their operand `bias`.
to_sink = <size_t><void *>deliver_panel


cdef Py_ssize_t add_at(const Shared *to, Py_ssize_t size, Py_ssize_t n, const int64_t *at, Py_ssize_t known,
                       const floating *update, floating scale, bint count) noexcept nogil:
    """shared[at[i]] += scale * update[i] for i < n. `known` indices can be read from `at` on: those of later updates
    tell which lines to fetch. An index that the caller changes meanwhile adds nothing if it leads out of `shared`."""
    cdef Py_ssize_t i, lost = 0
    cdef int64_t place
    for i in range(n):
        if i + AHEAD < known:
            fc_fetch_to_write(<const floating *>to.vector + fc_load_index(&at[i + AHEAD]))
        place = fc_load_index(&at[i])
        if 0 <= place < size:
            lost += add_piece(to, place, 1, update + i, scale, count)
    return lost


cdef void add_own(floating *shared, Py_ssize_t low, Py_ssize_t high, const floating[:, :] updates,
                  const int64_t[:, :] at, floating scale) noexcept nogil:
    """Every row's part that falls into shared[low:high], which is this thread's alone, in order of rows."""
    cdef Py_ssize_t row, i
    cdef int64_t place
    for row in range(updates.shape[0]):
        if at is None:
            for i in range(low, high):
                shared[i] += scale * updates[row, i]
        else:
            for i in range(updates.shape[1]):
                place = fc_load_index(&at[row, i])
                if low <= place < high:
                    shared[place] += scale * updates[row, i]


cdef Py_ssize_t accumulate_rows(floating[:] shared, const floating[:, :] updates, const int64_t[:, :] at,
                                floating scale, Mode mode, bint count, int team) except -1:
    cdef Shared to
    cdef Block locks = borrow(locks_bytes)
    cdef Py_ssize_t row, n = updates.shape[1], rows = updates.shape[0], lost = 0
    cdef int t
    cdef fc_fp_state state
    cdef bint flush = flushing()
    to.vector, to.itemsize, to.mode, to.locks = <char *>&shared[0], sizeof(floating), mode, <fc_lock *>locks.data
    memset(locks.data, 0, locks_bytes)
    if team > 1:
        note_parallel()
    with nogil, parallel(num_threads=team):
        state = fc_flush_subnormals(flush)
        if mode == PRIVATE:
            for t in prange(team, schedule="static"):
                add_own(&shared[0], span_start(shared.shape[0], team, PIECE, t),
                        span_start(shared.shape[0], team, PIECE, t + 1), updates, at, scale)
        else:
            for row in prange(rows, schedule="static"):
                if at is None:
                    lost += add_pieces(&to, 0, n, &updates[row, 0], scale, fc_thread_id() / <double>team, count)
                else:
                    lost += add_at(&to, shared.shape[0], n, &at[row, 0], (rows - row) * n, &updates[row, 0], scale,
                                   count)
        fc_restore_fp(state)
    give_back(locks)
    return lost


def all_below(const int64_t[:, :] indices, Py_ssize_t size, int team):
    """Whether every index is in range(size); none is empty, and they are contiguous."""
    cdef const uint64_t *index = <const uint64_t *>&indices[0, 0]
    cdef uint64_t last = size - 1, outside = 0
    cdef Py_ssize_t i, n = indices.shape[0] * indices.shape[1]
    if team > 1:
        note_parallel()
    for i in prange(n, nogil=True, num_threads=team, schedule="static"):
        outside |= index[i] | (last - index[i])  # the sign of one of them is set
    return not outside >> 63


def accumulate(cnp.ndarray shared, cnp.ndarray updates, cnp.ndarray indices, double scale, str mode, bint count,
               int team):
    """Adds the rows of `updates` to `shared`, whole or at `indices`, on `team` threads; returns the adds seen lost.
    None is empty; shared, indices and each row of updates are contiguous; indices are int64 and were in range."""
    if shared.dtype == "float32":
        return accumulate_rows[float](shared, updates, indices, <float>scale, mode_of(mode), count, team)
    return accumulate_rows[double](shared, updates, indices, scale, mode_of(mode), count, team)
