/* csrc/kernels/winograd.c and fft.c: a tile there, times the weights frequency by frequency, and back is the
 * convolution of the tile; and so is `filter`, of which a part of the tile may lie outside of memory. */
#include "driver.h"

/* What a convolution of whole numbers may be wrong by: fft and winograd lost at most a tenth of it, 2026-11. */
static double bound_of(idx taps) { return 64 * epsilon() * 9 * (double)taps; }

/* The convolution of one lane of [pixel][lane] by one of [tap][lane]. */
static void convolve(const char *x, idx x_row, idx x_pixel, const fc_window *inside, const char *w,
                     idx w_row, idx w_tap, idx R, idx S, double bias, int relu, idx rows, idx cols,
                     double *y, idx y_row, idx y_pixel) {
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < cols; j++) y[i * y_row + j * y_pixel] = bias;
    for (idx r = 0; r < R; r++)
        for (idx s = 0; s < S; s++) {
            const double weight = get(w, r * w_row + s * w_tap);
            for (idx i = larger(0, inside->top - r); i < smaller(rows, inside->bottom - r); i++)
                for (idx j = larger(0, inside->left - s); j < smaller(cols, inside->right - s); j++)
                    y[i * y_row + j * y_pixel] += weight * get(x, (i + r) * x_row + (j + s) * x_pixel);
        }
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; relu && j < cols; j++)
            y[i * y_row + j * y_pixel] = rectified(y[i * y_row + j * y_pixel]);
}

/* Whether so many results along an axis of T frequencies need those in this place. */
static int needs(int number_of, idx T, idx results, idx place) {
    if (T == 1 || !kernels->transforms[number_of].points) return 1;
    return TRY(transforms[number_of].points)(results) >> place & 1;
}

static idx pixels_of(int number_of, idx T, idx results) {
    idx pixels = 0;
    for (idx place = 0; place < T; place++) pixels += needs(number_of, T, results, place);
    return pixels;
}

/* rows x cols results, at most those of the whole tile. Only the pixels and the planes that they need are there. */
static void try_steps(int number_of, idx R, idx S, idx channels, idx rows, idx cols, int biased,
                      int relu) {
    const fc_transform *t = &kernels->transforms[number_of];
    const idx T_h = t->tile_h, T_w = t->tile_w;
    const idx complex = t->parts == 2, planes = 2 * t->parts - 1;
    const idx x_pixel = channels + 1, x_row = T_w * x_pixel, w_tap = channels + 2, w_row = S * w_tap;
    const idx v_pixel = t->parts == 1 ? rounded_up(channels, kernels->lanes) : channels; /* stored */
    const idx plane = channels + 1, v_plane = v_pixel + 1, y_pixel = channels + 3,
              y_row = cols * y_pixel + 1;
    const idx y_count = (rows - 1) * y_row + (cols - 1) * y_pixel + channels;
    const fc_window all = {0, T_h, 0, T_w};
    begin("transform %d (%ld x %ld): filter %ld x %ld channels=%ld, %ld x %ld results, bias=%d relu=%d",
          number_of, (long)T_h, (long)T_w, (long)R, (long)S, (long)channels, (long)rows, (long)cols,
          biased, relu);
    const char *x = numbers((pixels_of(number_of, T_h, rows) - 1) * x_row +
                            (pixels_of(number_of, T_w, cols) - 1) * x_pixel + channels),
               *w = numbers(R * w_row - 2);
    const char *bias = biased ? numbers(channels) : NULL;
    char *v = poisoned(t->frequencies * planes * v_plane - 1),
         *u = poisoned(t->frequencies * t->parts * plane - 1);
    char *m = poisoned(t->frequencies * t->parts * plane - 1), *y = poisoned(y_count);
    char *scratch = poisoned(t->scratch_bytes / kernels->itemsize);
    double *expected = untouched(y_count);
    TRY(transforms[number_of].input)(x, bytes(x_row), bytes(x_pixel), channels, rows, cols, v,
                                     bytes(v_plane), scratch);
    TRY(transforms[number_of].weights)(R, S, w, bytes(w_row), bytes(w_tap), channels, u,
                                       bytes(t->parts * plane), bytes(plane), scratch);
    for (idx f = 0; f < t->frequencies; f++) {
        if (!needs(number_of, T_h, rows, f / T_w) || !needs(number_of, T_w, cols, f % T_w)) continue;
        for (idx c = 0; c < channels; c++) {
            const idx v_at = f * planes * v_plane + c, u_at = f * t->parts * plane + c;
            const double re = get(v, v_at), u_re = get(u, u_at);
            if (complex) {
                const double im = get(v, v_at + v_plane), u_im = get(u, u_at + plane);
                put(m, u_at, re * u_re + im * u_im);
                put(m, u_at + plane, im * u_re + get(v, v_at + 2 * v_plane) * u_im);
            } else {
                put(m, u_at, re * u_re);
            }
        }
    }
    TRY(transforms[number_of].output)(m, bytes(plane), channels, bias, relu, rows, cols, y, bytes(y_row),
                                      bytes(y_pixel), scratch);
    for (idx c = 0; c < channels; c++)
        convolve(x + bytes(c), x_row, x_pixel, &all, w + bytes(c), w_row, w_tap, R, S,
                 bias ? get(bias, c) : 0, relu, rows, cols, expected + c, y_row, y_pixel);
    same(y, expected, y_count, bound_of(R * S));
}

