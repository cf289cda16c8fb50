/* csrc/kernels/split.c: rows of an image, or of a part of its columns, as one, two and three padded planes. All of the
 * planes is zero where no pixel lies. */
#include "driver.h"

static void try_split(idx rows, idx columns, idx beyond, idx src_col, idx pad, idx planes) {
    const idx src_row = (columns + beyond) * src_col,
              dst_row = rounded_up(pad + columns, planes) / planes;
    const idx plane = rows * dst_row + kernels->lanes, src_count = rows * src_row - (src_col - 1);
    begin("split: rows=%ld columns=%ld of %ld src_col=%ld pad=%ld planes=%ld", (long)rows, (long)columns,
          (long)(columns + beyond), (long)src_col, (long)pad, (long)planes);
    const char *src = numbers(src_count);
    char *dst = zeros(planes * plane);
    double *expected = untouched(planes * plane);
    for (idx i = 0; i < planes * plane; i++) expected[i] = 0;
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < columns; j++)
            expected[(pad + j) % planes * plane + i * dst_row + (pad + j) / planes] =
                get(src, i * src_row + j * src_col);
    TRY(split)(rows, columns, src, bytes(src_row), bytes(src_col), src + bytes(src_count), pad, planes,
               dst, bytes(dst_row), bytes(plane));
    same(dst, expected, planes * plane, 0);
}

void drive_split(void) {
    const idx lanes = kernels->lanes;
    EACH (rows, 0, 1, 4)
        EACH (columns, 1, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes, 2 * lanes + 1,
              5 * lanes + 3)
            EACH (beyond, 0, 1, 2 * lanes)
                EACH (src_col, 1, 2)
                    EACH (pad, 0, 1, 4)
                        EACH (planes, 1, 2, 3)
                            if (rows > 0) try_split(rows, columns, beyond, src_col, pad, planes);
}
