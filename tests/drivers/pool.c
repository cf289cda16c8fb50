/* csrc/kernels/pool.c: rows of pooling and of its gradients, windows that overlap, at every rest of a vector. */
#include "driver.h"

typedef struct {
    idx pixels, channels, taps, x_step, y_step, x_count, y_count;
    const char *x, *y; /* of y, or of its gradient */
    idx *tap;
} pool;

static pool begin_pool(const char *name, idx pixels, idx channels, idx taps) {
    pool p = {.pixels = pixels,
              .channels = channels,
              .taps = taps,
              .x_step = channels + 1,
              .y_step = channels + 2};
    begin("%s: pixels=%ld channels=%ld taps=%ld", name, (long)pixels, (long)channels, (long)taps);
    p.x_count = (taps - 1 + pixels - 1) * p.x_step + channels;
    p.y_count = pixels * p.y_step - 2;
    p.tap = offsets(taps);
    for (idx t = 0; t < taps; t++) p.tap[t] = bytes((taps - 1 - t) * p.x_step);
    return p;
}

static double x_at(const pool *p, idx i, idx t, idx c) {
    return get(p->x + p->tap[t], i * p->x_step + c);
}

static idx taken(const pool *p, idx i, idx c) {
    idx best = 0;
    for (idx t = 1; t < p->taps; t++)
        if (x_at(p, i, t, c) > x_at(p, i, best, c)) best = t;
    return best;
}

static void try_forward(int max, idx pixels, idx channels, idx taps) {
    const idx count = taps + 1;
    pool p = begin_pool(max ? "max_pool" : "mean_pool", pixels, channels, taps);
    p.x = numbers(p.x_count);
    char *y = poisoned(p.y_count);
    double *expected = untouched(p.y_count);
    for (idx i = 0; i < pixels; i++)
        for (idx c = 0; c < channels; c++) {
            double sum = 0;
            for (idx t = 0; t < taps; t++) sum += x_at(&p, i, t, c);
            expected[i * p.y_step + c] = max ? x_at(&p, i, taken(&p, i, c), c) : sum / (double)count;
        }
    if (max)
        TRY(max_pool)(pixels, channels, taps, p.tap, p.x, bytes(p.x_step), y, bytes(p.y_step));
    else
        TRY(mean_pool)(pixels, channels, taps, p.tap, p.x, bytes(p.x_step), count, y, bytes(p.y_step));
    same(y, expected, p.y_count, max ? 0 : 2 * epsilon());
}

/* dx has what is added to it in the pixels, and between them what may not be touched. */
static void try_grad(int max, idx pixels, idx channels, idx taps) {
    const idx count = 4; /* exact */
    pool p = begin_pool(max ? "max_pool_grad" : "mean_pool_grad", pixels, channels, taps);
    p.x = numbers(p.x_count), p.y = numbers(p.y_count);
    char *dx = poisoned(p.x_count);
    double *expected = untouched(p.x_count);
    for (idx i = 0; i < pixels + taps - 1; i++)
        for (idx c = 0; c < channels; c++) {
            expected[i * p.x_step + c] = number();
            put(dx, i * p.x_step + c, expected[i * p.x_step + c]);
        }
    for (idx i = 0; i < pixels; i++)
        for (idx c = 0; c < channels; c++)
            for (idx t = 0; t < taps; t++) {
                const double g = get(p.y, i * p.y_step + c);
                double *to = &expected[p.tap[t] / bytes(1) + i * p.x_step + c];
                *to += !max ? g / (double)count : t == taken(&p, i, c) ? g : 0;
            }
    if (max)
        TRY(max_pool_grad)(pixels, channels, taps, p.tap, p.x, bytes(p.x_step), p.y, bytes(p.y_step),
                           dx);
    else
        TRY(mean_pool_grad)(pixels, channels, taps, p.tap, p.y, bytes(p.y_step), count, dx,
                            bytes(p.x_step));
    same(dx, expected, p.x_count, 0);
}

void drive_pool(void) {
    for (idx channels = 1; channels <= 2 * kernels->lanes + 1; channels++)
        EACH (pixels, 1, 3)
            EACH (taps, 1, 2, 9)
                for (int max = 0; max < 2; max++) {
                    try_forward(max, pixels, channels, taps);
                    try_grad(max, pixels, channels, taps);
                }
}
