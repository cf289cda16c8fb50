/* csrc/kernels/depthwise.c: blocks with vectors over channels, and rows of planes with vectors along them, at every
 * rest of their blocks. */
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
static void try_rows(int small, idx rows, idx columns, idx R, idx S, idx stride_h, idx planes,
                     int biased, int relu) {
    const idx taps = R * S, w_tap = 3, row = columns + (S - 1) / planes,
              rows_in = (rows - 1) * stride_h + R;
    const idx plane = rows_in * row + kernels->lanes;
    begin("%s: rows=%ld columns=%ld filter %ldx%ld stride_h=%ld planes=%ld bias=%d relu=%d",
          small ? "depthwise_3x3" : "depthwise_rows", (long)rows, (long)columns, (long)R, (long)S,
          (long)stride_h, (long)planes, biased, relu);
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
    fc_depthwise *kernel = small ? TRY(depthwise_3x3[stride_h - 1]) : TRY(depthwise_rows);
    kernel(rows, columns, taps, tap, weight, x, bytes(stride_h * row), w, bias, relu, y, bytes(columns));
    same(y, expected, rows * columns, 0);
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
                    EACH (planes, 1, 2) {
                        try_rows(1, rows, columns, 3, 3, stride_h, planes, way % 2, way / 2);
                        try_rows(0, rows, columns, 2, 5, stride_h, planes, way % 2, way / 2);
                    }
    }
}
