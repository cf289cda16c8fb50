"""A network as a flat program: a list of steps, each a nest with its operands, over an arena of activations. Built by
fastconv/nn/program.py; run here, for a batch or image by image, and in training.pyx.

A program is immutable and knows no addresses: an operand is an offset from one of a few bases (program.pxd). So one
program runs in many threads at once, each with a Frame that says where the bases are."""
from cython.parallel cimport parallel, prange
from libc.stdint cimport uint32_t, uint64_t

cimport numpy as cnp

from fastconv._loops.hogwild cimport deliver
from fastconv._loops.platform cimport fc_flush_subnormals, fc_fp_state, fc_restore_fp, fc_thread_id
from fastconv._loops.scratch cimport Block, allocate, borrow, give_back
from fastconv._loops.team cimport Compiled, Operands, flushing
from fastconv._loops.team cimport run_here as run_nest_here
from fastconv._loops.team cimport run_nest

from fastconv._loops.team import note_parallel

cnp.import_array()

KINDS = ("run", "panels", "deliver")
BASE_NAMES = ("nothing", "arena", "input", "output", "parameters", "prepared", "gradients", "labels", "losses",
              "dropout", "sink")

cdef enum:
    PAGE = 4096
    MOST_FRAMES = 16         # blocks of them that are kept: Python threads that call one network at once (a guess)
    LANES = 32               # of the fingerprint

# Of the hash of Fowler, Noll and Vo, for 32 and 64 bits.
cdef enum:
    FNV_PRIME_32 = 16777619
cdef uint64_t FNV_PRIME_64 = 1099511628211


cdef Operand operand(tuple named):
    cdef Operand made
    made.base, made.offset = <int>BASE_NAMES.index(named[0]), named[1]
    return made


cdef inline size_t in_pages(size_t size) noexcept nogil:
    # A cache line more, so that a frame's parts do not start in the same sets of L1.
    return (size + PAGE - 1) // PAGE * PAGE + 64


cdef inline char *place(const Frame *frame, Operand at) noexcept nogil:
    return NULL if at.base == NOTHING else frame.bases[at.base] + at.offset


