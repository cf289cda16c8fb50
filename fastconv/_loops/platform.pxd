# csrc/platform.h: a thread's floating-point state, and what OpenMP says of threads.
cdef extern from "platform.h" nogil:
    ctypedef unsigned fc_fp_state
    fc_fp_state fc_flush_subnormals(int flush)
    void fc_restore_fp(fc_fp_state state)
    int fc_thread_id()
    int fc_max_threads()
    void fc_end_threads() nogil
    int fc_has_openmp
    int fc_openmp_version
