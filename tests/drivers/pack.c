/* csrc/kernels/pack.c: blocks whose rows, whose columns, or neither are contiguous, in strips of every kind of width,
 * and backwards. */
#include "driver.h"

static void try_pack(idx rows, idx cols, idx width, idx src_row, idx src_col) {
    const idx strips = rounded_up(cols, width) / width, dst_row = width + 1,
              dst_strip = rows * dst_row + 2;
    const idx count = (strips - 1) * dst_strip + (rows - 1) * dst_row + width;
    const idx backwards = src_col < 0 ? -(cols - 1) * src_col : 0;
    begin("pack: %ld x %ld in strips of %ld, src_row=%ld src_col=%ld", (long)rows, (long)cols,
          (long)width, (long)src_row, (long)src_col);
    const char *src = numbers((rows - 1) * src_row + larger(0, (cols - 1) * src_col) + backwards + 1);
    char *dst = poisoned(count);
    double *expected = untouched(count);
    src += bytes(backwards);
    for (idx i = 0; i < rows; i++)
        for (idx j = 0; j < strips * width; j++)
            expected[j / width * dst_strip + i * dst_row + j % width] =
                j < cols ? get(src, i * src_row + j * src_col) : 0;
    TRY(pack)(rows, cols, src, bytes(src_row), bytes(src_col), dst, bytes(dst_row), width,
              bytes(dst_strip));
    same(dst, expected, count, 0);
}

void drive_pack(void) {
    const idx lanes = kernels->lanes, NR = kernels->NR;
    EACH (rows, 1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 3 * lanes)
        EACH (cols, 1, 2, lanes - 1, lanes, lanes + 1, NR, NR + 1, 2 * NR + 3)
            EACH (width, 1, 3, lanes, NR, cols) {
                if (rows == 0 || cols == 0) continue; /* lanes - 1 */
                try_pack(rows, cols, width, cols + 2, 1);
                try_pack(rows, cols, width, 1, rows + 2);
                try_pack(rows, cols, width, 2 * cols + 1, 2);
                try_pack(rows, cols, width, cols, -1);
            }
}
