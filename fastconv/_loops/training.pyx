"""Training's loop over images: each goes forward and backward without Python, threads take images, and their gradients
go where `accumulation` says. Called by fastconv/train.py.

"private", waves of as many images as there are threads, or of some more where a gradient is small:

    for every image of the wave     forward, backward, into a gradient vector of its own
    for every range of the vector   total += the images' gradients, in the order of images

so the sum is one chain of adds in the order of images whatever the number of threads. The other ways (hogwild.pyx)
share one vector. With update="async" the vector that threads share is that of the parameters, and each image is a step
of descent. Kernels read with plain loads, which may not race, so a thread copies the parameters before each image, as
they are while others store them: an element is that before an update or after it."""
from cython cimport floating
from cython.parallel cimport parallel, prange
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

cimport numpy as cnp

from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.hogwild cimport Shared, fc_lock, locks_bytes, mode_of, read_shared
from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp, fc_thread_id
from fastconv._loops.program cimport GRADIENTS, INPUT, LABELS, LOSSES, OUTPUT, PARAMETERS, PREPARED, Frame, Program
from fastconv._loops.scratch cimport Block, allocate
from fastconv._loops.team cimport flushing

from fastconv._loops.team import note_parallel

cnp.import_array()

# RANGE: elements that a thread adds or updates at a time, 16 KB of floats, within L1. WAVE_BYTES: a wave ends with all
# threads waiting for each other twice, some us; it has more than an image a thread where its gradients are no more
# than this, a part of L3 (a guess). One thread waits for nobody, and adds what is still in its own caches.
cdef enum:
    RANGE = 4096
    WAVE_BYTES = 8 << 20


