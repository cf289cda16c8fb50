/* Two-dimensional Fourier transforms of real tiles of T x T pixels, and the convolution of a tile through
 * them. Every lane of a vector is a tile of its own (a channel, or a neighbouring tile), so nothing is ever
 * shuffled. Called by fastconv/_loops/transformed.pyx (channels are summed) and fft_depthwise.pyx (they
 * are not).
 *
 *     x tile  --rows-->  z  --columns-->  spectrum: T*(T/2 + 1) frequencies, f = column*T + row
 *
 * Rows are real, so rows r and r + T/2 are transformed as one complex row, z[r] = FFT(x[r] + i x[r + T/2]),
 * and taken apart where a column is read: at column k both halves of z[r][k] and z[r][-k] give the spectra
 * of the two rows (twice them: the factor goes into the weights' scale). So z takes T*T values, and the
 * taking apart costs additions only. The way back is the same in reverse order.
 *
 * The inverse transform is the forward one with re and im exchanged on both ends. A pair of complex
 * elements i and i + T/2 is what `read` and `write` below move, which is where each pass of radix 4 or 8
 * begins and ends. */
#include "twiddles.h"

typedef struct {
    vec re, im;
} cvec;

INLINE cvec c_add(cvec a, cvec b) { return (cvec){a.re + b.re, a.im + b.im}; }
INLINE cvec c_sub(cvec a, cvec b) { return (cvec){a.re - b.re, a.im - b.im}; }
INLINE cvec c_add_i(cvec a, cvec b) { return (cvec){a.re - b.im, a.im + b.re}; } /* a + i b */
INLINE cvec c_sub_i(cvec a, cvec b) { return (cvec){a.re + b.im, a.im - b.re}; } /* a - i b */
INLINE cvec c_mul(cvec a, const real *w) {
    const vec re = broadcast(w[0]), im = broadcast(w[1]);
    return (cvec){a.re * re - a.im * im, a.re * im + a.im * re};
}

/* The transforms of 4 and of 8 elements, in place. */
INLINE void butterfly4(cvec z[4]) {
    const cvec a = c_add(z[0], z[2]), b = c_sub(z[0], z[2]), c = c_add(z[1], z[3]),
               d = c_sub(z[1], z[3]);
    z[0] = c_add(a, c);
    z[1] = c_sub_i(b, d);
    z[2] = c_sub(a, c);
    z[3] = c_add_i(b, d);
}
INLINE void butterfly8(cvec z[8]) {
    cvec even[4] = {z[0], z[2], z[4], z[6]}, odd[4] = {z[1], z[3], z[5], z[7]};
    butterfly4(even);
    butterfly4(odd);
    odd[1] = c_mul(odd[1], twiddles[16]);
    odd[3] = c_mul(odd[3], twiddles[48]);
    z[0] = c_add(even[0], odd[0]);
    z[4] = c_sub(even[0], odd[0]);
    z[1] = c_add(even[1], odd[1]);
    z[5] = c_sub(even[1], odd[1]);
    z[2] = c_sub_i(even[2], odd[2]);
    z[6] = c_add_i(even[2], odd[2]);
    z[3] = c_add(even[3], odd[3]);
    z[7] = c_sub(even[3], odd[3]);
}

typedef void pair_reader(const void *from, intptr_t i, cvec *z, cvec *half);
typedef void pair_writer(const void *to, intptr_t i, cvec z, cvec half);

/* The transform of T elements, by Stockham's passes: sub-transforms of n elements, s of them interleaved,
 * become radix * s of n / radix. Each pass reads elements T/radix apart and the last writes them so. */
