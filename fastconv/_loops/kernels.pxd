# The C kernel table (csrc/kernels.h) and the pointer to the one in use. Every other nest cimports this.
from libc.stdint cimport int64_t, intptr_t

cdef extern from "kernels.h" nogil:
    ctypedef struct fc_store:
        double alpha, beta
        const void *row_bias
        const void *col_bias
        int relu

    ctypedef struct fc_geometry:
        int64_t N, C, H, W, K, R, S, P, Q, groups
        int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left
        int64_t channels_last

    ctypedef void fc_tile(intptr_t taps, const intptr_t *tap, intptr_t k, const void *a, intptr_t a_row,
                          intptr_t a_col, const void *b, intptr_t b_row, intptr_t b_ahead, void *c,
                          intptr_t c_row, intptr_t n, const fc_store *store) noexcept nogil

    ctypedef struct fc_window:
        intptr_t top, bottom, left, right

    ctypedef struct fc_transform:
        intptr_t tile_h, tile_w, frequencies, parts
        void (*input)(const void *x, intptr_t x_row, intptr_t x_pixel, intptr_t channels, void *v,
                      intptr_t v_plane, void *scratch) noexcept nogil
        void (*weights)(intptr_t R, intptr_t S, const void *w, intptr_t w_row, intptr_t w_tap,
                    intptr_t filters, void *u,
                        intptr_t u_frequency, intptr_t u_part, void *scratch) noexcept nogil
        void (*output)(const void *m, intptr_t m_plane, intptr_t filters, const void *bias, int relu,
                       intptr_t rows, intptr_t cols, void *y, intptr_t y_row, intptr_t y_pixel,
                       void *scratch) noexcept nogil
        intptr_t scratch_bytes
        void (*filter)(const void *x, intptr_t x_row, intptr_t x_pixel, const fc_window *inside, intptr_t lanes,
                       const void *u, int shared, const void *bias, int relu, intptr_t rows, intptr_t cols,
                       void *y, intptr_t y_row, intptr_t y_pixel, void *scratch) noexcept nogil

    cdef enum:
        FC_WINOGRAD_2, FC_WINOGRAD_4, FC_WINOGRAD_5, FC_WINOGRAD_6, FC_FFT_16, FC_FFT_32, FC_FFT_64, FC_FFT_128

    ctypedef void fc_depthwise(intptr_t rows, intptr_t columns, intptr_t taps, const intptr_t *tap,
                               const intptr_t *weight, const void *x, intptr_t x_step, const void *w,
                               const void *bias, int relu, void *y, intptr_t y_step) noexcept nogil

    ctypedef struct fc_kernels:
        const char *isa
        intptr_t itemsize, lanes, MR, NV, NR
        fc_tile *tile[2][14]
        void (*pack)(intptr_t rows, intptr_t cols, const void *src, intptr_t src_row,
                     intptr_t src_col, void *dst, intptr_t dst_row, intptr_t width,
                     intptr_t dst_strip) noexcept nogil
        void (*dot)(intptr_t m, intptr_t n, intptr_t k, const void *a, intptr_t a_row,
                    const void *b, intptr_t b_row, void *c, intptr_t c_row,
                    double alpha, double beta) noexcept nogil
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
        fc_depthwise *depthwise_3x3[2]
        void (*split)(intptr_t rows, intptr_t columns, const void *src, intptr_t src_row, const void *limit,
                      intptr_t pad, intptr_t planes, void *dst, intptr_t dst_row,
                      intptr_t dst_plane) noexcept nogil
        fc_transform transforms[16]
        double (*fma_chain)(intptr_t steps) noexcept nogil
        double (*read_sum)(const void *p, intptr_t bytes) noexcept nogil

# The table in use for items of that many bytes (4 or 8).
cdef const fc_kernels *kernels_for(Py_ssize_t itemsize) noexcept nogil
