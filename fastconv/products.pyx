# cython: wraparound=True
"""gemm and matmul: the face of the products. It is compiled because for small matrices the checks cost
more than the product. Check, allocate, delegate to fastconv/_loops/gemm.pyx or naive.pyx."""
cimport numpy as cnp

from math import prod

import numpy as np

from fastconv._loops cimport gemm as nest
from fastconv._loops.gemm cimport Blocks

from fastconv import threads
from fastconv._loops import naive
from fastconv.arrays import as_array, check_out, check_same_dtype, empty, shares_memory
from fastconv.blocking import Blocking, check_blocking
from fastconv.checks import to_choice, to_flag, to_real

cnp.import_array()

ALGORITHMS = ("auto", "naive", "blocked", "packed")
# The lecture's blocks: three of 64 x 64 floats are 48 KB, about an L1. benchmarks/sweep_blocks.py draws it.
BLOCKED_DEFAULT = Blocking(64, 64, 64)
cdef double SERIAL_WORK = threads.SERIAL_WORK


cdef inline cnp.ndarray to_array(object value, str name):
    if type(value) is np.ndarray:
        kind = cnp.PyArray_TYPE(<cnp.ndarray>value)
        if (kind == cnp.NPY_FLOAT32 or kind == cnp.NPY_FLOAT64) and (
                cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>value)):
            return <cnp.ndarray>value
    return as_array(value, name)


cdef double to_scalar(object value, str name) except? -1:
    if type(value) is float:
        return value
    return to_real(value, name)


cdef int team_for(double work, object num_threads) except -1:
    if num_threads is None and work < SERIAL_WORK:
        return 1
    return threads.team_size(work, num_threads)


cdef inline bint fits(object out, cnp.ndarray a, cnp.ndarray b, Py_ssize_t m, Py_ssize_t n):
    """Whether `out` is plainly right: check_out in a few loads, for the calls where it would dominate."""
    if type(out) is not np.ndarray:
        return False
    cdef cnp.ndarray array = <cnp.ndarray>out
    return (cnp.PyArray_TYPE(array) == cnp.PyArray_TYPE(a) and cnp.PyArray_ISCARRAY(array)
            and cnp.PyArray_NDIM(array) == 2 and cnp.PyArray_DIM(array, 0) == m and cnp.PyArray_DIM(array, 1) == n
            and apart(array, a) and apart(array, b))


cdef bint apart(cnp.ndarray out, cnp.ndarray array):
    """Whether a C-contiguous `out` ends before the 2-D `array` begins, or begins after it ends."""
    cdef cnp.npy_intp *strides = cnp.PyArray_STRIDES(array)
    cdef char *low = cnp.PyArray_BYTES(array)
    cdef char *high = low + cnp.PyArray_ITEMSIZE(array)
    cdef Py_ssize_t reach
    for axis in range(2):
        reach = (cnp.PyArray_DIM(array, axis) - 1) * strides[axis]
        if reach < 0:
            low += reach
        else:
            high += reach
    return cnp.PyArray_BYTES(out) + cnp.PyArray_NBYTES(out) <= low or high <= cnp.PyArray_BYTES(out)


cdef int run_packed(cnp.ndarray a, cnp.ndarray b, cnp.ndarray out, double alpha, double beta,
                    object blocking, int team) except -1:
    """out = alpha * a @ b + beta * out for 2-D arrays of one dtype, out C-contiguous."""
    cdef Blocks blocks
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    cdef cnp.npy_intp *at = cnp.PyArray_STRIDES(a)
    cdef cnp.npy_intp *bt = cnp.PyArray_STRIDES(b)
    cdef Py_ssize_t m = cnp.PyArray_DIM(out, 0), n = cnp.PyArray_DIM(out, 1), k = cnp.PyArray_DIM(a, 1)
    if m == 0 or n == 0:
        return 0
    if blocking is not None:
        blocks.mc, blocks.nc, blocks.kc = blocking.mc, blocking.nc, blocking.kc
    return nest.gemm(m, n, k, alpha, cnp.PyArray_BYTES(a), at[0], at[1], cnp.PyArray_BYTES(b), bt[0], bt[1],
                     beta, cnp.PyArray_BYTES(out), n * size, size, NULL if blocking is None else &blocks,
                     team)


