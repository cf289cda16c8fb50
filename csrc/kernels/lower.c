/* Lowering: the rows or columns of the im2col matrix that one block of a product needs, never the
 * whole of it.
 *
 *     matrix(pixel, k) = x[n][c][p*stride_h - pad_top + r*dilation_h][q*stride_w - pad_left + s*dilation_w]
 *
 * or 0 outside the image, where pixel = (n*P + p)*Q + q and k counts (r, s, c) when g->channels_last,
 * (c, r, s) otherwise: the order in which that layout's weights lie in memory.
 *
 *   lower_rows     dst[pixel][k]   a row is runs of neighbouring channels: k counts (r, s, c), and the channels
 *                                  of a pixel are neighbours
 *   lower_columns  dst[k][pixel]   a row is runs of neighbouring pixels: fast where x's rows are contiguous,
 *                                  in strips of `width` as pack's, the last padded with zeros; each strip
 *                                  has a vector of room behind it
 *
 * Both take any other strides; x_strides are those of (n, c, h, w) in bytes and x points at the group's first
 * channel. Both walk the pixels one output row at a time. Called by fastconv/_loops/im2col.pyx and lowering.pyx. */

/* `length` neighbouring pixels of one output row, `at` counting from the block's first. */
typedef struct {
    intptr_t n, p, q, length, at;
} row_segment;

INLINE row_segment first_segment(const fc_geometry *g, intptr_t pixel, intptr_t pixels) {
    const intptr_t q = pixel % g->Q, rest = g->Q - q;
    return (row_segment){pixel / g->Q / g->P, pixel / g->Q % g->P, q, rest < pixels ? rest : pixels, 0};
}

INLINE void next_segment(const fc_geometry *g, row_segment *s, intptr_t pixels) {
    s->at += s->length;
    s->q = 0;
    s->length = g->Q < pixels - s->at ? g->Q : pixels - s->at;
    if (++s->p == g->P) {
        s->p = 0;
        s->n++;
    }
}

INLINE void zero_run(char *dst, intptr_t n) {
    for (; n >= LANES; n -= LANES, dst += sizeof(vec)) store(dst, (vec){0});
    for (; n > 0; n--, dst += sizeof(real)) store1(dst, 0);
}

/* Runs are copied in whole vectors. The last may write past the run, over what is written next or over the
 * gap at the row's end, and read past it, but never past `limit`: see read_limit. */
INLINE void copy_run(char *dst, const char *src, intptr_t n, const char *limit) {
    for (; n > 0; n -= LANES, dst += sizeof(vec), src += sizeof(vec)) {
        if (n >= LANES || src + sizeof(vec) <= limit)
            store(dst, load(src));
        else
            copy_n(dst, src, n);
    }
}

/* The even lanes of the two vectors at src: every second element of 2 * LANES. */
INLINE vec load_even(const char *src) {
    return shuffle(load(src), load(src + sizeof(vec)), 2 * lane_numbers());
}

INLINE void gather_run(char *dst, const char *src, intptr_t step, intptr_t n, const char *limit) {
    const intptr_t v = sizeof(vec), stride = step / (intptr_t)sizeof(real);
    const int shuffled = step == 2 * (intptr_t)sizeof(real) || step == 4 * (intptr_t)sizeof(real);
    for (; n > 0; n -= LANES, dst += v, src += LANES * step) {
        if (!shuffled || (n <= LANES && src + stride * v > limit)) {
            for (intptr_t i = 0; i < (n < LANES ? n : LANES); i++)
                store1(dst + i * sizeof(real), load1(src + i * step));
        } else if (stride == 2) {
            store(dst, load_even(src));
        } else {
            store(dst, shuffle(load_even(src), load_even(src + 2 * v), 2 * lane_numbers()));
        }
    }
}

/* The end of x if a row of dst has room for a vector behind it, so that copies may overshoot; otherwise
 * NULL, which keeps them exact. */
INLINE const char *read_limit(const fc_geometry *g, const void *x, const intptr_t *x_strides,
                              int roomy) {
    if (!roomy || x_strides[0] < 0 || x_strides[1] < 0 || x_strides[2] < 0 || x_strides[3] < 0) return 0;
    return (const char *)x + (g->N - 1) * x_strides[0] + (g->C - 1) * x_strides[1] +
           (g->H - 1) * x_strides[2] + (g->W - 1) * x_strides[3] + sizeof(real);
}

INLINE intptr_t clamp(intptr_t value, intptr_t low, intptr_t high) {
    return value < low ? low : value > high ? high : value;
}

/* The q in [0, Q] from which on q*stride + offset >= 0, and up to which it is < size. */
INLINE intptr_t first_inside(const fc_geometry *g, intptr_t offset) {
    if (g->stride_w == 1) return clamp(-offset, 0, g->Q); /* a division costs as much as a short run */
    return offset < 0 ? clamp((-offset + g->stride_w - 1) / g->stride_w, 0, g->Q) : 0;
}
INLINE intptr_t end_inside(const fc_geometry *g, intptr_t offset, intptr_t size) {
    if (g->stride_w == 1) return clamp(size - offset, 0, g->Q);
    return offset < size ? clamp((size - 1 - offset) / g->stride_w + 1, 0, g->Q) : 0;
}

