"""Answers are checked before times are printed: sampled entries against float64, all others against each other."""

import numpy as np

# Errors are measured in units of eps * sum |a| |b| of the entry. Sums in any order stay below a few units;
# Winograd's F(6x6), the least exact algorithm, below 100 on layers with few channels. A wrong or missing
# term of n is worth about 1 / (n * eps) units, 2000 for the deepest layer of VGG-16 in float32.
TOLERANCE = 256
SAMPLES = 200


class WrongAnswer(Exception):
    """A contestant's result is not the product or convolution that it should be."""


def check_gemm(a, b, answers):
    """Checks {name: a @ b}."""
    rng = np.random.default_rng(0)
    rows, cols = _with_ends(rng, a.shape[0]), _with_ends(rng, b.shape[1])
    left, right = a[rows].astype(np.float64), b[:, cols].astype(np.float64)
    expected = np.einsum("ik,ki->i", left, right)
    magnitude = np.einsum("ik,ki->i", abs(left), abs(right))
    _check(answers, (rows, cols), expected, magnitude, a.dtype)


def check_conv(layer, x, weight, answers):
    """Checks {name: convolution}, all of them views with the axes (n, k, p, q), as are x and weight."""
    rng = np.random.default_rng(0)
    n, k, p, q = where = tuple(_with_ends(rng, size) for size in (layer.N, layer.K, layer.P, layer.Q))
    group = layer.C // layer.groups
    (pad_h, pad_w), (step_h, step_w) = layer.padding, layer.stride
    reach_h, reach_w = layer.dilation[0] * (layer.R - 1) + 1, layer.dilation[1] * (layer.S - 1) + 1
    expected, magnitude = np.empty(len(n)), np.empty(len(n))
    for i in range(len(n)):
        first = k[i] // (layer.K // layer.groups) * group
        top, left = p[i] * step_h - pad_h, q[i] * step_w - pad_w
        rows = np.arange(top, top + reach_h, layer.dilation[0])
        cols = np.arange(left, left + reach_w, layer.dilation[1])
        inside = ((rows >= 0) & (rows < layer.H))[:, None] & ((cols >= 0) & (cols < layer.W))
        grid = np.ix_(np.clip(rows, 0, layer.H - 1), np.clip(cols, 0, layer.W - 1))
        window = np.stack([plane[grid] for plane in x[n[i], first : first + group]]).astype(np.float64) * inside
        terms = window * weight[k[i]]
        expected[i], magnitude[i] = terms.sum(), abs(terms).sum()
    _check(answers, where, expected, magnitude, x.dtype)


def check_input_grad(layer, grad, weight, answers):
    """Checks {name: gradient with respect to x}, all of them views with the axes (n, c, h, w), as are the others."""
    rng = np.random.default_rng(0)
    n, c, h, w = where = tuple(_with_ends(rng, size) for size in (layer.N, layer.C, layer.H, layer.W))
    channels, filters = layer.C // layer.groups, layer.K // layer.groups
    expected, magnitude = np.zeros(len(n)), np.zeros(len(n))
    for i in range(len(n)):
        group = slice(c[i] // channels * filters, (c[i] // channels + 1) * filters)
        for tap in np.ndindex(layer.R, layer.S):
            p, row_rest = divmod(h[i] + layer.padding[0] - tap[0] * layer.dilation[0], layer.stride[0])
            q, column_rest = divmod(w[i] + layer.padding[1] - tap[1] * layer.dilation[1], layer.stride[1])
            if row_rest == column_rest == 0 and 0 <= p < layer.P and 0 <= q < layer.Q:
                terms = grad[n[i], group, p, q].astype(np.float64) * weight[(group, c[i] % channels, *tap)]
                expected[i], magnitude[i] = expected[i] + terms.sum(), magnitude[i] + abs(terms).sum()
    _check(answers, where, expected, magnitude, grad.dtype)


def check_weight_grad(layer, x, grad, answers):
    """Checks {name: gradient with respect to the weight}, views with the axes (k, c, r, s)."""
    rng = np.random.default_rng(0)
    channels, filters = layer.C // layer.groups, layer.K // layer.groups
    k, c, r, s = where = tuple(_with_ends(rng, size) for size in (layer.K, channels, layer.R, layer.S))
    x = np.pad(x, ((0, 0), (0, 0), *((pad, pad) for pad in layer.padding)))
    expected, magnitude = np.empty(len(k)), np.empty(len(k))
    for i in range(len(k)):
        top, left = r[i] * layer.dilation[0], s[i] * layer.dilation[1]
        rows = slice(top, top + (layer.P - 1) * layer.stride[0] + 1, layer.stride[0])
        cols = slice(left, left + (layer.Q - 1) * layer.stride[1] + 1, layer.stride[1])
        terms = x[:, k[i] // filters * channels + c[i], rows, cols].astype(np.float64) * grad[:, k[i]]
        expected[i], magnitude[i] = terms.sum(), abs(terms).sum()
    _check(answers, where, expected, magnitude, x.dtype)


def _with_ends(rng, size):
    """Drawn indices along an axis; the first and the last are among them."""
    drawn = rng.integers(0, size, SAMPLES)
    drawn[:2], drawn[2:4] = 0, size - 1
    return rng.permutation(drawn)


def _check(answers, where, expected, magnitude, dtype):
    unit = TOLERANCE * np.finfo(dtype).eps
    first_name, first = None, None
    for name, answer in answers.items():
        error = abs(answer[where] - expected)
        if not (error <= unit * magnitude + np.finfo(dtype).tiny).all():
            worst = np.nanmax(error / np.maximum(magnitude, np.finfo(dtype).tiny)) / np.finfo(dtype).eps
            raise WrongAnswer(f"{name}: a sampled entry is wrong by {worst:.0f} units of eps * sum |a||b|")
        if first is None:
            first_name, first = name, answer
            continue
        if not np.abs(answer - first).max() <= 2 * unit * magnitude.max():
            raise WrongAnswer(f"{name} and {first_name} differ somewhere by {np.abs(answer - first).max():.3g}")
