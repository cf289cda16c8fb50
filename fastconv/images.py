"""filter2d: one filter over one image, as a convolution."""

import numpy as np

from fastconv import threads
from fastconv.arrays import as_array, check_same_dtype
from fastconv.checks import to_choice
from fastconv.convolution import conv2d, explain_conv2d

NUMPY_MODE = {"reflect": "reflect", "nearest": "edge"}


def filter2d(image, kernel, *, border="zero", num_threads=None):
    """The correlation of an image (H, W) or (H, W, C) with a kernel (R, S), of the image's size.

    Each channel is filtered by itself. The kernel's centre is its pixel (R - 1) // 2, (S - 1) // 2. One dtype,
    float32 or float64. border: what lies outside the image, "zero", "reflect" (NumPy's: mirrored without
    repeating the edge) or "nearest" (the edge repeated).
    Large kernels go by "fft", whose results are rounded.
    Raises ValueError for shapes or a border that do not fit, TypeError for types and dtypes."""
    image, kernel = as_array(image, "image"), as_array(kernel, "kernel")
    check_same_dtype("image", image, "kernel", kernel)
    if image.ndim not in (2, 3):
        raise ValueError(f"image must be (H, W) or (H, W, C), got shape {image.shape}")
    if kernel.ndim != 2 or kernel.size == 0:
        raise ValueError(f"kernel must be a non-empty 2-D array, got shape {kernel.shape}")
    border = to_choice(border, "border", ("zero", *NUMPY_MODE))
    threads.team_size(0, num_threads)  # refuses nonsense, which conv2d would do too late
    if image.size == 0:
        return np.empty(image.shape, image.dtype)
    result_shape, channels = image.shape, 1 if image.ndim == 2 else image.shape[2]
    sides = tuple(((size - 1) // 2, size - 1 - (size - 1) // 2) for size in kernel.shape)
    if border != "zero":
        image = np.pad(image, sides + ((0, 0),) * (image.ndim - 2), mode=NUMPY_MODE[border])
        sides = ((0, 0), (0, 0))
    shape = (1, *image.shape[:2], channels)
    filters = np.broadcast_to(kernel[None, ..., None], (channels, *kernel.shape, 1))
    parameters = {"padding": sides, "groups": channels, "layout": "NHWC"}
    if explain_conv2d(shape, filters.shape, dtype=image.dtype, **parameters).chosen == "fft":
        result = conv2d(image.reshape(shape), filters, num_threads=num_threads, **parameters)
    else:
        # A few channels do not fill a vector. Interleaved they are one wide row, of which the kernel takes every
        # channels-th pixel.
        row = image.reshape(1, 1, image.shape[0], -1)
        sides = (sides[0], tuple(side * channels for side in sides[1]))
        result = conv2d(row, kernel[None, None], padding=sides, dilation=(1, channels), num_threads=num_threads)
    return result.reshape(result_shape)