static void lower_rows(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                       intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row) {
    const intptr_t xn = x_strides[0], xh = x_strides[2], xw = x_strides[3], size = sizeof(real);
    /* A run is the channels of one tap, or of the S taps of a filter row where they touch: one pixel's
     * run starts `step` bytes behind its neighbour's. */
    const char *limit = read_limit(g, x, x_strides, dst_row >= (k1 - k0) * size + (intptr_t)sizeof(vec));
    const int joined = g->dilation_w == 1 && xw == g->C * size;
    const intptr_t taps = joined ? g->S : 1, run = taps * g->C, step = g->stride_w * xw;
    for (intptr_t k = k0, length; k < k1; k += length) {
        const intptr_t tap = k / run * taps, from = k % run;
        const intptr_t dh = tap / g->S * g->dilation_h - g->pad_top;
        const intptr_t dw = tap % g->S * g->dilation_w - g->pad_left;
        length = run - from < k1 - k ? run - from : k1 - k;
        /* Pixels of [low, high) have the whole run inside the image. */
        const intptr_t low = first_inside(g, dw), high = end_inside(g, dw + taps - 1, g->W);
        row_segment s = first_segment(g, pixel, pixels);
        for (; s.at < pixels; next_segment(g, &s, pixels)) {
            const intptr_t h = s.p * g->stride_h + dh, end = s.q + s.length;
            const char *row = (const char *)x + s.n * xn + h * xh + dw * xw + from * size;
            char *to = (char *)dst + s.at * dst_row + (k - k0) * size;
            for (intptr_t q = s.q; q < end; q++, to += dst_row) {
                const char *src = row + q * step;
                if (h < 0 || h >= g->H) {
                    zero_run(to, length);
                } else if (q >= low && q < high) {
                    copy_run(to, src, length, limit);
                } else { /* w may lie outside by whole taps: clip the run to the image */
                    const intptr_t w = q * g->stride_w + dw;
                    const intptr_t start = clamp(-w * g->C - from, 0, length);
                    const intptr_t stop = clamp((g->W - w) * g->C - from, start, length);
                    zero_run(to, start);
                    copy_run(to + start * size, src + start * size, stop - start, limit);
                    zero_run(to + stop * size, length - stop);
                }
            }
        }
    }
}

static void lower_columns(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                          intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row,
                          intptr_t width, intptr_t dst_strip) {
    const intptr_t xn = x_strides[0], xc = x_strides[1], xh = x_strides[2], xw = x_strides[3];
    const intptr_t size = sizeof(real), step = g->stride_w * xw;
    const char *limit = read_limit(g, x, x_strides, 1);
    const intptr_t first_n = pixel / g->Q / g->P, first_p = pixel / g->Q % g->P, first_q = pixel % g->Q;
    const intptr_t tap = g->channels_last ? k0 / g->C : k0 % (g->R * g->S);
    intptr_t c = g->channels_last ? k0 % g->C : k0 / (g->R * g->S), r = tap / g->S, s = tap % g->S;
    char *row = dst;
    for (intptr_t k = k0; k < k1; k++, row += dst_row) {
        const intptr_t dh = r * g->dilation_h - g->pad_top, dw = s * g->dilation_w - g->pad_left;
        const intptr_t low = first_inside(g, dw), high = end_inside(g, dw, g->W);
        const char *plane = (const char *)x + c * xc + dw * xw;
        intptr_t n = first_n, p = first_p, q = first_q;
        char *strip = row;
        for (intptr_t at = 0, column = 0, length; at < pixels; at += length) {
            /* A run ends with the output row, the strip or the block. */
            const intptr_t room = width - column < pixels - at ? width - column : pixels - at;
            const intptr_t h = p * g->stride_h + dh;
            char *to = strip + column * size;
            length = g->Q - q < room ? g->Q - q : room;
            if (h < 0 || h >= g->H) {
                zero_run(to, length);
            } else {
                const intptr_t start = clamp(low - q, 0, length), stop = clamp(high - q, start, length);
                const char *src = plane + n * xn + h * xh + (q + start) * step;
                zero_run(to, start);
                if (step == size)
                    copy_run(to + start * size, src, stop - start, limit);
                else
                    gather_run(to + start * size, src, step, stop - start, limit);
                zero_run(to + stop * size, length - stop);
            }
            if ((q += length) == g->Q) {
                q = 0;
                if (++p == g->P) {
                    p = 0;
                    n++;
                }
            }
            if ((column += length) == width) {
                column = 0;
                strip += dst_strip;
            } else if (at + length == pixels) {
                zero_run(strip + column * size, width - column);
            }
        }
        if (g->channels_last) {
            if (++c < g->C) continue;
            c = 0;
        }
        if (++s < g->S) continue;
        s = 0;
        if (++r < g->R) continue;
        r = 0;
        c++;
    }
}
