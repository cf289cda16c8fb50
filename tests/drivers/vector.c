/* csrc/kernels/vector.c: `dot` and `axpy` at every rest of their blocks, `scale`. */
#include "driver.h"

/* A product has one tap and no lists; otherwise a's taps lie in memory in reverse. */
static void try_dot(idx m, idx n, idx k, idx taps, fc_store store, int biased) {
    const idx a_row = k + 1, b_row = larger(1, taps) * k + 2, c_row = n + 3;
    begin("dot: m=%ld n=%ld k=%ld taps=%ld alpha=%g beta=%g bias=%d relu=%d", (long)m, (long)n, (long)k,
          (long)taps, store.alpha, store.beta, biased, store.relu);
    const char *a = numbers(larger(1, taps) * m * a_row - 1), *b = numbers(n * b_row - 2);
    char *c = poisoned(m * c_row - 3);
    double *expected = untouched(m * c_row - 3);
    idx *a_tap = offsets(taps), *b_tap = offsets(taps);
    for (idx t = 0; t < taps; t++) a_tap[t] = bytes((taps - 1 - t) * m * a_row), b_tap[t] = bytes(t * k);
    store.row_bias = biased == 1 ? numbers(m) : NULL;
    store.col_bias = biased == 2 ? numbers(n) : NULL;
    for (idx i = 0; i < m; i++)
        for (idx j = 0; j < n; j++) {
            double sum = biased == 1 ? get(store.row_bias, i) : biased == 2 ? get(store.col_bias, j) : 0;
            for (idx t = 0; t < taps; t++)
                for (idx l = 0; l < k; l++)
                    sum += get(a + a_tap[t], i * a_row + l) * get(b + b_tap[t], j * b_row + l);
            sum *= store.alpha;
            if (store.beta != 0) {
                put(c, i * c_row + j, number());
                sum += store.beta * get(c, i * c_row + j);
            }
            expected[i * c_row + j] = store.relu ? rectified(sum) : sum;
        }
    TRY(dot)(m, n, taps, taps == 1 ? NULL : a_tap, taps == 1 ? NULL : b_tap, k, a, bytes(a_row), b,
             bytes(b_row), c, bytes(c_row), &store);
    same(c, expected, m * c_row - 3, 0);
}

static void try_axpy(idx k, idx n, double alpha, idx a_col) {
    const idx b_row = n + 1;
    begin("axpy: k=%ld n=%ld alpha=%g a_col=%ld", (long)k, (long)n, alpha, (long)a_col);
    const char *a = numbers((k - 1) * a_col + 1), *b = numbers(k * b_row - 1);
    char *c = numbers(n);
    double *expected = untouched(n);
    for (idx j = 0; j < n; j++) {
        double sum = 0;
        for (idx l = 0; l < k; l++) sum += get(a, l * a_col) * get(b, l * b_row + j);
        expected[j] = get(c, j) + alpha * sum;
    }
    TRY(axpy)(k, n, alpha, a, bytes(a_col), b, bytes(b_row), c);
    same(c, expected, n, 0);
}

static void try_scale(idx n, double beta) {
    begin("scale: n=%ld beta=%g", (long)n, beta);
    char *c = beta == 0 ? poisoned(n) : numbers(n);
    double *expected = untouched(n);
    for (idx i = 0; i < n; i++) expected[i] = beta == 0 ? 0 : beta * get(c, i);
    TRY(scale)(n, beta, c);
    same(c, expected, n, 0);
}

void drive_vector(void) {
    const idx lanes = kernels->lanes;
    for (idx m = 1; m <= 13; m++)
        EACH (n, 1, 2, 3, 4, 7)
            EACH (k, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2)
                EACH (taps, 0, 1, 3)
                    try_dot(m, n, k, taps, fc_store_of(m % 2 ? 1 : -2, n % 2 ? 0 : 3, k % 2),
                            (m + n) % 3);
    EACH (k, 1, 7, 8, 9, 19)
        EACH (n, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2)
            EACH (a_col, 0, 1, 3) try_axpy(k, n, k % 2 ? 1 : -2, a_col);
    EACH (n, 0, 1, lanes, 2 * lanes + 3)
        EACH (beta, 0, -3) try_scale(n, (double)beta);
}
