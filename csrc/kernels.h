/* The kernel table: everything that fastconv/_loops calls of csrc.
 *
 * One table per ISA and dtype, all filled from the same source (csrc/kernels.c). Kernels compute one
 * register tile, or one row of them; they know nothing of threads, memory or Python. Every pointer is
 * untyped and every stride is in bytes, so that the loop nests above are written once for both dtypes.
 * csrc/README.md holds the contract of each slot. */
#ifndef FC_KERNELS_H
#define FC_KERNELS_H
#include <stdint.h>

#define FC_MAX_MR 14
#define FC_MAX_NV 2

/* The tiles: of a product, and of sums over the taps of a filter, which are offsets in a or in b. */
enum { FC_PRODUCT, FC_TAPS_IN_A, FC_TAPS_IN_B, FC_TILES };

/* How a tile starts and how it leaves the registers: c = act(alpha * (bias + sum) + beta * c).
 * beta == 0 never reads c. */
typedef struct {
    int onto; /* beta is not 0 */
    int scaled; /* alpha is not 1, or beta is not 0 or 1. (A tile that compares doubles needs 6 % more time for 16
                 * products each; AVX2 on Zen 3, 2026-11.) */
    double alpha, beta;
    const void *row_bias; /* one value per row of the tile, or NULL; at most one of the two is given */
    const void *col_bias; /* one value per column, or NULL */
    int relu;
} fc_store;

static inline fc_store fc_store_of(double alpha, double beta, int relu) {
    return (fc_store){beta != 0, alpha != 1 || (beta != 0 && beta != 1), alpha, beta, 0, 0, relu};
}

/* A convolution in the letters of fastconv/shapes.py, which packs this struct; C and K are those of
 * one group. x, w and y are addressed through strides only, so a layout is nothing but strides. */
typedef struct {
    int64_t N, C, H, W, K, R, S, P, Q, groups;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t channels_last;
} fc_geometry;

/* The pixels that exist: rows [top, bottom), columns [left, right). */
typedef struct {
    intptr_t top, bottom, left, right;
} fc_window;

/* A way to turn a tile of a convolution into independent products, summed over channels: transform the tile, multiply
 * each frequency with its matrix of transformed weights, transform back. Real numbers have one part; complex ones have
 * two, re and im, and a tile's transform holds re, im, -re of each frequency, so that two sums of the register tile
 * over neighbouring planes, (re, im) and (im, -re), multiply with the conjugate. Planes lie v_plane, m_plane bytes
 * apart; all kernels touch `channels` or `filters` values of a plane, vectors run over them. */
typedef struct {
    intptr_t tile_h,
        tile_w;           /* so many pixels of x, all readable, give (tile_h-R+1) x (tile_w-S+1) of y */
    intptr_t frequencies; /* matrices of weights */
    intptr_t parts;       /* 1: real, 2: complex */
    /* The tile's planes for its first rows x cols results; fewer than all may leave out planes, and pixels. Winograd's
     * store whole vectors of channels, for which v has room. */
    void (*input)(const void *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels, intptr_t rows,
                  intptr_t cols, void *v, intptr_t v_plane, void *scratch);
    void (*weights)(intptr_t R, intptr_t S, const void *w, intptr_t w_row, intptr_t w_tap,
                    intptr_t filters, void *u, intptr_t u_frequency, intptr_t u_part, void *scratch);
    void (*output)(const void *m, intptr_t m_plane, intptr_t filters, const void *bias, int relu,
                   intptr_t rows, intptr_t cols, void *y, intptr_t y_row, intptr_t y_pixel,
                   void *scratch);
    /* Which rows of the tile_h x tile_w frequencies, and which columns, so many results along that axis need, if it has
     * more than one: a bit for each; as many pixels are read. Or NULL: every tile takes part in all products. */
    intptr_t (*points)(intptr_t results);
    intptr_t scratch_bytes;
    /* All three in one for channels that are not summed, or NULL (Winograd): one tile of x, `lanes` lanes of it, to
     * rows x cols of y. Pixels outside of the window are zero and not read. u is [frequency][part][lane], or shared
     * by the lanes: [frequency][part], and then the bias is one value. */
    void (*filter)(const void *x, intptr_t x_row, intptr_t x_pixel, const fc_window *inside,
                   intptr_t lanes, const void *u, int shared, const void *bias, int relu, intptr_t rows,
                   intptr_t cols, void *y, intptr_t y_row, intptr_t y_pixel, void *scratch);
} fc_transform;

/* The rows of `transforms`: Winograd's F(m x m, 3 x 3), each followed by its F(m x 1, 3 x 1) and F(1 x m, 1 x 3),
 * Fourier's of T x T pixels, and Winograd's F(3 x 3, 4 x 4), whose weights are pixels of a gradient. */
enum {
    FC_WINOGRAD_2,
    FC_WINOGRAD_4 = FC_WINOGRAD_2 + 3,
    FC_WINOGRAD_5 = FC_WINOGRAD_4 + 3,
    FC_WINOGRAD_6 = FC_WINOGRAD_5 + 3,
    FC_FFT_16 = FC_WINOGRAD_6 + 3,
    FC_FFT_32,
    FC_FFT_64,
    FC_FFT_128,
    FC_WINOGRAD_GRAD,
    FC_TRANSFORMS
};

