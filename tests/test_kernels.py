"""Every kernel of every ISA is right at every size: all row and column counts of the register tile, all lengths of the
sum around its unrolling, every way of packing, every epilogue. Reached through gemm and 1x1 convolutions, on whole
numbers, bit for bit; what a kernel must not read holds NaN, what it must not write is checked."""

import itertools

import numpy as np
import pytest
from support import DTYPES, MEMORY, dtype_name, poison, whole

import fastconv as fc
from fastconv import reference
from fastconv._loops import kernels, probe

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
IN_PLACE, PACKED = None, fc.Blocking(2**31 - 1, 2**31 - 1, 2**31 - 1)


def tile(dtype):
    """(MR, NR, lanes) of the ISA in use."""
    return kernels.tile_sizes(np.dtype(dtype).itemsize)


@by_dtype
@pytest.mark.parametrize("blocking", [IN_PLACE, PACKED], ids=["in-place", "packed"])
@pytest.mark.parametrize("depth", [1, 2, 17])
def test_every_tile(depth, blocking, dtype, isa):
    """1..MR rows and beyond, 1..2*NR+1 columns: with a plain store and through the epilogue."""
    MR, NR, _ = tile(dtype)
    a, b, c = whole((2 * MR + 1, depth), 1), whole((depth, 2 * NR + 1), 2), whole((2 * MR + 1, 2 * NR + 1), 3)
    product, a, b, c = a @ b, *(array.astype(dtype) for array in (a, b, c))
    for m, n in itertools.product([*range(1, MR + 2), 2 * MR, 2 * MR + 1], range(1, 2 * NR + 2)):
        out = poison((m, n), dtype)
        fc.gemm(a[:m], b[:, :n], out=out, algorithm="packed", blocking=blocking)
        assert (out == product[:m, :n]).all(), (m, n)
        got = fc.gemm(a[:m], b[:, :n], c[:m, :n], alpha=2, beta=-1, algorithm="packed", blocking=blocking)
        assert (got == 2 * product[:m, :n] - c[:m, :n]).all(), (m, n)


@by_dtype
@pytest.mark.parametrize("blocking", [IN_PLACE, PACKED], ids=["in-place", "packed"])
def test_every_length_of_the_sum(blocking, dtype, isa):
    """k = 0.. past two vectors, for the tile, for `dot` (b transposed, few rows) and for `axpy` (one row)."""
    MR, NR, lanes = tile(dtype)
    longest = 2 * lanes + 9
    a, b = whole((MR + 1, longest), 1), whole((longest, NR + 3), 2)
    real_a, real_b = a.astype(dtype), b.astype(dtype)
    for k, m in itertools.product(range(longest + 1), (1, 2, 3, 4, 5, 8, 9, MR + 1)):
        m = min(m, MR + 1)
        expected = a[:m, :k] @ b[:k]
        for columns in (real_b[:k], np.asfortranarray(real_b[:k])):
            got = fc.gemm(real_a[:m, :k], columns, out=poison(expected.shape, dtype), blocking=blocking)
            assert (got == expected).all(), (k, m)


@by_dtype
def test_dot_at_every_count_of_rows_and_columns(dtype, isa):
    """Few rows times a transposed matrix: up to 12 sums at once, and every rest."""
    a, b = whole((9, 37), 1), whole((13, 37), 2)
    for m, n in itertools.product(range(1, 10), range(1, 14)):
        c = whole((m, n), 3)
        for alpha, beta in ((1, 0), (-2, 3)):
            got = fc.gemm(a[:m].astype(dtype), b[:n].astype(dtype).T, c.astype(dtype), alpha=alpha, beta=beta)
            assert (got == alpha * (a[:m] @ b[:n].T) + beta * c).all(), (m, n)


@by_dtype
def test_axpy_at_every_count_of_rows_and_columns(dtype, isa):
    """A row times a matrix: 8 rows at once, and every rest; and its mirror image, a matrix times a column."""
    _, NR, _ = tile(dtype)
    a, b = whole((1, 19), 1), whole((19, 2 * NR + 1), 2)
    for k, n in itertools.product(range(1, 20), (1, 2, 3, NR - 1, NR, NR + 1, 2 * NR + 1)):
        c, expected = whole((1, n), 3), a[:, :k] @ b[:k, :n]
        row, matrix = a[:, :k].astype(dtype), b[:k, :n].astype(dtype)
        assert (fc.gemm(row, matrix, c.astype(dtype), alpha=-1, beta=2) == 2 * c - expected).all(), (k, n)
        assert (fc.gemm(matrix.T, row.T, c.T.astype(dtype), alpha=-1, beta=2) == (2 * c - expected).T).all(), (k, n)


