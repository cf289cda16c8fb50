/* Winograd's minimal filtering F(m x m, 3 x 3), and F(m x 1, 3 x 1), F(1 x m, 1 x 3), after Lavin and Gray,
 * "Fast algorithms for convolutional neural networks" (2016): a tile of T x T pixels, T = m + 2, becomes T*T
 * independent products and then m x m results. Called by fastconv/_loops/transformed.pyx through `transforms`
 * of the kernel table. Vectors run over channels. The gradient of such filters is F(3 x 3, 4 x 4), "filters" of 4 x 4
 * pixels of grad and 3 x 3 results: winograd_grad.pyx.
 *
 * All of a variant follows from its interpolation points (POINTS below): 0 or not, pairs +-a, and infinity.
 * With N(x) = x^zero * prod(x^2 - a^2), the transforms of one axis are, for a point p,
 *
 *   input    the coefficients of N(x) / (x - p), and of N(x) for infinity, times the pixels
 *   weights  (g0 + p*g1 + p^2*g2 + ...) / N'(p), and the last g
 *   output   y[k] = sum_p p^k * m(p), plus m(infinity) at k = m - 1
 *
 * (Toom and Cook's construction, transposed.) N is even or odd, so the two points of a pair share all their
 * multiplications: the rows of +a and -a are the sum and the difference of an even and an odd part. The
 * compiler sees constants only: everything is unrolled, and coefficients are folded. */

/* The points decide the rounding errors, so they were searched for: by random steps from good guesses, the rms
 * error of 64 channels in float32 relative to that of summation in order. F(2): 0.6, and exact on whole
 * numbers. F(4): 1.8, where 0, +-1, +-2 give 4.2. F(5): 3.5, without a point 0. F(6): 7.4; no set of pairs
 * gave less. */
typedef struct {
    int m, zero, pairs;
    double pair[3];
} fc_points;

#define POINTS_2 ((fc_points){2, 1, 1, {1}})
#define POINTS_4 ((fc_points){4, 1, 2, {2.0 / 3, 3.0 / 2}})
#define POINTS_5 ((fc_points){5, 0, 3, {0.294, 0.8, 1.79}})
#define POINTS_6 ((fc_points){6, 1, 3, {0.5, 1, 2}})
#define POINTS_GRAD \
    ((fc_points){3, 1, 2, {2.0 / 3, 3.0 / 2}}) /* F(4)'s, so that both transform x alike */
#define MOST_T 8

/* The place of the point at infinity, behind the others. */
INLINE int infinity_of(const fc_points p) { return p.zero + 2 * p.pairs; }

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

/* A tile at the far edge of y has fewer results. The points of F(m) make fewer results too, if they are fewer, with the
 * same transformed weights: in those, a point p has N'(p) of all points, which is N'(p) of the `part` times the
 * product `rest` of x - p over the points that are left out; so pixels are multiplied with that. One result takes 3
 * points, two take 4; pairs stay together, so F(5), without a point 0, takes 5 for two. */
INLINE fc_points part_of(const fc_points p, const int results) {
    if (results >= p.m) return p;
    fc_points part = p;
    part.zero = p.zero && results % 2 == 0;
    part.pairs = (results + 2 - part.zero) / 2;
    part.m = part.zero + 2 * part.pairs - 1;
    return part;
}

/* Places are those of all points, p's. */
INLINE int takes_part(const fc_points p, const fc_points part, const int place) {
    if (place == infinity_of(p)) return 1;
    return place < p.zero ? part.zero : place < p.zero + 2 * part.pairs;
}

INLINE double rest_of(const fc_points p, const fc_points part, const double x) {
    double rest = p.zero && !part.zero ? x : 1;
#pragma GCC unroll 4
    for (int i = part.pairs; i < p.pairs; i++) rest *= x * x - p.pair[i] * p.pair[i];
    return rest;
}

