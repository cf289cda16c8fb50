/* Depthwise convolution of an image as it lies, its border left out: F x F filters that move `step` pixels a time,
 * called by fastconv/_loops/depthwise_in_place.pyx:
 *
 *     y[i][j] = act(bias + sum_r sum_s x[i*step + r][j*step + s] * w[r][s])       i < rows, j < columns
 *
 * x is what the first tap of y's first pixel meets, and `inside` counts from there: what lies outside is left out. The
 * sums run in the order of the taps, as in depthwise.c. Everything that F, step and the rows of a block decide is
 * unrolled. What the lanes are makes the slots:
 *
 *   depthwise_3x3[step - 1]                pixels of a row of one channel, which share its weights; rows of y follow
 *                                          one another, a vector may hang over into the next
 *   depthwise_last[F == 5][step - 1]       channels, with a weight and a bias each */

INLINE intptr_t within_lanes(intptr_t i) { return i < 0 ? 0 : i > LANES ? LANES : i; }

/* Along the rows. The weights stay in registers where there are 32, and a row of x is read once for the output
 * rows that meet it.
 *
 * quick: with steps of 1, that all columns are inside; with steps of 2, that the first vector has them all.
 * SMALL_ROWS: 7, 14, 28 and 56 rows are whole blocks, and so many sums hide the latency of an FMA. */
#define SMALL_ROWS 7

/* A block reads its rows side by side and from the right, which no prefetcher follows: it fetches what the
 * next block reads (96 channels at 112 pixels, 8 images, steps of 2: 5.6 and 14 GF/s, one image 20 and 23).
 * With steps of 1 only where rows are long: short ones in L3 come by themselves (144 channels at 56 pixels
 * 50 and 45). AVX2 on Zen 3, 2026-11. */
