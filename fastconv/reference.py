"""The slow NumPy twin of every public function: the same names and parameters, without those that choose how the
result is computed. Exact for integer arrays, and in whatever precision the arrays have. Checks nothing."""

import numpy as np

# --- products


def gemm(a, b, c=None, *, alpha=1, beta=None, trans_a=False, trans_b=False):
    """alpha * op(a) @ op(b) + beta * c; a zero alpha reads neither a nor b, a zero beta no c."""
    a, b = a.T if trans_a else a, b.T if trans_b else b
    beta = (0 if c is None else 1) if beta is None else beta
    product = alpha * (a @ b) if alpha != 0 else np.zeros((a.shape[0], b.shape[1]), a.dtype)
    return product + beta * c if beta != 0 else product


def matmul(a, b):
    """numpy.matmul."""
    return np.matmul(a, b)


# --- convolutions


def _pair(value):
    return tuple(value) if np.ndim(value) else (value, value)


def _sides(padding, reach):
    """((top, bottom), (left, right)) of any form of padding."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        return tuple((total // 2, total - total // 2) for total in reach)
    return tuple(_pair(side) for side in (padding if isinstance(padding, (tuple, list)) else _pair(padding)))


def _geometry(size, kernel, stride, padding, dilation):
    """The padding's sides, the output's size, and for each tap (r, s) the slices of the padded image it meets."""
    stride, dilation = _pair(stride), _pair(dilation)
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    sides = _sides(padding, reach)
    output = tuple(
        (i + sum(side) - far - 1) // step + 1 for i, side, far, step in zip(size, sides, reach, stride, strict=True)
    )

    def slices(*tap):
        starts = (t * d for t, d in zip(tap, dilation, strict=True))
        return tuple(
            slice(start, start + (count - 1) * step + 1, step)
            for start, count, step in zip(starts, output, stride, strict=True)
        )

    return sides, output, {tap: slices(*tap) for tap in np.ndindex(*kernel)}


def _channels_first(array, layout):
    return array if layout == "NCHW" else np.moveaxis(array, 3, 1)


def conv2d(x, weight, bias=None, *, activation=None, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """The correlation of each group's channels with its filters, one tap of the filter at a time."""
    x, weight = _channels_first(x, layout), _channels_first(weight, layout)
    (N, C, *size), (K, _, *kernel) = x.shape, weight.shape
    sides, (P, Q), taps = _geometry(size, kernel, stride, padding, dilation)
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    y = np.zeros((N, groups, K // groups, P * Q), np.result_type(x, weight))
    for (r, s), (rows, columns) in taps.items():
        pixels = x[:, :, rows, columns].reshape(N, groups, C // groups, P * Q)
        y += weight[:, :, r, s].reshape(groups, K // groups, C // groups) @ pixels
    y = y.reshape(N, K, P, Q)
    if bias is not None:
        y = y + bias[:, None, None]
    if activation == "relu":
        y = np.where(y <= 0, y.dtype.type(0), y)  # NaN is not <= 0
    return y if layout == "NCHW" else np.moveaxis(y, 1, 3)


def _row(padding):
    """conv2d's padding of conv1d's."""
    return padding if isinstance(padding, str) else ((0, 0), _pair(padding))


def conv1d(x, weight, bias=None, *, activation=None, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """conv2d of images of one row."""
    axis = 2 if layout == "NCHW" else 1
    y = conv2d(np.expand_dims(x, axis), np.expand_dims(weight, axis), bias, activation=activation, stride=(1, stride),
               padding=_row(padding), dilation=(1, dilation), groups=groups, layout=layout)  # fmt: skip
    return y.squeeze(axis)


def conv2d_input_grad(grad, weight, input_shape, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """Each tap's share of grad, added to the pixels that the tap meets."""
    N, C, *size = input_shape if layout == "NCHW" else (input_shape[i] for i in (0, 3, 1, 2))
    grad, weight = _channels_first(grad, layout), _channels_first(weight, layout)
    K, _, *kernel = weight.shape
    sides, (P, Q), taps = _geometry(size, kernel, stride, padding, dilation)
    grad = grad.reshape(N, groups, K // groups, P * Q)
    x = np.zeros((N, C, *(i + sum(side) for i, side in zip(size, sides, strict=True))), np.result_type(grad, weight))
    for (r, s), (rows, columns) in taps.items():
        filters = weight[:, :, r, s].reshape(groups, K // groups, C // groups)
        x[:, :, rows, columns] += (filters.swapaxes(1, 2) @ grad).reshape(N, C, P, Q)
    x = x[:, :, sides[0][0] :, sides[1][0] :][:, :, : size[0], : size[1]]
    return x if layout == "NCHW" else np.moveaxis(x, 1, 3)


def conv2d_weight_grad(x, grad, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """For each tap, grad times the pixels that the tap meets, summed over images and pixels."""
    x, grad = _channels_first(x, layout), _channels_first(grad, layout)
    (N, C, *size), K, kernel = x.shape, grad.shape[1], _pair(kernel_size)
    sides, (P, Q), taps = _geometry(size, kernel, stride, padding, dilation)
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    grad = grad.reshape(N, groups, K // groups, P * Q)
    weight = np.zeros((K, C // groups, *kernel), np.result_type(x, grad))
    for (r, s), (rows, columns) in taps.items():
        pixels = x[:, :, rows, columns].reshape(N, groups, C // groups, P * Q)
        weight[:, :, r, s] = (grad @ pixels.swapaxes(2, 3)).sum(0).reshape(K, C // groups)
    return weight if layout == "NCHW" else np.moveaxis(weight, 1, 3)


def conv2d_bias_grad(grad, *, layout="NCHW"):
    """The sum over images and pixels."""
    return _channels_first(grad, layout).sum((0, 2, 3))


def conv_transpose2d(x, weight, bias=None, *, output_padding=0, stride=1, padding=0, dilation=1, groups=1,
                     layout="NCHW"):  # fmt: skip
    """The input gradient of a convolution whose output x could be, with output_padding more pixels at the end."""
    x, weight = _channels_first(x, layout), _channels_first(weight, layout)
    (N, C, *size), (_, K, *kernel) = x.shape, weight.shape
    steps, dilations, more = _pair(stride), _pair(dilation), _pair(output_padding)
    reach = tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    sides = _sides(padding, reach)
    whole = [(i - 1) * step + far + 1 + extra for i, step, far, extra in zip(size, steps, reach, more, strict=True)]
    y = np.zeros((N, groups * K, *whole), np.result_type(x, weight))
    x = x.reshape(N, groups, C // groups, size[0] * size[1])
    for r, s in np.ndindex(*kernel):
        filters = weight[:, :, r, s].reshape(groups, C // groups, K)
        rows, columns = (
            slice(tap * d, tap * d + (i - 1) * step + 1, step)
            for tap, d, i, step in zip((r, s), dilations, size, steps, strict=True)
        )
        y[:, :, rows, columns] += (filters.swapaxes(1, 2) @ x).reshape(N, groups * K, *size)
    y = y[:, :, sides[0][0] : whole[0] - sides[0][1], sides[1][0] : whole[1] - sides[1][1]]
    if bias is not None:
        y = y + bias[:, None, None]
    return y if layout == "NCHW" else np.moveaxis(y, 1, 3)


def conv1d_input_grad(grad, weight, input_shape, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """conv2d_input_grad of images of one row."""
    axis = 2 if layout == "NCHW" else 1
    x = conv2d_input_grad(np.expand_dims(grad, axis), np.expand_dims(weight, axis),
                          (*input_shape[:axis], 1, *input_shape[axis:]), stride=(1, stride), padding=_row(padding),
                          dilation=(1, dilation), groups=groups, layout=layout)  # fmt: skip
    return x.squeeze(axis)


def conv1d_bias_grad(grad, *, layout="NCHW"):
    """The sum of grad over signals and places."""
    return grad.sum((0, 2) if layout == "NCHW" else (0, 1))


def conv1d_weight_grad(x, grad, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, layout="NCHW"):
    """conv2d_weight_grad of images of one row."""
    axis = 2 if layout == "NCHW" else 1
    weight = conv2d_weight_grad(np.expand_dims(x, axis), np.expand_dims(grad, axis), (1, kernel_size), groups=groups,
                                stride=(1, stride), padding=_row(padding), dilation=(1, dilation),
                                layout=layout)  # fmt: skip
    return weight.squeeze(axis)


def _whole(grad, size, kernel, layout, padding=0, stride=1, dilation=1):
    """grad with zeros where conv_transpose2d cut padding off, and without the pixels that no pixel of x meets."""
    reach = tuple(d * (k - 1) for d, k in zip(_pair(dilation), kernel, strict=True))
    met = (slice((i - 1) * step + far + 1) for i, step, far in zip(size, _pair(stride), reach, strict=True))
    grad = np.pad(_channels_first(grad, layout), ((0, 0), (0, 0), *_sides(padding, reach)))
    return grad[(slice(None), slice(None), *met)]


def conv_transpose2d_input_grad(grad, weight, input_shape, *, output_padding=0, stride=1, padding=0, dilation=1,
                                groups=1, layout="NCHW"):  # fmt: skip
    """The convolution of grad."""
    size, weight = input_shape[2:] if layout == "NCHW" else input_shape[1:3], _channels_first(weight, layout)
    grad = _whole(grad, size, weight.shape[2:], layout, padding, stride, dilation)
    x = conv2d(grad, weight, stride=stride, dilation=dilation, groups=groups)
    return x if layout == "NCHW" else np.moveaxis(x, 1, 3)


def conv_transpose2d_weight_grad(x, grad, kernel_size, *, output_padding=0, stride=1, padding=0, dilation=1, groups=1,
                                 layout="NCHW"):  # fmt: skip
    """The convolution's weight gradient with grad for its x, and x for its grad."""
    x, kernel = _channels_first(x, layout), _pair(kernel_size)
    grad = _whole(grad, x.shape[2:], kernel, layout, padding, stride, dilation)
    weight = conv2d_weight_grad(grad, x, kernel, stride=stride, dilation=dilation, groups=groups)
    return weight if layout == "NCHW" else np.moveaxis(weight, 1, 3)


def im2col(x, kernel_size, *, stride=1, padding=0, dilation=1, layout="NCHW"):
    """A row per output pixel: the values it is computed from, (c, r, s) in order, or (r, s, c) for "NHWC"."""
    x = _channels_first(x, layout)
    (N, C, *size), kernel = x.shape, _pair(kernel_size)
    sides, (P, Q), taps = _geometry(size, kernel, stride, padding, dilation)
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    cols = np.empty((N, P, Q, C, *kernel), x.dtype)
    for (r, s), (rows, columns) in taps.items():
        cols[..., r, s] = np.moveaxis(x[:, :, rows, columns], 1, 3)
    if layout == "NHWC":
        cols = np.moveaxis(cols, 3, 5)
    return cols.reshape(N * P * Q, C * kernel[0] * kernel[1])


def col2im(cols, input_shape, kernel_size, *, stride=1, padding=0, dilation=1, layout="NCHW"):
    """The adjoint of im2col: every entry added to the pixel it came from."""
    N, C, *size = input_shape if layout == "NCHW" else (input_shape[i] for i in (0, 3, 1, 2))
    kernel = _pair(kernel_size)
    sides, (P, Q), taps = _geometry(size, kernel, stride, padding, dilation)
    if layout == "NCHW":
        cols = cols.reshape(N, P, Q, C, *kernel)
    else:
        cols = np.moveaxis(cols.reshape(N, P, Q, *kernel, C), 5, 3)
    x = np.zeros((N, C, *(i + sum(side) for i, side in zip(size, sides, strict=True))), cols.dtype)
    for (r, s), (rows, columns) in taps.items():
        x[:, :, rows, columns] += np.moveaxis(cols[..., r, s], 3, 1)
    x = x[:, :, sides[0][0] :, sides[1][0] :][:, :, : size[0], : size[1]]
    return x if layout == "NCHW" else np.moveaxis(x, 1, 3)


# --- activations and losses


def relu(x):
    """max(x, 0); NaN is not <= 0."""
    return np.where(x <= 0, x.dtype.type(0), x)


def relu_grad(grad, y):
    """grad where y is not 0."""
    return np.where(y <= 0, grad.dtype.type(0), grad)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def sigmoid_grad(grad, y):
    """grad * y * (1 - y)."""
    return grad * y * (1 - y)


def softmax(x, axis=-1):
    """exp(x) / sum(exp(x))."""
    exponentials = np.exp(x - x.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def softmax_grad(grad, y, axis=-1):
    """y * (grad - sum(grad * y))."""
    return y * (grad - (grad * y).sum(axis, keepdims=True))


def cross_entropy(logits, labels):
    """The mean of -log(softmax(logits)[label])."""
    most = logits.max(1, keepdims=True)
    logs = logits - most - np.log(np.exp(logits - most).sum(1, keepdims=True))
    return -logs[np.arange(len(labels)), labels].mean()


def cross_entropy_grad(logits, labels):
    """(softmax(logits) - one_hot(labels)) / N."""
    return (softmax(logits) - np.eye(logits.shape[1], dtype=logits.dtype)[labels]) / len(labels)


def binary_cross_entropy(logits, targets):
    """The mean of -t * log(y) - (1 - t) * log(1 - y), y = sigmoid(logits)."""
    return (np.logaddexp(0, logits) - targets * logits).mean()


def binary_cross_entropy_grad(logits, targets):
    """(sigmoid(logits) - targets) / their number."""
    return (sigmoid(logits) - targets) / logits.size


# --- fully connected layers


def linear(x, weight, bias=None):
    """x @ weight.T + bias."""
    return x @ weight.T if bias is None else x @ weight.T + bias


def linear_grad(grad, x, weight):
    """The gradients of x, weight and bias."""
    return grad @ weight, grad.T @ x, grad.sum(0)


# --- pooling


def _windows(x, kernel_size, stride, padding, layout):
    """An array (taps, N, C, P, Q) of what each tap of the windows meets, and whether that is a pixel of the image."""
    x, kernel = _channels_first(x, layout), _pair(kernel_size)
    sides, _, taps = _geometry(x.shape[2:], kernel, kernel if stride is None else stride, padding, 1)
    inside = np.pad(np.ones(x.shape, bool), ((0, 0), (0, 0), *sides))
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    return tuple(np.stack([array[:, :, rows, cols] for rows, cols in taps.values()]) for array in (x, inside))


def _spread(shares, input_shape, kernel_size, stride, padding, layout):
    """An array of input_shape: shares (taps, N, C, P, Q) added to the pixels they come from."""
    kernel = _pair(kernel_size)
    cols = np.moveaxis(shares, (1, 2, 3, 4, 0), (0, 3, 1, 2, 4))
    if layout == "NHWC":
        cols = np.moveaxis(cols, 3, 4)
    cols = cols.reshape(np.prod(cols.shape[:3], dtype=int), np.prod(cols.shape[3:], dtype=int))
    stride = kernel if stride is None else stride
    return col2im(cols, input_shape, kernel, stride=stride, padding=padding, layout=layout)


def _largest(x, kernel_size, stride, padding, layout):
    """The windows, and the first of each one's largest taps; NaN is larger than all."""
    taps, inside = _windows(x, kernel_size, stride, padding, layout)
    rank = np.where(np.isnan(taps), np.inf, taps.astype(float))
    # Among infinities the NaN goes first; padding comes last.
    order = np.lexsort((np.isnan(taps), rank, inside), axis=0)[-1] if taps.size else np.zeros(taps.shape[1:], int)
    best = np.take_along_axis(taps, order[None], 0)[0]
    same = inside & ((taps == best) | (np.isnan(taps) & np.isnan(best)))
    return taps, same.argmax(0)


def max_pool2d(x, kernel_size, *, stride=None, padding=0, layout="NCHW"):
    """The largest pixel of each window."""
    taps, at = _largest(x, kernel_size, stride, padding, layout)
    y = np.take_along_axis(taps, at[None], 0)[0]
    return y if layout == "NCHW" else np.moveaxis(y, 1, 3)


def max_pool2d_grad(grad, x, kernel_size, *, stride=None, padding=0, layout="NCHW"):
    """grad added to the first largest pixel of each window."""
    taps, at = _largest(x, kernel_size, stride, padding, layout)
    shares = np.where(np.arange(len(taps))[:, None, None, None, None] == at, _channels_first(grad, layout), 0)
    return _spread(shares, x.shape, kernel_size, stride, padding, layout)


def _counts(inside, count_include_pad):
    return len(inside) if count_include_pad else inside.sum(0)


def avg_pool2d(x, kernel_size, *, stride=None, padding=0, count_include_pad=True, layout="NCHW"):
    """The mean of each window, with the padding's zeros or without."""
    taps, inside = _windows(x, kernel_size, stride, padding, layout)
    y = taps.sum(0) / _counts(inside, count_include_pad)
    return y if layout == "NCHW" else np.moveaxis(y, 1, 3)


def avg_pool2d_grad(grad, input_shape, kernel_size, *, stride=None, padding=0, count_include_pad=True, layout="NCHW"):
    """grad divided by what its window counts, added to the window's pixels."""
    _, inside = _windows(np.zeros(input_shape, grad.dtype), kernel_size, stride, padding, layout)
    shares = np.where(inside, _channels_first(grad, layout) / _counts(inside, count_include_pad), 0)
    return _spread(shares, input_shape, kernel_size, stride, padding, layout)


# --- images


def filter2d(image, kernel, *, border="zero"):
    """The correlation of each channel with the kernel, of the image's size."""
    sides = [((size - 1) // 2, size // 2) for size in kernel.shape] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, sides, mode={"zero": "constant", "nearest": "edge", "reflect": "reflect"}[border])
    H, W = image.shape[:2]
    return sum(kernel[r, s] * padded[r : r + H, s : s + W] for r, s in np.ndindex(*kernel.shape))


def gaussian(size=3, sigma=1.0):
    """exp(-distance**2 / (2 sigma**2)) from the centre, divided by its sum."""
    i, j = np.indices((size, size)) - (size - 1) / 2
    kernel = np.exp(-(i**2 + j**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def sobel_x():
    """The horizontal gradient, smoothed vertically."""
    return np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])


def sobel_y():
    """The vertical gradient, smoothed horizontally."""
    return np.outer([-1.0, 0.0, 1.0], [1.0, 2.0, 1.0])


def box(size=3):
    """The mean."""
    return np.ones((size, size)) / (size * size)
