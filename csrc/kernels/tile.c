/* The register tile, the heart of every product:
 *
 *     c[i][j] = act(alpha * (bias + sum_t sum_k a(t, i, k) * b(t*K + k, j)) + beta * c[i][j])
 *
 * for i < m, j < n, over the taps t of a filter (a product has one) and k < K. a(t, i, k) lies at
 * a + tap[t] + i*a_row + k*a_col: a packed block, a matrix in place, its transpose, lowered pixels and
 * neighbouring pixels of an image are the same to it. b(k, :) lies at b + k*b_row: whole vectors, so a
 * strip with n < NR is packed and padded by the caller. One function per row count m = 1..rows[v-1] and vector
 * count v = 1..NV; v is what n columns need: (v - 1) * LANES < n <= v * LANES. Called by the loop nests of
 * fastconv/_loops.
 *
 * A product's tile looks at no taps: between loops over k of 16 steps the loop over taps took a fifth of the time
 * (16 -> 96 channels, 1x1: 71 and 86 GF/s; AVX2 on Zen 3, 2026-11). In row_tile the operands change places: b are
 * rows of pixels, b(t, k, :) lies at b + tap[t] + k*b_row, and a, the weights, runs on from tap to tap. Whole vectors
 * of b are read there too.
 *
 * The accumulators live in registers only because every loop over rows and vectors is unrolled; the
 * rows are addressed from one pointer per three (p, p + a_row, p + 2*a_row are x86 addressing modes),
 * otherwise m addresses would not fit the registers. While this strip of B is multiplied, its tiles fetch
 * the next one to L2, each a share of it: v vectors from `ahead` on for each k, `ahead_row` bytes apart.
 * With B in L3, Zen 4 went from 97 to 115 of 118 GF/s, AVX2 from 50 to 96 (2026-11). C is fetched before the
 * loop for the same reason. If it is only written, its rows are fetched as the taps pass, since Zen 4's stores
 * wait for one line after another (27 products into memory: 70 and 95 GF/s); all before the loop would take
 * the place of loads (140 and 112; Emerald Rapids, 2026-11).
 * tests/test_disassembly.py holds the registers. */

/* What `above` makes of it costs less between the loop and the stores than nothing at all: stores that wait for FMAs
 * keep the next tile's waiting (16 -> 96: 82 and 92 GF/s without and with it; Zen 3). */
INLINE vec threshold_of(int relu) {
    vec t = {0};
    if (!relu) t = broadcast(NAN);
    return t;
}
/* Values above the threshold, zeros elsewhere; NaN stays, and a threshold of NaN keeps all values. */
INLINE vec above(vec threshold, vec v) { return (vec)((vec_index)v & ~(v <= threshold)); }
INLINE vec rectified(vec v) { return above((vec){0}, v); }

/* Tiles that are cut off at the right, or scaled, leave through a copy on the stack. */
static __attribute__((noinline)) void store_tile(intptr_t m, intptr_t n, const vec acc[][FC_NV], void *c,
                                                 intptr_t c_row, const fc_store *s) {
    const vec alpha = broadcast((real)s->alpha), beta = broadcast((real)s->beta);
    for (intptr_t i = 0; i < m; i++)
        for (intptr_t j = 0; j < n; j += LANES) {
            char *out = (char *)c + i * c_row + j * sizeof(real);
            const intptr_t lanes = n - j < LANES ? n - j : LANES;
            vec v = alpha * acc[i][j / LANES];
            if (s->beta != 0) v += beta * (lanes == LANES ? load(out) : load_n(out, lanes));
            if (s->relu) v = rectified(v);
            if (lanes == LANES)
                store(out, v);
            else
                store_n(out, v, lanes);
        }
}

/* One vector leaves registers for more rows; with six, an FMA waits for the last one's sum (64 -> 8 channels,
 * 3x3, by tiles of 6 rows 64 GF/s, of 12 74; AVX2 on Zen 3, 2026-11). */
#if FC_MR == 6
#define FC_TALL 12
#else
#define FC_TALL 14
#endif
_Static_assert(FC_NV == 2 && FC_MR <= FC_TALL && FC_TALL <= FC_MAX_MR,
               "the tables below have no such tile");