INLINE void input_axis(const fc_points p, const fc_points part, const vec *d, vec *v) {
    double q[4];
    even_polynomial(part, -1, q);
    if (part.zero) v[0] = (real)rest_of(p, part, 0) * polynomial(q, part.pairs, d, 0);
    v[infinity_of(p)] = polynomial(q, part.pairs, d, part.zero);
#pragma GCC unroll 4
    for (int i = 0; i < part.pairs; i++) {
        even_polynomial(part, i, q);
        const double a = p.pair[i], rest = rest_of(p, part, a);
        const vec even = (real)rest * polynomial(q, part.pairs - 1, d, part.zero + 1);
        const vec odd = (real)(rest * a) * polynomial(q, part.pairs - 1, d, part.zero);
        v[p.zero + 2 * i] = even + odd;
        v[p.zero + 2 * i + 1] = p.zero && !part.zero ? odd - even : even - odd;
    }
}

INLINE void output_axis(const fc_points p, const fc_points part, const vec *v, vec *y) {
    vec sum[3], difference[3];
    double power[3];
#pragma GCC unroll 4
    for (int i = 0; i < part.pairs; i++) {
        sum[i] = v[p.zero + 2 * i] + v[p.zero + 2 * i + 1];
        difference[i] = v[p.zero + 2 * i] - v[p.zero + 2 * i + 1];
        power[i] = 1;
    }
#pragma GCC unroll 8
    for (int k = 0; k < part.m; k++) {
        const int starts = (k == 0 && part.zero) || k == part.m - 1;
        vec total = k == 0 && part.zero ? v[0] : k == part.m - 1 ? v[infinity_of(p)] : (vec){0};
#pragma GCC unroll 4
        for (int i = 0; i < part.pairs; i++) {
            const vec one = k % 2 ? difference[i] : sum[i];
            total = starts || i ? total + (real)power[i] * one : (real)power[i] * one;
            power[i] *= p.pair[i];
        }
        y[k] = total;
    }
}

/* Weights are transformed once and used often: in double precision, rounded once at the end. */
typedef double wide_vec __attribute__((vector_size(FC_VECTOR_BYTES * 8 / FC_REAL_BYTES)));

INLINE void weights_axis(const fc_points p, const int taps, const wide_vec *g, wide_vec *u) {
    double q[4];
    even_polynomial(p, -1, q);
    if (p.zero) u[0] = g[0] / q[0];
    u[infinity_of(p)] = g[taps - 1];
#pragma GCC unroll 4
    for (int i = 0; i < p.pairs; i++) {
        const double a = p.pair[i], square = a * a;
        even_polynomial(p, i, q);
        const double rest = q[0] + square * (q[1] + square * (q[2] + square * q[3]));
        const double scale = 1 / ((p.zero ? 2 * square : 2 * a) * rest); /* 1 / N'(a) */
        const wide_vec even = scale * (g[0] + square * g[2]);
        const wide_vec odd = scale * a * (taps == 4 ? g[1] + square * g[3] : g[1]);
        u[p.zero + 2 * i] = even + odd;
        u[p.zero + 2 * i + 1] = p.zero ? even - odd : odd - even;
    }
}

/* Below, `tall` and `wide` say which axes are transformed: both for 3 x 3 filters, one for 3 x 1 and 1 x 3.
 * Along an axis that is not, a tile has one pixel and one result. */
#define TILE_SIZES(p, tall, wide) \
    const int th = tall ? infinity_of(p) + 1 : 1, tw = wide ? infinity_of(p) + 1 : 1

/* CALL with the points of so many results as `part`, which the compiler knows in each case. */
#define PART_CASE(p, results, CALL)                 \
    case results: {                                 \
        const fc_points part = part_of(p, results); \
        CALL;                                       \
    } break;
#define BY_PART(p, results, CALL)                 \
    switch (results < p.m ? (int)results : p.m) { \
        PART_CASE(p, 1, CALL)                     \
        PART_CASE(p, 2, CALL)                     \
        PART_CASE(p, 3, CALL)                     \
        PART_CASE(p, 4, CALL)                     \
        PART_CASE(p, 5, CALL)                     \
        PART_CASE(p, 6, CALL)                     \
    }

