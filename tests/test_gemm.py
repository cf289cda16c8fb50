"""gemm and matmul are right: every algorithm equals an int64 reference bit for bit on whole numbers, for any strides,
transposes and blocks, and reals stay within gamma_k * (|a| @ |b|)."""

from functools import lru_cache

import numpy as np
import pytest
from support import DTYPES, MEMORY, dtype_name, gamma, laid_out, poison, read_only, reals, whole

import fastconv as fc
from fastconv import products, reference

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=dtype_name)
# All but "auto", which is "packed": test_auto_is_packed.
by_algorithm = pytest.mark.parametrize("algorithm", [name for name in products.ALGORITHMS if name != "auto"])
# Small, skinny and blocky; a row, a column, a single element, an outer and an inner product; beyond one block of m
# (56), n (2048) and k (1024).
SHAPES = [(1, 1, 1), (3, 5, 7), (14, 32, 9), (1, 40, 30), (40, 1, 30), (1, 1, 50), (9, 33, 1), (5, 300, 20),
          (130, 70, 65), (57, 130, 40), (2, 3000, 12), (61, 2100, 3), (20, 40, 2050), (1, 2100, 1100),
          (2100, 1, 1030), (3, 70, 600), (2, 4500, 40), (6, 1100, 530)]  # fmt: skip
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))


@lru_cache(maxsize=2 * len(SHAPES))
def operands(m, n, k, seed=0):
    """(a, b, c), int64, read-only."""
    made = whole((m, k), seed), whole((k, n), seed + 1), whole((m, n), seed + 2, limit=9)
    return tuple(read_only(array) for array in made)


@lru_cache(maxsize=16 * len(SHAPES))
def result(shape, alpha=1, beta=None):
    """The reference's alpha * a @ b + beta * c of the operands of that shape; beta None: without c."""
    a, b, c = operands(*shape)
    return reference.gemm(a, b, None if beta is None else c, alpha=alpha, beta=beta)


@by_shape
@by_dtype
@by_algorithm
@pytest.mark.parametrize("trans", ["NN", "NT", "TN", "TT"])
def test_whole_numbers(shape, dtype, algorithm, trans, isa):
    a, b, _ = operands(*shape)
    a, b = a.astype(dtype), b.astype(dtype)
    trans_a, trans_b = trans[0] == "T", trans[1] == "T"
    got = fc.gemm(np.ascontiguousarray(a.T) if trans_a else a, np.ascontiguousarray(b.T) if trans_b else b,
                  trans_a=trans_a, trans_b=trans_b, algorithm=algorithm)  # fmt: skip
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, result(shape))


@by_shape
@by_dtype
def test_auto_is_packed(shape, dtype):
    a, b, c = (reals(array.shape, i, dtype) for i, array in enumerate(operands(*shape)))
    np.testing.assert_array_equal(fc.gemm(a, b, c), fc.gemm(a, b, c, algorithm="packed"))


@by_shape
@by_dtype
@by_algorithm
@pytest.mark.parametrize("alpha", [0, 1, -2.0])
@pytest.mark.parametrize("beta", [None, 0, 1, 3])
def test_alpha_beta_and_c(shape, dtype, algorithm, alpha, beta):
    expected = result(shape, int(alpha), 1 if beta is None else beta)
    a, b, c = operands(*shape)
    a, b, c = (array.astype(dtype) for array in (a, b, c))
    out = poison(c.shape, dtype)
    before = c.copy()
    parameters = {"alpha": alpha, "beta": beta, "algorithm": algorithm}
    assert fc.gemm(a, b, c, out=out, **parameters) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(c, before)
    np.testing.assert_array_equal(fc.gemm(a, b, c, **parameters), expected)
    assert fc.gemm(a, b, c, out=c, **parameters) is c
    np.testing.assert_array_equal(c, expected)


@by_shape
@by_dtype
@by_algorithm
def test_zero_beta_never_reads_c_and_zero_alpha_never_a_or_b(shape, dtype, algorithm, isa):
    """NaN and infinity in what is not read leave no trace, in full tiles and at their edges alike."""
    a, b, c = (array.astype(dtype) for array in operands(*shape))
    nan = np.full_like(c, np.nan)
    expected = fc.gemm(a, b, algorithm=algorithm)
    np.testing.assert_array_equal(fc.gemm(a, b, nan, beta=0, algorithm=algorithm), expected)
    np.testing.assert_array_equal(fc.gemm(a, b, nan, beta=0, out=nan, algorithm=algorithm), expected)
    np.testing.assert_array_equal(fc.gemm(a, b, out=poison(c.shape, dtype), algorithm=algorithm), expected)
    nan_a, infinite_b = np.full_like(a, np.nan), np.full_like(b, -np.inf)
    for beta in (0, 1, 2):
        got = fc.gemm(nan_a, infinite_b, c, alpha=0, beta=beta, algorithm=algorithm)
        np.testing.assert_array_equal(got, beta * c)
    np.testing.assert_array_equal(fc.gemm(nan_a, infinite_b, nan, alpha=0, beta=0, algorithm=algorithm), 0 * c)


