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

/* How a tile starts and how it leaves the registers: c = act(alpha * (bias + sum) + beta * c).
 * beta == 0 never reads c. */
typedef struct {
    double alpha, beta;
    const void *row_bias; /* one value per row of the tile, or NULL; at most one of the two is given */
    const void *col_bias; /* one value per column, or NULL */
    int relu;
} fc_store;

/* A convolution in the letters of fastconv/shapes.py, which packs this struct; C and K are those of
 * one group. x, w and y are addressed through strides only, so a layout is nothing but strides. */
typedef struct {
    int64_t N, C, H, W, K, R, S, P, Q, groups;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t channels_last;
} fc_geometry;

typedef void fc_tile(intptr_t taps, const intptr_t *tap, intptr_t k, const void *a, intptr_t a_row,
                     intptr_t a_col, const void *b, intptr_t b_row, intptr_t b_ahead, void *c,
                     intptr_t c_row, intptr_t n, const fc_store *store);

typedef struct {
    const char *isa;
    intptr_t itemsize, lanes, MR, NV, NR; /* NR = NV * lanes columns of a full tile */
    fc_tile *tile[FC_MAX_NV][FC_MAX_MR];  /* [vectors - 1][rows - 1] */
    void (*pack)(intptr_t rows, intptr_t cols, const void *src, intptr_t src_row, intptr_t src_col,
                 void *dst, intptr_t dst_row, intptr_t width, intptr_t dst_strip);
    void (*dot)(intptr_t m, intptr_t n, intptr_t k, const void *a, intptr_t a_row, const void *b,
                intptr_t b_row, void *c, intptr_t c_row, double alpha, double beta);
    void (*axpy)(intptr_t k, intptr_t n, double alpha, const void *a, intptr_t a_col, const void *b,
                 intptr_t b_row, void *c);
    void (*scale)(intptr_t n, double beta, void *c);
    void (*lower_rows)(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                       intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row);
    void (*lower_columns)(const fc_geometry *g, const void *x, const intptr_t *x_strides, intptr_t pixel,
                          intptr_t pixels, intptr_t k0, intptr_t k1, void *dst, intptr_t dst_row,
                          intptr_t width, intptr_t dst_strip);
    void (*depthwise)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                      const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                      const void *bias, int relu, void *y, intptr_t y_step);
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
