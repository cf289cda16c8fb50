/* Functions of single elements, y[i] = f(a[i], b[i], s) for i < n, in the order of the FC_ names in kernels.h;
 * the largest of a row; and dropout. y may be a or b. Called by fastconv/_loops: pointwise.pyx,
 * softmax.pyx, and where no tile applies the ReLU. exp and log are written out on vectors: libm's take one element at a time. */

#if FC_REAL_BYTES == 4
#define MANTISSA 23
#define BIAS 127
#define TO_INTEGER 0x1.8p23f /* added to a small number, it leaves the nearest integer in the low bits */
#define EXP_LOW -104.f       /* below, exp is 0; above EXP_HIGH, infinite */
#define EXP_HIGH 90.f
#define EXP_DEGREE 7
#define LOG_TERMS 5
#define LN2_HIGH \
    0x1.63p-1f /* few digits, so that its multiples are exact; LN2_HIGH + LN2_LOW is log(2) */
#define LN2_LOW -0x1.bd0106p-13f
#else
#define MANTISSA 52
#define BIAS 1023
#define TO_INTEGER 0x1.8p52
#define EXP_LOW -746.
#define EXP_HIGH 710.
#define EXP_DEGREE 13
#define LOG_TERMS 11
#define LN2_HIGH 0x1.62e4p-1
#define LN2_LOW 0x1.7f7d1cf79abcap-20
#endif

/* 2**n, n an integer between the exponents of the smallest and of the largest normal number. */
INLINE vec power_of_two(vec_index n) { return (vec)((n + BIAS) << MANTISSA); }

/* exp(x) = 2**n * exp(r) with |r| <= log(2) / 2, where what Taylor's polynomial leaves out is below an eighth of
 * a unit in the last place. 2**n is two factors, since it may be no normal number. NaN stays NaN. */
INLINE vec exponential(vec x) {
    x = where(x < EXP_LOW, broadcast(EXP_LOW), x);
    x = where(x > EXP_HIGH, broadcast(EXP_HIGH), x);
    const vec shifted = x * (real)1.44269504088896340736 + TO_INTEGER, n = shifted - TO_INTEGER;
    const vec_index whole = (vec_index)shifted - (vec_index)broadcast(TO_INTEGER), half = whole >> 1;
    const vec r = x - n * LN2_HIGH - n * LN2_LOW;
    static const real factorial[] = {
        1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, (real)6227020800.};
    vec sum = broadcast(1 / factorial[EXP_DEGREE]);
#pragma GCC unroll 16
    for (int k = EXP_DEGREE - 1; k >= 0; k--) sum = sum * r + 1 / factorial[k];
    return sum * power_of_two(half) * power_of_two(whole - half);
}

/* log(x) = n * log(2) + log(m) with m between the roots of 1/2 and of 2, by the series of 2 * atanh(t),
 * t = (m - 1) / (m + 1). Infinity and NaN stay what they are, 0 gives -infinity, less gives NaN. */
INLINE vec logarithm(vec x) {
    const vec root = broadcast((real)0.70710678118654752440);
    const vec_index n = ((vec_index)x - (vec_index)root) >> MANTISSA;
    const vec m = (vec)((vec_index)x - (n << MANTISSA)), t = (m - 1) / (m + 1), square = t * t;
    const vec exponent = (vec)(n + (vec_index)broadcast(TO_INTEGER)) - TO_INTEGER;
    vec sum = broadcast(1 / (real)(2 * LOG_TERMS - 1));
#pragma GCC unroll 16
    for (int k = LOG_TERMS - 2; k >= 0; k--) sum = sum * square + 1 / (real)(2 * k + 1);
    const vec finite = exponent * LN2_HIGH + (exponent * LN2_LOW + 2 * t * sum);
    const vec other = where(x < 0, broadcast(NAN), where(x == 0, broadcast(-INFINITY), x));
    return where(x > 0, where(x < INFINITY, finite, other), other);
}

#define MAP(name, value)                                                                           \
    static void name(intptr_t n, const void *a, const void *b, double s, void *y) {                \
        const vec scalar = broadcast((real)s);                                                     \
        (void)scalar;                                                                              \
        for (intptr_t j = 0; j < n; j += LANES) {                                                  \
            const intptr_t lanes = n - j < LANES ? n - j : LANES, at = j * (intptr_t)sizeof(real); \
            const vec p = load_upto((const char *)a + at, lanes);                                  \
            const vec q = b ? load_upto((const char *)b + at, lanes) : p;                          \
            (void)q;                                                                               \
            store_upto((char *)y + at, value, lanes);                                              \
        }                                                                                          \
    }
MAP(relu, rectified(p))
MAP(relu_grad, (vec)((vec_index)p & ~(q <= 0)))
MAP(sigmoid, 1 / (1 + exponential(-p)))
MAP(sigmoid_grad, p * q * (1 - q))
MAP(add, p + q)
MAP(scaled_difference, (p - q) * scalar)
MAP(exp_minus, exponential(p - scalar))
MAP(softmax_grad, q *(p - scalar))
#undef MAP
#define MAP_TABLE \
    {relu, relu_grad, sigmoid, sigmoid_grad, add, scaled_difference, exp_minus, softmax_grad}

/* The largest of n numbers, NaN left out; -inf if there is none. */
static double largest(intptr_t n, const void *a) {
    const real lowest = -(real)INFINITY;
    vec best = broadcast(lowest);
    intptr_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vec v = load((const char *)a + j * sizeof(real));
        best = where(v > best, v, best);
    }
    real most = lowest;
    for (int i = 0; i < LANES; i++) most = best[i] > most ? best[i] : most;
    for (; j < n; j++) {
        const real v = load1((const char *)a + j * sizeof(real));
        most = v > most ? v : most;
    }
    return most;
}

/* The finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
INLINE uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Element i of an image is dropped with probability p, by a hash of (seed, step, image, i): whoever computes
 * the mask again gets the same, and no two threads share a state. */
static void dropout(intptr_t n, uint64_t seed, uint64_t step, uint64_t image, double p, const void *x,
                    void *y) {
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15), threshold = (uint64_t)(p * 0x1p32);
    const uint64_t key = mixed(mixed(mixed(seed + golden) + step) + image);
    const real kept = (real)(1 / (1 - p));
    for (intptr_t i = 0; i < n; i++) {
        const int keep = mixed(key + (uint64_t)i * golden) >> 32 >= threshold;
        store1((char *)y + i * sizeof(real),
               keep ? kept * load1((const char *)x + i * sizeof(real)) : 0);
    }
}
