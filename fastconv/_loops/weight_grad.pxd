# The weight gradient (weight_grad.pyx), for nests that decide themselves how a panel of it is added.
from fastconv._loops.kernels cimport fc_kernels

# How a finished panel leaves a thread's scratch: `rows` rows of `count` values, panel_row bytes apart, go to as many
# rows at target, target_row bytes apart. The target is part of a channels-last gradient [K][R][S][C of a group]; `to`
# is the call's operand `bias`, for a deliver that needs more than an address.
ctypedef void (*deliver_function)(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row,   # IN
                                  char *target, Py_ssize_t target_row,                                  # OUT
                                  Py_ssize_t rows, Py_ssize_t count, const void *to) noexcept nogil

cdef void add_panel(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row,
                    char *target, Py_ssize_t target_row, Py_ssize_t rows, Py_ssize_t count,
                    const void *to) noexcept nogil
cdef void store_panel(const fc_kernels *kernels, const char *panel, Py_ssize_t panel_row,
                      char *target, Py_ssize_t target_row, Py_ssize_t rows, Py_ssize_t count,
                      const void *to) noexcept nogil
