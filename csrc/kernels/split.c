/* Rows of an image as planes of padded rows, for nests whose vectors run along the rows: padded column
 * j = pad + column of the image goes to
 *
 *     dst + j % planes * dst_plane + row * dst_row + j / planes
 *
 * so that the pixels that a stride of `planes` skips do not lie between those it meets. Behind each row up
 * to a vector of zeros is written, over what the next row brings, or zeros: the caller has zeroed the
 * padding and left a vector of room behind each plane. Nothing of x is read from `limit` on. Called by
 * fastconv/_loops/depthwise.pyx and direct_rows.pyx. */
/* v[i] becomes the lanes i, i + planes, i + 2*planes ... of all of v; planes is 1, 2 or 4. */
INLINE void deinterleave(const int planes, vec v[4]) {
#pragma GCC unroll 2
    for (int round = planes / 2; round > 0; round /= 2) {
        vec from[4];
#pragma GCC unroll 4
        for (int i = 0; i < planes; i++) from[i] = v[i];
        /* Of neighbours, the even lanes go to the first half of v, the odd ones to the second. */
#pragma GCC unroll 2
        for (int i = 0; i < planes / 2; i++)
            split_lanes(from[2 * i], from[2 * i + 1], &v[i], &v[i + planes / 2]);
    }
}

INLINE void split_contiguous(const int planes, intptr_t rows, intptr_t columns, const char *src,
                             intptr_t src_row, const char *limit, char *const to[4], intptr_t dst_row) {
    const intptr_t size = sizeof(real), step = planes * LANES;
    const intptr_t whole = columns / step * step, rest = columns - whole;
    vec_index keep[4];
#pragma GCC unroll 4
    for (int q = 0; q < planes; q++) keep[q] = lane_numbers() < (lane_index)(rest - q * LANES);
    for (intptr_t i = 0; i < rows; i++)
        for (intptr_t j = 0; j < columns; j += step) {
            const char *from = src + i * src_row + j * size;
            const int readable = from + step * size <= limit;
            vec v[4];
#pragma GCC unroll 4
            for (int q = 0; q < planes; q++, from += sizeof(vec)) {
                const intptr_t left = columns - j - q * LANES;
                if (j < whole)
                    v[q] = load(from);
                else if (readable)
                    v[q] = (vec)((vec_index)load(from) & keep[q]);
                else
                    v[q] = left <= 0 ? (vec){0} : load_upto(from, left < LANES ? left : LANES);
            }
            deinterleave(planes, v);
#pragma GCC unroll 4
            for (int q = 0; q < planes; q++) store(to[q] + i * dst_row + j / planes * size, v[q]);
        }
}

static void split(intptr_t rows, intptr_t columns, const void *src, intptr_t src_row, intptr_t src_col,
                  const void *limit, intptr_t pad, intptr_t planes, void *dst, intptr_t dst_row,
                  intptr_t dst_plane) {
    const intptr_t size = sizeof(real);
    char *to[4];
    for (intptr_t q = 0; q < 4; q++)
        to[q] = (char *)dst + (pad + q) % planes * dst_plane + (pad + q) / planes * size;
    if (planes == 1 && src_col == size)
        split_contiguous(1, rows, columns, src, src_row, limit, to, dst_row);
    else if (planes == 2 && src_col == size)
        split_contiguous(2, rows, columns, src, src_row, limit, to, dst_row);
    else if (planes == 4 && src_col == size)
        split_contiguous(4, rows, columns, src, src_row, limit, to, dst_row);
    else
        for (intptr_t first = 0; first < planes && first < columns; first++) {
            char *plane =
                (char *)dst + (pad + first) % planes * dst_plane + (pad + first) / planes * size;
            for (intptr_t i = 0; i < rows; i++)
                for (intptr_t j = first, at = i * dst_row; j < columns; j += planes, at += size)
                    store1(plane + at, load1((const char *)src + i * src_row + j * src_col));
        }
}
