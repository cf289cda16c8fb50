"""Small filters for filter2d, as float64 arrays; .astype(np.float32) where the image is float32."""

import numpy as np

from fastconv.shapes import to_counts, to_int


def _checked(size):
    size = to_int(size, "size")
    to_counts(size, "size", 1)
    return size


def gaussian(size=3, sigma=1.0):
    """A (size, size) Gaussian of standard deviation sigma pixels, sum 1: the lecture's blur."""
    size = _checked(size)
    if not isinstance(sigma, (int, float, np.floating, np.integer)) or isinstance(sigma, bool):
        raise TypeError(f"sigma must be a number, got {sigma!r}")
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be positive and finite, got {sigma!r}")
    line = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * float(sigma) ** 2))
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def sobel_x():
    """The horizontal gradient [-1 0 1; -2 0 2; -1 0 1]."""
    return np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_y():
    """The vertical gradient: sobel_x transposed."""
    return np.ascontiguousarray(sobel_x().T)


def box(size=3):
    """The (size, size) mean: every weight 1 / size**2."""
    size = _checked(size)
    return np.full((size, size), 1.0 / size**2)
