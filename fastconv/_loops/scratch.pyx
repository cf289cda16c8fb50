"""Working memory of the nests. A nest borrows one block before its threads start, cuts it into a slice
per thread and gives it back at the end: running out of memory is a MemoryError in the caller, never a
surprise inside a parallel region, and after the first call nothing is allocated.

Idle blocks are kept in a list, most recently used last; the GIL, held by every caller, guards it. The
list is bounded, emptied by release_memory() and by a forked child."""
from libc.stdlib cimport free

import os

cimport cython
cimport numpy as cnp

cnp.import_array()

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Page-aligned; large blocks ask for huge pages, which spare the TLB. */
    static void *fc_allocate(size_t size) {
        const size_t huge = (size_t)2 << 20;
        void *p = NULL;
        if (posix_memalign(&p, size >= huge ? huge : 4096, size)) return NULL;
    #if defined(MADV_HUGEPAGE)
        if (size >= huge) madvise(p, size, MADV_HUGEPAGE);
    #endif
        return p;
    }
    """
    void *fc_allocate(size_t size) nogil

cdef size_t MAX_IDLE_BYTES = 256 << 20   # a guess: VGG-16's largest workspace on 64 threads fits
cdef size_t idle_bytes = 0
cdef list idle = []
cdef Py_ssize_t before_failure = -1      # see fail_allocation


cdef class Block:
    """`size` bytes at `data`, aligned to a page."""

    def __dealloc__(self):
        free(self.data)


cdef Block borrow(size_t size):
    """A block of at least `size` bytes: the last used of those that are idle, which are freed as long as they are too
    small. MemoryError if there is none to be had."""
    global idle_bytes
    cdef Block block
    while idle:
        block = idle.pop()
        idle_bytes -= block.size
        if block.size >= size:
            return block
    return allocate(size)


cdef Block allocate(size_t size):
    """A new block, which frees its memory when nobody holds it any more; MemoryError if there is none to be had."""
    global before_failure
    cdef Block block = Block.__new__(Block)
    cdef bint fails = before_failure == 0
    before_failure = max(before_failure - 1, -1)
    block.data = NULL if fails else <char *>fc_allocate(size if size > 0 else 1)
    if block.data == NULL:
        raise MemoryError(f"fastconv: no {size} bytes of workspace to be had")
    block.size = size
    return block


cdef void give_back(Block block):
    global idle_bytes
    if idle_bytes + block.size <= MAX_IDLE_BYTES:
        idle_bytes += block.size
        idle.append(block)


@cython.no_gc
cdef class Loan:
    """Keeps a block away from others until the last array in it is gone."""
    cdef Block block

    def __dealloc__(self):
        give_back(self.block)


def lent(Py_ssize_t size):
    """An array of so many bytes in working memory: the next call that needs as much finds its pages in place. Fresh
    memory took a fifth of conv2d's time for 37 MB of transformed weights."""
    cdef Loan loan = Loan.__new__(Loan)
    cdef cnp.npy_intp length = size
    loan.block = borrow(size)
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(1, &length, cnp.NPY_UINT8, loan.block.data)
    cnp.set_array_base(array, loan)
    return array


def release_memory():
    """Frees the working memory that is kept between calls."""
    global idle_bytes
    idle.clear()
    idle_bytes = 0


def held_bytes():
    """Bytes of the idle blocks."""
    return idle_bytes


def fail_allocation(Py_ssize_t index):
    """For tests: the allocation of that index from now on finds no memory; -1 ends that."""
    global before_failure
    before_failure = index


os.register_at_fork(after_in_child=release_memory)