typedef void fc_tile(intptr_t taps, const intptr_t *tap, intptr_t k, const void *a, intptr_t a_row,
                     intptr_t a_col, const void *b, intptr_t b_row, const void *ahead,
                     intptr_t ahead_row, void *c, intptr_t c_row, intptr_t n, const fc_store *store);

typedef void fc_depthwise(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                          const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                          const void *bias, int relu, void *y, intptr_t y_step);

/* Functions of single elements: y[i] = f(a[i], b[i], s). */
typedef void fc_map(intptr_t n, const void *a, const void *b, double s, void *y);
enum {
    FC_RELU,              /* max(a, 0); NaN stays */
    FC_RELU_GRAD,         /* a, or 0 where b <= 0 */
    FC_SIGMOID,           /* 1 / (1 + exp(-a)) */
    FC_SIGMOID_GRAD,      /* a * b * (1 - b) */
    FC_ADD,               /* a + b */
    FC_SCALED_DIFFERENCE, /* (a - b) * s */
    FC_EXP_MINUS,         /* exp(a - s) */
    FC_SOFTMAX_GRAD,      /* b * (a - s) */
    FC_MAPS
};

typedef struct {
    const char *isa;
    intptr_t itemsize, lanes, MR, NV, NR; /* NR = NV * lanes columns of a full tile */
    intptr_t rows[FC_MAX_NV];             /* of the tallest tile of so many vectors, [vectors - 1] */
    fc_tile *tile[FC_TILES][FC_MAX_NV][FC_MAX_MR]; /* [kind][vectors - 1][rows - 1] */
    void (*pack)(intptr_t rows, intptr_t cols, const void *src, intptr_t src_row, intptr_t src_col,
                 void *dst, intptr_t dst_row, intptr_t width, intptr_t dst_strip);
    void (*dot)(intptr_t m, intptr_t n, intptr_t taps, const intptr_t *a_tap, const intptr_t *b_tap,
                intptr_t k, const void *a, intptr_t a_row, const void *b, intptr_t b_row, void *c,
                intptr_t c_row, const fc_store *store);
    void (*axpy)(intptr_t k, intptr_t n, double alpha, const void *a, intptr_t a_col, const void *b,
                 intptr_t b_row, void *c);
    void (*scale)(intptr_t n, double beta, void *c);
    void (*lower_rows)(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                       intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row);
    void (*lower_columns)(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                          intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row,
                          intptr_t width, intptr_t dst_strip);
    fc_depthwise *depthwise, *depthwise_rows;
    void (*depthwise_3x3[2])(intptr_t rows, intptr_t columns, const void *x, intptr_t x_row,
                             const fc_window *inside, const void *w, intptr_t w_tap, const void *bias,
                             int relu, void *y);
    void (*depthwise_last[2][2])(intptr_t rows, intptr_t columns, intptr_t channels, const void *x,
                                 intptr_t x_row, intptr_t x_pixel, const fc_window *inside,
                                 const void *w, intptr_t w_tap, const void *bias, int relu, void *y,
                                 intptr_t y_row, intptr_t y_pixel);
    void (*split)(intptr_t rows, intptr_t columns, const void *src, intptr_t src_row, intptr_t src_col,
                  const void *limit, intptr_t pad, intptr_t planes, void *dst, intptr_t dst_row,
                  intptr_t dst_plane);
    fc_transform transforms[FC_TRANSFORMS];
    fc_map *map[FC_MAPS];
    double (*largest)(intptr_t n, const void *a);
    void (*dropout)(intptr_t n, uint64_t seed, uint64_t step, uint64_t image, double p, const void *x,
                    void *y);
    void (*covariance)(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                       const void *cb, void *sum);
    void (*combine)(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                    const void *cb, const void *d, void *y);
    void (*response_norm)(intptr_t n, intptr_t size, double scale, double beta, double k, const void *x,
                          void *scratch, void *y);
    void (*response_norm_grad)(intptr_t n, intptr_t size, double scale, double beta, double k,
                               const void *x, const void *grad, void *scratch, void *dx);
    void (*max_pool)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                     const void *x, intptr_t x_step, void *y, intptr_t y_step);
    void (*mean_pool)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                      const void *x, intptr_t x_step, intptr_t count, void *y, intptr_t y_step);
    void (*max_pool_grad)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                          const void *x, intptr_t x_step, const void *grad, intptr_t grad_step,
                          void *dx);
    void (*mean_pool_grad)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                           const void *grad, intptr_t grad_step, intptr_t count, void *dx,
                           intptr_t x_step);
    double (*fma_chain)(intptr_t steps);               /* benchmarks: the peak */
    double (*read_sum)(const void *p, intptr_t bytes); /* benchmarks: the bandwidth; is all finite? */
} fc_kernels;

/* csrc/select.c: the rows of isa.def that were compiled and that this machine can run, best first. */
typedef struct {
    const char *name, *flags;
    int usable; /* CPU and operating system can run it */
    const fc_kernels *f32, *f64;
} fc_isa;
const fc_isa *fc_isa_list(int *count);
#endif
