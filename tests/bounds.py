"""What a right result is: bit for bit the int64 reference's where an algorithm is exact on whole numbers, within the
algorithm's bound of a more precise reference otherwise."""

import numpy as np
from support import gamma

from fastconv.algorithms import ALGORITHMS, BY_NAME

EXACT = [row.name for row in ALGORITHMS if row.strict or row.name == "winograd2x2"]
# Algorithms that rewrite the sum err by a tile's largest sums, not by each result's own: the largest error of a result
# stays below so many ulps of the image's largest sum, times the row's published `error`.
REWRITTEN_ULPS = 40


def rewritten(algorithm, dtype):
    """The bound on the error of a row that rewrites the sum, relative to the largest sum."""
    return REWRITTEN_ULPS * BY_NAME[algorithm].error * np.finfo(dtype).eps


def bound(algorithm, dtype, terms, sums):
    """How far each result may be off: sums (N, ...) are those of the terms' absolute values, `terms` of them."""
    if BY_NAME[algorithm].strict:
        return gamma(terms, dtype) * sums
    return rewritten(algorithm, dtype) * sums.max(axis=tuple(range(1, sums.ndim)), keepdims=True, initial=0)


def wide(dtype):
    """The precision of the reference."""
    return np.float64 if dtype == np.float32 else np.longdouble
