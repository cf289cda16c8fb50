/* What the loop nests need of the platform: the OpenMP calls, which a serial build answers itself, and
 * the floating-point state of one thread. Included by fastconv/_loops. */
#ifndef FC_PLATFORM_H
#define FC_PLATFORM_H

#ifdef _OPENMP
#include <omp.h>
enum { fc_has_openmp = 1, fc_openmp_version = _OPENMP };
static inline int fc_max_threads(void) { return omp_get_max_threads(); }
static inline int fc_thread_id(void) { return omp_get_thread_num(); }
static inline void fc_end_threads(void) { omp_pause_resource_all(omp_pause_hard); }
#else
enum { fc_has_openmp = 0, fc_openmp_version = 0 };
static inline int fc_max_threads(void) { return 1; }
static inline int fc_thread_id(void) { return 0; }
static inline void fc_end_threads(void) {}
#endif

/* Subnormal operands and results cost tens of cycles each: fc_flush_subnormals turns them into zeros in
 * the calling thread, or keeps them, and rounds to nearest, whatever the caller does: results are not to depend on
 * which thread computes them. Returns the state that fc_restore_fp puts back. Exceptions are masked as well (on AArch64 most
 * CPUs cannot trap them): kernels compare with NaN, which would end a process that traps them. */
#if defined(__SSE2__)
#include <immintrin.h>
typedef unsigned fc_fp_state;
static inline fc_fp_state fc_flush_subnormals(int flush) {
    const fc_fp_state before = _mm_getcsr();
    _mm_setcsr((before & ~0xe040u) | 0x1f80 |
               (flush ? 0x8040 : 0)); /* to nearest; all masks; FTZ | DAZ */
    return before;
}
static inline void fc_restore_fp(fc_fp_state state) { _mm_setcsr(state); }
#elif defined(__aarch64__)
#include <stdint.h>
typedef uint64_t fc_fp_state;
static inline fc_fp_state fc_flush_subnormals(int flush) {
    fc_fp_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    const uint64_t now = (before & ~((uint64_t)7 << 22)) | (uint64_t)(flush != 0)
                                                               << 24; /* to nearest; FZ */
    __asm__ volatile("msr fpcr, %0" ::"r"(now));
    return before;
}
static inline void fc_restore_fp(fc_fp_state state) { __asm__ volatile("msr fpcr, %0" ::"r"(state)); }
#else
typedef int fc_fp_state;
static inline fc_fp_state fc_flush_subnormals(int flush) { return flush; }
static inline void fc_restore_fp(fc_fp_state state) { (void)state; }
#endif
#endif
