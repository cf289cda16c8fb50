/* Winograd's minimal filtering F(m x m, 3 x 3), after Lavin and Gray, "Fast algorithms for convolutional neural
 * networks" (2016): a tile of T x T pixels, T = m + 2, becomes T*T independent products and then m x m results. Called
 * by fastconv/_loops/transformed.pyx through `transforms` of the kernel table. Vectors run over channels.
 *
 * All of a variant follows from its interpolation points (POINTS below): 0 or not, pairs +-a, and infinity. With
 * N(x) = x^zero * prod(x^2 - a^2), the transforms of one axis are, for a point p,
 *
 *   input    the coefficients of N(x) / (x - p), and of N(x) for infinity, times the pixels
 *   weights  (g0 + p*g1 + p^2*g2) / N'(p), and g2
 *   output   y[k] = sum_p p^k * m(p), plus m(infinity) at k = m - 1
 *
 * (Toom and Cook's construction, transposed.) N is even or odd, so the two points of a pair share all their
 * multiplications: rows of +a and -a are the sum and the difference of an even and an odd part. The compiler sees
 * constants only: everything is unrolled, and coefficients are folded. */

/* The points decide the rounding errors, so they were searched for (tools/winograd_points.py): rms error in float32
 * relative to direct summation. Products of a pair's square near 1 keep the coefficients near 1. F(2 x 2)'s are exact
 * on whole numbers. */
typedef struct {
    int m, zero, pairs;
    double pair[3];
} fc_points;

#define POINTS_2 ((fc_points){2, 1, 1, {1}})
#define POINTS_4 ((fc_points){4, 1, 2, {2.0 / 3, 3.0 / 2}})
#define POINTS_5 ((fc_points){5, 0, 3, {0.25, 0.85, 1.75}})
#define POINTS_6 ((fc_points){6, 1, 3, {0.5, 1, 2}})
#define MOST_T 8

/* The coefficients of prod(x^2 - a^2) over all pairs but `without`, in powers of x^2. */
INLINE void even_polynomial(const fc_points p, const int without, double q[4]) {
    q[0] = 1, q[1] = q[2] = q[3] = 0;
#pragma GCC unroll 4
    for (int i = 0; i < p.pairs; i++) {
        if (i == without) continue;
        const double square = p.pair[i] * p.pair[i];
#pragma GCC unroll 4
        for (int j = 3; j > 0; j--) q[j] = q[j - 1] - square * q[j];
        q[0] *= -square;
    }
}

/* sum_j q[j] * d[first + 2*j], j up to `degree`, where q[degree] is 1. */
INLINE vec polynomial(const double q[4], const int degree, const vec *d, const int first) {
    vec sum = d[first + 2 * degree];
#pragma GCC unroll 4
    for (int j = 0; j < degree; j++) sum += (real)q[j] * d[first + 2 * j];
    return sum;
}

INLINE void input_axis(const fc_points p, const vec *d, vec *v) {
    double q[4];
    even_polynomial(p, -1, q);
    if (p.zero) v[0] = polynomial(q, p.pairs, d, 0);
    v[p.m + 1] = polynomial(q, p.pairs, d, p.zero);
#pragma GCC unroll 4
    for (int i = 0; i < p.pairs; i++) {
        even_polynomial(p, i, q);
        const vec even = polynomial(q, p.pairs - 1, d, p.zero + 1);
        const vec odd = (real)p.pair[i] * polynomial(q, p.pairs - 1, d, p.zero);
        v[p.zero + 2 * i] = even + odd;
        v[p.zero + 2 * i + 1] = even - odd;
    }
}

