/* csrc/kernels/elementwise.c: every map, in place and not, `largest` and `dropout`, at every rest of a vector. */
#include "driver.h"

static double relu(double a, double b, double s) { return (void)b, (void)s, rectified(a); }
static double relu_grad(double a, double b, double s) { return (void)s, b <= 0 ? 0 : a; }
static double sigmoid(double a, double b, double s) { return (void)b, (void)s, 1 / (1 + exp(-a)); }
static double sigmoid_grad(double a, double b, double s) { return (void)s, a * b * (1 - b); }
static double add(double a, double b, double s) { return (void)s, a + b; }
static double scaled_difference(double a, double b, double s) { return (a - b) * s; }
static double exp_minus(double a, double b, double s) { return (void)b, exp(a - s); }
static double softmax_grad(double a, double b, double s) { return b * (a - s); }

static const struct {
    double (*expected)(double a, double b, double s);
    int takes_b, exact;
} maps[FC_MAPS] = {
    [FC_RELU] = {relu, 0, 1},
    [FC_RELU_GRAD] = {relu_grad, 1, 1},
    [FC_SIGMOID] = {sigmoid, 0, 0},
    [FC_SIGMOID_GRAD] = {sigmoid_grad, 1, 1},
    [FC_ADD] = {add, 1, 1},
    [FC_SCALED_DIFFERENCE] = {scaled_difference, 1, 1},
    [FC_EXP_MINUS] = {exp_minus, 0, 0},
    [FC_SOFTMAX_GRAD] = {softmax_grad, 1, 1},
};

/* y is memory of its own (0), a (1) or b (2). */
static void try_map(int map, idx n, int place) {
    begin("map %d: n=%ld, y is %s", map, (long)n, place == 0 ? "apart" : place == 1 ? "a" : "b");
    char *a = numbers(n), *b = maps[map].takes_b ? numbers(n) : NULL;
    char *y = place == 0 ? poisoned(n) : place == 1 ? a : b;
    double *expected = untouched(n);
    for (idx i = 0; i < n; i++) expected[i] = maps[map].expected(get(a, i), b ? get(b, i) : 0, 2);
    TRY(map[map])(n, a, b, 2, y);
    same(y, expected, n, maps[map].exact ? 0 : 2 * epsilon());
}

static void try_largest(idx n, int with_nan) {
    begin("largest: n=%ld nan=%d", (long)n, with_nan);
    char *a = numbers(n);
    double *expected = untouched(1), most = -INFINITY;
    if (with_nan && n > 0) put(a, n / 2, NAN);
    for (idx i = 0; i < n; i++) most = get(a, i) > most ? get(a, i) : most;
    *expected = 0;
    char *equal = poisoned(1);
    put(equal, 0, TRY(largest)(n, a) != most);
    same(equal, expected, 1, 0);
}

static uint64_t mixed(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void try_dropout(idx n, double p, int in_place) {
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15), seed = 5, step = 7, image = 11;
    begin("dropout: n=%ld p=%g in_place=%d", (long)n, p, in_place);
    char *x = numbers(n), *y = in_place ? x : poisoned(n);
    double *expected = untouched(n);
    for (idx i = 0; i < n; i++) {
        const uint64_t hash =
            mixed(mixed(mixed(mixed(seed + golden) + step) + image) + (uint64_t)i * golden);
        expected[i] = (double)(hash >> 32) < p * 0x1p32 ? 0 : get(x, i) / (1 - p);
    }
    TRY(dropout)(n, seed, step, image, p, x, y);
    same(y, expected, n, 0);
}

void drive_elementwise(void) {
    for (idx n = 0; n <= 2 * kernels->lanes + 1; n++) {
        for (int map = 0; map < FC_MAPS; map++)
            for (int place = 0; place < (maps[map].takes_b ? 3 : 2); place++) try_map(map, n, place);
        for (int i = 0; i < 2; i++) {
            try_largest(n, i);
            try_dropout(n, 0.5, i);
            try_dropout(n, 0, i);
        }
    }
}