@by_dtype
@pytest.mark.parametrize("m", [4, 5, 8])
def test_beta_is_applied_once_however_long_the_sum(m, dtype, isa):
    """Few rows times a transposed matrix: more than four take their sum in blocks of 2048."""
    a, b, c = operands(m, 9, 4500)
    got = fc.gemm(a.astype(dtype), np.asfortranarray(b.astype(dtype)), c.astype(dtype), alpha=-1, beta=3)
    np.testing.assert_array_equal(got, 3 * c - a @ b)


@pytest.mark.parametrize("memory", MEMORY)
@by_dtype
@by_algorithm
def test_any_memory_layout(memory, dtype, algorithm, isa):
    for shape in ((1, 37, 19), (7, 37, 19), (45, 1, 21), (31, 150, 26)):
        a, b, c = operands(*shape)
        expected = reference.gemm(a, b, c, beta=2)
        for of_b in MEMORY.values():
            arguments = MEMORY[memory](a.astype(dtype)), of_b(b.astype(dtype)), of_b(c.astype(dtype))
            np.testing.assert_array_equal(fc.gemm(*arguments, beta=2, algorithm=algorithm), expected)
            for after, before in zip(arguments, (a, b, c), strict=True):
                np.testing.assert_array_equal(after, before)


@by_algorithm
@by_dtype
def test_a_misaligned_out(algorithm, dtype):
    a, b, c = operands(15, 33, 9)
    out = laid_out(c.astype(dtype), offset=1)
    fc.gemm(a.astype(dtype), b.astype(dtype), out, out=out, algorithm=algorithm)
    np.testing.assert_array_equal(out, a @ b + c)


@by_algorithm
def test_zero_strides(algorithm, isa):
    row, column = whole((1, 33), 1), whole((20, 1), 2)
    expected = np.broadcast_to(column, (20, 40)) @ np.broadcast_to(row, (40, 33))
    a = np.broadcast_to(column.astype(np.float32), (20, 40))
    b = np.broadcast_to(row.astype(np.float32), (40, 33))
    np.testing.assert_array_equal(fc.gemm(a, b, algorithm=algorithm), expected)
    ones = np.broadcast_to(np.float32(1), (20, 40))
    np.testing.assert_array_equal(fc.gemm(ones, b, ones[:, :1] * row.astype(np.float32), algorithm=algorithm),
                                  np.broadcast_to(41 * row, (20, 33)))  # fmt: skip


@by_algorithm
def test_memory_maps(algorithm, tmp_path):
    a, b, _ = operands(30, 40, 50)
    for name, array in (("a", a), ("b", b)):
        np.save(tmp_path / name, array.astype(np.float32))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "ab"]
    np.testing.assert_array_equal(fc.gemm(*mapped, algorithm=algorithm), a @ b)


@by_algorithm
@by_dtype
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 1, 0), (0, 3, 0)], ids=str)
def test_empty_dimensions_as_blas_defines_them(shape, dtype, algorithm):
    """row 71: an empty sum is 0, so c comes back times beta."""
    m, n, k = shape
    a, b, c = np.empty((m, k), dtype), np.empty((k, n), dtype), reals((m, n), 1, dtype)
    np.testing.assert_array_equal(fc.gemm(a, b, algorithm=algorithm), np.zeros((m, n)))
    np.testing.assert_array_equal(fc.gemm(a, b, c, beta=3, algorithm=algorithm), 3 * c)
    out = poison((m, n), dtype)
    assert fc.gemm(a, b, out=out, algorithm=algorithm) is out
    np.testing.assert_array_equal(out, np.zeros((m, n)))


@by_algorithm
def test_strides_of_axes_of_length_one_mean_nothing(algorithm, isa):
    a, b = whole((1, 30), 1), whole((30, 1), 2)
    for step in (0, 4, -8, 20, 12344):
        rows = np.lib.stride_tricks.as_strided(a.astype(np.float32), strides=(step, 4))
        columns = np.lib.stride_tricks.as_strided(b.astype(np.float32), strides=(4, step))
        np.testing.assert_array_equal(fc.gemm(rows, columns, algorithm=algorithm), a @ b)
        np.testing.assert_array_equal(fc.gemm(columns, rows, algorithm=algorithm), b @ a)


BLOCKS = [(1, 1, 1), (8, 7, 5), (14, 32, 30), (15, 33, 31), (30, 300, 17), (2**31 - 1,) * 3]


