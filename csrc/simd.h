/* Vectors of FC_VECTOR_BYTES bytes of `real`, written with GCC/Clang vector extensions so that one
 * source serves every ISA: no intrinsics. Included by kernels.c only, after FC_VECTOR_BYTES and real
 * are defined. Loads and stores may be misaligned; the *_n forms touch only n elements, n < LANES. */
#ifndef FC_SIMD_H
#define FC_SIMD_H
#include <stdint.h>
#include <string.h>

#define LANES ((intptr_t)(FC_VECTOR_BYTES / sizeof(real)))
#define INLINE static inline __attribute__((always_inline))

typedef real vec __attribute__((vector_size(FC_VECTOR_BYTES)));
typedef real vec_anywhere __attribute__((vector_size(FC_VECTOR_BYTES), aligned(1), may_alias));
typedef real real_anywhere __attribute__((aligned(1), may_alias));
#if FC_REAL_BYTES == 4
typedef int32_t lane_index;
#else
typedef int64_t lane_index;
#endif
typedef lane_index vec_index __attribute__((vector_size(FC_VECTOR_BYTES)));

INLINE real load1(const void *p) { return *(const real_anywhere *)p; }
INLINE void store1(void *p, real v) { *(real_anywhere *)p = v; }
INLINE vec load(const void *p) { return *(const vec_anywhere *)p; }
INLINE void store(void *p, vec v) { *(vec_anywhere *)p = v; }
/* s - 0 is s for every s, -0 and NaN included; 0 + s would turn -0 into 0. */
INLINE vec broadcast(real s) { return s - (vec){0}; }

/* A copy of n < LANES elements in halves: no call, no reading past the end. */
INLINE void copy_n(void *dst, const void *src, intptr_t n) {
    char *d = dst;
    const char *s = src;
#define PIECE(lanes)                          \
    if (LANES > lanes && (n & lanes)) {       \
        memcpy(d, s, (lanes) * sizeof(real)); \
        d += (lanes) * sizeof(real);          \
        s += (lanes) * sizeof(real);          \
    }
    PIECE(16) PIECE(8) PIECE(4) PIECE(2) PIECE(1)
#undef PIECE
}
INLINE vec load_n(const void *p, intptr_t n) {
    vec v = {0};
    copy_n(&v, p, n);
    return v;
}
INLINE void store_n(void *p, vec v, intptr_t n) { copy_n(p, &v, n); }

INLINE real sum_lanes(vec v) {
    real s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
}

/* Lane i of the result is the lane of a and b, counted through both, that the i-th index names. The indices are
 * written out, for only then is a shuffle one instruction: INDICES(F, x) lists F(0, x), F(1, x) and so on. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vec_index){__VA_ARGS__})
#endif
#define INDICES_2(F, x) F(0, x), F(1, x)
#define INDICES_4(F, x) INDICES_2(F, x), F(2, x), F(3, x)
#define INDICES_8(F, x) INDICES_4(F, x), F(4, x), F(5, x), F(6, x), F(7, x)
#define INDICES_16(F, x) \
    INDICES_8(F, x), F(8, x), F(9, x), F(10, x), F(11, x), F(12, x), F(13, x), F(14, x), F(15, x)
#if FC_VECTOR_BYTES / FC_REAL_BYTES == 16
#define INDICES INDICES_16
#elif FC_VECTOR_BYTES / FC_REAL_BYTES == 8
#define INDICES INDICES_8
#elif FC_VECTOR_BYTES / FC_REAL_BYTES == 4
#define INDICES INDICES_4
#else
#define INDICES INDICES_2
#endif
#define EVERY(i, step) ((step) * (i)) /* every second lane of two vectors, say */

/* Transposes the LANES x LANES block held in v: log2(LANES) rounds, each swapping the off-diagonal
 * halves of blocks of 2 * step. */
#define LOW_HALF(i, step) ((i) & (step) ? LANES + (i) - (step) : (i))
#define HIGH_HALF(i, step) ((i) & (step) ? LANES + (i) : (i) + (step))
#define SWAP_HALVES(step)                                            \
    for (int i = 0; i < LANES; i++)                                  \
        if (!(i & (step))) {                                         \
            const vec a = v[i], b = v[i + (step)];                   \
            v[i] = SHUFFLE(a, b, INDICES(LOW_HALF, step));           \
            v[i + (step)] = SHUFFLE(a, b, INDICES(HIGH_HALF, step)); \
        }
INLINE void transpose_block(vec v[LANES]) {
#pragma GCC unroll 16
    SWAP_HALVES(1)
#if FC_VECTOR_BYTES / FC_REAL_BYTES > 2
#pragma GCC unroll 16
    SWAP_HALVES(2)
#endif
#if FC_VECTOR_BYTES / FC_REAL_BYTES > 4
#pragma GCC unroll 16
    SWAP_HALVES(4)
#endif
#if FC_VECTOR_BYTES / FC_REAL_BYTES > 8
#pragma GCC unroll 16
    SWAP_HALVES(8)
#endif
}
#endif
