"""What fastconv accepts as an array: the one place that turns an argument into an ndarray or refuses it, and makes the
arrays of results. It is compiled because a small call spends as much time here as in its nest."""
from libc.stdint cimport intptr_t

cimport numpy as cnp

import math

import numpy as np

cnp.import_array()

LINE = 64  # bytes of a cache line
SMALL = 32 << 10  # bytes of an array that may begin anywhere: a small call would feel the search for a line
BYTE = np.dtype(np.uint8)
cdef double small_bytes = SMALL


def empty(tuple shape, cnp.dtype dtype):
    """np.empty(shape, dtype), but larger arrays begin at a cache line: NumPy's begin anywhere, and vectors that lie
    across two lines cost conv1_1 of VGG-16 a quarter of its speed (Emerald Rapids, 2026-11)."""
    cdef cnp.npy_intp[4] sizes
    cdef double size = cnp.PyDataType_ELSIZE(dtype)
    cdef int axis, axes = len(shape)
    if axes > 4:
        return np.empty(shape, dtype)
    for axis in range(axes):
        sizes[axis] = shape[axis]
        size *= sizes[axis]
    if size < small_bytes:
        return cnp.PyArray_EMPTY(axes, sizes, dtype.type_num, 0)
    return _at_line(np.empty(math.prod(shape) * dtype.itemsize + LINE, BYTE), shape, dtype)


def zeros(tuple shape, cnp.dtype dtype):
    """np.zeros(shape, dtype), beginning at a cache line."""
    return _at_line(np.zeros(math.prod(shape) * dtype.itemsize + LINE, BYTE), shape, dtype)


cdef _at_line(cnp.ndarray memory, tuple shape, cnp.dtype dtype):
    return np.ndarray(shape, dtype, memory, -<intptr_t>cnp.PyArray_BYTES(memory) & (LINE - 1))


def as_array(value, name):
    """`value` as a native float32 or float64 ndarray, without a copy.

    Accepts ndarrays (memory maps included) and CPU objects with `__dlpack__` or `__array__`; TypeError
    for everything else, saying what to do about it."""
    if type(value) is cnp.ndarray:
        array = value
    elif isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(
            f"{name} is a {type(value).__name__}, whose mask or product rules fastconv would ignore; "
            f"pass {'np.ma.filled(...)' if isinstance(value, np.ma.MaskedArray) else 'np.asarray(...)'}"
        )
    elif isinstance(value, np.ndarray):
        array = value.view(np.ndarray)
    elif hasattr(value, "__dlpack__"):
        device = value.__dlpack_device__()
        if device[0] != 1:  # kDLCPU
            raise TypeError(f"{name} is on another device than the CPU; move it there first, e.g. .cpu()")
        try:
            array = np.from_dlpack(value)
        except (BufferError, RuntimeError) as error:    # of a dtype that NumPy lacks, or that is not to be had
            raise TypeError(f"{name} gives no array: {error}") from error
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        raise TypeError(
            f"{name} must be a float32 or float64 array, got {type(value).__name__}; "
            f"np.asarray({name}, dtype=np.float32) makes one of a list"
        )
    dtype = array.dtype
    if dtype.char not in "fd":
        raise TypeError(f"{name} must be float32 or float64, got {dtype}; convert with .astype(np.float32)")
    if not dtype.isnative:
        raise TypeError(f"{name} has a foreign byte order ({dtype.str}); convert with .astype('=f{dtype.itemsize}')")
    return array


def as_integers(value, name, copy=True):
    """A contiguous int64 array of an array of integers: a copy, so that nobody can change what the nests take for
    places in memory once it has been checked, unless the nest looks again. TypeError for everything else."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a MaskedArray, whose mask fastconv would ignore; pass np.ma.filled(...)")
    if not isinstance(value, np.ndarray) and not hasattr(value, "__array__"):
        raise TypeError(f"{name} must be an array of integers, got {type(value).__name__}")
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {array.dtype}")
    if array.dtype.itemsize == 8 and array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be below 2**63, got {array.max()}")
    return np.array(array, np.int64, order="C") if copy else np.require(array, np.int64, ("C", "A"))


def to_dtype(dtype, name="dtype"):
    """np.dtype of float32 or float64, however it is written; TypeError for everything else."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found.char not in "fd" or not found.isnative:
        raise TypeError(f"{name} must be float32 or float64, got {dtype!r}")
    return found


def check_same_dtype(first_name, first, name, array):
    """TypeError unless both arrays have one dtype."""
    if array.dtype != first.dtype:
        raise TypeError(
            f"{name} is {array.dtype}, {first_name} is {first.dtype}; convert one, e.g. {name}.astype(np.{first.dtype})"
        )


def to_out(out, shape, dtype, inputs):
    """`out`, once check_out has nothing against it, or a new array if it is None."""
    if out is None:
        return empty(shape, dtype)
    check_out(out, shape, dtype, inputs)
    return out


def check_out(out, shape, dtype, inputs):
    """Refuses an `out` that is not a writeable C-contiguous ndarray of that shape and dtype, or that
    shares memory with one of `inputs`, (name, array) pairs."""
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype or not out.dtype.isnative:
        raise TypeError(f"out must be {dtype}, got {out.dtype}")
    if out.shape != tuple(shape):
        raise ValueError(f"out must have shape {tuple(shape)}, got {out.shape}")
    if not out.flags.c_contiguous:
        raise ValueError(f"out must be C-contiguous, got strides {out.strides}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    for name, array in inputs:
        if array is not None and shares_memory(out, array):
            raise ValueError(f"out shares memory with {name}")


def shares_memory(a, b):
    """Whether two arrays share an element; True also where finding out would take too long."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=100_000)
    except np.exceptions.TooHardError:
        return True
