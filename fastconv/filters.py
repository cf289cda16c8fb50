"""Small filters for filter2d, as float64 arrays; .astype(np.float32) where the image is float32."""

import numpy as np

from fastconv.checks import to_count, to_real

LARGEST = 2**30  # of a filter whose elements can be addressed


def _empty(size):
    """An array for the filter, so that there is room for it before anything is computed."""
    size = to_count(size, "size", most=LARGEST)
    return np.empty((size, size))


def gaussian(size=3, sigma=1.0):
    """A (size, size) Gaussian of standard deviation sigma pixels, sum 1: the lecture's blur."""
    sigma = to_real(sigma, "sigma")
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma!r}")
    kernel = _empty(size)
    with np.errstate(over="ignore"):  # far from the centre of a narrow one all is 0
        squares = (np.arange(len(kernel)) - (len(kernel) - 1) / 2) ** 2  # of the distances from the centre
        line = np.exp(-(squares - squares.min()) / sigma / sigma / 2)  # 1 next to it, however narrow
    np.outer(line, line, out=kernel)
    return kernel / kernel.sum()


def sobel_x():
    """The horizontal gradient [-1 0 1; -2 0 2; -1 0 1]."""
    return np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_y():
    """The vertical gradient: sobel_x transposed."""
    return np.ascontiguousarray(sobel_x().T)


def box(size=3):
    """The (size, size) mean: every weight 1 / size**2."""
    kernel = _empty(size)
    kernel[...] = 1.0 / kernel.size
    return kernel
