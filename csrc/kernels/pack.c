/* Copies a rows x cols block whose element (i, j) lies at src + i*src_row + j*src_col into strips of
 * `width` columns, the last padded with zeros: element (i, j) goes to
 *
 *     dst + j / width * dst_strip + i * dst_row + j % width
 *
 * It packs both operands of a product, transposes weights, and writes transposed results (one strip as
 * wide as the block); called by fastconv/_loops. Long rows are read from end to end, strip after strip:
 * reading a strip at a time cost a third of the time of a 1024-cubed product (Zen 4, 2026-11). */

static void pack_row(intptr_t cols, const char *src, char *dst, intptr_t width) {
    intptr_t j = 0;
    for (; j + LANES <= cols; j += LANES) store(dst + j * sizeof(real), load(src + j * sizeof(real)));
    if (j < cols) copy_n(dst + j * sizeof(real), src + j * sizeof(real), cols - j);
    if (cols < width) memset(dst + cols * sizeof(real), 0, (width - cols) * sizeof(real));
}

/* Rows in strips of NR columns, the way of most: while one is copied, the row four below is fetched.
 * (By pack_row, each took 36 cycles: 6 and 44 GB/s; AVX2 on Zen 3, 2026-11.) */
static void pack_strips(intptr_t rows, intptr_t cols, const char *src, intptr_t src_row, char *dst,
                        intptr_t dst_row, intptr_t dst_strip) {
    const intptr_t width = FC_NV * LANES;
    for (intptr_t i = 0; i < rows; i++, src += src_row, dst += dst_row) {
        const char *from = src;
        char *to = dst;
        intptr_t left = cols;
        for (; left >= width; left -= width, from += width * sizeof(real), to += dst_strip) {
#pragma GCC unroll 4
            for (int v = 0; v < FC_NV; v++) {
                if (v * sizeof(vec) % 64 == 0) __builtin_prefetch(from + 4 * src_row + v * sizeof(vec));
                store(to + v * sizeof(vec), load(from + v * sizeof(vec)));
            }
        }
        if (left > 0) pack_row(left, from, to, width);
    }
}

/* So many blocks of LANES x LANES, one behind the other in the columns of src, are read at once,
 * transposed in registers and written. */
INLINE void transpose_blocks(const int blocks, const char *from, intptr_t src_col, char *to,
                             intptr_t dst_row) {
    vec block[2][LANES];
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) block[b][l] = load(from + l * src_col + b * sizeof(vec));
#pragma GCC unroll 2
    for (int b = 0; b < blocks; b++) {
        transpose_block(block[b]);
#pragma GCC unroll 16
        for (int l = 0; l < LANES; l++) store(to + (b * LANES + l) * dst_row, block[b][l]);
    }
}

/* Columns of src are contiguous. Two blocks share the cache lines that they are read from, unless a
 * vector is a line: planes a power of two apart would take them from each other before the second comes
 * (64 channels of 224 x 224 pixels: 2.3 and 1.4 ms; Zen 3, 2026-11). One alone is mostly one of results,
 * which go to long rows: what is written after it is fetched. */
static void pack_transposed(intptr_t rows, intptr_t cols, const char *src, intptr_t src_col, char *dst,
                            intptr_t dst_row, intptr_t width) {
    const intptr_t size = sizeof(real);
    for (intptr_t j = 0; j < width; j += LANES) {
        const intptr_t got = cols - j < LANES ? (cols > j ? cols - j : 0) : LANES;
        const intptr_t put = width - j < LANES ? width - j : LANES;
        for (intptr_t i = 0; i < rows; i += LANES) {
            const intptr_t deep = rows - i < LANES ? rows - i : LANES;
            const char *from = src + j * src_col + i * size;
            char *to = dst + i * dst_row + j * size;
            vec block[LANES];
            if (sizeof(vec) < 64 && got == LANES && rows - i >= 2 * LANES) {
                transpose_blocks(2, from, src_col, to, dst_row);
                i += LANES;
                continue;
            }
            if (got == LANES && deep == LANES) {
#pragma GCC unroll 16
                for (int l = 0; l < LANES; l++)
                    __builtin_prefetch(to + l * dst_row + 2 * sizeof(vec), 1);
                transpose_blocks(1, from, src_col, to, dst_row);
                continue;
            }
            for (int l = 0; l < LANES; l++)
                block[l] = l >= got        ? (vec){0}
                           : deep == LANES ? load(from + l * src_col)
                                           : load_n(from + l * src_col, deep);
            transpose_block(block);
            for (int l = 0; l < deep; l++) {
                if (put == LANES)
                    store(to + l * dst_row, block[l]);
                else
                    store_n(to + l * dst_row, block[l], put);
            }
        }
    }
}

/* The same for so few columns that a block would take longer than its elements one by one. */
static void pack_few(intptr_t rows, intptr_t cols, const char *src, intptr_t src_col, char *dst,
                     intptr_t dst_row, intptr_t width) {
    const intptr_t size = sizeof(real);
    for (intptr_t j = 0; j < cols; j++)
        for (intptr_t i = 0; i < rows; i++)
            store1(dst + i * dst_row + j * size, load1(src + j * src_col + i * size));
    for (intptr_t i = 0; cols < width && i < rows; i++)
        memset(dst + i * dst_row + cols * size, 0, (width - cols) * size);
}

static void pack(intptr_t rows, intptr_t cols, const void *src, intptr_t src_row, intptr_t src_col,
                 void *dst, intptr_t dst_row, intptr_t width, intptr_t dst_strip) {
    const char *from = src;
    const int by_columns = src_row == sizeof(real) && src_col != sizeof(real);
    if (src_col == sizeof(real) && width == FC_NV * LANES) {
        pack_strips(rows, cols, src, src_row, dst, dst_row, dst_strip);
        return;
    }
    for (intptr_t i = 0; i < (by_columns ? 1 : rows); i++) {
        char *to = (char *)dst + i * dst_row;
        for (intptr_t j = 0; j < cols; j += width, to += dst_strip) {
            const intptr_t n = cols - j < width ? cols - j : width;
            const char *start = from + i * src_row + j * src_col;
            if (by_columns && 4 * n <= LANES) {
                pack_few(rows, n, start, src_col, to, dst_row, width);
            } else if (by_columns) {
                pack_transposed(rows, n, start, src_col, to, dst_row, width);
            } else if (src_col == sizeof(real)) {
                pack_row(n, start, to, width);
            } else {
                for (intptr_t l = 0; l < n; l++)
                    store1(to + l * sizeof(real), load1(start + l * src_col));
                if (n < width) memset(to + n * sizeof(real), 0, (width - n) * sizeof(real));
            }
        }
    }
}
