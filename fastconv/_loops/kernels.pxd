# The C kernel table (csrc/kernels.h) and the pointer to the one in use. Every other nest cimports this.
from libc.stdint cimport int64_t, intptr_t, uint64_t

cdef extern from "kernels.h" nogil:
    ctypedef struct fc_store:       # made by fc_store_of; only a bias is set afterwards
        const void *row_bias
        const void *col_bias

    fc_store fc_store_of(double alpha, double beta, int relu)

    cdef enum:
        FC_PRODUCT, FC_TAPS_IN_A, FC_TAPS_IN_B

    ctypedef struct fc_geometry:
        int64_t N, C, H, W, K, R, S, P, Q, groups
        int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
        int64_t channels_last

    ctypedef void fc_tile(intptr_t taps, const intptr_t *tap, intptr_t k, const void *a, intptr_t a_row,
                          intptr_t a_col, const void *b, intptr_t b_row, const void *ahead, intptr_t ahead_row,
                          void *c, intptr_t c_row, intptr_t n, const fc_store *store) noexcept nogil

    ctypedef struct fc_window:
        intptr_t top, bottom, left, right

    ctypedef struct fc_transform:
        intptr_t tile_h, tile_w, frequencies, parts
        void (*input)(const void *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels, intptr_t rows,
                      intptr_t cols, void *v, intptr_t v_plane, void *scratch) noexcept nogil
        void (*weights)(intptr_t R, intptr_t S, const void *w, intptr_t w_row, intptr_t w_tap,
                        intptr_t filters, void *u, intptr_t u_frequency, intptr_t u_part, void *scratch) noexcept nogil
        void (*output)(const void *m, intptr_t m_plane, intptr_t filters, const void *bias, int relu,
                       intptr_t rows, intptr_t cols, void *y, intptr_t y_row, intptr_t y_pixel,
                       void *scratch) noexcept nogil
        intptr_t (*points)(intptr_t results) noexcept nogil
        intptr_t scratch_bytes
        void (*filter)(const void *x, intptr_t x_row, intptr_t x_pixel, const fc_window *inside, intptr_t lanes,
                       const void *u, int shared, const void *bias, int relu, intptr_t rows, intptr_t cols,
                       void *y, intptr_t y_row, intptr_t y_pixel, void *scratch) noexcept nogil

    cdef enum:
        FC_WINOGRAD_2, FC_WINOGRAD_4, FC_WINOGRAD_5, FC_WINOGRAD_6, FC_FFT_16, FC_FFT_32, FC_FFT_64, FC_FFT_128,
        FC_WINOGRAD_GRAD, FC_TRANSFORMS

    ctypedef void fc_depthwise(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                               const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                               const void *bias, int relu, void *y, intptr_t y_step) noexcept nogil
    ctypedef void fc_map(intptr_t n, const void *a, const void *b, double s, void *y) noexcept nogil
    enum:
        FC_RELU
        FC_RELU_GRAD
        FC_SIGMOID
        FC_SIGMOID_GRAD
        FC_ADD
        FC_SCALED_DIFFERENCE
        FC_EXP_MINUS
        FC_SOFTMAX_GRAD
        FC_MAPS

    ctypedef struct fc_kernels:
        const char *isa
        intptr_t itemsize, lanes, MR, NV, NR
        intptr_t rows[2]
        fc_tile *tile[3][2][14]
        void (*pack)(intptr_t rows, intptr_t cols, const void *src, intptr_t src_row,
                     intptr_t src_col, void *dst, intptr_t dst_row, intptr_t width,
                     intptr_t dst_strip) noexcept nogil
        void (*dot)(intptr_t m, intptr_t n, intptr_t taps, const intptr_t *a_tap, const intptr_t *b_tap, intptr_t k,
                    const void *a, intptr_t a_row, const void *b, intptr_t b_row, void *c, intptr_t c_row,
                    const fc_store *store) noexcept nogil
        void (*axpy)(intptr_t k, intptr_t n, double alpha, const void *a, intptr_t a_col,
                     const void *b, intptr_t b_row, void *c) noexcept nogil
        void (*scale)(intptr_t n, double beta, void *c) noexcept nogil
        void (*lower_rows)(const fc_geometry *g, const void *x, const intptr_t *x_strides,
                           intptr_t pixel, intptr_t pixels, intptr_t k0, intptr_t k1, void *dst,
                           intptr_t dst_row) noexcept nogil
        void (*lower_columns)(const fc_geometry *g, const void *x, const intptr_t *x_strides,
                              intptr_t pixel, intptr_t pixels, intptr_t k0, intptr_t k1, void *dst,
                              intptr_t dst_row, intptr_t width, intptr_t dst_strip) noexcept nogil
        fc_depthwise *depthwise
        fc_depthwise *depthwise_rows
        void (*depthwise_3x3[2])(intptr_t rows, intptr_t columns, const void *x, intptr_t x_row,
                                 const fc_window *inside, const void *w, intptr_t w_tap, const void *bias, int relu,
                                 void *y) noexcept nogil
        void (*depthwise_last[2][2])(intptr_t rows, intptr_t columns, intptr_t channels, const void *x, intptr_t x_row,
                                     intptr_t x_pixel, const fc_window *inside, const void *w, intptr_t w_tap,
                                     const void *bias, int relu, void *y, intptr_t y_row,
                                     intptr_t y_pixel) noexcept nogil
        void (*split)(intptr_t rows, intptr_t columns, const void *src, intptr_t src_row, intptr_t src_col,
                      const void *limit, intptr_t pad, intptr_t planes, void *dst, intptr_t dst_row,
                      intptr_t dst_plane) noexcept nogil
        fc_transform transforms[FC_TRANSFORMS]
        fc_map *map[FC_MAPS]
        double (*largest)(intptr_t n, const void *a) noexcept nogil
        void (*dropout)(intptr_t n, uint64_t seed, uint64_t step, uint64_t image, double p, const void *x,
                        void *y) noexcept nogil
        void (*covariance)(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                           const void *cb, void *sum) noexcept nogil
        void (*combine)(intptr_t rows, intptr_t n, const void *a, const void *ca, const void *b,
                        const void *cb, const void *d, void *y) noexcept nogil
        void (*response_norm)(intptr_t n, intptr_t size, double scale, double beta, double k, const void *x,
                              void *scratch, void *y) noexcept nogil
        void (*response_norm_grad)(intptr_t n, intptr_t size, double scale, double beta, double k,
                                   const void *x, const void *grad, void *scratch, void *dx) noexcept nogil
        void (*max_pool)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                         const void *x, intptr_t x_step, void *y, intptr_t y_step) noexcept nogil
        void (*mean_pool)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                          const void *x, intptr_t x_step, intptr_t count, void *y,
                          intptr_t y_step) noexcept nogil
        void (*max_pool_grad)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                              const void *x, intptr_t x_step, const void *grad, intptr_t grad_step,
                              void *dx) noexcept nogil
        void (*mean_pool_grad)(intptr_t pixels, intptr_t channels, intptr_t taps, const intptr_t *tap,
                               const void *grad, intptr_t grad_step, intptr_t count, void *dx,
                               intptr_t x_step) noexcept nogil
        double (*fma_chain)(intptr_t steps) noexcept nogil
        double (*read_sum)(const void *p, intptr_t bytes) noexcept nogil

# The table in use for items of that many bytes (4 or 8).
cdef const fc_kernels *kernels_for(Py_ssize_t itemsize) noexcept nogil