INLINE void fft(const int T, pair_reader *read, const void *from, pair_writer *write, const void *to) {
    cvec a[T], b[T >= 64 ? T : 1], *last = a;
    const int first = T == 32 || T == 128 ? 8 : 4;
    for (intptr_t p = 0; p < T / first; p++) {
        cvec z[8];
#pragma GCC unroll 4
        for (int j = 0; j < first / 2; j++) read(from, p + j * (T / first), &z[j], &z[j + first / 2]);
        if (first == 8)
            butterfly8(z);
        else
            butterfly4(z);
        a[p * first] = z[0];
#pragma GCC unroll 8
        for (int j = 1; j < first; j++) a[p * first + j] = c_mul(z[j], twiddles[p * j * (128 / T)]);
    }
    if (T >= 64) {
        for (intptr_t p = 0; p < T / first / 4; p++)
            for (intptr_t q = 0; q < first; q++) {
                cvec z[4];
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) z[j] = a[q + first * p + j * (T / 4)];
                butterfly4(z);
                cvec *out = b + q + 4 * first * p;
                out[0] = z[0];
#pragma GCC unroll 4
                for (int j = 1; j < 4; j++)
                    out[j * first] = c_mul(z[j], twiddles[p * j * (first * 128 / T)]);
            }
        last = b;
    }
    for (intptr_t q = 0; q < T / 4; q++) {
        cvec z[4] = {last[q], last[q + T / 4], last[q + T / 2], last[q + 3 * T / 4]};
        butterfly4(z);
        write(to, q, z[0], z[2]);
        write(to, q + T / 4, z[1], z[3]);
    }
}

/* Two rows of pixels, those outside of [left, right) zero; a row that is NULL is zero. */
typedef struct {
    int T;
    const char *row[2];
    intptr_t pixel, left, right, lanes;
    real scale;
} pixel_rows;

INLINE vec read_pixel(const pixel_rows *x, int row, intptr_t i) {
    if (!x->row[row] || i < x->left || i >= x->right) return (vec){0};
    return load_upto(x->row[row] + i * x->pixel, x->lanes) * broadcast(x->scale);
}
INLINE void read_pixels(const void *from, intptr_t i, cvec *z, cvec *half) {
    const pixel_rows *x = from;
    *z = (cvec){read_pixel(x, 0, i), read_pixel(x, 1, i)};
    *half = (cvec){read_pixel(x, 0, i + x->T / 2), read_pixel(x, 1, i + x->T / 2)};
}

/* The same for results. */
typedef struct {
    int T;
    char *row[2];
    intptr_t pixel, cols, lanes;
    vec bias;
    int relu;
} result_rows;

INLINE void write_pixel(const result_rows *y, int row, intptr_t i, vec v) {
    if (!y->row[row] || i >= y->cols) return;
    v += y->bias;
    store_upto(y->row[row] + i * y->pixel, y->relu ? rectified(v) : v, y->lanes);
}
INLINE void write_pixels(const void *to, intptr_t i, cvec z, cvec half) {
    const result_rows *y = to;
    write_pixel(y, 0, i, z.im); /* exchanged: the inverse transform */
    write_pixel(y, 1, i, z.re);
    write_pixel(y, 0, i + y->T / 2, half.im);
    write_pixel(y, 1, i + y->T / 2, half.re);
}

/* A row of z, which the FFT of a pair of rows is written to and the inverse reads. */
typedef struct {
    int T;
    char *z;
} z_row;

INLINE cvec load_c(const char *p) { return (cvec){load(p), load(p + sizeof(vec))}; }
INLINE void store_c(char *p, cvec z) {
    store(p, z.re);
    store(p + sizeof(vec), z.im);
}
INLINE void write_z_row(const void *to, intptr_t i, cvec z, cvec half) {
    const z_row *row = to;
    store_c(row->z + i * sizeof(cvec), z);
    store_c(row->z + (i + row->T / 2) * sizeof(cvec), half);
}
INLINE void read_z_row(const void *from, intptr_t i, cvec *z, cvec *half) {
    const z_row *row = from;
    *z = load_c(row->z + i * sizeof(cvec));
    *half = load_c(row->z + (i + row->T / 2) * sizeof(cvec));
}

/* Column k of z: rows i and i + T/2 of the half spectrum lie in z[i] at k and at -k. Rows of z are one
 * element longer than T, or a column would fill a few sets of the cache only. */
#define Z_ROW(T) (((T) + 1) * (intptr_t)sizeof(cvec))
#define Z_BYTES(T) ((T) / 2 * Z_ROW(T))

typedef struct {
    int T;
    char *k, *minus_k;
    intptr_t rows; /* rows of z from there on are zero, and not stored */
} z_column;

