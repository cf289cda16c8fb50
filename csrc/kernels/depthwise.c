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