#define LONG_ROW 448 /* bytes, of y */

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
        if (step == 2) __builtin_prefetch(x + rows * step * x_row);
        if (step == 2 && sizeof(vec) == 64) __builtin_prefetch(x + rows * step * x_row + sizeof(vec));
        if (h < top || h >= bottom) continue;
        if (step == 1) {
#pragma GCC unroll 3
            for (int s = 0; s < 3; s++)
                v[s] = quick ? load(x + s * sizeof(real)) : load_where(inside[s], x + s * sizeof(real));
        } else { /* columns 0 2 4 ..., 1 3 5 ..., 2 4 6 ... */
            const vec a = load_where(inside[0], x);
            split_lanes(a, quick ? a : load_where(inside[1], x + sizeof(vec)), &v[0], &v[1]);
            v[2] = shuffle(v[0], quick ? v[0] : load_where(inside[2], x + 2 * sizeof(vec)),
                           lane_numbers() + 1);
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
            if (step == 1 && y_row >= LONG_ROW && q * size % 64 == 0)
                for (intptr_t h = height + 2; h < 2 * height + 2; h++)
                    __builtin_prefetch(x + h * x_row + q * size);
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

/* Along the channels. Blocks of rows, one pixel wide: in caches any block is as fast, but in memory these are streams
 * that go on from pixel to pixel (144 channels at 56 pixels, 8 images: 41 GF/s by 4 x 1 pixels, 30 by 4 x 2, 16 by
 * 1 x 8; AVX2 on Zen 3, 2026-11).
 *
 * By steps of 2 they are 9 streams and more, which prefetchers lose: what the next pixel reads is fetched
 * (96 channels at 112 pixels: 26 and 30 GF/s, 8 images 17 and 23, on two threads 26 and 44; by steps of 1
 * it does as much harm as good).
 *
 * quick: all taps are inside; whole: so are the lanes. */
#define CHANNEL_ROWS 4

INLINE void depthwise_last_block(const int F, const int rows, const int step, const int quick,
                                 const int whole, intptr_t lanes, const char *x, intptr_t x_row,
                                 intptr_t x_pixel, const fc_window *inside, const char *w,
                                 intptr_t w_tap, vec bias, int relu, char *y, intptr_t y_row) {
    vec acc[CHANNEL_ROWS];
    const char *w_row[5];
#pragma GCC unroll 5
    for (int r = 0; r < F; r++, w += F * w_tap) w_row[r] = opaque(w);
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) acc[i] = bias;
#pragma GCC unroll 16
    for (int h = 0; h < (rows - 1) * step + F; h++, x += x_row) {
        if (!quick && (h < inside->top || h >= inside->bottom)) continue;
        const char *at = opaque(x);
        if (quick && whole && step == 2)
#pragma GCC unroll 2
            for (int s = 0; s < step; s++) __builtin_prefetch(at + (F + s) * x_pixel);
#pragma GCC unroll 5
        for (int s = 0; s < F; s++) {
            if (!quick && (s < inside->left || s >= inside->right)) continue;
            const vec v = whole ? load(at + s * x_pixel) : load_n(at + s * x_pixel, lanes);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                const int r = h - i * step;
                if (r < 0 || r >= F) continue;
                acc[i] += v * (whole ? load(w_row[r] + s * w_tap) : load_n(w_row[r] + s * w_tap, lanes));
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++, y += y_row)
        store_upto(y, relu ? rectified(acc[i]) : acc[i], whole ? LANES : lanes);
}

INLINE void depthwise_last_pixel(const int F, const int rows, const int step, intptr_t channels,
                                 const char *x, intptr_t x_row, intptr_t x_pixel,
                                 const fc_window *inside, const char *w, intptr_t w_tap,
                                 const char *bias, int relu, char *y, intptr_t y_row) {
    const int quick = inside->top <= 0 && inside->bottom >= (rows - 1) * step + F && inside->left <= 0 &&
                      inside->right >= F;
#define BLOCK(quick, whole, lanes)                                                                   \
    depthwise_last_block(F, rows, step, quick, whole, lanes, x + at, x_row, x_pixel, inside, w + at, \
                         w_tap, bias ? load_upto(bias + at, lanes) : (vec){0}, relu, y + at, y_row)
    intptr_t c = 0, at = 0;
    if (quick)
        for (; c + LANES <= channels; c += LANES, at += sizeof(vec)) BLOCK(1, 1, LANES);
    else
        for (; c + LANES <= channels; c += LANES, at += sizeof(vec)) BLOCK(0, 1, LANES);
    if (c < channels) BLOCK(0, 0, channels - c);
#undef BLOCK
}

INLINE void depthwise_last(const int F, const int step, intptr_t rows, intptr_t columns,
                           intptr_t channels, const char *x, intptr_t x_row, intptr_t x_pixel,
                           fc_window inside, const char *w, intptr_t w_tap, const char *bias, int relu,
                           char *y, intptr_t y_row, intptr_t y_pixel) {
    const intptr_t blocks = (rows + CHANNEL_ROWS - 1) / CHANNEL_ROWS;
    for (intptr_t block = 0; block < blocks; block++) {
        const intptr_t height = rows / blocks + (block < rows % blocks);
        for (intptr_t q = 0; q < columns; q++) {
            const fc_window here = {inside.top, inside.bottom, inside.left - q * step,
                                    inside.right - q * step};
            switch (height) {
#define PIXEL(n)                                                                                     \
    case n:                                                                                          \
        depthwise_last_pixel(F, n, step, channels, x + q * step * x_pixel, x_row, x_pixel, &here, w, \
                             w_tap, bias, relu, y + q * y_pixel, y_row);                             \
        break;
                PIXEL(1) PIXEL(2) PIXEL(3) PIXEL(4)
#undef PIXEL
            }
        }
        x += height * step * x_row;
        y += height * y_row;
        inside.top -= height * step;
        inside.bottom -= height * step;
    }
}

#define LAST(F, step)                                                                                \
    static void depthwise_last_##F##_##step(                                                         \
        intptr_t rows, intptr_t columns, intptr_t channels, const void *x, intptr_t x_row,           \
        intptr_t x_pixel, const fc_window *inside, const void *w, intptr_t w_tap, const void *bias,  \
        int relu, void *y, intptr_t y_row, intptr_t y_pixel) {                                       \
        depthwise_last(F, step, rows, columns, channels, x, x_row, x_pixel, *inside, w, w_tap, bias, \
                       relu, y, y_row, y_pixel);                                                     \
    }
LAST(3, 1) LAST(3, 2) LAST(5, 1) LAST(5, 2)
#undef LAST
