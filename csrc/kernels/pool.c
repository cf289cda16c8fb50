/* A row of pooling, channels last, vectors over channels: x(i, t) lies at x + i*x_step + tap[t], i < pixels, and
 * the caller lists the taps that lie inside the image.
 *
 *   max_pool         y[i] = the largest x(i, t), the first of equals; a NaN is larger than all
 *   mean_pool        y[i] = (sum over t of x(i, t)) / count
 *   max_pool_grad    dx(i, t) += grad[i] where x(i, t) is the one that max_pool takes
 *   mean_pool_grad   dx(i, t) += grad[i] / count
 *
 * dx is addressed as x. Called by fastconv/_loops/pooling.pyx. */

#define EACH_VECTOR(pixels, channels)                         \
    for (intptr_t i = 0; i < pixels; i++)                     \
        for (intptr_t c = 0, lanes; c < channels; c += LANES) \
            if (lanes = channels - c < LANES ? channels - c : LANES, 1)

static void max_pool(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                     const void *x, intptr_t x_step, void *y, intptr_t y_step) {
    EACH_VECTOR(pixels, channels) {
        const char *at = (const char *)x + i * x_step + c * sizeof(real);
        vec best = load_upto(at + tap[0], lanes);
        for (intptr_t t = 1; t < taps; t++) {
            const vec v = load_upto(at + tap[t], lanes);
            best = where((v > best) | (v != v), v, best);
        }
        store_upto((char *)y + i * y_step + c * sizeof(real), best, lanes);
    }
}

static void mean_pool(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                      const void *x, intptr_t x_step, intptr_t count, void *y, intptr_t y_step) {
    EACH_VECTOR(pixels, channels) {
        const char *at = (const char *)x + i * x_step + c * sizeof(real);
        vec sum = load_upto(at + tap[0], lanes);
        for (intptr_t t = 1; t < taps; t++) sum += load_upto(at + tap[t], lanes);
        store_upto((char *)y + i * y_step + c * sizeof(real), sum / (real)count, lanes);
    }
}

static void max_pool_grad(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                          const void *x, intptr_t x_step, const void *grad, intptr_t grad_step,
                          void *dx) {
    EACH_VECTOR(pixels, channels) {
        const intptr_t from = i * x_step + c * (intptr_t)sizeof(real);
        const char *at = (const char *)x + from;
        const vec g = load_upto((const char *)grad + i * grad_step + c * sizeof(real), lanes);
        vec best = load_upto(at + tap[0], lanes);
        vec_index taken = {0};
        for (intptr_t t = 1; t < taps; t++) {
            const vec v = load_upto(at + tap[t], lanes);
            const vec_index better = (v > best) | ((v != v) & (best == best));
            best = where(better, v, best);
            taken = (better & ((vec_index){0} + (lane_index)t)) | (~better & taken);
        }
        for (intptr_t t = 0; t < taps; t++) {
            char *to = (char *)dx + from + tap[t];
            const vec_index here = taken == (vec_index){0} + (lane_index)t;
            store_upto(to, load_upto(to, lanes) + (vec)(here & (vec_index)g), lanes);
        }
    }
}

static void mean_pool_grad(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                           const void *grad, intptr_t grad_step, intptr_t count, void *dx,
                           intptr_t x_step) {
    EACH_VECTOR(pixels, channels) {
        char *at = (char *)dx + i * x_step + c * sizeof(real);
        const vec g =
            load_upto((const char *)grad + i * grad_step + c * sizeof(real), lanes) / (real)count;
        for (intptr_t t = 0; t < taps; t++)
            store_upto(at + tap[t], load_upto(at + tap[t], lanes) + g, lanes);
    }
}
#undef EACH_VECTOR
