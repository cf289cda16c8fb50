/* csrc/kernels/lower.c: blocks of the im2col matrix of images in every order of axes, forwards, backwards and with
 * gaps; padding, strides and dilation; with a vector of room behind each row and without. */
#include "driver.h"

static const fc_geometry geometries[] = {
    /* N, C, H, W, K, R, S, P, Q, groups, stride, dilation, pad_top, pad_left, channels_last */
    {2, 3, 5, 6, 1, 3, 3, 5, 6, 1, 1, 1, 1, 1, 1, 1, 0},
    {1, 5, 7, 9, 1, 3, 2, 4, 5, 1, 2, 2, 1, 1, 1, 1, 0},
    {1, 2, 4, 41, 1, 2, 3, 3, 10, 1, 1, 4, 1, 2, 0, 2, 0},
    {2, 1, 4, 19, 1, 1, 1, 4, 19, 1, 1, 1, 1, 1, 0, 0, 0},
    {1, 2, 3, 40, 1, 3, 3, 3, 20, 1, 1, 2, 1, 1, 1, 1, 0},
    {1, 17, 3, 4, 1, 2, 2, 4, 5, 1, 1, 1, 1, 1, 1, 1, 0},
    {1, 4, 5, 11, 1, 3, 3, 5, 5, 1, 1, 3, 2, 1, 2, 2, 0},
    {1, 1, 2, 2, 1, 5, 5, 2, 2, 1, 1, 1, 1, 1, 2, 2, 0},
};

/* Strides of x in elements. */
typedef struct {
    const char *name;
    int channels_first, step;
} memory;
static const memory memories[] = {{"NCHW", 1, 1},
                                  {"NHWC", 0, 1},
                                  {"NCHW with gaps", 1, 2},
                                  {"NHWC with gaps", 0, 3},
                                  {"NCHW backwards", 1, -1}};

static char *image(const fc_geometry *g, const memory *m, idx strides[4]) {
    const idx step = m->step, count = g->N * g->C * g->H * g->W, step_size = step < 0 ? -step : step;
    strides[0] = bytes(g->C * g->H * g->W * step);
    if (m->channels_first)
        strides[1] = bytes(g->H * g->W * step), strides[2] = bytes(g->W * step),
        strides[3] = bytes(step);
    else
        strides[1] = bytes(step == 1 ? 1 : 2), strides[2] = bytes(g->W * g->C * step),
        strides[3] = bytes(g->C * step);
    const idx last = m->channels_first
                         ? (count - 1) * step_size
                         : (count / g->C - 1) * g->C * step + (g->C - 1) * (step == 1 ? 1 : 2);
    char *x = numbers(last + 1);
    return step < 0 ? x + bytes(last) : x;
}

static double element(const fc_geometry *g, const char *x, const idx *strides, idx pixel, idx k) {
    const idx tap = g->channels_last ? k / g->C : k % (g->R * g->S);
    const idx c = g->channels_last ? k % g->C : k / (g->R * g->S);
    const idx h = pixel / g->Q % g->P * g->stride_h - g->pad_top + tap / g->S * g->dilation_h;
    const idx w = pixel % g->Q * g->stride_w - g->pad_left + tap % g->S * g->dilation_w;
    if (h < 0 || h >= g->H || w < 0 || w >= g->W) return 0;
    return get(x + pixel / g->Q / g->P * strides[0] + c * strides[1] + h * strides[2] + w * strides[3],
               0);
}

static void try_rows(const fc_geometry *g, const memory *m, idx pixel, idx pixels, idx k0, idx k1,
                     idx room) {
    idx strides[4];
    const idx k = k1 - k0, dst_row = k + room, count = pixels * dst_row;
    begin(
        "lower_rows: %s, channels_last=%ld, x %ld %ld %ld %ld, pixels %ld + %ld, k %ld to %ld, room %ld",
        m->name, (long)g->channels_last, (long)g->N, (long)g->C, (long)g->H, (long)g->W, (long)pixel,
        (long)pixels, (long)k0, (long)k1, (long)room);
    const char *x = image(g, m, strides);
    if (!g->channels_last || strides[1] != bytes(1)) return; /* no runs of neighbours */
    char *dst = poisoned(count);
    double *expected = untouched(count);
    for (idx i = 0; i < pixels; i++)
        for (idx j = 0; j < dst_row; j++)
            expected[i * dst_row + j] = j < k ? element(g, x, strides, pixel + i, k0 + j) : ANYTHING;
    TRY(lower_rows)(g, x, strides, pixel, pixels, k0, k1, dst, bytes(dst_row));
    same(dst, expected, count, 0);
}

static void try_columns(const fc_geometry *g, const memory *m, idx pixel, idx pixels, idx k0, idx k1,
                        idx width, idx gap) {
    idx strides[4];
    const idx k = k1 - k0, dst_row = width + gap, dst_strip = k * dst_row + kernels->lanes;
    const idx strips = rounded_up(pixels, width) / width, count = strips * dst_strip;
    begin("lower_columns: %s, channels_last=%ld, x %ld %ld %ld %ld, pixels %ld + %ld, k %ld to %ld, "
          "width %ld + %ld",
          m->name, (long)g->channels_last, (long)g->N, (long)g->C, (long)g->H, (long)g->W, (long)pixel,
          (long)pixels, (long)k0, (long)k1, (long)width, (long)gap);
    const char *x = image(g, m, strides);
    char *dst = poisoned(count);
    double *expected = untouched(count);
    for (idx i = 0; i < count; i++) expected[i] = ANYTHING;
    for (idx l = 0; l < k; l++)
        for (idx i = 0; i < strips * width; i++)
            expected[i / width * dst_strip + l * dst_row + i % width] =
                i < pixels ? element(g, x, strides, pixel + i, k0 + l) : 0;
    TRY(lower_columns)(g, x, strides, pixel, pixels, k0, k1, dst, bytes(dst_row), width,
                       bytes(dst_strip));
    same(dst, expected, count, 0);
}

void drive_lower(void) {
    for (size_t i = 0; i < 2 * sizeof geometries / sizeof *geometries; i++)
        for (size_t j = 0; j < sizeof memories / sizeof *memories; j++) {
            fc_geometry g = geometries[i / 2];
            g.channels_last = i % 2;
            const idx depth = g.R * g.S * g.C, pixels = g.N * g.P * g.Q;
            EACH (k0, 0, 1, depth / 2)
                EACH (first, 0, g.Q - 1) {
                    const idx k1 = k0 == 1 ? larger(2, depth - 1) : depth;
                    if (k1 > depth || first >= pixels) continue;
                    const idx number_of = larger(1, pixels - 2 * first);
                    EACH (room, 0, kernels->lanes)
                        try_rows(&g, &memories[j], first, number_of, k0, k1, room);
                    EACH (width, 1, kernels->NR, number_of)
                        EACH (gap, 0, kernels->lanes)
                            try_columns(&g, &memories[j], first, number_of, k0, k1, width, gap);
                }
        }
}
