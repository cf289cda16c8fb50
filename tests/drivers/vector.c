/* csrc/kernels/vector.c: `dot` and `axpy` at every rest of their blocks, `scale`. */
#include "driver.h"

static void try_dot(idx m, idx n, idx k, double alpha, double beta) {
    const idx a_row = k + 1, b_row = k + 2, c_row = n + 3;
    begin("dot: m=%ld n=%ld k=%ld alpha=%g beta=%g", (long)m, (long)n, (long)k, alpha, beta);
    const char *a = numbers(m * a_row - 1), *b = numbers(n * b_row - 2);
    char *c = poisoned(m * c_row - 3);
    double *expected = untouched(m * c_row - 3);
    for (idx i = 0; i < m; i++)
        for (idx j = 0; j < n; j++) {
            double sum = 0;
            for (idx l = 0; l < k; l++) sum += get(a, i * a_row + l) * get(b, j * b_row + l);
            expected[i * c_row + j] = alpha * sum;
            if (beta != 0) {
                put(c, i * c_row + j, number());
                expected[i * c_row + j] += beta * get(c, i * c_row + j);
            }
        }
    TRY(dot)(m, n, k, a, bytes(a_row), b, bytes(b_row), c, bytes(c_row), alpha, beta);
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
    EACH (m, 1, 2, 3, 4, 5)
        EACH (n, 1, 2, 3, 4, 7)
            EACH (k, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2)
                try_dot(m, n, k, m % 2 ? 1 : -2, n % 2 ? 0 : 3);
    EACH (k, 1, 7, 8, 9, 19)
        EACH (n, 1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2)
            EACH (a_col, 0, 1, 3) try_axpy(k, n, k % 2 ? 1 : -2, a_col);
    EACH (n, 0, 1, lanes, 2 * lanes + 3)
        EACH (beta, 0, -3) try_scale(n, (double)beta);
}
