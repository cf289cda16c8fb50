/* csrc/kernels/depthwise.c, depthwise_in_place.c: blocks with vectors over channels, and rows of planes with vectors
 * along them, at every rest of their blocks. */
#include "driver.h"

static void try_channels(idx pixels, idx channels, idx taps, int biased, int relu) {
    const idx x_step = channels + 1, w_tap = channels + 2, y_step = channels + 3;
    const idx reach = larger(0, taps - 1) * x_step;
    begin("depthwise: pixels=%ld channels=%ld taps=%ld bias=%d relu=%d", (long)pixels, (long)channels,
          (long)taps, biased, relu);
    const char *x = numbers(reach + (pixels - 1) * x_step + channels),
               *w = numbers(larger(0, taps * w_tap - 2));
    const char *bias = biased ? numbers(channels) : NULL;
    char *y = poisoned(pixels * y_step - 3);
    double *expected = untouched(pixels * y_step - 3);
    idx *tap = offsets(taps), *weight = offsets(taps);
    for (idx t = 0; t < taps; t++) tap[t] = bytes((taps - 1 - t) * x_step), weight[t] = bytes(t * w_tap);
    for (idx i = 0; i < pixels; i++)
        for (idx c = 0; c < channels; c++) {
            double sum = bias ? get(bias, c) : 0;
            for (idx t = 0; t < taps; t++)
                sum += get(x + tap[t], i * x_step + c) * get(w + weight[t], c);
            expected[i * y_step + c] = relu ? rectified(sum) : sum;
        }
    TRY(depthwise)(pixels, channels, taps, tap, weight, x, bytes(x_step), w, bias, relu, y,
                   bytes(y_step));
    same(y, expected, pixels * y_step - 3, 0);
}

/* Rows of y follow each other; x is `planes` planes of rows with a vector of room behind each. */
static void try_rows(idx rows, idx columns, idx R, idx S, idx stride_h, idx planes, int biased,
                     int relu) {
    const idx taps = R * S, w_tap = 3, row = columns + (S - 1) / planes,
              rows_in = (rows - 1) * stride_h + R;
    const idx plane = rows_in * row + kernels->lanes;
    begin("depthwise_rows: rows=%ld columns=%ld filter %ldx%ld stride_h=%ld planes=%ld bias=%d relu=%d",
          (long)rows, (long)columns, (long)R, (long)S, (long)stride_h, (long)planes, biased, relu);
    const char *x = numbers(planes * plane), *w = numbers((taps - 1) * w_tap + 1);
    const char *bias = biased ? numbers(1) : NULL;
    char *y = poisoned(rows * columns);
    double *expected = untouched(rows * columns);
    idx *tap = offsets(taps), *weight = offsets(taps);
    for (idx t = 0; t < taps; t++) {
        tap[t] = bytes(t / S * row + t % S % planes * plane + t % S / planes);
        weight[t] = bytes(t * w_tap);
    }
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < columns; j++) {
            double sum = bias ? get(bias, 0) : 0;
            for (idx t = 0; t < taps; t++)
                sum += get(x + tap[t], i * stride_h * row + j) * get(w + weight[t], 0);
            expected[i * columns + j] = relu ? rectified(sum) : sum;
        }
    TRY(depthwise_rows)(rows, columns, taps, tap, weight, x, bytes(stride_h * row), w, bias, relu, y,
                        bytes(columns));
    same(y, expected, rows * columns, 0);
}

/* A plane of H x W pixels as it lies, with so much padding above and to the left. */
static void try_3x3(idx step, idx H, idx W, idx top, idx left, idx rows, idx columns, int biased,
                    int relu) {
    const idx w_tap = 3, x_row = W + 2;
    begin("depthwise_3x3: step=%ld of %ldx%ld pixels, padding %ld %ld, rows=%ld columns=%ld bias=%d "
          "relu=%d",
          (long)step, (long)H, (long)W, (long)top, (long)left, (long)rows, (long)columns, biased, relu);
    const char *x = numbers((H - 1) * x_row + W), *w = numbers(8 * w_tap + 1);
    const char *bias = biased ? numbers(1) : NULL;
    const fc_window inside = {top, top + H, left, left + W};
    char *y = poisoned(rows * columns);
    double *expected = untouched(rows * columns);
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < columns; j++) {
            double sum = bias ? get(bias, 0) : 0;
            for (idx r = 0; r < 3; r++)
                for (idx s = 0; s < 3; s++) {
                    const idx h = i * step + r - top, v = j * step + s - left;
                    if (h >= 0 && h < H && v >= 0 && v < W)
                        sum += get(x, h * x_row + v) * get(w, (3 * r + s) * w_tap);
                }
            expected[i * columns + j] = relu ? rectified(sum) : sum;
        }
    TRY(depthwise_3x3[step - 1])(rows, columns, x - bytes(top * x_row + left), bytes(x_row), &inside, w,
                                 bytes(w_tap), bias, relu, y);
    same(y, expected, rows * columns, 0);
}