INLINE z_column column_of(const int T, char *z, intptr_t k, intptr_t rows) {
    return (z_column){T, z + k * sizeof(cvec), z + (T - k) % T * sizeof(cvec), rows};
}
INLINE void read_column(const void *from, intptr_t i, cvec *z, cvec *half) {
    const z_column *column = from;
    *z = *half = (cvec){{0}, {0}};
    if (i >= column->rows) return;
    const cvec a = load_c(column->k + i * Z_ROW(column->T)),
               b = load_c(column->minus_k + i * Z_ROW(column->T));
    *z = (cvec){a.re + b.re, a.im - b.im};
    *half = (cvec){a.im + b.im, b.re - a.re};
}
INLINE void write_column(const void *to, intptr_t i, cvec z, cvec half) { /* both exchanged */
    const z_column *column = to;
    if (i >= column->rows) return;
    store_c(column->k + i * Z_ROW(column->T), c_sub_i(z, half));
    store_c(column->minus_k + i * Z_ROW(column->T), (cvec){half.im - z.re, z.im + half.re});
}

/* A column of the spectrum in the planes of an fc_transform, or in one's own array. */
typedef struct {
    int T, planes; /* 2: re, im; 3: re, im, -re */
    char *at;
    intptr_t frequency, plane, lanes; /* bytes between frequencies, between planes */
} spectrum_column;

INLINE void write_frequency(const spectrum_column *v, intptr_t i, cvec z) {
    char *at = v->at + i * v->frequency;
    store_upto(at, z.re, v->lanes);
    store_upto(at + v->plane, z.im, v->lanes);
    if (v->planes == 3) store_upto(at + 2 * v->plane, -z.re, v->lanes);
}
INLINE void write_spectrum(const void *to, intptr_t i, cvec z, cvec half) {
    const spectrum_column *v = to;
    write_frequency(v, i, z);
    write_frequency(v, i + v->T / 2, half);
}
INLINE cvec read_frequency(const spectrum_column *m, intptr_t i) { /* exchanged */
    const char *at = m->at + i * m->frequency;
    return (cvec){load_upto(at + m->plane, m->lanes), load_upto(at, m->lanes)};
}
INLINE void read_spectrum(const void *from, intptr_t i, cvec *z, cvec *half) {
    const spectrum_column *m = from;
    *z = read_frequency(m, i);
    *half = read_frequency(m, i + m->T / 2);
}

/* A column of x's spectrum on its way to the inverse: times the conjugate of the weights' spectrum, which
 * has the same for every lane or its own for each. */
typedef struct {
    int T, shared;
    const cvec *x;
    const char *u;
} product_column;

INLINE cvec read_product(const product_column *p, intptr_t i) { /* exchanged */
    const cvec x = p->x[i];
    const char *at = p->u + i * 2 * (p->shared ? sizeof(real) : sizeof(vec));
    const vec re = p->shared ? broadcast(load1(at)) : load(at);
    const vec im = p->shared ? broadcast(load1(at + sizeof(real))) : load(at + sizeof(vec));
    return (cvec){x.im * re - x.re * im, x.re * re + x.im * im};
}
INLINE void read_products(const void *from, intptr_t i, cvec *z, cvec *half) {
    const product_column *p = from;
    *z = read_product(p, i);
    *half = read_product(p, i + p->T / 2);
}

/* The rows of the way there and of the way back. */
INLINE void rows_to_z(const int T, const char *x, intptr_t x_row, intptr_t x_pixel, intptr_t lanes,
                      const fc_window *inside, real scale, intptr_t rows, char *z) {
    for (intptr_t r = 0; r < rows; r++) {
        pixel_rows from = {T, {NULL, NULL}, x_pixel, inside->left, inside->right, lanes, scale};
        for (int half = 0; half < 2; half++) {
            const intptr_t at = r + half * T / 2;
            if (inside->top <= at && at < inside->bottom) from.row[half] = x + at * x_row;
        }
        const z_row to = {T, z + r * Z_ROW(T)};
        fft(T, read_pixels, &from, write_z_row, &to);
    }
}
INLINE void z_to_rows(const int T, const char *z, intptr_t rows, intptr_t cols, intptr_t lanes, vec bias,
                      int relu, char *y, intptr_t y_row, intptr_t y_pixel) {
    for (intptr_t r = 0; r < rows && r < T / 2; r++) {
        const z_row from = {T, (char *)z + r * Z_ROW(T)};
        char *row = y + r * y_row, *half = r + T / 2 < rows ? row + T / 2 * y_row : NULL;
        const result_rows to = {T, {row, half}, y_pixel, cols, lanes, bias, relu};
        fft(T, read_z_row, &from, write_pixels, &to);
    }
}