cdef class Session:
    """The memory of one training: a frame for each thread, and the gradients. steps: `gradients` of a batch by
    `images` or `batch`, then `update`; or `images` alone, where each image descends."""
    cdef Program program
    cdef int team
    cdef Py_ssize_t n, itemsize, wave
    cdef Block frame_memory, frame_list, locks, copies, velocities, total, own_parameters
    cdef Frame *frames
    cdef cnp.ndarray parameters
    cdef bint shares

    def __init__(self, Program program, cnp.ndarray parameters, str accumulation, bint descending, bint momentum,
                 int team):
        # accumulation None: there is one gradient, a whole batch's
        cdef Shared to
        cdef Frame *frame
        cdef size_t vector_bytes
        cdef int t
        self.program, self.parameters, self.team = program, parameters, team
        self.n, self.itemsize = cnp.PyArray_SIZE(parameters), program.itemsize
        self.shares = accumulation is not None and accumulation != "private"
        vector_bytes = self.n * self.itemsize
        self.frame_memory = allocate(team * program.frame_bytes)
        self.frame_list = zeros(team * sizeof(Frame))
        self.locks = zeros(locks_bytes)
        self.total = None if descending else zeros(vector_bytes)
        self.wave = 1 if team == 1 else team * max(1, WAVE_BYTES // (team * vector_bytes))
        self.copies = zeros(self.wave * vector_bytes) if accumulation == "private" else None
        self.velocities = zeros((team if descending else 1) * vector_bytes) if momentum else None
        self.own_parameters = allocate(team * vector_bytes) if descending else None
        self.frames = <Frame *>self.frame_list.data
        to.mode, to.locks, to.itemsize = mode_of(accumulation or "private"), <fc_lock *>self.locks.data, self.itemsize
        to.vector = cnp.PyArray_BYTES(parameters) if descending else self.total.data
        for t in range(team):
            frame = &self.frames[t]
            program.lay_out(frame, self.frame_memory.data + <size_t>t * program.frame_bytes)
            frame.bases[PARAMETERS] = cnp.PyArray_BYTES(parameters)
            frame.bases[GRADIENTS] = to.vector
            frame.sink.to, frame.sink.descending, frame.sink.part = to, descending, t / <double>team
            if descending:
                frame.bases[PARAMETERS] = self.own_parameters.data + t * vector_bytes
            if descending and momentum:
                frame.sink.velocity = self.velocities.data + t * vector_bytes

    @property
    def gradient_bytes(self):
        """Bytes of gradients and of what belongs to them, beside the parameters."""
        blocks = (self.total, self.copies, self.velocities, self.own_parameters)
        return sum([(<Block>block).size for block in blocks if block is not None])

    @property
    def gradients(self):
        """The sum of the gradients since the last update, a view."""
        cdef cnp.npy_intp[1] shape = [self.n]
        kind = cnp.NPY_FLOAT32 if self.itemsize == 4 else cnp.NPY_FLOAT64
        view = cnp.PyArray_SimpleNewFromData(1, shape, kind, self.total.data)
        cnp.set_array_base(view, self.total)
        return view

    @property
    def arena(self):
        """The first frame's activations, bytes, a view."""
        cdef cnp.npy_intp[1] shape = [self.frame_memory.size]
        view = cnp.PyArray_SimpleNewFromData(1, shape, cnp.NPY_UINT8, self.frame_memory.data)
        cnp.set_array_base(view, self.frame_memory)
        return view

    def set_descent(self, double lr, double decay, double momentum):
        """What each image's step is scaled by, where images descend."""
        for t in range(self.team):
            self.frames[t].sink.lr, self.frames[t].sink.decay = lr, decay
            self.frames[t].sink.momentum = momentum

    def images(self, cnp.ndarray x, cnp.ndarray labels, const int64_t[::1] order, cnp.ndarray prepared,
               cnp.ndarray outputs, double[::1] losses, uint64_t seed, uint64_t step, Py_ssize_t batch):
        """Forward and backward for the images x[order]; their results and losses go to the same places of `outputs`
        and `losses`. The dropout masks are those of mini-batches of `batch` images from number `step` on."""
        cdef Images job
        cdef fc_fp_state state
        cdef bint flush = flushing()
        cdef Py_ssize_t count = order.shape[0], wave, first, last, i, r
        cdef Frame *frame
        cdef char *copies = NULL if self.copies is None else self.copies.data
        cdef Py_ssize_t vector_bytes = self.n * self.itemsize
        job.order = &order[0]
        job.x, job.x_step = cnp.PyArray_BYTES(x), cnp.PyArray_STRIDE(x, 0)
        job.labels, job.label_step = cnp.PyArray_BYTES(labels), cnp.PyArray_STRIDE(labels, 0)
        job.outputs, job.output_step = cnp.PyArray_BYTES(outputs), cnp.PyArray_STRIDE(outputs, 0)
        job.losses = &losses[0]
        job.seed, job.step, job.batch, job.parameters = seed, step, batch, self.n
        for t in range(self.team):
            self.frames[t].bases[PREPARED] = cnp.PyArray_BYTES(prepared)
        if self.team > 1:
            note_parallel()
        with nogil, parallel(num_threads=self.team):
            state = fc_flush_subnormals(flush)
            if self.shares:
                for i in prange(count, schedule="dynamic"):
                    run_image(self.program, &self.frames[fc_thread_id()], &job, i)
            else:
                for wave in range(ceil_div(count, self.wave)):
                    first = wave * self.wave
                    last = least(first + self.wave, count)
                    for i in prange(first, last, schedule="dynamic"):
                        frame = &self.frames[fc_thread_id()]
                        frame.bases[GRADIENTS] = copies + (i - first) * vector_bytes
                        run_image(self.program, frame, &job, i)
                    for r in prange(ceil_div(self.n, RANGE), schedule="static"):
                        if self.itemsize == sizeof(float):
                            add_copies[float](<float *>self.total.data, <float *>copies, self.n, last - first,
                                              r * RANGE)
                        else:
                            add_copies[double](<double *>self.total.data, <double *>copies, self.n, last - first,
                                               r * RANGE)
            # end: for wave
            fc_restore_fp(state)

    def batch(self, Program program, cnp.ndarray x, cnp.ndarray labels, cnp.ndarray prepared, cnp.ndarray outputs,
              double[::1] losses, uint64_t seed, uint64_t step, int team, double work_per_thread):
        """Forward and backward for all of x at once by a program of that many images, `team` threads inside the
        steps."""
        cdef Frame *frame = &self.frames[0]
        if self.frame_memory.size < program.frame_bytes:
            self.frame_memory = allocate(program.frame_bytes)
        program.lay_out(frame, self.frame_memory.data)
        frame.bases[INPUT], frame.bases[LABELS] = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(labels)
        frame.bases[OUTPUT], frame.bases[LOSSES] = cnp.PyArray_BYTES(outputs), <char *>&losses[0]
        frame.bases[PREPARED] = cnp.PyArray_BYTES(prepared)
        frame.bases[GRADIENTS] = self.total.data
        program.number(frame, seed, step, 0)
        program.run_in_team(frame, team, work_per_thread)

    def update(self, Py_ssize_t low, Py_ssize_t high, double lr, double decay, double momentum, double scale, int team):
        """velocity = momentum * velocity + (scale * gradients + decay * parameters); parameters -= lr * velocity;
        gradients = 0, for the elements from `low` up to `high`."""
        cdef Py_ssize_t r, ranges = ceil_div(high - low, RANGE)
        cdef char *parameters = cnp.PyArray_BYTES(self.parameters) + low * self.itemsize
        cdef char *velocity = NULL if self.velocities is None else self.velocities.data + low * self.itemsize
        cdef char *total = self.total.data + low * self.itemsize
        cdef fc_fp_state state
        cdef bint flush = flushing()
        if team > 1:
            note_parallel()
        with nogil, parallel(num_threads=team):
            state = fc_flush_subnormals(flush)
            for r in prange(ranges, schedule="static"):
                if self.itemsize == sizeof(float):
                    descend[float](<float *>parameters, <float *>total, <float *>velocity, high - low, r * RANGE,
                                   <float>lr, <float>decay, <float>momentum, <float>scale)
                else:
                    descend[double](<double *>parameters, <double *>total, <double *>velocity, high - low, r * RANGE,
                                    lr, decay, momentum, scale)
            fc_restore_fp(state)


# What `images` runs over.
cdef struct Images:
    const int64_t *order
    char *x
    char *labels
    char *outputs
    double *losses
    Py_ssize_t x_step, label_step, output_step, batch, parameters
    uint64_t seed, step


cdef Block zeros(size_t size):
    cdef Block block = allocate(size)
    memset(block.data, 0, size)
    return block


cdef void run_image(Program program, Frame *frame, const Images *job, Py_ssize_t i) noexcept nogil:
    cdef int64_t image = job.order[i]
    frame.bases[INPUT], frame.bases[LABELS] = job.x + image * job.x_step, job.labels + image * job.label_step
    frame.bases[OUTPUT], frame.bases[LOSSES] = job.outputs + image * job.output_step, <char *>&job.losses[image]
    if frame.sink.descending:
        read_shared(&frame.sink.to, job.parameters, frame.bases[PARAMETERS])
    program.number(frame, job.seed, job.step + i // job.batch, i % job.batch)
    program.run_here(frame)


cdef void add_copies(floating *total, floating *copies, Py_ssize_t n, Py_ssize_t count,
                     Py_ssize_t first) noexcept nogil:
    """total += each of the copies, in order, in one range."""
    cdef Py_ssize_t i, copy, size = least(RANGE, n - first)
    cdef floating *sum = total + first
    cdef floating *own
    for copy in range(count):
        own = copies + copy * n + first
        for i in range(size):
            sum[i] += own[i]


cdef void descend(floating *parameters, floating *total, floating *velocity, Py_ssize_t n, Py_ssize_t first,
                  floating lr, floating decay, floating momentum, floating scale) noexcept nogil:
    """`update` in one range."""
    cdef Py_ssize_t i, last = least(first + RANGE, n)
    cdef floating step
    for i in range(first, last):
        step = scale * total[i] + decay * parameters[i]
        total[i] = 0
        if velocity != NULL:
            step = step + momentum * velocity[i]
            velocity[i] = step
        parameters[i] -= lr * step