/* A tile column by column of pixels, then row by row of points. */
INLINE void input_column(const fc_points p, const fc_points part, const char *from, intptr_t x_row,
                         intptr_t x_pixel, intptr_t lanes, int fetch, vec *half) {
    vec line[MOST_T];
#pragma GCC unroll 8
    for (int i = 0; i <= infinity_of(part); i++) {
        line[i] = load_upto(from + i * x_row, lanes);
        /* The tile on the right comes next: 64 channels at 224 pixels went from 120 to 235 GF/s (Zen 3, 2026-11). */
        if (fetch) __builtin_prefetch(from + i * x_row + p.m * x_pixel);
    }
    input_axis(p, part, line, half);
}
INLINE void input_row(const fc_points p, const fc_points part, const vec half[MOST_T][MOST_T], int i,
                      char *to, intptr_t v_plane) {
    vec line[MOST_T], result[MOST_T];
#pragma GCC unroll 8
    for (int j = 0; j <= infinity_of(part); j++) line[j] = half[j][i];
    input_axis(p, part, line, result);
#pragma GCC unroll 8
    for (int j = 0; j <= infinity_of(p); j++)
        if (takes_part(p, part, j)) store(to + j * v_plane, result[j]);
}

/* Of all tiles but the last of a row or column rows and cols are known: p.m, or 1 along an axis that is not
 * transformed. */
INLINE void input_vectors(const fc_points p, const int tall, const int wide, const char *x,
                          intptr_t x_row, intptr_t x_pixel, intptr_t channels, intptr_t rows,
                          intptr_t cols, char *v, intptr_t v_plane) {
    TILE_SIZES(p, tall, wide);
    const int width = wide ? infinity_of(part_of(p, (int)cols)) + 1 : 1;
    for (intptr_t c = 0; c < channels; c += LANES) {
        const intptr_t lanes = channels - c < LANES ? channels - c : LANES,
                       at = c * (intptr_t)sizeof(real);
        vec half[MOST_T][MOST_T];
        for (int j = 0; j < width; j++) {
            const char *from = opaque(x + j * x_pixel + at);
            if (tall)
                BY_PART(p, rows,
                        input_column(p, part, from, x_row, x_pixel, lanes, j >= tw - p.m, half[j]))
            else
                half[j][0] = load_upto(from, lanes);
        }
        for (int i = 0; i < th; i++) {
            if (tall && !takes_part(p, part_of(p, (int)rows), i)) continue;
            char *to = (char *)opaque(v + i * tw * v_plane + at);
            if (wide)
                BY_PART(p, cols, input_row(p, part, half, i, to, v_plane))
            else
                store(to, half[0][i]);
        }
    }
}

INLINE void winograd_input(const fc_points p, const int tall, const int wide, const char *x,
                           intptr_t x_row, intptr_t x_pixel, intptr_t channels, intptr_t rows,
                           intptr_t cols, char *v, intptr_t v_plane) {
    const int all_rows = tall ? p.m : 1, all_cols = wide ? p.m : 1;
    if (rows >= all_rows && cols >= all_cols)
        input_vectors(p, tall, wide, x, x_row, x_pixel, channels, all_rows, all_cols, v, v_plane);
    else
        input_vectors(p, tall, wide, x, x_row, x_pixel, channels, rows, cols, v, v_plane);
}

INLINE void winograd_weights(const fc_points p, const int taps, const int tall, const int wide,
                             const char *w, intptr_t w_row, intptr_t w_tap, intptr_t filters, char *u,
                             intptr_t u_frequency) {
    TILE_SIZES(p, tall, wide);
    for (intptr_t k = 0; k < filters; k += LANES) {
        const intptr_t lanes = filters - k < LANES ? filters - k : LANES,
                       at = k * (intptr_t)sizeof(real);
        wide_vec half[4][MOST_T], line[MOST_T];
#pragma GCC unroll 4
        for (int s = 0; s < (wide ? taps : 1); s++) {
#pragma GCC unroll 4
            for (int r = 0; r < (tall ? taps : 1); r++) {
                const char *from = w + r * w_row + s * w_tap + at;
                line[r] = __builtin_convertvector(load_upto(from, lanes), wide_vec);
            }
            if (tall)
                weights_axis(p, taps, line, half[s]);
            else
                half[s][0] = line[0];
        }
        for (int i = 0; i < th; i++) {
            wide_vec result[MOST_T];
#pragma GCC unroll 4
            for (int s = 0; s < (wide ? taps : 1); s++) line[s] = half[s][i];
            if (wide) weights_axis(p, taps, line, result);
#pragma GCC unroll 8
            for (int j = 0; j < tw; j++) {
                char *to = u + (i * tw + j) * u_frequency + at;
                const vec rounded = __builtin_convertvector(wide ? result[j] : line[j], vec);
                store_upto(to, rounded, lanes);
            }
        }
    }
}

