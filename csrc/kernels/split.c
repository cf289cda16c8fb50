/* Rows of an image as planes of padded rows, for nests whose vectors run along the rows: padded column
 * j = pad + column of the image goes to
 *
 *     dst + j % planes * dst_plane + row * dst_row + j / planes
 *
 * so that the pixels that a stride of `planes` skips do not lie between those it meets. Behind each row up
 * to a vector of zeros is written, over what the next row brings, or zeros: the caller has zeroed the
 * padding and left a vector of room behind each plane. Nothing of x is read from `limit` on. Called by
 * fastconv/_loops/depthwise.pyx and direct_rows.pyx. */
INLINE void split_contiguous(const int planes, intptr_t rows, intptr_t columns, const char *src,
                             intptr_t src_row, const char *limit, char *even_to, char *odd_to,
                             intptr_t dst_row) {
    const intptr_t v = sizeof(vec), size = sizeof(real), step = planes * LANES;
    const intptr_t whole = columns / step * step, rest = columns - whole;
    const vec_index lane = lane_numbers(), even = 2 * lane, odd = even + 1;
    const vec_index keep = lane < (lane_index)rest, keep_behind = lane < (lane_index)(rest - LANES);
    for (intptr_t i = 0; i < rows; i++, src += src_row, even_to += dst_row, odd_to += dst_row)
        for (intptr_t j = 0; j < columns; j += step) {
            const char *from = src + j * size;
            vec a, b = {0};
            if (j < whole) {
                a = load(from);
                if (planes == 2) b = load(from + v);
            } else if (from + planes * v <= limit) {
                a = (vec)((vec_index)load(from) & keep);
                if (planes == 2) b = (vec)((vec_index)load(from + v) & keep_behind);
            } else {
                a = rest < LANES ? load_n(from, rest) : load(from);
                if (rest > LANES) b = load_n(from + v, rest - LANES);
            }
            store(even_to + j / planes * size, planes == 2 ? shuffle(a, b, even) : a);
            if (planes == 2) store(odd_to + j / planes * size, shuffle(a, b, odd));
        }
}

static void split(intptr_t rows, intptr_t columns, const void *src, intptr_t src_row, intptr_t src_col,
                  const void *limit, intptr_t pad, intptr_t planes, void *dst, intptr_t dst_row,
                  intptr_t dst_plane) {
    const intptr_t size = sizeof(real);
    char *to = (char *)dst + pad % planes * dst_plane + pad / planes * size;
    char *next = (char *)dst + (pad + 1) % planes * dst_plane + (pad + 1) / planes * size;
    if (planes == 1 && src_col == size)
        split_contiguous(1, rows, columns, src, src_row, limit, to, next, dst_row);
    else if (planes == 2 && src_col == size)
        split_contiguous(2, rows, columns, src, src_row, limit, to, next, dst_row);
    else
        for (intptr_t first = 0; first < planes && first < columns; first++) {
            to = (char *)dst + (pad + first) % planes * dst_plane + (pad + first) / planes * size;
            for (intptr_t i = 0; i < rows; i++)
                for (intptr_t j = first, at = i * dst_row; j < columns; j += planes, at += size)
                    store1(to + at, load1((const char *)src + i * src_row + j * src_col));
        }
}
