/* One block of a depthwise convolution, called by fastconv/_loops/depthwise.pyx:
 *
 *     y[i][j] = act(bias + sum_t x(i, t)[j] * w(t))          i < rows, j < columns
 *
 * where x(i, t) lies at x + i*x_step + tap[t] and w(t) at w + weight[t]. Vectors run over j, and up to
 * eight rows share each load of a weight. What i and j are, and whose the weights, makes the slots:
 *
 *   depthwise        rows are neighbouring pixels, columns are channels with a weight and a bias each. The
 *                    caller lists the taps that lie inside the image, so padding costs nothing
 *   depthwise_rows   rows are output rows of one channel, columns their pixels, which share its weights. x
 *                    are planes that `split` makes: padding is zeros, and a vector of room lies behind
 *                    them. Rows of y follow each other; columns are done from the right, so that a vector
 *                    may hang over into the next row
 *   depthwise_3x3[stride - 1]
 *                    the same of 3x3 filters, x being an image's plane as it lies */

#define DEPTHWISE_ROWS 8

INLINE intptr_t within_lanes(intptr_t i) { return i < 0 ? 0 : i > LANES ? LANES : i; }

/* Whole where it fits before y_end: the caller writes later what lies behind the n lanes. */
INLINE void store_row(char *y, vec v, intptr_t n, const char *y_end) {
    if (n == LANES || y + sizeof(vec) <= y_end)
        store(y, v);
    else
        store_n(y, v, n);
}

INLINE void depthwise_block(const int rows, const int shared, const int whole, intptr_t lanes,
                            intptr_t taps, const intptr_t *tap, const intptr_t *weight, const char *x,
                            intptr_t x_step, const char *w, vec bias, int relu, char *y, intptr_t y_step,
                            const char *y_end) {
    vec acc[DEPTHWISE_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) acc[i] = bias;
    for (intptr_t t = 0; t < taps; t++) {
        const char *at = x + tap[t], *from = w + weight[t];
        const vec wv = shared ? broadcast(load1(from)) : whole ? load(from) : load_n(from, lanes);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
            acc[i] += (whole ? load(at + i * x_step) : load_n(at + i * x_step, lanes)) * wv;
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++, y += y_step)
        store_row(y, relu ? rectified(acc[i]) : acc[i], lanes, y_end);
}

/* Rows are balanced: 14 are 7 + 7. */
INLINE void depthwise_column(const int shared, intptr_t rows, intptr_t lanes, intptr_t taps,
                             const intptr_t *tap, const intptr_t *weight, const char *x, intptr_t x_step,
                             const char *w, vec bias, int relu, char *y, intptr_t y_step,
                             const char *y_end) {
    const intptr_t blocks = (rows + DEPTHWISE_ROWS - 1) / DEPTHWISE_ROWS;
    for (intptr_t block = 0; block < blocks; block++) {
        const intptr_t height = rows / blocks + (block < rows % blocks);
        switch (height) {
#define BLOCK(n)                                                                                     \
    case n:                                                                                          \
        depthwise_block(n, shared, 1, lanes, taps, tap, weight, x, x_step, w, bias, relu, y, y_step, \
                        y_end);                                                                      \
        break;
            BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7) BLOCK(8)
#undef BLOCK
        }
        x += height * x_step;
        y += height * y_step;
    }
}

static void depthwise(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                      const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                      const void *bias, int relu, void *y, intptr_t y_step) {
    for (intptr_t c = 0; c < channels; c += LANES) {
        const intptr_t lanes = channels - c < LANES ? channels - c : LANES,
                       at = c * (intptr_t)sizeof(real);
        const vec start = bias ? load_upto((const char *)bias + at, lanes) : (vec){0};
        const char *from = (const char *)x + at, *wc = (const char *)w + at;
        char *to = (char *)y + at;
        if (lanes == LANES)
            depthwise_column(0, pixels, lanes, taps, tap, weight, from, x_step, wc, start, relu, to,
                             y_step, 0);
        else
            for (intptr_t i = 0; i < pixels; i++)
                depthwise_block(1, 0, 0, lanes, taps, tap, weight, from + i * x_step, x_step, wc, start,
                                relu, to + i * y_step, y_step, 0);
    }
}

static void depthwise_rows(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                           const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                           const void *bias, int relu, void *y, intptr_t y_step) {
    const vec start = bias ? broadcast(load1(bias)) : (vec){0};
    for (intptr_t q = (columns - 1) / LANES * LANES; q >= 0; q -= LANES) {
        const intptr_t at = q * (intptr_t)sizeof(real);
        depthwise_column(1, rows, columns - q < LANES ? columns - q : LANES, taps, tap, weight,
                         (const char *)x + at, x_step, w, start, relu, (char *)y + at, y_step,
                         (char *)y + rows * y_step);
    }
}

