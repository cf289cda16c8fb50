# The packed product, shared with im2col.pyx and linear.pyx: c = act(alpha * (bias + a @ b) + beta * c), strides in
# bytes.
from fastconv._loops.kernels cimport fc_kernels, fc_store

cdef struct Blocks:
    Py_ssize_t mc, nc, kc

cdef Blocks default_blocks(const fc_kernels *kernels) noexcept nogil
cdef void macro_kernel(const fc_kernels *kernels, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                       const char *a, Py_ssize_t a_row, Py_ssize_t a_col,
                       const char *b, Py_ssize_t b_row, Py_ssize_t b_strip,
                       char *c, Py_ssize_t c_row, const fc_store *store) noexcept nogil
cdef int gemm(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
              const char *a, Py_ssize_t a_row, Py_ssize_t a_col,
              const char *b, Py_ssize_t b_row, Py_ssize_t b_col, double beta,
              char *c, Py_ssize_t c_row, Py_ssize_t itemsize, const Blocks *wanted, int team) except -1
cdef size_t product_bytes(const fc_kernels *kernels) noexcept nogil
cdef void product_here(const fc_kernels *kernels, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                       const char *a, Py_ssize_t a_row, Py_ssize_t a_col,
                       const char *b, Py_ssize_t b_row, Py_ssize_t b_col, double beta,
                       char *c, Py_ssize_t c_row, char *scratch) noexcept nogil
# Whether so few rows of A meet B, so many bytes, where it lies, row after row.
cdef bint by_whole_rows(Py_ssize_t m, Py_ssize_t b_bytes) noexcept nogil