INLINE void output_column(const fc_points p, const fc_points part, const char *from, intptr_t m_row,
                          intptr_t lanes, vec *half) {
    vec line[MOST_T];
#pragma GCC unroll 8
    for (int i = 0; i <= infinity_of(p); i++)
        if (takes_part(p, part, i)) line[i] = load_upto(from + i * m_row, lanes);
    output_axis(p, part, line, half);
}
INLINE void output_row(const fc_points p, const fc_points part, const vec half[MOST_T][MOST_T], int i,
                       vec *result) {
    vec line[MOST_T];
#pragma GCC unroll 8
    for (int j = 0; j <= infinity_of(p); j++)
        if (takes_part(p, part, j)) line[j] = half[j][i];
    output_axis(p, part, line, result);
}

/* whole: there are filters for all lanes of every vector. */
INLINE void output_vectors(const fc_points p, const int tall, const int wide, const int whole,
                           const char *m, intptr_t m_plane, intptr_t filters, const char *bias, int relu,
                           intptr_t rows, intptr_t cols, char *y, intptr_t y_row, intptr_t y_pixel) {
    TILE_SIZES(p, tall, wide);
    for (intptr_t k = 0; k < filters; k += LANES) {
        const intptr_t lanes = whole || filters - k > LANES ? LANES : filters - k,
                       at = k * (intptr_t)sizeof(real);
        vec half[MOST_T][MOST_T], result[MOST_T];
        const vec start = !bias ? (vec){0} : load_upto(bias + at, lanes);
        for (int j = 0; j < tw; j++) {
            if (wide && !takes_part(p, part_of(p, (int)cols), j)) continue;
            const char *from = opaque(m + j * m_plane + at);
            if (tall)
                BY_PART(p, rows, output_column(p, part, from, tw * m_plane, lanes, half[j]))
            else
                half[j][0] = load_upto(from, lanes);
        }
        for (int i = 0; i < rows; i++) {
            if (wide)
                BY_PART(p, cols, output_row(p, part, half, i, result))
            else
                result[0] = half[0][i];
            char *to = (char *)opaque(y + i * y_row + at);
#pragma GCC unroll 8
            for (int j = 0; j < (wide ? p.m : 1); j++) {
                if (j >= cols) break;
                vec total = result[j] + start;
                if (relu) total = rectified(total);
                __builtin_prefetch(to + (j + p.m) * y_pixel, 1);
                store_upto(to + j * y_pixel, total, lanes);
            }
        }
    }
}

INLINE void winograd_output(const fc_points p, const int tall, const int wide, const char *m,
                            intptr_t m_plane, intptr_t filters, const char *bias, int relu,
                            intptr_t rows, intptr_t cols, char *y, intptr_t y_row, intptr_t y_pixel) {
    const intptr_t all_rows = tall ? p.m : 1, all_cols = wide ? p.m : 1;
    const intptr_t whole = rows >= all_rows && cols >= all_cols ? filters / LANES * LANES : 0,
                   at = whole * (intptr_t)sizeof(real);
    output_vectors(p, tall, wide, 1, m, m_plane, whole, bias, relu, all_rows, all_cols, y, y_row,
                   y_pixel);
    if (whole < filters)
        output_vectors(p, tall, wide, 0, m + at, m_plane, filters - whole, bias ? bias + at : NULL, relu,
                       rows, cols, y + at, y_row, y_pixel);
}