def gemm(a, b, c=None, *, alpha=1.0, beta=None, trans_a=False, trans_b=False, out=None,
         algorithm="auto", blocking=None, num_threads=None):
    """alpha * op(a) @ op(b) + beta * c, op being the transpose where trans_a, trans_b say so.

    a (m, k), b (k, n), c (m, n): 2-D arrays of one dtype, float32 or float64, any strides; transposed
    operands are given as they lie. Returns (m, n), C-contiguous, in `out` if given; `out is c` is allowed,
    any other overlap is refused. beta=None means 1 if c is given, else 0. beta == 0 never reads c,
    alpha == 0 never reads a or b. An empty sum is 0.

    algorithm: "naive", the textbook's three loops; "blocked", six loops over blocks of `blocking`;
    "packed", five loops around a register tile (Goto and van de Geijn, 2008); "auto" is "packed".
    blocking: fastconv.Blocking, for "blocked" and "packed". num_threads: at most so many.
    The same call gives the same bits for any number of threads.

    Raises ValueError for shapes or values that do not fit, TypeError for types and dtypes, MemoryError."""
    cdef cnp.ndarray A = to_array(a, "a"), B = to_array(b, "b"), C, result
    cdef double alpha_value, beta_value
    cdef Py_ssize_t m, n, k
    if cnp.PyArray_NDIM(A) != 2 or cnp.PyArray_NDIM(B) != 2:
        raise ValueError(f"a and b must be 2-D, got shapes {np.shape(A)} and {np.shape(B)}; "
                         "fastconv.matmul takes other ranks")
    if cnp.PyArray_TYPE(A) != cnp.PyArray_TYPE(B):
        check_same_dtype("a", A, "b", B)
    if trans_a is not False and to_flag(trans_a, "trans_a"):
        A = A.T
    if trans_b is not False and to_flag(trans_b, "trans_b"):
        B = B.T
    m, k, n = cnp.PyArray_DIM(A, 0), cnp.PyArray_DIM(A, 1), cnp.PyArray_DIM(B, 1)
    if cnp.PyArray_DIM(B, 0) != k:
        raise ValueError(f"op(a) is {m}x{k} and op(b) is {cnp.PyArray_DIM(B, 0)}x{n}: "
                         f"the inner dimensions of a and b differ")
    if 8.0 * m * n >= 9.2e18:
        raise too_large((m, n))
    alpha_value = to_scalar(alpha, "alpha")
    if beta is None:
        beta_value = 0 if c is None else 1
    else:
        beta_value = to_scalar(beta, "beta")
        if c is None and beta_value != 0:
            raise ValueError(f"beta is {beta} but there is no c to multiply")
    C = None
    if c is not None:
        C = to_array(c, "c")
        check_same_dtype("a", A, "c", C)
        if C.ndim != 2 or cnp.PyArray_DIM(C, 0) != m or cnp.PyArray_DIM(C, 1) != n:
            raise ValueError(f"c must have shape {(m, n)}, got {np.shape(C)}")
    if type(algorithm) is not str or algorithm != "auto" or blocking is not None:
        check_algorithm(algorithm, blocking)
    team = team_for(2.0 * m * n * k, num_threads)

    if out is None:
        result = empty((m, n), A.dtype)
    else:
        if not fits(out, A, B, m, n):
            check_out(out, (m, n), A.dtype, (("a", A), ("b", B)))
        result = out
        if C is not None and out is not c and shares_memory(out, C):
            raise ValueError("out shares memory with c; pass out=c itself to accumulate in place")
    if beta_value != 0 and out is not c:
        cnp.PyArray_CopyInto(result, C)
    if algorithm == "naive":
        naive.gemm(A, B, result, alpha_value, beta_value, team)
    elif algorithm == "blocked":
        naive.gemm_blocked(A, B, result, alpha_value, beta_value, blocking or BLOCKED_DEFAULT, team)
    else:
        run_packed(A, B, result, alpha_value, beta_value, blocking, team)
    return result


def too_large(shape):
    """The error where a result could not even be addressed."""
    return ValueError(f"the product of a and b would have shape {shape}, more elements than can be addressed")


def check_algorithm(algorithm, blocking):
    """Refuses a name that gemm does not have, and blocks for a product that has none."""
    to_choice(algorithm, "algorithm", ALGORITHMS)
    check_blocking(blocking)
    if blocking is not None and algorithm == "naive":
        raise ValueError('blocking was given, but algorithm "naive" has no blocks')


def matmul(a, b, *, out=None, num_threads=None):
    """The matrix product of a and b with numpy.matmul's shapes: (..., m, k) @ (..., k, n) -> (..., m, n).

    1-D operands are rows or columns whose axis is dropped again; leading axes broadcast. One dtype,
    float32 or float64. Errors as gemm's."""
    cdef cnp.ndarray A = to_array(a, "a"), B = to_array(b, "b"), result
    check_same_dtype("a", A, "b", B)
    if A.ndim == 0 or B.ndim == 0:
        raise ValueError("a and b must have at least one dimension; multiply scalars with *")
    row, column = A.ndim == 1, B.ndim == 1
    if row:
        A = A[np.newaxis, :]
    if column:
        B = B[:, np.newaxis]
    m, k, n = np.shape(A)[-2], np.shape(A)[-1], np.shape(B)[-1]
    if np.shape(B)[-2] != k:
        raise ValueError(f"the inner dimensions of a {np.shape(a)} and b {np.shape(b)} differ")
    try:
        batch = np.broadcast_shapes(np.shape(A)[:-2], np.shape(B)[:-2])
    except ValueError:
        raise ValueError(f"the batch dimensions of a {np.shape(a)} and b {np.shape(b)} do not broadcast") from None
    shape = batch + (() if row else (m,)) + (() if column else (n,))
    if 8 * prod(shape) >= 2**63:
        raise too_large(shape)
    team = team_for(2.0 * m * n * k, num_threads)
    if out is None:
        target = empty(shape, A.dtype)
    else:
        check_out(out, shape, A.dtype, (("a", A), ("b", B)))
        target = out
    result = target.reshape(batch + (m, n))
    if result.size == 0:
        return target
    if not batch:
        run_packed(A, B, result, 1.0, 0.0, None, team)
        return target if shape or out is not None else target[()]
    A = np.broadcast_to(A, batch + (m, k))
    B = np.broadcast_to(B, batch + (k, n))
    for at in np.ndindex(*batch):
        run_packed(A[at], B[at], result[at], 1.0, 0.0, None, team)
    return target
