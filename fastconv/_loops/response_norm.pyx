"""Local response normalisation, AlexNet's: each channel of a pixel is divided by a power of the squares of its
neighbours. Called by networks.

    y[c] = x[c] / d[c]**beta;  d[c] = k + alpha / size * (sum of x**2 over `size` channels, size // 2 of them before c)
    dx[c] = grad[c] / d[c]**beta - 2 * alpha * beta / size * x[c] * sum_j grad[j] * x[j] / d[j]**(beta + 1)

j runs over the channels whose window holds c. A chunk is a block of pixels, channels last."""
from fastconv._loops.cut cimport ceil_div, least
from fastconv._loops.kernels cimport fc_kernels, kernels_for
from fastconv._loops.team cimport Operands, chunk_function, compile

cdef enum:
    PIXELS = 64     # of a chunk: some 10 us of exponentials at 64 channels

cdef struct ResponseNorm:
    const fc_kernels *kernels
    Py_ssize_t pixels, C, size
    double scale, beta, k


cdef void response_norm_chunk(const void *problem, const Operands *at, Py_ssize_t index, char *scratch) noexcept nogil:
    cdef const ResponseNorm *p = <const ResponseNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, first = index * PIXELS, i
    for i in range(first, least(first + PIXELS, p.pixels)):
        p.kernels.response_norm(p.C, p.size, p.scale, p.beta, p.k, at.x + i * row, scratch, at.y + i * row)


cdef void response_norm_grad_chunk(const void *problem, const Operands *at, Py_ssize_t index,
                                   char *scratch) noexcept nogil:
    cdef const ResponseNorm *p = <const ResponseNorm *>problem
    cdef Py_ssize_t row = p.C * p.kernels.itemsize, first = index * PIXELS, i
    for i in range(first, least(first + PIXELS, p.pixels)):
        p.kernels.response_norm_grad(p.C, p.size, p.scale, p.beta, p.k, at.x + i * row, at.weights + i * row, scratch,
                                     at.y + i * row)


cdef compile_pixels(chunk_function chunk, Py_ssize_t pixels, Py_ssize_t C, Py_ssize_t size, double alpha, double beta,
                    double k, Py_ssize_t itemsize):
    cdef ResponseNorm p
    p.kernels, p.pixels, p.C, p.size, p.beta, p.k = kernels_for(itemsize), pixels, C, size, beta, k
    p.scale = alpha / size
    return compile(&p, sizeof(p), chunk, ceil_div(pixels, PIXELS), (3 * C + 2 * size) * itemsize)


def response_norm(Py_ssize_t pixels, Py_ssize_t C, Py_ssize_t size, double alpha, double beta, double k,
                  Py_ssize_t itemsize):
    """x and y (pixels, C); y may be x."""
    return compile_pixels(response_norm_chunk, pixels, C, size, alpha, beta, k, itemsize)


def response_norm_grad(Py_ssize_t pixels, Py_ssize_t C, Py_ssize_t size, double alpha, double beta, double k,
                       Py_ssize_t itemsize):
    """x (pixels, C), weights: the gradient, y becomes dx; y may be x or the gradient."""
    return compile_pixels(response_norm_grad_chunk, pixels, C, size, alpha, beta, k, itemsize)
