# A network as a list of steps: see program.pyx.
from libc.stdint cimport uint64_t

from fastconv._loops.hogwild cimport Sink
from fastconv._loops.scratch cimport Block
from fastconv._loops.team cimport Nest

# What the addresses of a step's operands are counted from. NOTHING: the operand is not there.
cdef enum:
    NOTHING
    ARENA              # activations and their gradients, of one run
    INPUT
    OUTPUT
    PARAMETERS
    PREPARED           # weights packed or transformed for the nests
    GRADIENTS
    LABELS
    LOSSES
    DROPOUT            # three numbers for each dropout layer
    SINK               # where gradients go, for the nests that hand them over themselves
    BASES

cdef enum:
    RUN                # the nest, from x, weights and bias to y
    PANELS             # the nest; each chunk makes its own panel of y, which goes to the sink
    DELIVER            # no nest: `count` elements at x go to the sink, to y

cdef struct Operand:
    int base
    Py_ssize_t offset

cdef struct Step:
    int kind
    const Nest *nest
    Operand x, weights, bias, y
    Py_ssize_t count   # elements: DELIVER's, or of one of PANELS' panels
    Py_ssize_t total   # elements of all panels
    double work        # FLOPs, for the choice of a team

# One run of a program: where everything is.
cdef struct Frame:
    char *bases[BASES]
    char *scratch
    char *shared
    char *panel
    Sink sink

cdef class Program:
    cdef Step *steps
    cdef Block step_memory
    cdef Py_ssize_t count
    cdef list nests, frames
    cdef readonly Py_ssize_t arena_bytes, itemsize, dropout_layers
    cdef readonly size_t frame_bytes, panel_bytes
    cdef size_t scratch_bytes, shared_bytes
    cdef void lay_out(self, Frame *frame, char *memory) noexcept nogil
    cdef void run_here(self, Frame *frame) noexcept nogil
    cdef void number(self, Frame *frame, uint64_t seed, uint64_t step, uint64_t image) noexcept nogil
    cdef int run_in_team(self, Frame *frame, int team, double work_per_thread) except -1
    cdef Block take_frames(self, int count)
    cdef void leave_frames(self, Block block)
