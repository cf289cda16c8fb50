"""What this machine can do at most: the figures that benchmarks stand beside; and whether an array is finite. Called
by benchmarks/harness/machine.py and fastconv/algorithms.py."""
from libc.math cimport isfinite

from time import perf_counter

cimport numpy as cnp

from fastconv._loops.kernels cimport fc_kernels, kernels_for
from fastconv._loops.team cimport Operands, run

cnp.import_array()

cdef enum:
    CHAINS = 12          # as in csrc/kernels/probe.c
    RESULTS = 64

cdef struct Probe:
    const fc_kernels *kernels
    Py_ssize_t steps
    const char *data
    Py_ssize_t bytes_per_chunk
    double results[RESULTS]    # kept so that no compiler can drop the work


cdef void fma_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef Probe *p = <Probe *>problem
    p.results[index % RESULTS] = p.kernels.fma_chain(p.steps)


cdef void read_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef Probe *p = <Probe *>problem
    p.results[index % RESULTS] = p.kernels.read_sum(p.data + index * p.bytes_per_chunk, p.bytes_per_chunk)


def fma_peak(Py_ssize_t itemsize, int threads, int repeats=9):
    """GFLOP/s of independent FMA chains in registers with the ISA in use: the best of `repeats` bursts of
    about 5 ms on each of `threads` threads."""
    cdef Probe p
    cdef double best = 0
    p.kernels = kernels_for(itemsize)
    p.steps = 1_500_000 if p.kernels.lanes * itemsize == 64 else 3_000_000
    for _ in range(repeats):
        start = perf_counter()
        run(fma_chunk, &p, threads, 0, threads)
        best = max(best, 2e-9 * CHAINS * p.kernels.lanes * p.steps * threads / (perf_counter() - start))
    return best


def read_bandwidth(const unsigned char[::1] data, int threads, int repeats=5):
    """GB/s of summing `data` up once, cut between `threads` threads: the best of `repeats`."""
    cdef Probe p
    cdef double best = 0
    p.kernels = kernels_for(4)
    p.data = <const char *>&data[0]
    p.bytes_per_chunk = data.shape[0] // threads // 4096 * 4096
    for _ in range(repeats):
        start = perf_counter()
        run(read_chunk, &p, threads, 0, threads)
        best = max(best, 1e-9 * p.bytes_per_chunk * threads / (perf_counter() - start))
    return best


def all_finite(cnp.ndarray array):
    """Whether a C-contiguous array has no Inf or NaN, at the speed of memory; False also if its sum overflows."""
    return bool(isfinite(kernels_for(array.itemsize).read_sum(cnp.PyArray_BYTES(array), cnp.PyArray_NBYTES(array))))
