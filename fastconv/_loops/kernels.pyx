"""Which kernel table is in use: chosen once, at import, from what was compiled (csrc/isa.def), what this
machine can run (csrc/select.c) and the cap FASTCONV_ISA."""
import os

cdef extern from "kernels.h" nogil:
    ctypedef struct fc_isa:
        const char *name
        const char *flags
        int usable
        const fc_kernels *f32
        const fc_kernels *f64
    const fc_isa *fc_isa_list(int *count)

cdef const fc_isa *selected = NULL


cdef const fc_kernels *kernels_for(Py_ssize_t itemsize) noexcept nogil:
    return selected.f32 if itemsize == 4 else selected.f64


def isa_rows():
    """(name, compiler flags, whether this machine can run it) of every compiled ISA, best first."""
    cdef int count
    cdef const fc_isa *rows = fc_isa_list(&count)
    return [(rows[i].name.decode(), rows[i].flags.decode(), bool(rows[i].usable)) for i in range(count)]


def available_isas():
    """The names that FASTCONV_ISA accepts on this machine, best first."""
    return [name for name, _, usable in isa_rows() if usable]


def active_isa():
    """The name of the ISA in use."""
    return selected.name.decode()


def tile_sizes(Py_ssize_t itemsize):
    """(MR, NR, lanes) of the register tile in use for 4- or 8-byte items."""
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    return kernels.MR, kernels.NR, kernels.lanes


def tallest_tile(Py_ssize_t itemsize, Py_ssize_t columns):
    """Rows of the tallest tile of so many columns."""
    cdef const fc_kernels *kernels = kernels_for(itemsize)
    return kernels.rows[columns > kernels.lanes]


def select_isa(str name):
    """Uses the named ISA from now on; ValueError, naming the available ones, if it cannot run here.

    The tests swap ISAs with it. Plans made before must not be run after: their weights are packed for
    another tile."""
    global selected
    cdef int count
    cdef const fc_isa *rows = fc_isa_list(&count)
    for i in range(count):
        if rows[i].usable and rows[i].name.decode() == name:
            selected = &rows[i]
            return
    raise ValueError(f"{name!r} is not available here; available: {', '.join(available_isas())}")


def _select_at_import():
    wanted = os.environ.get("FASTCONV_ISA") or available_isas()[0]
    try:
        select_isa(wanted)
    except ValueError as error:
        raise ImportError(f"FASTCONV_ISA: {error}") from None


_select_at_import()