INLINE void input_vector(const int T, const char *x, intptr_t x_row, intptr_t x_pixel, intptr_t lanes,
                         char *v, intptr_t v_plane, char *z) {
    const fc_window all = {0, T, 0, T};
    rows_to_z(T, x, x_row, x_pixel, lanes, &all, 1, T / 2, z);
    for (intptr_t k = 0; k <= T / 2; k++) {
        const z_column from = column_of(T, z, k, T / 2);
        const spectrum_column to = {T, 3, v + k * T * 3 * v_plane, 3 * v_plane, v_plane, lanes};
        fft(T, read_column, &from, write_spectrum, &to);
    }
}
INLINE void weights_vector(const int T, intptr_t R, intptr_t S, const char *w, intptr_t w_row,
                           intptr_t w_tap, intptr_t lanes, char *u, intptr_t u_frequency,
                           intptr_t u_part, char *z) {
    const fc_window taps = {0, R, 0, S};
    const intptr_t rows = R < T / 2 ? R : T / 2;
    rows_to_z(T, w, w_row, w_tap, lanes, &taps, (real)0.25 / (T * T), rows, z);
    for (intptr_t k = 0; k <= T / 2; k++) {
        const z_column from = column_of(T, z, k, rows);
        const spectrum_column to = {T, 2, u + k * T * u_frequency, u_frequency, u_part, lanes};
        fft(T, read_column, &from, write_spectrum, &to);
    }
}
INLINE void output_vector(const int T, const char *m, intptr_t m_plane, intptr_t lanes, const char *bias,
                          int relu, intptr_t rows, intptr_t cols, char *y, intptr_t y_row,
                          intptr_t y_pixel, char *z) {
    for (intptr_t k = 0; k <= T / 2; k++) {
        const spectrum_column from = {T,           2,       (char *)m + k * T * 2 * m_plane,
                                      2 * m_plane, m_plane, lanes};
        const z_column to = column_of(T, z, k, rows);
        fft(T, read_spectrum, &from, write_column, &to);
    }
    z_to_rows(T, z, rows, cols, lanes, bias ? load_upto(bias, lanes) : (vec){0}, relu, y, y_row,
              y_pixel);
}

/* Whole vectors of channels or filters first, then what is left: the number of lanes is worth knowing when
 * it is compiled. */
INLINE void fft_input(const int T, const char *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels,
                      char *v, intptr_t v_plane, char *z) {
    for (; channels >= LANES; channels -= LANES, x += sizeof(vec), v += sizeof(vec))
        input_vector(T, x, x_row, x_pixel, LANES, v, v_plane, z);
    if (channels > 0) input_vector(T, x, x_row, x_pixel, channels, v, v_plane, z);
}
INLINE void fft_weights(const int T, intptr_t R, intptr_t S, const char *w, intptr_t w_row,
                        intptr_t w_tap, intptr_t filters, char *u, intptr_t u_frequency, intptr_t u_part,
                        char *z) {
    for (; filters >= LANES; filters -= LANES, w += sizeof(vec), u += sizeof(vec))
        weights_vector(T, R, S, w, w_row, w_tap, LANES, u, u_frequency, u_part, z);
    if (filters > 0) weights_vector(T, R, S, w, w_row, w_tap, filters, u, u_frequency, u_part, z);
}
INLINE void fft_output(const int T, const char *m, intptr_t m_plane, intptr_t filters, const char *bias,
                       int relu, intptr_t rows, intptr_t cols, char *y, intptr_t y_row, intptr_t y_pixel,
                       char *z) {
    for (; filters >= LANES; filters -= LANES, m += sizeof(vec), y += sizeof(vec)) {
        output_vector(T, m, m_plane, LANES, bias, relu, rows, cols, y, y_row, y_pixel, z);
        if (bias) bias += sizeof(vec);
    }
    if (filters > 0) output_vector(T, m, m_plane, filters, bias, relu, rows, cols, y, y_row, y_pixel, z);
}