/* The kernels of one size and shape of tile, and their row of the table. */
#define WINOGRAD_INPUT(size, name, tall, wide)                                                          \
    static void winograd_input_##name(const void *x, intptr_t x_row, intptr_t x_pixel,                  \
                                      intptr_t channels, intptr_t rows, intptr_t cols, void *v,         \
                                      intptr_t v_plane, void *scratch) {                                \
        (void)scratch;                                                                                  \
        winograd_input(POINTS_##size, tall, wide, x, x_row, x_pixel, channels, rows, cols, v, v_plane); \
    }
#define WINOGRAD_REST(size, taps, name, tall, wide)                                                  \
    static void winograd_weights_##name(intptr_t R, intptr_t S, const void *w, intptr_t w_row,       \
                                        intptr_t w_tap, intptr_t filters, void *u,                   \
                                        intptr_t u_frequency, intptr_t u_part, void *scratch) {      \
        (void)R, (void)S, (void)u_part, (void)scratch;                                               \
        winograd_weights(POINTS_##size, taps, tall, wide, w, w_row, w_tap, filters, u, u_frequency); \
    }                                                                                                \
    static void winograd_output_##name(const void *m, intptr_t m_plane, intptr_t filters,            \
                                       const void *bias, int relu, intptr_t rows, intptr_t cols,     \
                                       void *y, intptr_t y_row, intptr_t y_pixel, void *scratch) {   \
        (void)scratch;                                                                               \
        winograd_output(POINTS_##size, tall, wide, m, m_plane, filters, bias, relu, rows, cols, y,   \
                        y_row, y_pixel);                                                             \
    }
#define WINOGRAD(size, name, tall, wide)   \
    WINOGRAD_INPUT(size, name, tall, wide) \
    WINOGRAD_REST(size, 3, name, tall, wide)
#define WINOGRAD_ENTRY(size, name, tall, wide)      \
    {tall ? size + 2 : 1,                           \
     wide ? size + 2 : 1,                           \
     (tall ? size + 2 : 1) * (wide ? size + 2 : 1), \
     1,                                             \
     winograd_input_##name,                         \
     winograd_weights_##name,                       \
     winograd_output_##name,                        \
     winograd_points_##size,                        \
     0,                                             \
     NULL},
#define WINOGRAD_POINTS(size)                                                                         \
    static intptr_t winograd_points_##size(intptr_t results) {                                        \
        intptr_t places = 0;                                                                          \
        for (int i = 0; i <= infinity_of(POINTS_##size); i++)                                         \
            if (takes_part(POINTS_##size, part_of(POINTS_##size, (int)results), i)) places |= 1 << i; \
        return places;                                                                                \
    }
WINOGRAD_POINTS(2)
WINOGRAD_POINTS(4)
WINOGRAD_POINTS(5)
WINOGRAD_POINTS(6)
#define SHAPES(X, size) X(size, size##x##size, 1, 1) X(size, size##x1, 1, 0) X(size, 1x##size, 0, 1)
#define EVERY_WINOGRAD(X) SHAPES(X, 2) SHAPES(X, 4) SHAPES(X, 5) SHAPES(X, 6)
EVERY_WINOGRAD(WINOGRAD)
#define WINOGRAD_TABLE EVERY_WINOGRAD(WINOGRAD_ENTRY)

/* F(3 x 3, 4 x 4) transforms pixels of x as F(4 x 4, 3 x 3) does, and pixels of grad as filters. */
WINOGRAD_REST(GRAD, 4, grad, 1, 1)
static void winograd_input_grad(const void *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels,
                                intptr_t rows, intptr_t cols, void *v, intptr_t v_plane, void *scratch) {
    (void)rows, (void)cols;
    winograd_input_4x4(x, x_row, x_pixel, channels, 4, 4, v, v_plane, scratch);
}
#define WINOGRAD_GRAD \
    {6, 6, 36, 1, winograd_input_grad, winograd_weights_grad, winograd_output_grad, NULL, 0, NULL},
