"""Pooling layers."""

from fastconv._loops import pooling
from fastconv.checks import to_flag
from fastconv.nn.layer import Layer
from fastconv.pooling import pool_shape
from fastconv.shapes import to_counts, to_kept_padding


class _Pool(Layer):
    def __init__(self, kernel_size, stride, padding, **more):
        kernel = to_counts(kernel_size, "kernel_size", 1)
        stride = None if stride is None else to_counts(stride, "stride", 1)
        super().__init__(kernel_size=kernel, stride=stride, padding=to_kept_padding(padding, stride or kernel), **more)

    def window(self, shape, images=1):
        """The windows' ConvShape for so many images of that shape, channels-last."""
        if len(shape) != 3:
            raise ValueError(f"it takes images (C, H, W), got shape {shape}")
        c, h, w = shape
        kernel = (h, w) if self.kernel_size is None else self.kernel_size
        return pool_shape((images, h, w, c), kernel, self.stride, self.padding, "NHWC")[0]

    def output_shape(self, shape):
        made = self.window(shape)
        return (shape[0], made.P, made.Q)


class MaxPool2d(_Pool):
    """fastconv.max_pool2d; stride None is the kernel's size."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__(kernel_size, stride, padding)

    def forward(self, to, x):
        window, y = self.window(x.shape, to.images), to.value(self.output_shape(x.shape))
        to.step(pooling.max_pool(window.packed, to.itemsize, x.strides), x, None, None, y)

        def backward(grad):
            dx = to.value(x.shape)
            to.step(pooling.max_pool_grad(window.packed, to.itemsize, x.strides, grad.strides), x, grad, None, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)


class AvgPool2d(_Pool):
    """fastconv.avg_pool2d; stride None is the kernel's size."""

    def __init__(self, kernel_size, stride=None, padding=0, count_include_pad=True):
        super().__init__(kernel_size, stride, padding,
                         count_include_pad=to_flag(count_include_pad, "count_include_pad"))  # fmt: skip

    def forward(self, to, x):
        window, y = self.window(x.shape, to.images), to.value(self.output_shape(x.shape))
        to.step(pooling.mean_pool(window.packed, to.itemsize, x.strides, self.count_include_pad), x, None, None, y)

        def backward(grad):
            dx = to.value(x.shape)
            nest = pooling.mean_pool_grad(window.packed, to.itemsize, grad.strides, self.count_include_pad)
            to.step(nest, grad, None, None, dx)
            to.give(x, dx)

        return to.made(self, y, (x,), backward)


class GlobalAvgPool(AvgPool2d):
    """The mean of each channel: (C, H, W) to (C, 1, 1)."""

    kernel_size, stride, padding, count_include_pad = None, None, 0, True

    def __init__(self):
        Layer.__init__(self)