INLINE void output_axis(const fc_points p, const vec *v, vec *y) {
    vec sum[3], difference[3];
    double power[3];
#pragma GCC unroll 4
    for (int i = 0; i < p.pairs; i++) {
        sum[i] = v[p.zero + 2 * i] + v[p.zero + 2 * i + 1];
        difference[i] = v[p.zero + 2 * i] - v[p.zero + 2 * i + 1];
        power[i] = 1;
    }
#pragma GCC unroll 8
    for (int k = 0; k < p.m; k++) {
        vec total = k == 0 && p.zero ? v[0] : k == p.m - 1 ? v[p.m + 1] : (vec){0};
#pragma GCC unroll 4
        for (int i = 0; i < p.pairs; i++) {
            const vec part = k % 2 ? difference[i] : sum[i];
            total =
                (k == 0 || (k == p.m - 1)) || i ? total + (real)power[i] * part : (real)power[i] * part;
            power[i] *= p.pair[i];
        }
        y[k] = total;
    }
}

/* Weights are transformed once and used often: in double precision, rounded once at the end. */
typedef double wide __attribute__((vector_size(FC_VECTOR_BYTES * 8 / FC_REAL_BYTES)));

INLINE void weights_axis(const fc_points p, const wide *g, wide *u) {
    double q[4];
    even_polynomial(p, -1, q);
    if (p.zero) u[0] = g[0] / q[0];
    u[p.m + 1] = g[2];
#pragma GCC unroll 4
    for (int i = 0; i < p.pairs; i++) {
        const double a = p.pair[i], square = a * a;
        even_polynomial(p, i, q);
        const double rest = q[0] + square * (q[1] + square * (q[2] + square * q[3]));
        const double scale = 1 / ((p.zero ? 2 * square : 2 * a) * rest); /* 1 / N'(a) */
        const wide even = scale * (g[0] + square * g[2]), odd = scale * a * g[1];
        u[p.zero + 2 * i] = even + odd;
        u[p.zero + 2 * i + 1] = p.zero ? even - odd : odd - even;
    }
}

INLINE void winograd_input(const fc_points p, const char *x, intptr_t x_row, intptr_t x_pixel,
                           intptr_t channels, char *v, intptr_t v_plane) {
    const int T = p.m + 2;
    for (intptr_t c = 0; c < channels; c += LANES) {
        const intptr_t lanes = channels - c, at = c * (intptr_t)sizeof(real);
        vec half[MOST_T][MOST_T], line[MOST_T];
        for (int j = 0; j < T; j++) {
            const char *from = x + j * x_pixel + at;
#pragma GCC unroll 8
            for (int i = 0; i < T; i++) {
                line[i] = lanes >= LANES ? load(from + i * x_row) : load_n(from + i * x_row, lanes);
                if (j >= 2) __builtin_prefetch(from + i * x_row + p.m * x_pixel);
            }
            input_axis(p, line, half[j]);
        }
        for (int i = 0; i < T; i++) {
            vec result[MOST_T];
#pragma GCC unroll 8
            for (int j = 0; j < T; j++) line[j] = half[j][i];
            input_axis(p, line, result);
            char *to = v + i * T * v_plane + at;
#pragma GCC unroll 8
            for (int j = 0; j < T; j++) {
                if (lanes >= LANES)
                    store(to + j * v_plane, result[j]);
                else
                    store_n(to + j * v_plane, result[j], lanes);
            }
        }
    }
}

INLINE void winograd_weights(const fc_points p, const char *w, intptr_t w_row, intptr_t w_tap,
                             intptr_t filters, char *u, intptr_t u_frequency) {
    const int T = p.m + 2;
    for (intptr_t k = 0; k < filters; k += LANES) {
        const intptr_t lanes = filters - k, at = k * (intptr_t)sizeof(real);
        wide half[3][MOST_T], line[MOST_T];
#pragma GCC unroll 4
        for (int s = 0; s < 3; s++) {
#pragma GCC unroll 4
            for (int r = 0; r < 3; r++) {
                const char *from = w + r * w_row + s * w_tap + at;
                line[r] =
                    __builtin_convertvector(lanes >= LANES ? load(from) : load_n(from, lanes), wide);
            }
            weights_axis(p, line, half[s]);
        }
        for (int i = 0; i < T; i++) {
            wide result[MOST_T];
#pragma GCC unroll 4
            for (int s = 0; s < 3; s++) line[s] = half[s][i];
            weights_axis(p, line, result);
#pragma GCC unroll 8
            for (int j = 0; j < T; j++) {
                char *to = u + (i * T + j) * u_frequency + at;
                const vec rounded = __builtin_convertvector(result[j], vec);
                if (lanes >= LANES)
                    store(to, rounded);
                else
                    store_n(to, rounded, lanes);
            }
        }
    }
}

