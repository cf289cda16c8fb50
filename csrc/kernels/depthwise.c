/* A row of a depthwise convolution, channels last:
 *
 *     y[i][c] = act(bias[c] + sum_t x(i, t)[c] * w(t)[c])          i < pixels, c < channels
 *
 * where x(i, t) lies at x + i*x_step + tap[t] and w(t) at w + weight[t]: the caller lists the taps that lie
 * inside the image, so padding costs nothing. Vectors run over channels; eight pixels share each load of
 * a weight. Called by fastconv/_loops/depthwise.pyx. */

#define DEPTHWISE_PIXELS 8

INLINE void depthwise_block(const int pixels, const int whole, intptr_t lanes, intptr_t taps,
                            const intptr_t *tap, const intptr_t *weight, const char *x, intptr_t x_step,
                            const char *w, vec bias, int relu, char *y, intptr_t y_step) {
    vec acc[DEPTHWISE_PIXELS];
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) acc[i] = bias;
    for (intptr_t t = 0; t < taps; t++) {
        const char *at = x + tap[t];
        const vec wv = whole ? load(w + weight[t]) : load_n(w + weight[t], lanes);
#pragma GCC unroll 8
        for (int i = 0; i < pixels; i++)
            acc[i] += (whole ? load(at + i * x_step) : load_n(at + i * x_step, lanes)) * wv;
    }
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        const vec v = relu ? rectified(acc[i]) : acc[i];
        if (whole)
            store(y + i * y_step, v);
        else
            store_n(y + i * y_step, v, lanes);
    }
}

static void depthwise(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                      const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                      const void *bias, int relu, void *y, intptr_t y_step) {
    for (intptr_t c = 0; c < channels; c += LANES) {
        const intptr_t lanes = channels - c < LANES ? channels - c : LANES,
                       at = c * (intptr_t)sizeof(real);
        const char *b = (const char *)bias + at;
        const vec start = !bias ? (vec){0} : lanes == LANES ? load(b) : load_n(b, lanes);
        const char *from = (const char *)x + at, *wc = (const char *)w + at;
        char *to = (char *)y + at;
        intptr_t i = 0;
        for (; lanes == LANES && i + DEPTHWISE_PIXELS <= pixels; i += DEPTHWISE_PIXELS)
            depthwise_block(DEPTHWISE_PIXELS, 1, LANES, taps, tap, weight, from + i * x_step, x_step, wc,
                            start, relu, to + i * y_step, y_step);
        for (; lanes == LANES && i < pixels; i++)
            depthwise_block(1, 1, LANES, taps, tap, weight, from + i * x_step, x_step, wc, start, relu,
                            to + i * y_step, y_step);
        for (; i < pixels; i++)
            depthwise_block(1, 0, lanes, taps, tap, weight, from + i * x_step, x_step, wc, start, relu,
                            to + i * y_step, y_step);
    }
}
