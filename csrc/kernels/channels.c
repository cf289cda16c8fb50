/* Sums over pixels and maps of whole pixels, channels last: rows of n channels, one behind the other.
 *
 *   covariance   sum[c] += sum_i (a[i][c] - ca[c]) * (b[i][c] - cb[c]); a missing ca is 0
 *   combine      y[i][c] = a[i][c] * ca[c] + b[i][c] * cb[c] + d[c]; a missing b is 0; y may be a or b
 *   response_norm, response_norm_grad      each channel of a pixel over a power of its neighbours' squares
 *
 * Called by fastconv/_loops/batch_norm.pyx and response_norm.pyx. */

static void covariance(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                       const void *cb, void *sum) {
    const intptr_t row = n * (intptr_t)sizeof(real);
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES, at = c * (intptr_t)sizeof(real);
        const vec va = ca ? load_upto((const char *)ca + at, lanes) : (vec){0};
        const vec vb = load_upto((const char *)cb + at, lanes);
        const char *p = (const char *)a + at, *q = (const char *)b + at;
        vec acc = load_upto((char *)sum + at, lanes);
        for (intptr_t i = 0; i < rows; i++, p += row, q += row)
            acc += (load_upto(p, lanes) - va) * (load_upto(q, lanes) - vb);
        store_upto((char *)sum + at, acc, lanes);
    }
}

static void combine(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                    const void *cb, const void *d, void *y) {
    const intptr_t row = n * (intptr_t)sizeof(real);
    for (intptr_t i = 0; i < rows; i++)
        for (intptr_t c = 0; c < n; c += LANES) {
            const intptr_t lanes = n - c < LANES ? n - c : LANES, at = c * (intptr_t)sizeof(real);
            vec v = load_upto((const char *)d + at, lanes);
            v += load_upto((const char *)a + i * row + at, lanes) *
                 load_upto((const char *)ca + at, lanes);
            if (b)
                v += load_upto((const char *)b + i * row + at, lanes) *
                     load_upto((const char *)cb + at, lanes);
            store_upto((char *)y + i * row + at, v, lanes);
        }
}

/* The sum of `size` neighbours: row points at the first of them for element 0. */
INLINE vec window(intptr_t size, const real *row, intptr_t lanes) {
    vec sum = {0};
    for (intptr_t j = 0; j < size; j++) sum += load_upto(row + j, lanes);
    return sum;
}

/* y = x / d**beta, d[c] = k + scale * (the squares of `size` channels, size / 2 of them before c, together).
 * scratch: n + size - 1 items. */
static void response_norm(intptr_t n, intptr_t size, double scale, double beta, double k, const void *x,
                          void *scratch, void *y) {
    const intptr_t bytes = sizeof(real);
    real *square = scratch;
    memset(square, 0, (n + size - 1) * bytes);
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES;
        const vec v = load_upto((const char *)x + c * bytes, lanes);
        store_upto(square + size / 2 + c, v * v, lanes);
    }
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES;
        const vec d = (real)k + (real)scale * window(size, square + c, lanes);
        const vec v =
            load_upto((const char *)x + c * bytes, lanes) * exponential((real)-beta * logarithm(d));
        store_upto((char *)y + c * bytes, v, lanes);
    }
}

/* dx[c] = g[c] / d[c]**beta - 2 * scale * beta * x[c] * (sum of g * x / d**(beta + 1) where the window holds c).
 * scratch: 3 * n + 2 * size items. */
static void response_norm_grad(intptr_t n, intptr_t size, double scale, double beta, double k,
                               const void *x, const void *grad, void *scratch, void *dx) {
    const intptr_t bytes = sizeof(real);
    real *square = scratch, *share = square + n + size, *power = share + n + size;
    memset(square, 0, 2 * (n + size) * bytes);
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES;
        const vec v = load_upto((const char *)x + c * bytes, lanes);
        store_upto(square + size / 2 + c, v * v, lanes);
    }
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES;
        const vec v = load_upto((const char *)x + c * bytes, lanes);
        const vec g = load_upto((const char *)grad + c * bytes, lanes);
        const vec d = (real)k + (real)scale * window(size, square + c, lanes);
        const vec p = exponential((real)-beta * logarithm(d));
        store_upto(power + c, p, lanes);
        store_upto(share + (size - 1) / 2 + c, g * v * p / d, lanes);
    }
    for (intptr_t c = 0; c < n; c += LANES) {
        const intptr_t lanes = n - c < LANES ? n - c : LANES;
        const vec v = load_upto((const char *)x + c * bytes, lanes);
        const vec g = load_upto((const char *)grad + c * bytes, lanes);
        const vec others = window(size, share + c, lanes) * (real)(2 * scale * beta);
        store_upto((char *)dx + c * bytes, g * load_upto(power + c, lanes) - v * others, lanes);
    }
}
