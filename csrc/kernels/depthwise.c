/* One block of a depthwise convolution, called by fastconv/_loops/depthwise.pyx:
 *
 *     y[i][j] = act(bias + sum_t x(i, t)[j] * w(t))          i < rows, j < columns
 *
 * where x(i, t) lies at x + i*x_step + tap[t] and w(t) at w + weight[t]. Vectors run over j, and up to
 * eight rows share each load of a weight. What i and j are, and whose the weights, makes the slots:
 *
 *   depthwise        rows are neighbouring pixels, columns are channels with a weight and a bias each. The
 *                    caller lists the taps that lie inside the image, so padding costs nothing
 *   depthwise_rows, depthwise_3x3[stride_h - 1]
 *                    rows are output rows of one channel, columns their pixels, which share its weights. x
 *                    are planes that `split` makes: padding is zeros, and a vector of room lies behind
 *                    them. Rows of y follow each other; columns are done from the right, so that a vector
 *                    may hang over into the next row */

#define DEPTHWISE_ROWS 8

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

/* depthwise_rows for 3x3 filters that move step_h rows a time: the weights stay in registers, and a row of x
 * is read once for the output rows that meet it. The sums run in the order of the taps, as above. */
#define SMALL_ROWS 4

INLINE void depthwise_3x3(const int rows, const int step_h, intptr_t lanes, const intptr_t *tap,
                          const vec w[9], const char *x, intptr_t x_row, vec bias, int relu, char *y,
                          intptr_t y_step, const char *y_end) {
    vec acc[SMALL_ROWS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) acc[i] = bias;
#pragma GCC unroll 16
    for (int h = 0; h < (rows - 1) * step_h + 3; h++, x += x_row)
#pragma GCC unroll 3
        for (int s = 0; s < 3; s++) {
            const vec v = load(x + tap[s]);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const int r = h - i * step_h;
                if (r >= 0 && r < 3) acc[i] += v * w[3 * r + s];
            }
        }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++, y += y_step)
        store_row(y, relu ? rectified(acc[i]) : acc[i], lanes, y_end);
}

INLINE void depthwise_rows_3x3(const int step_h, intptr_t rows, intptr_t columns, const intptr_t *tap,
                               const intptr_t *weight, const char *x, intptr_t x_row, const char *w,
                               const char *bias, int relu, char *y, intptr_t y_step) {
    const intptr_t blocks = (rows + SMALL_ROWS - 1) / SMALL_ROWS;
    const vec start = bias ? broadcast(load1(bias)) : (vec){0};
    const char *y_end = y + rows * y_step;
    vec weights[9];
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++) weights[t] = broadcast(load1(w + weight[t]));
    for (intptr_t block = 0; block < blocks; block++) {
        const intptr_t height = rows / blocks + (block < rows % blocks);
        for (intptr_t q = (columns - 1) / LANES * LANES; q >= 0; q -= LANES) {
            const intptr_t lanes = columns - q < LANES ? columns - q : LANES,
                           at = q * (intptr_t)sizeof(real);
            switch (height) {
#define BLOCK(n)                                                                                  \
    case n:                                                                                       \
        depthwise_3x3(n, step_h, lanes, tap, weights, x + at, x_row, start, relu, y + at, y_step, \
                      y_end);                                                                     \
        break;
                BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4)
#undef BLOCK
            }
        }
        x += height * step_h * x_row;
        y += height * y_step;
    }
}

static void depthwise_3x3_step_1(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                                 const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                                 const void *bias, int relu, void *y, intptr_t y_step) {
    (void)taps;
    depthwise_rows_3x3(1, rows, columns, tap, weight, x, x_step, w, bias, relu, y, y_step);
}

static void depthwise_3x3_step_2(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                                 const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                                 const void *bias, int relu, void *y, intptr_t y_step) {
    (void)taps;
    depthwise_rows_3x3(2, rows, columns, tap, weight, x, x_step / 2, w, bias, relu, y, y_step);
}
