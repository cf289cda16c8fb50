/* What threads may do to an element that others write too. Included by fastconv/_loops/hogwild.pyx alone.
 *
 * Relaxed loads and stores never tear an element and never invent one, and cost what plain ones cost; an
 * update between another thread's load and store is lost. `swap` is the store that tells what it found. */
#ifndef FC_SHARED_H
#define FC_SHARED_H

#include <sched.h>
#include <stdint.h>
#include <string.h>

#define FC_SHARED(real, name)                                                                          \
    static inline real fc_load_##name(const real *p) {                                                 \
        real value;                                                                                    \
        __atomic_load(p, &value, __ATOMIC_RELAXED);                                                    \
        return value;                                                                                  \
    }                                                                                                  \
    static inline void fc_store_##name(real *p, real value) {                                          \
        __atomic_store(p, &value, __ATOMIC_RELAXED);                                                   \
    }                                                                                                  \
    /* Stores value; whether another thread had changed what was loaded, bit for bit. */               \
    static inline int fc_swap_##name(real *p, real loaded, real value) {                               \
        real before;                                                                                   \
        __atomic_exchange(p, &value, &before, __ATOMIC_RELAXED);                                       \
        return memcmp(&before, &loaded, sizeof before) != 0;                                           \
    }                                                                                                  \
    static inline void fc_atomic_add_##name(real *p, real value) {                                     \
        real before = fc_load_##name(p), after;                                                        \
        do after = before + value;                                                                     \
        while (!__atomic_compare_exchange(p, &before, &after, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)); \
    }

FC_SHARED(float, f32)
FC_SHARED(double, f64)

/* An index that another thread may be changing: read once, so that what was checked is what is used. */
static inline int64_t fc_load_index(const int64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

/* Fetches a line for writing: one that another core has written lately would else come twice, to be read and to
 * be owned. gcc says prefetchw only to CPUs that are sure to have it; to the others it is a NOP. */
static inline void fc_fetch_to_write(const void *p) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" ::"m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* A lock on a cache line of its own. A holder may have lost its core: after a while others let it run. */
typedef struct {
    _Alignas(64) int held;
} fc_lock;

static inline void fc_acquire(fc_lock *lock) {
    for (int tries = 0; __atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE); tries++) {
        while (__atomic_load_n(&lock->held, __ATOMIC_RELAXED))
            if (++tries > 1000) sched_yield();
    }
}

static inline void fc_release(fc_lock *lock) { __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE); }
#endif