INLINE void winograd_output(const fc_points p, const char *m, intptr_t m_plane, intptr_t filters,
                            const char *bias, int relu, intptr_t rows, intptr_t cols, char *y,
                            intptr_t y_row, intptr_t y_pixel) {
    const int T = p.m + 2;
    for (intptr_t k = 0; k < filters; k += LANES) {
        const intptr_t lanes = filters - k, at = k * (intptr_t)sizeof(real);
        vec half[MOST_T][MOST_T], line[MOST_T];
        const vec start = !bias ? (vec){0} : lanes >= LANES ? load(bias + at) : load_n(bias + at, lanes);
        for (int j = 0; j < T; j++) {
            const char *from = m + j * m_plane + at;
#pragma GCC unroll 8
            for (int i = 0; i < T; i++)
                line[i] = lanes >= LANES ? load(from + i * T * m_plane)
                                         : load_n(from + i * T * m_plane, lanes);
            output_axis(p, line, half[j]);
        }
        for (int i = 0; i < p.m; i++) {
            vec result[MOST_T];
            if (i >= rows) break;
#pragma GCC unroll 8
            for (int j = 0; j < T; j++) line[j] = half[j][i];
            output_axis(p, line, result);
            char *to = y + i * y_row + at;
#pragma GCC unroll 8
            for (int j = 0; j < p.m; j++) {
                vec total = result[j] + start;
                if (relu) total = rectified(total);
                if (j >= cols) break;
                __builtin_prefetch(to + (j + p.m) * y_pixel, 1);
                if (lanes >= LANES)
                    store(to + j * y_pixel, total);
                else
                    store_n(to + j * y_pixel, total, lanes);
            }
        }
    }
}

#define WINOGRAD(size)                                                                                  \
    static void winograd_input_##size(const void *x, intptr_t x_row, intptr_t x_pixel,                  \
                                      intptr_t channels, void *v, intptr_t v_plane, void *scratch) {    \
        (void)scratch;                                                                                  \
        winograd_input(POINTS_##size, x, x_row, x_pixel, channels, v, v_plane);                         \
    }                                                                                                   \
    static void winograd_weights_##size(intptr_t R, intptr_t S, const void *w, intptr_t w_row,          \
                                        intptr_t w_tap, intptr_t filters, void *u,                      \
                                        intptr_t u_frequency, intptr_t u_part, void *scratch) {         \
        (void)R, (void)S, (void)u_part, (void)scratch;                                                  \
        winograd_weights(POINTS_##size, w, w_row, w_tap, filters, u, u_frequency);                      \
    }                                                                                                   \
    static void winograd_output_##size(const void *m, intptr_t m_plane, intptr_t filters,               \
                                       const void *bias, int relu, intptr_t rows, intptr_t cols,        \
                                       void *y, intptr_t y_row, intptr_t y_pixel, void *scratch) {      \
        (void)scratch;                                                                                  \
        winograd_output(POINTS_##size, m, m_plane, filters, bias, relu, rows, cols, y, y_row, y_pixel); \
    }
WINOGRAD(2)
WINOGRAD(4)
WINOGRAD(5)
WINOGRAD(6)

#define WINOGRAD_ENTRY(size)  \
    {size + 2,                \
     (size + 2) * (size + 2), \
     1,                       \
     winograd_input_##size,   \
     winograd_weights_##size, \
     winograd_output_##size,  \
     0},
#define WINOGRAD_TABLE WINOGRAD_ENTRY(2) WINOGRAD_ENTRY(4) WINOGRAD_ENTRY(5) WINOGRAD_ENTRY(6)
