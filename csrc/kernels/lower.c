/* Lowering: the rows or columns of the im2col matrix that one block of a product needs, never the
 * whole of it.
 *
 *     matrix(pixel, k) = x[n][c][p*stride_h - pad_top + r*dilation_h][q*stride_w - pad_left + s*dilation_w]
 *
 * or 0 outside the image, where pixel = (n*P + p)*Q + q and k counts (r, s, c) when g->channels_last,
 * (c, r, s) otherwise: the order in which that layout's weights lie in memory.
 *
 *   lower_rows     dst[pixel][k]   a row is runs of neighbouring channels: fast where x is channels-last
 *   lower_columns  dst[k][pixel]   a row is runs of neighbouring pixels: fast where x's rows are contiguous,
 *                                  padded with zeros to `width`
 *
 * Both take any strides; x_strides are those of (n, c, h, w) in bytes and x points at the group's first
 * channel. Called by fastconv/_loops/im2col.pyx. */

typedef struct {
    intptr_t n, p, q;
} pixel_index;

INLINE pixel_index pixel_at(const fc_geometry *g, intptr_t pixel) {
    return (pixel_index){pixel / (g->P * g->Q), pixel / g->Q % g->P, pixel % g->Q};
}

INLINE void next_pixel(const fc_geometry *g, pixel_index *i) {
    if (++i->q < g->Q) return;
    i->q = 0;
    if (++i->p < g->P) return;
    i->p = 0;
    i->n++;
}

INLINE void copy_run(char *dst, const char *src, intptr_t src_step, intptr_t n) {
    intptr_t i = 0;
    if (src_step == sizeof(real)) {
        for (; i + LANES <= n; i += LANES) store(dst + i * sizeof(real), load(src + i * sizeof(real)));
        copy_n(dst + i * sizeof(real), src + i * sizeof(real), n - i);
        return;
    }
    for (; i < n; i++) store1(dst + i * sizeof(real), load1(src + i * src_step));
}

INLINE void zero_run(char *dst, intptr_t n) {
    if (n > 0) memset(dst, 0, n * sizeof(real));
}

/* dst[0..n) = src[0..n) inside [low, high), 0 elsewhere; src is only read there. */
INLINE void copy_inside(char *dst, const char *src, intptr_t src_step, intptr_t n, intptr_t low,
                        intptr_t high) {
    if (low < 0) low = 0;
    if (high > n) high = n;
    if (low >= high) {
        zero_run(dst, n);
        return;
    }
    zero_run(dst, low);
    copy_run(dst + low * sizeof(real), src + low * src_step, src_step, high - low);
    zero_run(dst + high * sizeof(real), n - high);
}

/* The q for which q*stride + offset lies in [0, size): [low, high). */
INLINE void valid_range(intptr_t stride, intptr_t offset, intptr_t size, intptr_t *low, intptr_t *high) {
    *low = offset < 0 ? (-offset + stride - 1) / stride : 0;
    *high = offset < size ? (size - 1 - offset) / stride + 1 : 0;
}

static void lower_rows(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                       intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row) {
    const intptr_t xn = x_strides[0], xc = x_strides[1], xh = x_strides[2], xw = x_strides[3];
    const intptr_t size = sizeof(real);
    pixel_index i = pixel_at(g, pixel);
    char *row = dst;

    if (!g->channels_last) { /* (c, r, s): element by element */
        for (; pixels > 0; pixels--, next_pixel(g, &i), row += dst_row)
            for (intptr_t k = k0; k < k1; k++) {
                const intptr_t c = k / (g->R * g->S);
                const intptr_t h = i.p * g->stride_h - g->pad_top + k / g->S % g->R * g->dilation_h;
                const intptr_t w = i.q * g->stride_w - g->pad_left + k % g->S * g->dilation_w;
                const int inside = h >= 0 && h < g->H && w >= 0 && w < g->W;
                const char *from = (const char *)x + i.n * xn + c * xc + h * xh + w * xw;
                store1(row + (k - k0) * size, inside ? load1(from) : 0);
            }
        return;
    }
    /* (r, s, c): a run is the channels of one tap, or of the S taps of a filter row where they touch. */
    const int joined = g->dilation_w == 1 && xc == size && xw == g->C * size;
    const intptr_t taps = joined ? g->S : 1, run = taps * g->C;
    for (; pixels > 0; pixels--, next_pixel(g, &i), row += dst_row)
        for (intptr_t k = k0; k < k1;) {
            const intptr_t tap = k / run * taps, from = k % run;
            const intptr_t length = run - from < k1 - k ? run - from : k1 - k;
            const intptr_t h = i.p * g->stride_h - g->pad_top + tap / g->S * g->dilation_h;
            const intptr_t w = i.q * g->stride_w - g->pad_left + tap % g->S * g->dilation_w;
            intptr_t low = 0, high = length;
            if (h < 0 || h >= g->H)
                high = 0;
            else if (joined) {
                low = -w * g->C - from;
                high = (g->W - w) * g->C - from;
            } else if (w < 0 || w >= g->W)
                high = 0;
            const char *src = (const char *)x + i.n * xn + h * xh + w * xw + from * xc;
            copy_inside(row + (k - k0) * size, src, xc, length, low, high);
            k += length;
        }
}

static void lower_columns(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                          intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row,
                          intptr_t width) {
    const intptr_t xn = x_strides[0], xc = x_strides[1], xh = x_strides[2], xw = x_strides[3];
    const intptr_t size = sizeof(real);
    const pixel_index first = pixel_at(g, pixel);
    char *row = dst;
    for (intptr_t k = k0; k < k1; k++, row += dst_row) {
        const intptr_t tap = g->channels_last ? k / g->C : k % (g->R * g->S);
        const intptr_t c = g->channels_last ? k % g->C : k / (g->R * g->S);
        const intptr_t dh = tap / g->S * g->dilation_h - g->pad_top;
        const intptr_t dw = tap % g->S * g->dilation_w - g->pad_left;
        intptr_t low, high;
        valid_range(g->stride_w, dw, g->W, &low, &high);
        pixel_index i = first;
        for (intptr_t done = 0; done < pixels;) {
            const intptr_t h = i.p * g->stride_h + dh;
            const intptr_t length = g->Q - i.q < pixels - done ? g->Q - i.q : pixels - done;
            const char *src =
                (const char *)x + i.n * xn + c * xc + h * xh + (i.q * g->stride_w + dw) * xw;
            const int inside = h >= 0 && h < g->H;
            copy_inside(row + done * size, src, xw * g->stride_w, length, low - i.q,
                        inside ? high - i.q : 0);
            done += length;
            i.q += length - 1;
            next_pixel(g, &i);
        }
        zero_run(row + pixels * size, width - pixels);
    }
}
