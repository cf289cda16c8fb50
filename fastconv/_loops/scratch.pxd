# Working memory for one call of a nest; see scratch.pyx.
cdef class Block:
    cdef char *data
    cdef readonly size_t size

cdef Block allocate(size_t size)
cdef Block borrow(size_t size)
cdef void give_back(Block block)
