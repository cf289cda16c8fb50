/* csrc/kernels/channels.c: sums over pixels and maps of whole pixels, at every rest of a vector. */
#include "driver.h"

static void try_covariance(idx rows, idx n, int with_ca) {
    begin("covariance: rows=%ld n=%ld ca=%d", (long)rows, (long)n, with_ca);
    const char *a = numbers(rows * n), *b = numbers(rows * n), *ca = with_ca ? numbers(n) : NULL,
               *cb = numbers(n);
    char *sum = numbers(n);
    double *expected = untouched(n);
    for (idx c = 0; c < n; c++) {
        expected[c] = get(sum, c);
        for (idx i = 0; i < rows; i++)
            expected[c] +=
                (get(a, i * n + c) - (ca ? get(ca, c) : 0)) * (get(b, i * n + c) - get(cb, c));
    }
    TRY(covariance)(rows, n, a, ca, b, cb, sum);
    same(sum, expected, n, 0);
}

/* y is memory of its own (0), a (1) or b (2). */
static void try_combine(idx rows, idx n, int with_b, int place) {
    begin("combine: rows=%ld n=%ld b=%d, y is %d", (long)rows, (long)n, with_b, place);
    char *a = numbers(rows * n), *b = with_b ? numbers(rows * n) : NULL;
    const char *ca = numbers(n), *cb = with_b ? numbers(n) : NULL, *d = numbers(n);
    char *y = place == 0 ? poisoned(rows * n) : place == 1 ? a : b;
    double *expected = untouched(rows * n);
    for (idx i = 0; i < rows * n; i++)
        expected[i] = get(a, i) * get(ca, i % n) + (b ? get(b, i) * get(cb, i % n) : 0) + get(d, i % n);
    TRY(combine)(rows, n, a, ca, b, cb, d, y);
    same(y, expected, rows * n, 0);
}

/* k + scale * the squares of the window of c. */
static double denominator(const char *x, idx n, idx size, double scale, double k, idx c) {
    double sum = 0;
    for (idx j = larger(0, c - size / 2); j < smaller(n, c - size / 2 + size); j++)
        sum += get(x, j) * get(x, j);
    return k + scale * sum;
}

static void try_response_norm(idx n, idx size, int in_place) {
    const double scale = 0.25, beta = 0.75, k = 2;
    begin("response_norm: n=%ld size=%ld in_place=%d", (long)n, (long)size, in_place);
    char *x = numbers(n), *y = in_place ? x : poisoned(n), *scratch = poisoned(n + size - 1);
    double *expected = untouched(n);
    for (idx c = 0; c < n; c++)
        expected[c] = get(x, c) / pow(denominator(x, n, size, scale, k, c), beta);
    TRY(response_norm)(n, size, scale, beta, k, x, scratch, y);
    same(y, expected, n, 16 * epsilon());
}

static void try_response_norm_grad(idx n, idx size, int in_place) {
    const double scale = 0.25, beta = 0.75, k = 2;
    begin("response_norm_grad: n=%ld size=%ld in_place=%d", (long)n, (long)size, in_place);
    char *x = numbers(n), *grad = numbers(n), *dx = in_place ? grad : poisoned(n);
    char *scratch = poisoned(3 * n + 2 * size);
    double *expected = untouched(n);
    for (idx c = 0; c < n; c++) {
        double others = 0;
        for (idx j = 0; j < n; j++) /* c is in the window of j */
            if (c >= j - size / 2 && c < j - size / 2 + size)
                others += get(grad, j) * get(x, j) / pow(denominator(x, n, size, scale, k, j), beta + 1);
        expected[c] = get(grad, c) / pow(denominator(x, n, size, scale, k, c), beta) -
                      2 * scale * beta * get(x, c) * others;
    }
    TRY(response_norm_grad)(n, size, scale, beta, k, x, grad, scratch, dx);
    same(dx, expected, n, 128 * epsilon());
}

void drive_channels(void) {
    for (idx n = 1; n <= 2 * kernels->lanes + 1; n++) {
        EACH (rows, 0, 1, 5)
            for (int way = 0; way < 2; way++) {
                try_covariance(rows, n, way);
                for (int place = 0; place < 2 + way; place++) try_combine(rows, n, way, place);
            }
        EACH (size, 1, 2, 5)
            for (int in_place = 0; in_place < 2; in_place++) {
                try_response_norm(n, size, in_place);
                try_response_norm_grad(n, size, in_place);
            }
    }
}