/* Images with gaps between pixels and rows, in x and in y, as try_3x3 otherwise. */
static void try_last(idx F, idx step, idx H, idx W, idx pad, idx channels, int biased, int relu) {
    const idx rows = (H + 2 * pad - F) / step + 1, columns = (W + 2 * pad - F) / step + 1;
    const idx x_pixel = channels + 1, x_row = W * x_pixel + 2, w_tap = channels + 2;
    const idx y_pixel = channels + 3, y_row = columns * y_pixel + 1;
    const idx y_items = (rows - 1) * y_row + (columns - 1) * y_pixel + channels;
    begin("depthwise_last: %ldx%ld, step=%ld of %ldx%ldx%ld, padding %ld, bias=%d relu=%d", (long)F,
          (long)F, (long)step, (long)H, (long)W, (long)channels, (long)pad, biased, relu);
    const char *x = numbers((H - 1) * x_row + (W - 1) * x_pixel + channels),
               *w = numbers((F * F - 1) * w_tap + channels);
    const char *bias = biased ? numbers(channels) : NULL;
    const fc_window inside = {pad, pad + H, pad, pad + W};
    char *y = poisoned(y_items);
    double *expected = untouched(y_items);
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < columns; j++)
            for (idx c = 0; c < channels; c++) {
                double sum = bias ? get(bias, c) : 0;
                for (idx t = 0; t < F * F; t++) {
                    const idx h = i * step + t / F - pad, v = j * step + t % F - pad;
                    if (h >= 0 && h < H && v >= 0 && v < W)
                        sum += get(x, h * x_row + v * x_pixel + c) * get(w, t * w_tap + c);
                }
                expected[i * y_row + j * y_pixel + c] = relu ? rectified(sum) : sum;
            }
    TRY(depthwise_last[F == 5][step - 1])(rows, columns, channels, x - bytes(pad * (x_row + x_pixel)),
                                          bytes(x_row), bytes(x_pixel), &inside, w, bytes(w_tap), bias,
                                          relu, y, bytes(y_row), bytes(y_pixel));
    same(y, expected, y_items, 0);
}

void drive_depthwise(void) {
    const idx lanes = kernels->lanes;
    for (int way = 0; way < 4; way++) {
        EACH (pixels, 1, 7, 8, 9, 17)
            EACH (channels, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3)
                EACH (taps, 0, 1, 9) try_channels(pixels, channels, taps, way % 2, way / 2);
        EACH (rows, 1, 2, 3, 4, 5, 8, 9)
            EACH (columns, 1, 3, lanes - 1, lanes, lanes + 1, 2 * lanes + 3)
                EACH (stride_h, 1, 2)
                    EACH (planes, 1, 2)
                        try_rows(rows, columns, 2, 5, stride_h, planes, way % 2, way / 2);
        EACH (step, 1, 2)
            EACH (H, 1, 2, 7, 15, 17)
                EACH (W, 1, 5, 7, lanes - 1, lanes, lanes + 2, 2 * lanes - 1, 5 * lanes + 3)
                    EACH (pad, 0, 1, 3) {
                        const idx rows = (H + 2 * pad - 3) / step + 1,
                                  columns = (W + pad - 3) / step + 1;
                        if (H + 2 * pad >= 3 && W + pad >= 3)
                            try_3x3(step, H, W, pad, pad / 3, rows, columns, way % 2, way / 2);
                        if (H + 2 * pad >= 3 && W + 2 * pad >= 3)
                            try_3x3(step, H, W, pad, pad, rows, (W + 2 * pad - 3) / step + 1, way % 2,
                                    way / 2);
                    }
        EACH (F, 3, 5)
            EACH (step, 1, 2)
                EACH (H, 1, 2, 5, 7, 14)
                    EACH (W, 1, 3, 8)
                        EACH (pad, 0, 1, 2, 5)
                            EACH (channels, 1, lanes - 1, lanes, 2 * lanes + 3)
                                if (H + 2 * pad >= F && W + 2 * pad >= F)
                                    try_last(F, step, H, W, pad, channels, way % 2, way / 2);
    }
}
