/* Products whose sums run along the vectors: no packing, no tile.
 *
 *   dot    c[i][j] = act(alpha * (bias + sum_t sum_k a(t, i, k) * b(t, j, k)) + beta * c[i][j]), both along k
 *   axpy   c[j] += alpha * sum_k a[k] * b[k][j]
 *   scale  c[j] = beta * c[j], 0 when beta is 0 whatever c held
 *
 * a(t, i, :) lies at a + a_tap[t] + i*a_row, b(t, j, :) at b + b_tap[t] + j*b_row; a product has one tap at 0, and no
 * lists. Called by fastconv/_loops for one or a few rows, or filters. */

/* Sums at once, and those of one row, which fit 16 registers with what they are computed from. (4 x 4 did not: 64
 * channels, 4 filters 54 and 85 GF/s; AVX2 on Zen 3, 2026-11.) */
#define DOT_SUMS 12
#define DOT_N 4

INLINE void dot_step(const int m, const int n, intptr_t lanes, const char *a, intptr_t a_row,
                     const char *b, intptr_t b_row, vec acc[DOT_SUMS][DOT_N]) {
    /* b's are in registers, and a's come one at a time; or the other way round, if they are fewer and 16 registers
     * would not do: GCC loads again what only two FMAs want. */
    vec few[DOT_N];
    if (n > m && m * n + n >= 16) {
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) few[i] = load_upto(a + i * a_row, lanes);
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            const vec bv = load_upto(b + j * b_row, lanes);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) acc[i][j] += few[i] * bv;
        }
    } else {
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) few[j] = load_upto(b + j * b_row, lanes);
#pragma GCC unroll 12
        for (int i = 0; i < m; i++) {
            const vec av = load_upto(a + i * a_row, lanes);
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) acc[i][j] += av * few[j];
        }
    }
}

INLINE void dot_block(const int m, const int n, intptr_t taps, const intptr_t *a_tap,
                      const intptr_t *b_tap, intptr_t k, const char *a, intptr_t a_row, const char *b,
                      intptr_t b_row, char *c, intptr_t c_row, const fc_store *s) {
    vec acc[DOT_SUMS][DOT_N];
#pragma GCC unroll 12
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) acc[i][j] = (vec){0};
    for (intptr_t t = 0; t < taps; t++) {
        const char *p = a_tap ? a + a_tap[t] : a, *q = b_tap ? b + b_tap[t] : b;
        intptr_t l = 0;
        for (; l + LANES <= k; l += LANES)
            dot_step(m, n, LANES, p + l * sizeof(real), a_row, q + l * sizeof(real), b_row, acc);
        if (l < k) dot_step(m, n, k - l, p + l * sizeof(real), a_row, q + l * sizeof(real), b_row, acc);
    }
#pragma GCC unroll 12
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            char *out = c + i * c_row + j * sizeof(real);
            real v = sum_lanes(acc[i][j]);
            if (s->row_bias) v += load1((const char *)s->row_bias + i * sizeof(real));
            if (s->col_bias) v += load1((const char *)s->col_bias + j * sizeof(real));
            v *= (real)s->alpha;
            if (s->onto) v += (real)s->beta * load1(out);
            store1(out, s->relu && v <= 0 ? 0 : v);
        }
}

static void dot(intptr_t m, intptr_t n, intptr_t taps, const intptr_t *a_tap, const intptr_t *b_tap,
                intptr_t k, const void *a, intptr_t a_row, const void *b, intptr_t b_row, void *c,
                intptr_t c_row, const fc_store *store) {
    /* Four rows are passed over b once: with fewer of its rows at a time. */
    const intptr_t width = m == DOT_N ? DOT_SUMS / DOT_N : DOT_N, parts = (n + width - 1) / width;
    for (intptr_t j = 0, cols, part = 0; part < parts; part++, j += cols) {
        cols = n / parts + (part < n % parts);
        const intptr_t most = DOT_SUMS / cols, blocks = (m + most - 1) / most;
        for (intptr_t i = 0, rows, block = 0; block < blocks; block++, i += rows) {
            rows = m / blocks + (block < m % blocks);
            const char *from = (const char *)a + i * a_row, *with = (const char *)b + j * b_row;
            char *out = (char *)c + i * c_row + j * sizeof(real);
            fc_store here = *store;
            if (here.row_bias) here.row_bias = (const char *)here.row_bias + i * sizeof(real);
            if (here.col_bias) here.col_bias = (const char *)here.col_bias + j * sizeof(real);
            switch (rows * DOT_N + cols - 1) {
#define BLOCK(M, N)                                                                          \
    case (M) * DOT_N + (N) - 1:                                                              \
        dot_block(M, N, taps, a_tap, b_tap, k, from, a_row, with, b_row, out, c_row, &here); \
        break;
                /* clang-format off */
                BLOCK(1, 1) BLOCK(2, 1) BLOCK(3, 1) BLOCK(4, 1) BLOCK(5, 1) BLOCK(6, 1)
                BLOCK(7, 1) BLOCK(8, 1) BLOCK(9, 1) BLOCK(10, 1) BLOCK(11, 1) BLOCK(12, 1)
                BLOCK(1, 2) BLOCK(2, 2) BLOCK(3, 2) BLOCK(4, 2) BLOCK(5, 2) BLOCK(6, 2)
                BLOCK(1, 3) BLOCK(2, 3) BLOCK(3, 3) BLOCK(4, 3)
                BLOCK(1, 4) BLOCK(2, 4) BLOCK(3, 4)
                /* clang-format on */
#undef BLOCK
            }
        }
    }
}

#define AXPY_K 8

INLINE void axpy_block(const int rows, intptr_t n, const real *x, const char *b, intptr_t b_row,
                       char *c) {
    vec xv[AXPY_K];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) xv[r] = broadcast(x[r]);
    for (intptr_t j = 0; j < n; j += LANES) {
        const intptr_t lanes = n - j < LANES ? n - j : LANES, at = j * (intptr_t)sizeof(real);
        vec sum = lanes == LANES ? load(c + at) : load_n(c + at, lanes);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sum +=
                xv[r] * (lanes == LANES ? load(b + r * b_row + at) : load_n(b + r * b_row + at, lanes));
        if (lanes == LANES)
            store(c + at, sum);
        else
            store_n(c + at, sum, lanes);
    }
}

static void axpy(intptr_t k, intptr_t n, double alpha, const void *a, intptr_t a_col, const void *b,
                 intptr_t b_row, void *c) {
    const char *p = a, *q = b;
    real x[AXPY_K];
    for (; k >= AXPY_K; k -= AXPY_K, q += AXPY_K * b_row) {
        for (int r = 0; r < AXPY_K; r++, p += a_col) x[r] = (real)alpha * load1(p);
        axpy_block(AXPY_K, n, x, q, b_row, c);
    }
    for (; k > 0; k--, p += a_col, q += b_row) {
        x[0] = (real)alpha * load1(p);
        axpy_block(1, n, x, q, b_row, c);
    }
}

static void scale(intptr_t n, double beta, void *c) {
    if (beta == 0)
        memset(c, 0, n * sizeof(real));
    else
        for (intptr_t j = 0; j < n; j++) {
            char *p = (char *)c + j * sizeof(real);
            store1(p, (real)beta * load1(p));
        }
}