cdef class Program:
    """steps: (kind, Compiled or None, x, weights, bias, y, count, total, work), operands as (base, offset) pairs."""

    def __init__(self, list steps, Py_ssize_t arena_bytes, Py_ssize_t itemsize, Py_ssize_t dropout_layers):
        cdef Compiled nest
        cdef Step *step
        self.count, self.arena_bytes, self.itemsize = len(steps), arena_bytes, itemsize
        self.dropout_layers = dropout_layers
        self.step_memory = allocate(self.count * sizeof(Step))
        self.steps = <Step *>self.step_memory.data
        self.nests, self.frames = [], []
        for i, (kind, compiled, x, weights, bias, y, count, total, work) in enumerate(steps):
            step = &self.steps[i]
            step.kind = <int>KINDS.index(kind)
            step.x, step.weights, step.bias, step.y = operand(x), operand(weights), operand(bias), operand(y)
            step.count, step.total, step.work, step.nest = count, total, work, NULL
            if compiled is not None:
                nest = compiled
                self.nests.append(nest)
                step.nest = &nest.nest
                self.scratch_bytes = max(self.scratch_bytes, nest.nest.scratch_bytes)
                self.shared_bytes = max(self.shared_bytes, nest.nest.shared_bytes)
            if step.kind == PANELS:
                self.panel_bytes = max(self.panel_bytes, <size_t>(count * itemsize))
        self.frame_bytes = (in_pages(arena_bytes) + in_pages(self.scratch_bytes) + in_pages(self.shared_bytes)
                            + in_pages(self.panel_bytes) + in_pages(3 * dropout_layers * sizeof(uint64_t)))

    def __len__(self):
        return self.count

    cdef Block take_frames(self, int count):
        """Memory for so many frames, from the program's free list if there is a block that is large enough."""
        cdef Block block
        for block in self.frames:
            if block.size >= count * self.frame_bytes:
                self.frames.remove(block)
                return block
        return allocate(count * self.frame_bytes)

    cdef void leave_frames(self, Block block):
        """Keeps it for the next call, with those of other threads; smaller ones came from smaller teams."""
        kept = [other for other in self.frames if (<Block>other).size >= block.size]
        self.frames = [block, *kept[:MOST_FRAMES - 1]]

    cdef void lay_out(self, Frame *frame, char *memory) noexcept nogil:
        """Cuts frame_bytes of memory into the frame's own parts."""
        frame.bases[NOTHING] = NULL
        frame.bases[ARENA] = memory
        memory += in_pages(self.arena_bytes)
        frame.scratch = memory
        memory += in_pages(self.scratch_bytes)
        frame.shared = memory
        memory += in_pages(self.shared_bytes)
        frame.panel = memory
        memory += in_pages(self.panel_bytes)
        frame.bases[DROPOUT] = memory
        frame.bases[SINK] = <char *>&frame.sink

    cdef void number(self, Frame *frame, uint64_t seed, uint64_t step, uint64_t image) noexcept nogil:
        """Tells the dropout layers which masks to make."""
        cdef uint64_t *numbers = <uint64_t *>frame.bases[DROPOUT]
        cdef Py_ssize_t i
        for i in range(self.dropout_layers):
            numbers[3 * i] = seed + (<uint64_t>i << 32)
            numbers[3 * i + 1], numbers[3 * i + 2] = step, image

    cdef void run_here(self, Frame *frame) noexcept nogil:
        """The whole program on this thread, whose floating-point state is the caller's business."""
        cdef Operands at
        cdef const Step *step
        cdef Py_ssize_t i
        for i in range(self.count):
            step = &self.steps[i]
            at.x, at.weights, at.bias = place(frame, step.x), place(frame, step.weights), place(frame, step.bias)
            at.y, at.shared = place(frame, step.y), frame.shared
            if step.kind == RUN:
                run_nest_here(step.nest, &at, frame.scratch)
            elif step.kind == DELIVER:
                deliver(&frame.sink, step.y.offset // self.itemsize, step.count, <char *>at.x)
            else:
                deliver_panels(step, &at, frame, self.itemsize)

    def run_images(self, cnp.ndarray x, cnp.ndarray parameters, cnp.ndarray prepared, cnp.ndarray out, int team):
        """out[i] for every image x[i], threads taking images. x[i] has the strides the program was built for."""
        cdef Block memory = self.take_frames(team)
        cdef char *inputs = cnp.PyArray_BYTES(x)
        cdef char *outputs = cnp.PyArray_BYTES(out)
        cdef Py_ssize_t x_step = cnp.PyArray_STRIDE(x, 0), y_step = cnp.PyArray_STRIDE(out, 0), i
        cdef Py_ssize_t images = cnp.PyArray_DIM(x, 0)
        cdef fc_fp_state state
        cdef bint flush = flushing()
        cdef Frame *frame
        cdef Block block = borrow(team * sizeof(Frame))
        cdef Frame *frames = <Frame *>block.data
        for i in range(team):
            self.lay_out(&frames[i], memory.data + i * self.frame_bytes)
            frames[i].bases[PARAMETERS] = cnp.PyArray_BYTES(parameters)
            frames[i].bases[PREPARED] = cnp.PyArray_BYTES(prepared)
        if team > 1:
            note_parallel()
        with nogil, parallel(num_threads=team):
            state = fc_flush_subnormals(flush)
            for i in prange(images, schedule="dynamic"):
                frame = &frames[fc_thread_id()]
                frame.bases[INPUT], frame.bases[OUTPUT] = inputs + i * x_step, outputs + i * y_step
                self.run_here(frame)
            fc_restore_fp(state)
        give_back(block)
        self.leave_frames(memory)

    def run_batch(self, cnp.ndarray x, cnp.ndarray parameters, cnp.ndarray prepared, cnp.ndarray out, int team,
                  double work_per_thread):
        """out for all of x at once, threads inside the steps: one more for each `work_per_thread` FLOPs."""
        cdef Block memory = self.take_frames(1)
        cdef Frame frame
        self.lay_out(&frame, memory.data)
        frame.bases[INPUT], frame.bases[OUTPUT] = cnp.PyArray_BYTES(x), cnp.PyArray_BYTES(out)
        frame.bases[PARAMETERS], frame.bases[PREPARED] = cnp.PyArray_BYTES(parameters), cnp.PyArray_BYTES(prepared)
        self.run_in_team(&frame, team, work_per_thread)
        self.leave_frames(memory)

    cdef int run_in_team(self, Frame *frame, int team, double work_per_thread) except -1:
        """The whole program, threads inside each step."""
        cdef Operands at
        cdef const Step *step
        cdef Py_ssize_t i
        for i in range(self.count):
            step = &self.steps[i]
            at.x, at.weights, at.bias = place(frame, step.x), place(frame, step.weights), place(frame, step.bias)
            at.y, at.shared = place(frame, step.y), frame.shared
            if step.kind == DELIVER:
                deliver(&frame.sink, step.y.offset // self.itemsize, step.count, <char *>at.x)
            else:
                run_nest(step.nest, &at, max(1, <int>min(team, step.work / work_per_thread)))
        return 0


cdef void deliver_panels(const Step *step, Operands *at, Frame *frame, Py_ssize_t itemsize) noexcept nogil:
    """Chunk by chunk, a panel of the gradient in private memory, from the sink's `part` of the way on and round."""
    cdef Py_ssize_t chunks = step.nest.phases[0].chunks, start = <Py_ssize_t>(frame.sink.part * chunks), index, i
    for index in range(chunks):
        i = (start + index) % chunks
        at.y = frame.panel - i * step.count * itemsize           # where the chunk's own rows begin at `panel`
        step.nest.phases[0].chunk(step.nest.problem, at, i, frame.scratch)
        deliver(&frame.sink, step.y.offset // itemsize + i * step.count,
                min(step.count, step.total - i * step.count), frame.panel)


cdef inline uint32_t stirred(uint32_t state) noexcept nogil:
    # A product alone moves bits up only: two changes of sign would meet at the top, and cancel.
    return ((state << 13) | (state >> 19)) * FNV_PRIME_32


def fingerprint(cnp.ndarray values):
    """A number that changes, but for about one time in 2**32, when elements of a contiguous array do."""
    cdef const uint32_t *data = <const uint32_t *>cnp.PyArray_BYTES(values)
    cdef Py_ssize_t words = cnp.PyArray_NBYTES(values) // sizeof(uint32_t), i, lane
    cdef uint32_t[LANES] state              # of their own, so that vectors do them, at the speed of memory
    cdef uint64_t folded = words
    for lane in range(LANES):
        state[lane] = lane
    for i in range(words // LANES):
        for lane in range(LANES):
            state[lane] = stirred(state[lane] ^ data[i * LANES + lane])
    for i in range(words // LANES * LANES, words):
        state[i % LANES] = stirred(state[i % LANES] ^ data[i])
    for lane in range(LANES):
        folded = (folded ^ state[lane]) * FNV_PRIME_64
    return folded