@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("algorithm", ["blocked", "packed", "auto"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 50, 40), (50, 1, 40), (43, 97, 61)], ids=str)
@by_dtype
def test_any_block_sizes(blocks, algorithm, shape, dtype, isa):
    """row 39: also blocks that are no multiple of the tile, and blocks larger than the matrix."""
    a, b, c = operands(*shape)
    got = fc.gemm(a.astype(dtype), b.astype(dtype), c.astype(dtype), alpha=2, algorithm=algorithm,
                  blocking=fc.Blocking(*blocks))  # fmt: skip
    np.testing.assert_array_equal(got, 2 * (a @ b) + c)


@by_shape
@by_dtype
@by_algorithm
def test_reals_within_the_error_bound(shape, dtype, algorithm):
    m, n, k = shape
    a, b = reals((m, k), 1, dtype), reals((k, n), 2, dtype)
    wide = np.float64 if dtype == np.float32 else np.longdouble
    exact, sums = a.astype(wide) @ b.astype(wide), abs(a.astype(wide)) @ abs(b.astype(wide))
    assert (abs(fc.gemm(a, b, algorithm=algorithm) - exact) <= gamma(k, dtype) * sums).all()


@by_dtype
@pytest.mark.parametrize("shape", [(1024, 1000, 1500), (4000, 1, 2000), (1000, 100, 100), (1, 3000, 3000),
                                   (128, 4096, 1152)], ids=str)  # fmt: skip
def test_projections_of_large_products(shape, dtype):
    """(a @ b) @ t = a @ (b @ t), a check of O(n**2): exact on whole numbers; and the same from the other side."""
    m, n, k = shape
    a, b = whole((m, k), 1, limit=2), whole((k, n), 2, limit=2)
    right, left = whole((n,), 3), whole((m,), 4)
    product = fc.gemm(a.astype(dtype), b.astype(dtype)).astype(np.int64)
    np.testing.assert_array_equal(product @ right, a @ (b @ right))
    np.testing.assert_array_equal(left @ product, (left @ a) @ b)


def test_out_must_not_overlap_an_operand_that_runs_backwards():
    """Its first element lies behind its last, and behind all of out."""
    memory = np.zeros(16)
    backwards, other = memory.reshape(4, 4)[::-1, ::-1], np.zeros((4, 2))
    with pytest.raises(ValueError, match="out shares memory with a"):
        fc.gemm(backwards, other, out=memory[:8].reshape(4, 2))
    with pytest.raises(ValueError, match="out shares memory with b"):
        fc.gemm(other.T, backwards, out=memory[:8].reshape(2, 4))


# --- matmul

MATMUL = [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)),
          ((1, 7, 2, 3), (4, 1, 3, 5)), ((0, 2, 3), (3, 4)), ((2, 0), (0, 4)), ((0, 3), (3, 4)), ((5, 2, 0), (0, 4)),
          ((0,), (0,)), ((0,), (0, 3)), ((2, 3), (3, 0)), ((1, 2, 3), (0, 3, 4))]  # fmt: skip


@pytest.mark.parametrize("shapes", MATMUL, ids=str)
@by_dtype
def test_matmul_has_numpy_s_shapes(shapes, dtype, isa):
    a, b = whole(shapes[0], 1), whole(shapes[1], 2)
    expected = np.matmul(a, b)
    got = fc.matmul(a.astype(dtype), b.astype(dtype))
    assert np.shape(got) == expected.shape
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    out = poison(expected.shape, dtype)
    assert fc.matmul(a.astype(dtype), b.astype(dtype), out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_matmul_of_strided_batches():
    a, b = whole((4, 6, 5, 7), 1), whole((4, 1, 9, 7), 2)
    got = fc.matmul(a.astype(np.float32)[::-2, ::3, ::-1], b.astype(np.float32)[::-2].swapaxes(2, 3))
    np.testing.assert_array_equal(got, a[::-2, ::3, ::-1] @ b[::-2].swapaxes(2, 3))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((), (3,)), "at least one dimension"),
        (((3,), ()), "at least one dimension"),
        (((2, 3), (4, 5)), "inner dimensions"),
        (((3,), (4,)), "inner dimensions"),
        (((2, 2, 3), (3, 3, 4)), "batch dimensions"),
    ],
    ids=["row74-a", "row74-b", "row72", "row72-vectors", "row75"],
)
def test_matmul_refuses(shapes, message):
    with pytest.raises(ValueError, match=message):
        fc.matmul(reals(shapes[0]), reals(shapes[1]))


@pytest.mark.parametrize("rows", [1, 3, 5, 8])
@pytest.mark.parametrize("trans", [False, True], ids=["rows", "columns"])
def test_long_sums_of_few_rows(trans, rows, isa):
    """One chain of additions in float32 would lose what is small beside the sum: 0.4 % of this one."""
    k, n = 1 << 22, 2
    b = np.ones((n, k), np.float32).T if trans else np.ones((k, n), np.float32)
    got = fc.gemm(np.full((rows, k), 0.1, np.float32), b)
    np.testing.assert_allclose(got, k * np.float32(0.1), rtol=2e-4)