/* One tile of x to one tile of y, lane by lane: what takes three steps where channels are summed. The
 * spectrum exists one column at a time and returns to where it was read, so z is all the memory there is. */
INLINE void filter_columns(const int T, const char *u, const int shared, char *z) {
    for (intptr_t k = 0; k <= T / 2; k++) {
        cvec spectrum[T];
        const z_column column = column_of(T, z, k, T / 2);
        const spectrum_column to = {T, 2, (char *)spectrum, sizeof(cvec), sizeof(vec), LANES};
        const product_column from = {T, shared, spectrum,
                                     u + k * 2 * T * (shared ? sizeof(real) : sizeof(vec))};
        fft(T, read_column, &column, write_spectrum, &to);
        fft(T, read_products, &from, write_column, &column);
    }
}
INLINE void fft_filter(const int T, const char *x, intptr_t x_row, intptr_t x_pixel,
                       const fc_window *inside, intptr_t lanes, const char *u, int shared,
                       const char *bias, int relu, intptr_t rows, intptr_t cols, char *y, intptr_t y_row,
                       intptr_t y_pixel, char *z) {
    if (lanes == LANES)
        rows_to_z(T, x, x_row, x_pixel, LANES, inside, 1, T / 2, z);
    else
        rows_to_z(T, x, x_row, x_pixel, lanes, inside, 1, T / 2, z);
    if (shared)
        filter_columns(T, u, 1, z);
    else
        filter_columns(T, u, 0, z);
    const vec start = !bias ? (vec){0} : shared ? broadcast(load1(bias)) : load_upto(bias, lanes);
    if (lanes == LANES)
        z_to_rows(T, z, rows, cols, LANES, start, relu, y, y_row, y_pixel);
    else
        z_to_rows(T, z, rows, cols, lanes, start, relu, y, y_row, y_pixel);
}

#define FFT(T)                                                                                          \
    static void fft_input_##T(const void *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels,       \
                              intptr_t rows, intptr_t cols, void *v, intptr_t v_plane, void *scratch) { \
        (void)rows, (void)cols;                                                                         \
        fft_input(T, x, x_row, x_pixel, channels, v, v_plane, scratch);                                 \
    }                                                                                                   \
    static void fft_weights_##T(intptr_t R, intptr_t S, const void *w, intptr_t w_row, intptr_t w_tap,  \
                                intptr_t filters, void *u, intptr_t u_frequency, intptr_t u_part,       \
                                void *scratch) {                                                        \
        fft_weights(T, R, S, w, w_row, w_tap, filters, u, u_frequency, u_part, scratch);                \
    }                                                                                                   \
    static void fft_output_##T(const void *m, intptr_t m_plane, intptr_t filters, const void *bias,     \
                               int relu, intptr_t rows, intptr_t cols, void *y, intptr_t y_row,         \
                               intptr_t y_pixel, void *scratch) {                                       \
        fft_output(T, m, m_plane, filters, bias, relu, rows, cols, y, y_row, y_pixel, scratch);         \
    }                                                                                                   \
    static void fft_filter_##T(const void *x, intptr_t x_row, intptr_t x_pixel,                         \
                               const fc_window *inside, intptr_t lanes, const void *u, int shared,      \
                               const void *bias, int relu, intptr_t rows, intptr_t cols, void *y,       \
                               intptr_t y_row, intptr_t y_pixel, void *scratch) {                       \
        fft_filter(T, x, x_row, x_pixel, inside, lanes, u, shared, bias, relu, rows, cols, y, y_row,    \
                   y_pixel, scratch);                                                                   \
    }
FFT(16)
FFT(32)
FFT(64)
FFT(128)
#define FFT_ENTRY(T)                                                                       \
    {T,    T,          T * (T / 2 + 1), 2, fft_input_##T, fft_weights_##T, fft_output_##T, \
     NULL, Z_BYTES(T), fft_filter_##T},
#define FFT_TABLE FFT_ENTRY(16) FFT_ENTRY(32) FFT_ENTRY(64) FFT_ENTRY(128)