INLINE void tile(const int m, const int v, const int taps_in, intptr_t taps, const intptr_t *tap,
                 intptr_t k, const void *a, intptr_t a_row, intptr_t a_col, const void *b,
                 intptr_t b_row, const void *ahead, intptr_t ahead_row, void *c, intptr_t c_row,
                 intptr_t n, const fc_store *s) {
    vec acc[FC_TALL][FC_NV];
    const char *p[(FC_TALL + 2) / 3], *q = b, *next = ahead;
    const intptr_t share = taps < 2 || s->onto ? 0 : taps < m ? (m + (int)taps - 1) / (int)taps : 1;
    const char *fetched = c, *end = fetched + m * c_row;
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < v; j++) acc[i][j] = (vec){0};
    if (s->onto)
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < v; j++)
                __builtin_prefetch((char *)c + i * c_row + j * sizeof(vec), 1, 3);
    if (s->row_bias) {
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < v; j++)
                acc[i][j] = broadcast(load1((const char *)s->row_bias + i * sizeof(real)));
    } else if (s->col_bias) {
#pragma GCC unroll 4
        for (int j = 0; j < v; j++) {
            const char *bias = (const char *)s->col_bias + j * sizeof(vec);
            const intptr_t lanes = n - j * LANES;
            const vec start = lanes >= LANES ? load(bias) : load_n(bias, lanes);
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) acc[i][j] = start;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i += 3) p[i / 3] = (const char *)a + i * a_row;
    for (intptr_t t = 0; t < (taps_in == FC_PRODUCT ? 1 : taps); t++) {
        if (taps_in == FC_TAPS_IN_B) q = (const char *)b + tap[t];
        for (intptr_t i = share; taps_in == FC_TAPS_IN_A && i > 0 && fetched != end;
             i--, fetched += c_row)
#pragma GCC unroll 4
            for (int j = 0; j < v; j++) __builtin_prefetch(fetched + j * sizeof(vec), 1, 3);
#pragma GCC unroll 16
        for (int i = 0; i < m; i += 3)
            if (taps_in == FC_TAPS_IN_A) p[i / 3] = (const char *)a + tap[t] + i * a_row;
        for (intptr_t l = k; l > 0; l--) {
            vec bv[FC_NV];
#pragma GCC unroll 4
            for (int j = 0; j < v; j++) {
                bv[j] = load(q + j * sizeof(vec));
                if (taps_in != FC_TAPS_IN_B && j * sizeof(vec) % 64 == 0)
                    __builtin_prefetch(next + j * sizeof(vec), 0, 2);
            }
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                const vec av = broadcast(load1(p[i / 3] + i % 3 * a_row));
#pragma GCC unroll 4
                for (int j = 0; j < v; j++) acc[i][j] += av * bv[j];
            }
#pragma GCC unroll 16
            for (int i = 0; i < m; i += 3) p[i / 3] += a_col;
            q += b_row;
            next += ahead_row;
        }
    }
    if (n == v * LANES && !s->scaled) {
        const vec threshold = threshold_of(s->relu);
        if (s->onto)
#pragma GCC unroll 16
            for (int i = 0; i < m; i++)
#pragma GCC unroll 4
                for (int j = 0; j < v; j++) acc[i][j] += load((char *)c + i * c_row + j * sizeof(vec));
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < v; j++)
                store((char *)c + i * c_row + j * sizeof(vec), above(threshold, acc[i][j]));
    } else {
        vec spilled[FC_TALL][FC_NV];
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < v; j++) spilled[i][j] = acc[i][j];
        store_tile(m, n, spilled, c, c_row, s);
    }
}

#define FUNCTION(name, m, v, taps_in)                                                                   \
    static void name##_##m##_##v(intptr_t taps, const intptr_t *tap, intptr_t k, const void *a,         \
                                 intptr_t a_row, intptr_t a_col, const void *b, intptr_t b_row,         \
                                 const void *ahead, intptr_t ahead_row, void *c, intptr_t c_row,        \
                                 intptr_t n, const fc_store *s) {                                       \
        tile(m, v, taps_in, taps, tap, k, a, a_row, a_col, b, b_row, ahead, ahead_row, c, c_row, n, s); \
    }
#define TILE(m, v)                           \
    FUNCTION(product_tile, m, v, FC_PRODUCT) \
    FUNCTION(tap_tile, m, v, FC_TAPS_IN_A)   \
    FUNCTION(row_tile, m, v, FC_TAPS_IN_B)
#define ROWS_6(X, v) X(1, v) X(2, v) X(3, v) X(4, v) X(5, v) X(6, v)
#define ROWS_8(X, v) ROWS_6(X, v) X(7, v) X(8, v)
#define ROWS_12(X, v) ROWS_8(X, v) X(9, v) X(10, v) X(11, v) X(12, v)
#define ROWS_14(X, v) ROWS_12(X, v) X(13, v) X(14, v)
#define ROWS_N(X, v, mr) ROWS_##mr(X, v)
#define ROWS(X, v, mr) ROWS_N(X, v, mr)
ROWS(TILE, 1, FC_TALL)
ROWS(TILE, 2, FC_MR)
/* clang-format off */
#define PRODUCT_ENTRY(m, v) product_tile_##m##_##v,
#define TAP_ENTRY(m, v) tap_tile_##m##_##v,
#define ROW_ENTRY(m, v) row_tile_##m##_##v,
#define VECTORS(ENTRY) {{ROWS(ENTRY, 1, FC_TALL)}, {ROWS(ENTRY, 2, FC_MR)}}
#define TILE_TABLE                                \
    {[FC_PRODUCT] = VECTORS(PRODUCT_ENTRY),       \
     [FC_TAPS_IN_A] = VECTORS(TAP_ENTRY),         \
     [FC_TAPS_IN_B] = VECTORS(ROW_ENTRY)}
/* clang-format on */