/* Only the pixels of the window exist. */
static void try_filter(int number_of, idx R, idx S, idx lanes, int shared, fc_window inside, int biased,
                       int relu) {
    const fc_transform *t = &kernels->transforms[number_of];
    const idx T = t->tile_h, rows = T - R + 1, cols = T - S + 1, filters = shared ? 1 : kernels->lanes;
    const idx height = inside.bottom - inside.top, width = inside.right - inside.left;
    const idx x_pixel = lanes + 1, x_row = width * x_pixel, w_row = S * filters;
    const idx y_pixel = lanes + 2, y_row = cols * y_pixel + 1, y_count = rows * y_row - 3;
    begin("filter of transform %d (%ld): filter %ld x %ld lanes=%ld shared=%d, pixels %ld x %ld at %ld, "
          "%ld, bias=%d",
          number_of, (long)T, (long)R, (long)S, (long)lanes, shared, (long)height, (long)width,
          (long)inside.top, (long)inside.left, biased);
    const char *there = numbers(larger(0, height * x_row - 1)), *w = numbers(R * w_row);
    const char *x = (const char *)((uintptr_t)there - bytes(inside.top * x_row + inside.left * x_pixel));
    const char *bias = biased ? numbers(shared ? 1 : lanes) : NULL;
    char *u = poisoned(t->frequencies * 2 * filters), *y = poisoned(y_count);
    char *scratch = poisoned(t->scratch_bytes / kernels->itemsize);
    double *expected = untouched(y_count);
    TRY(transforms[number_of].weights)(R, S, w, bytes(w_row), bytes(filters), filters, u,
                                       bytes(2 * filters), bytes(filters), scratch);
    TRY(transforms[number_of].filter)(x, bytes(x_row), bytes(x_pixel), &inside, lanes, u, shared, bias,
                                      relu, rows, cols, y, bytes(y_row), bytes(y_pixel), scratch);
    for (idx c = 0; c < lanes; c++)
        convolve(x + bytes(c), x_row, x_pixel, &inside, w + (shared ? 0 : bytes(c)), w_row, filters, R,
                 S, bias ? get(bias, shared ? 0 : c) : 0, relu, rows, cols, expected + c, y_row,
                 y_pixel);
    same(y, expected, y_count, bound_of(R * S));
}

/* Winograd's F(m x m, R x S): every number of results. */
static void try_winograd(int number_of, idx R, idx S) {
    const idx lanes = kernels->lanes;
    const idx m_h = kernels->transforms[number_of].tile_h - R + 1,
              m_w = kernels->transforms[number_of].tile_w - S + 1;
    EACH (channels, 1, lanes - 1, lanes, 2 * lanes + 3)
        for (idx rows = 1; rows <= m_h; rows++)
            for (idx cols = 1; cols <= m_w; cols++)
                for (int way = 0; way < 4; way++)
                    try_steps(number_of, R, S, channels, rows, cols, way % 2, way / 2);
}

void drive_transforms(void) {
    const idx lanes = kernels->lanes;
    for (int i = FC_WINOGRAD_2; i < FC_FFT_16; i++)
        try_winograd(i, kernels->transforms[i].tile_h > 1 ? 3 : 1,
                     kernels->transforms[i].tile_w > 1 ? 3 : 1);
    EACH (channels, 1, lanes - 1, lanes, 2 * lanes + 3)
        for (int way = 0; way < 4; way++)
            try_steps(FC_WINOGRAD_GRAD, 4, 4, channels, 3, 3, way % 2, way / 2);
    for (int i = FC_FFT_16; i <= FC_FFT_128; i++) {
        const idx T = kernels->transforms[i].tile_h, whole = i < FC_FFT_128 ? lanes + 1 : 1;
        const fc_window all = {0, T, 0, T}, inner = {2, T - 1, 1, T - 3}, none = {0, 0, 0, T};
        EACH (channels, 1, lanes, whole) {
            try_steps(i, T / 2 + 1, 2, channels, T / 2, T - 1, 0, 0);
            try_steps(i, 3, T / 2 + 1, channels, channels == 1 ? 1 : T - 2, channels == 1 ? 1 : T / 2, 1,
                      1);
        }
        EACH (some, 1, lanes - 1, lanes) {
            try_filter(i, 3, T / 2 + 1, some, 0, all, 0, 0);
            try_filter(i, 5, 4, some, 0, inner, 1, 1);
            try_filter(i, T / 2 + 1, 1, some, 1, inner, 1, 0);
            try_filter(i, 1, 2, some, 1, none, 1, 0);
        }
    }
}