/* 3x3 filters that move `step` pixels a time: the weights stay in registers where there are 32, and a row of x
 * is read once for the output rows that meet it, where it lies. x is what the first tap of y's first pixel meets,
 * and `inside` counts from there: rows outside of it are left out, columns are zeros. The sums run in the order
 * of the taps, as above.
 *
 * quick: with steps of 1, that all columns are inside; with steps of 2, that the first vector has them all.
 * SMALL_ROWS: 7, 14, 28 and 56 rows are whole blocks, and so many sums hide the latency of an FMA. */
#define SMALL_ROWS 7

INLINE void depthwise_3x3_block(const int rows, const int step, const int quick, const vec w[9],
                                const char *x, intptr_t x_row, intptr_t top, intptr_t bottom,
                                const lane_mask inside[3], vec bias, int relu, char *y, intptr_t y_row,
                                intptr_t lanes, const char *y_end) {
    vec acc[SMALL_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) acc[i] = bias;
#pragma GCC unroll 16
    for (int h = 0; h < (rows - 1) * step + 3; h++, x += x_row) {
        vec v[3];
        if (h < top || h >= bottom) continue;
        if (step == 1) {
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++)
                v[s] = quick ? load(x + s * sizeof(real)) : load_where(inside[s], x + s * sizeof(real));
        } else { /* columns 0 2 4 ..., 1 3 5 ..., 2 4 6 ... */
            const vec_index even = 2 * lane_numbers();
            const vec a = load_where(inside[0], x);
            const vec b = quick ? a : load_where(inside[1], x + sizeof(vec));
            v[0] = shuffle(a, b, even);
            v[1] = shuffle(a, b, even + 1);
            v[2] = quick ? shuffle(a, b, (even + 2) & (lane_index)(2 * LANES - 1))
                         : shuffle(v[0], load_where(inside[2], x + 2 * sizeof(vec)), lane_numbers() + 1);
        }
#pragma GCC unroll 3
        for (int s = 0; s < 3; s++)
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                const int r = h - i * step;
                if (r >= 0 && r < 3) acc[i] += v[s] * w[3 * r + s];
            }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++, y += y_row)
        store_row(y, relu ? rectified(acc[i]) : acc[i], lanes, y_end);
}

INLINE void depthwise_3x3(const int step, intptr_t rows, intptr_t columns, const char *x, intptr_t x_row,
                          const fc_window *inside, const char *w, intptr_t w_tap, const char *bias,
                          int relu, char *y) {
    const intptr_t blocks = (rows + SMALL_ROWS - 1) / SMALL_ROWS, size = sizeof(real),
                   y_row = columns * size;
    const vec start = bias ? broadcast(load1(bias)) : (vec){0};
    const char *y_end = y + rows * y_row;
    intptr_t top = inside->top, bottom = inside->bottom;
    vec weights[9];
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++) weights[t] = broadcast(load1(w + t * w_tap));
    for (intptr_t block = 0; block < blocks; block++) {
        const intptr_t height = rows / blocks + (block < rows % blocks);
        for (intptr_t q = (columns - 1) / LANES * LANES; q >= 0; q -= LANES) {
            const intptr_t lanes = columns - q < LANES ? columns - q : LANES;
            lane_mask mask[3];
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++) {
                const intptr_t column = q * step + (step == 1 ? s : s * LANES);
                mask[s] = lanes_between(within_lanes(inside->left - column),
                                        within_lanes(inside->right - column));
            }
            const int quick =
                step == 1 ? q >= inside->left && q + 2 + LANES <= inside->right : 2 * lanes < LANES;
            switch (2 * height + quick) {
#define BLOCK_OF(n, quick)                                                                          \
    case 2 * n + quick:                                                                             \
        depthwise_3x3_block(n, step, quick, weights, x + q * step * size, x_row, top, bottom, mask, \
                            start, relu, y + q * size, y_row, lanes, y_end);                        \
        break;
#define BLOCK(n) BLOCK_OF(n, 0) BLOCK_OF(n, 1)
                BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7)
#undef BLOCK_OF
#undef BLOCK
            }
        }
        x += height * step * x_row;
        y += height * y_row;
        top -= height * step;
        bottom -= height * step;
    }
}

static void depthwise_3x3_step_1(intptr_t rows, intptr_t columns, const void *x, intptr_t x_row,
                                 const fc_window *inside, const void *w, intptr_t w_tap,
                                 const void *bias, int relu, void *y) {
    depthwise_3x3(1, rows, columns, x, x_row, inside, w, w_tap, bias, relu, y);
}

static void depthwise_3x3_step_2(intptr_t rows, intptr_t columns, const void *x, intptr_t x_row,
                                 const fc_window *inside, const void *w, intptr_t w_tap,
                                 const void *bias, int relu, void *y) {
    depthwise_3x3(2, rows, columns, x, x_row, inside, w, w_tap, bias, relu, y);
}
