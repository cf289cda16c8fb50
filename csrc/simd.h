/* Vectors of FC_VECTOR_BYTES bytes of `real`, written with GCC/Clang vector extensions so that one
 * source serves every ISA; the masked loads and stores of x86 are the one exception. Included by kernels.c
 * only, after FC_VECTOR_BYTES and real are defined. Loads and stores may be misaligned; the *_n forms touch
 * only n elements, n < LANES. */
#ifndef FC_SIMD_H
#define FC_SIMD_H
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) && FC_VECTOR_BYTES == 64
#define FC_AVX512_MASKS
#elif defined(__AVX2__) && FC_VECTOR_BYTES == 32
#define FC_AVX2_MASKS
#endif
#if defined(FC_AVX512_MASKS) || defined(FC_AVX2_MASKS)
#include <immintrin.h>
#endif

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

/* 0, 1, 2 ... Read from memory, they are constants to the compiler, and so is what is computed of them; set one by
 * one, they cost GCC 12 three instructions a shuffle. */
INLINE vec_index lane_numbers(void) {
    static const lane_index numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec_index lane;
    memcpy(&lane, numbers, sizeof lane);
    return lane;
}

/* n < LANES elements, or the lanes [first, end) of a vector; nothing else is read, nor written. A mask takes one
 * instruction, and what is copied in halves waits on the stack for a load of all of it (11 channels by "fft": 100 and
 * 50 GF/s; Emerald Rapids, 2026-11). AVX2 has masks too, but Zen 3 takes 40 instructions to store by one. */
#if FC_REAL_BYTES == 4
#define OF_REALS(instruction) instruction##_ps
#else
#define OF_REALS(instruction) instruction##_pd
#endif
#if defined(FC_AVX512_MASKS)
typedef uint32_t lane_mask;
INLINE lane_mask lanes_between(intptr_t first, intptr_t end) { return (1u << end) - (1u << first); }
INLINE vec load_where(lane_mask mask, const void *p) { return OF_REALS(_mm512_maskz_loadu)(mask, p); }
INLINE vec load_n(const void *p, intptr_t n) { return load_where(lanes_between(0, n), p); }
INLINE void store_n(void *p, vec v, intptr_t n) {
    OF_REALS(_mm512_mask_storeu)(p, lanes_between(0, n), v);
}
INLINE void copy_n(void *dst, const void *src, intptr_t n) { store_n(dst, load_n(src, n), n); }
#else
static __attribute__((noinline)) void copy_n(void *dst, const void *src, intptr_t n) {
    char *d = dst;
    const char *s = src;
#define PIECE(lanes)                          \
    if (LANES > lanes && (n & lanes)) {       \
        memcpy(d, s, (lanes) * sizeof(real)); \
        d += (lanes) * sizeof(real);          \
        s += (lanes) * sizeof(real);          \
    }
    PIECE(8) PIECE(4) PIECE(2) PIECE(1)
#undef PIECE
}
INLINE void store_n(void *p, vec v, intptr_t n) { copy_n(p, &v, n); }
#if defined(FC_AVX2_MASKS)
typedef vec_index lane_mask;
INLINE lane_mask lanes_between(intptr_t first, intptr_t end) {
    return (lane_numbers() >= (lane_index)first) & (lane_numbers() < (lane_index)end);
}
INLINE vec load_where(lane_mask mask, const void *p) {
    return OF_REALS(_mm256_maskload)(p, (__m256i)mask);
}
INLINE vec load_n(const void *p, intptr_t n) { return load_where(lanes_between(0, n), p); }
#else
typedef struct {
    intptr_t first, end;
} lane_mask;
INLINE lane_mask lanes_between(intptr_t first, intptr_t end) { return (lane_mask){first, end}; }
INLINE vec load_where(lane_mask mask, const void *p) {
    vec v = {0};
    if (mask.end - mask.first == LANES) return load(p);
    for (intptr_t i = 0; i < LANES; i++)
        if (i >= mask.first && i < mask.end) v[i] = load1((const char *)p + i * sizeof(real));
    return v;
}
INLINE vec load_n(const void *p, intptr_t n) {
    vec v = {0};
    copy_n(&v, p, n);
    return v;
}
#endif
#endif

/* n elements, at most LANES. */
INLINE vec load_upto(const void *p, intptr_t n) { return n == LANES ? load(p) : load_n(p, n); }
INLINE void store_upto(void *p, vec v, intptr_t n) {
    if (n == LANES)
        store(p, v);
    else
        store_n(p, v, n);
}

/* Lane by lane, a where the mask is all ones, b where it is 0. */
INLINE vec where(vec_index mask, vec a, vec b) {
    return (vec)((mask & (vec_index)a) | (~mask & (vec_index)b));
}

/* p, of which the compiler knows nothing: addresses that are counted from it stay sums of registers. Where it knows
 * more, each address becomes a variable of the loop around, and they do not fit the registers. */
INLINE const char *opaque(const char *p) {
    __asm__("" : "+r"(p));
    return p;
}

/* Lane i of the result is lane at[i] of a and b, counted through both; `at` is known at compile time. */
INLINE vec shuffle(vec a, vec b, vec_index at) {
#if defined(__clang__)
    vec v;
    for (int i = 0; i < LANES; i++) v[i] = at[i] < LANES ? a[at[i]] : b[at[i] - LANES];
    return v;
#else
    return __builtin_shuffle(a, b, at);
#endif
}

/* By halves. */
INLINE real sum_lanes(vec v) {
    const vec_index lane = lane_numbers();
#pragma GCC unroll 4
    for (lane_index half = LANES / 2; half > 0; half /= 2) v += shuffle(v, v, lane ^ half);
    return v[0];
}

/* The even lanes of a and b, and the odd ones. AVX2 shuffles inside of halves for less: so first the first halves of
 * both come together, and the second ones. */
INLINE void split_lanes(vec a, vec b, vec *even, vec *odd) {
    const vec_index lane = lane_numbers();
#if FC_VECTOR_BYTES == 32
    const lane_index half = LANES / 2;
    const vec_index low = lane + (half & (lane >= half));
    const vec_index at =
        lane + (lane & (half - 1)) + ((lane_index)(LANES - half) & ((lane & (half / 2)) != 0));
    const vec first = shuffle(a, b, low), second = shuffle(a, b, low + half);
    *even = shuffle(first, second, at);
    *odd = shuffle(first, second, at + 1);
#else
    *even = shuffle(a, b, 2 * lane);
    *odd = shuffle(a, b, 2 * lane + 1);
#endif
}

/* Transposes the LANES x LANES block held in v: log2(LANES) rounds, each swapping the off-diagonal
 * halves of blocks of 2 * step. */
INLINE void transpose_block(vec v[LANES]) {
    const vec_index lane = lane_numbers();
#pragma GCC unroll 8
    for (int step = 1; step < LANES; step *= 2) {
        const vec_index odd = (lane & step) != 0;
        const vec_index low = lane + (odd & (lane_index)(LANES - step)), high = low + step;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & step) continue;
            const vec a = v[i], b = v[i + step];
            v[i] = shuffle(a, b, low);
            v[i + step] = shuffle(a, b, high);
        }
    }
}
#endif