@by_dtype
@pytest.mark.parametrize("memory", MEMORY)
def test_packing_at_every_edge(memory, dtype, isa):
    """Rows along memory, columns along memory and neither, at sizes around the vector and the tile."""
    MR, NR, lanes = tile(dtype)
    sizes = sorted({1, 2, lanes - 1, lanes, lanes + 1, NR, NR + 1, 2 * NR + lanes - 1})
    for m, n, k in itertools.product((1, MR, MR + 1), [s for s in sizes if s > 0], (1, lanes, lanes + 3, 2 * lanes)):
        a, b = whole((m, k), 1), whole((k, n), 2)
        got = fc.gemm(MEMORY[memory](a.astype(dtype)), MEMORY[memory](b.astype(dtype)), blocking=PACKED)
        assert (got == a @ b).all(), (m, n, k)


@by_dtype
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("relu", [False, True], ids=["plain", "relu"])
def test_bias_and_relu_at_every_tile(relu, layout, dtype, isa):
    """A 1x1 convolution is a product with the bias along its rows ("NCHW") or its columns ("NHWC")."""
    MR, NR, _ = tile(dtype)
    x, weight, bias = whole((2 * NR + 1, 3), 1), whole((2 * NR + 1, 3), 2), whole((2 * NR + 1,), 3)
    product = x @ weight.T + bias
    expected = np.maximum(product, 0) if relu else product
    x, weight, bias = (array.astype(dtype) for array in (x, weight, bias))
    sizes = [*range(1, MR + 2), NR - 1, NR, NR + 1, 2 * NR + 1]
    for pixels, filters in itertools.product([s for s in sizes if s > 0], repeat=2):
        image, kernel = x[:pixels], weight[:filters]
        if layout == "NHWC":
            image, kernel = image[None, None], kernel[:, None, None]
        else:
            image, kernel = image.T[None, :, None], kernel[:, :, None, None]
        got = fc.conv2d(image, kernel, bias[:filters], activation="relu" if relu else None, layout=layout,
                        algorithm="im2col")  # fmt: skip
        got = got[0, 0] if layout == "NHWC" else got[0, :, 0].T
        assert (got == expected[:pixels, :filters]).all(), (pixels, filters)


@by_dtype
def test_every_tile_of_filters_by_pixels(dtype, isa):
    """1..MR filters and beyond of a first layer, whose vectors run along rows of pixels: 1..NR of them and beyond."""
    MR, NR, lanes = tile(dtype)
    most = 7 * tile(np.float32)[2] // 2  # whole tiles and one vector of doubles
    x, weight = whole((1, 3, 5, max(2 * NR + 1, most) + 2), 1), whole((2 * MR + 1, 3, 3, 3), 2)
    for pixels, filters in itertools.product((lanes - 1, lanes, lanes + 1, NR, 2 * NR + 1, most), range(1, 2 * MR + 2)):
        image, kernel = x[..., : max(1, pixels) + 2], weight[:filters]
        got = fc.conv2d(image.astype(dtype), kernel.astype(dtype), algorithm="direct")
        np.testing.assert_array_equal(got, reference.conv2d(image, kernel))


@by_dtype
def test_the_probe_of_the_peak_measures(dtype, isa):
    assert 0.1 < probe.fma_peak(np.dtype(dtype).itemsize, 1, repeats=1) < 1000


@by_dtype
def test_scale_at_every_length(dtype, isa):
    """k = 0 only scales c, and does not read it where beta is 0."""
    for n in range(1, 70):
        c = whole((2, n), n).astype(dtype)
        a, b = np.empty((2, 0), dtype), np.empty((0, n), dtype)
        assert (fc.gemm(a, b, c, beta=-3) == -3 * c).all()
        nothing = np.full_like(c, np.nan)
        assert (fc.gemm(a, b, nothing, beta=0, out=nothing) == 0).all()


@by_dtype
def test_nothing_around_out_is_written(dtype, isa):
    """out lies between two guards, at every size around the tile."""
    MR, NR, _ = tile(dtype)
    for m, n in itertools.product((1, 2, MR, MR + 1), (1, 3, NR - 1, NR, NR + 1, 2 * NR + 1)):
        n = max(n, 1)
        memory = np.full(m * n + 128, -77, dtype)
        out = memory[64:-64].reshape(m, n)
        for b in (np.ones((5, n), dtype), np.ones((n, 5), dtype).T):
            fc.gemm(np.ones((m, 5), dtype), b, out=out)
            assert (out == 5).all()
            assert (memory[:64] == -77).all()
            assert (memory[-64:] == -77).all()
        image = np.ones((1, m, 1, n), dtype)
        fc.conv2d(image, np.ones((m, m, 1, 1), dtype), out=out.reshape(1, m, 1, n))
        assert (out == m).all()
        assert (memory[:64] == -77).all()
        assert (memory[-64:] == -77).all()
