/* Products that read a matrix once and so run at the speed of memory: no packing, no tile.
 *
 *   dot    c[i][j] = alpha * sum_k a[i][k] * b[j][k] + beta * c[i][j], both along k
 *   axpy   c[j] += alpha * sum_k a[k] * b[k][j]
 *   scale  c[j] = beta * c[j], 0 when beta is 0 whatever c held
 *
 * Called by fastconv/_loops for one or a few rows, or filters. */

#define DOT_M 4
#define DOT_N 4

/* 4 x 4 accumulators: 8 loads for 16 FMAs, and sums enough to hide the latency of an FMA. */
INLINE void dot_block(const int m, const int n, intptr_t k, const char *a, intptr_t a_row, const char *b,
                      intptr_t b_row, char *c, intptr_t c_row, double alpha, double beta) {
    vec acc[DOT_M][DOT_N];
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) acc[i][j] = (vec){0};
    intptr_t l = 0;
    for (; l + LANES <= k; l += LANES) {
        vec bv[DOT_N];
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) bv[j] = load(b + j * b_row + l * sizeof(real));
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            const vec av = load(a + i * a_row + l * sizeof(real));
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) acc[i][j] += av * bv[j];
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            real sum = sum_lanes(acc[i][j]);
            for (intptr_t t = l; t < k; t++)
                sum += load1(a + i * a_row + t * sizeof(real)) * load1(b + j * b_row + t * sizeof(real));
            char *out = c + i * c_row + j * sizeof(real);
            real v = (real)alpha * sum;
            if (beta != 0) v += (real)beta * load1(out);
            store1(out, v);
        }
}

static void dot(intptr_t m, intptr_t n, intptr_t k, const void *a, intptr_t a_row, const void *b,
                intptr_t b_row, void *c, intptr_t c_row, double alpha, double beta) {
    for (intptr_t i = 0; i < m; i += DOT_M)
        for (intptr_t j = 0; j < n; j += DOT_N) {
            const intptr_t rows = m - i < DOT_M ? m - i : DOT_M, cols = n - j < DOT_N ? n - j : DOT_N;
#define BLOCK(M, N)                                                                                \
    if (rows == M && cols == N)                                                                    \
        dot_block(M, N, k, (const char *)a + i * a_row, a_row, (const char *)b + j * b_row, b_row, \
                  (char *)c + i * c_row + j * sizeof(real), c_row, alpha, beta);
            /* clang-format off */
            BLOCK(1, 1) BLOCK(1, 2) BLOCK(1, 3) BLOCK(1, 4)
            BLOCK(2, 1) BLOCK(2, 2) BLOCK(2, 3) BLOCK(2, 4)
            BLOCK(3, 1) BLOCK(3, 2) BLOCK(3, 3) BLOCK(3, 4)
            BLOCK(4, 1) BLOCK(4, 2) BLOCK(4, 3) BLOCK(4, 4)
        /* clang-format on */
#undef BLOCK
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
