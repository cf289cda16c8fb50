"""What the algorithms cost: seconds on a nominal core, by which `auto` compares them. Multiplications, bytes,
transforms; called by the rows of fastconv/algorithms.py and of fastconv/direct_nests.py. Nothing is measured at run
time, because `auto` must not depend on the machine."""

import math
from functools import lru_cache

from fastconv._loops import im2col as _im2col
from fastconv._loops.fft_depthwise import FFT_DEPTHWISE
from fastconv._loops.kernels import active_isa, tile_sizes
from fastconv._loops.transformed import FFT

# The nominal core: GFLOP/s of float32 FMAs per ISA, and what moving data takes off, in GB/s: lowering for im2col, of
# pixels, or of rows, with so much more for each run of neighbours, STRIDED times if they are none; and transposing to
# channels-last and back. Fitted to benchmarks/shapes/measured.txt on Zen 4, rows to benchmarks/drawn.py on
# Emerald Rapids, 2026-11; NEON is a Neoverse N1's clock times its pipes, not timed.
NOMINAL = {"avx512": 118.0, "avx2": 118.0, "sse2": 50.0, "neon": 50.0, "portable": 50.0}
PIXELS_GBYTES, ROWS_GBYTES, RUN_NS, STRIDED = 25.0, 15.0, 6.0, 1.7
TRANSPOSED_GBYTES = 8.0
PACKED_GBYTES = 5.0
# "im2col": how much slower a product is whose matrix is lowered by columns. Fitted with "direct" (direct_nests.py).
COLUMNS = 1.35
# Of the time that two vectors of filters take, what a tile of one does: it loads more for each FMA (16 and 24 filters
# of 64 and 144 channels, AVX2 on Zen 3, 2026-11).
ONE_VECTOR = 0.62
# Winograd, on Zen 3, 2026-11: transforms take about m times WINOGRAD_NS for each float before and after the products.
# Transformed weights, of "fft" too, come from L3, or beyond NOMINAL_L3 bytes from memory, half hidden. Preparing
# them, per float read and made: 14 to 17 ns for each channel of each filter by F(2x2), 12 to 25 by F(4x4), of 192 to
# 512 channels.
WINOGRAD_NS, WINOGRAD_READ_NS, WINOGRAD_MADE_NS = 0.1, 1.1, 0.33
L3_GBYTES, MEMORY_GBYTES, NOMINAL_L3 = 80.0, 40.0, 16 << 20
# Weight gradients: the product's share of the nominal speed, and what each float of Winograd's transforms takes, with
# the copies around them. Fitted to 12 layers, 224 to 7 pixels, Zen 3, 2026-11.
GRAD_SPEED, GRAD_NS = 0.8, 0.55
# "fft": the transforms; the products' share of the nominal speed; and what preparing weights costs, in transforms (0.8
# to 1.0 for filters of 5x5 to 15x15). Fitted to 60 drawn layers of 9 to 49 taps, AVX2 on Zen 3, 2026-11.
# THERE_AND_BACK: what transforms that stay in caches cost of others (depthwise, 3x3 to 9x9 in place: 0.46 to 0.64).
TRANSFORM_GFLOPS, SPECTRA_SPEED, PREPARED_SPECTRA, THERE_AND_BACK = 32.0, 0.86, 0.9, 0.55
SCALAR_GFLOPS = 1.5  # the naive nest, compiled without vectors


def plain_weight_bytes(shape, itemsize):
    """Bytes of the weight as it comes."""
    return math.prod(shape.weight_shape) * itemsize


def naive_cost(shape, _itemsize):
    return shape.flops / (SCALAR_GFLOPS * 1e9)


def product_seconds(shape, itemsize, least_filters=1):
    """The multiplications at full speed, or slower where a group has fewer filters than fill a tile."""
    idle = max(1.0, least_filters / max(1, shape.K // shape.groups))
    return shape.flops * idle * itemsize / (4e9 * NOMINAL[active_isa()])


def ragged(shape, itemsize):
    """Vectors run along filters, two to a tile: what they compute over what is wanted."""
    _, NR, lanes = tile_sizes(itemsize)
    filters = max(1, shape.K // shape.groups)
    strips, rest = divmod(math.ceil(filters / lanes), NR // lanes)
    return (strips + (ONE_VECTOR if rest else 0)) * NR / filters


def transposing(shape, itemsize):
    """Channels-first x and y on their way in and out."""
    moved = 0 if shape.layout == "NHWC" else math.prod(shape.input_shape) + math.prod(shape.output_shape)
    return moved * itemsize / (TRANSPOSED_GBYTES * 1e9)


def im2col_cost(shape, itemsize):
    runs = shape.N * shape.P * shape.C * shape.R * shape.S
    lowered = runs * shape.Q * itemsize
    if shape.layout == "NHWC":
        product = product_seconds(shape, itemsize) * ragged(shape, itemsize)
    else:
        product = product_seconds(shape, itemsize, 8)
    all_pixels = shape.R == shape.S == 1 and shape.stride == (1, 1) and (shape.P, shape.Q) == (shape.H, shape.W)
    if shape.layout == "NCHW" and all_pixels:
        return product + lowered / (ROWS_GBYTES * 1e9)  # x is the matrix as it lies, or once it is transposed
    if shape.layout == "NHWC" or _im2col.transposes(shape.packed, itemsize):
        return product + lowered / (PIXELS_GBYTES * 1e9) + transposing(shape, itemsize)
    gathered = STRIDED if shape.stride[1] > 1 else 1
    return product * COLUMNS + lowered * gathered / (ROWS_GBYTES * 1e9) + runs * RUN_NS * 1e-9


def packing_cost(shape, itemsize):
    return plain_weight_bytes(shape, itemsize) / (PACKED_GBYTES * 1e9)


def _winograd_points(m, results):
    """Of all tiles along an axis: m + 2 each, and the last one two more than its results (or, F(5), three)."""
    whole, rest = divmod(results, m)
    return whole * (m + 2) + (min(m, rest + (m % 2 and 1 - rest % 2)) + 2 if rest else 0)


def _winograd_counts(m, shape):
    """Products that all tiles take part in, per channel and filter; transformed weights, in whole strips of filters."""
    axes = [results for results, size in ((shape.P, shape.R), (shape.Q, shape.S)) if size == 3]
    other = shape.P if shape.R == 1 else shape.Q if shape.S == 1 else 1
    products = shape.N * other * math.prod(_winograd_points(m, results) for results in axes)
    matrices = (m + 2) ** len(axes)
    NR = tile_sizes(4)[1]
    return products, matrices, matrices * shape.C * math.ceil(shape.K / shape.groups / NR) * NR


def _reading(weight_bytes):
    """Transformed weights, once."""
    return weight_bytes / ((MEMORY_GBYTES if weight_bytes > NOMINAL_L3 else L3_GBYTES) * 1e9)


def winograd_cost(m, shape, itemsize):
    """F(m x m, 3 x 3), or along one axis."""
    products, matrices, weights = _winograd_counts(m, shape)
    return (
        2 * max(products / matrices, 4) * weights * itemsize / (4e9 * NOMINAL[active_isa()])
        + m * WINOGRAD_NS * 1e-9 * products * (shape.C + shape.K) * itemsize / 4
        + _reading(weights * itemsize)
        + transposing(shape, itemsize)
    )


def winograd_prepare_cost(m, shape, itemsize):
    """Transforming the weights."""
    made = _winograd_counts(m, shape)[2]
    return (math.prod(shape.weight_shape) * WINOGRAD_READ_NS + made * WINOGRAD_MADE_NS) * itemsize / 4 * 1e-9


def weight_grad_cost(shape, itemsize):
    """The product whose sum runs over the pixels."""
    return product_seconds(shape, itemsize, 8) / GRAD_SPEED


def winograd_grad_cost(shape, itemsize):
    """F(3 x 3, 4 x 4): products, and the transforms of x, grad and the sums."""
    tiles = shape.N * math.ceil(shape.P / 4) * math.ceil(shape.Q / 4)
    filters = shape.C * shape.K // shape.groups
    products = 2 * 36 * tiles * filters * itemsize / (4e9 * NOMINAL[active_isa()])
    return products + 36 * (tiles * (shape.C + shape.K) + filters) * GRAD_NS * 1e-9 * itemsize / 4


def _fft_depthwise(shape):
    """Whether nothing is summed over channels, and a filter takes half of the largest tile at most."""
    return shape.groups == shape.C == shape.K and max(shape.R, shape.S) <= max(FFT) // 2


def _fft_seconds(tile):
    """One transform of one tile in float32."""
    return 5 * tile**2 * math.log2(tile) / (TRANSFORM_GFLOPS * 1e9)


def _fft_costs(shape, tile):
    """(seconds, seconds of preparing, nest) in float32. A filter beyond half a tile is cut into pieces."""
    C, filters = shape.C, shape.K // shape.groups
    pieces, tiles = 1, shape.N
    for size, results in ((shape.R, shape.P), (shape.S, shape.Q)):
        cut = math.ceil(size / (tile // 2 + 1))
        pieces *= cut
        tiles *= math.ceil(results / (tile + 1 - math.ceil(size / cut)))
    # Complex numbers, and whole strips of filters.
    matrices = tile * (tile // 2 + 1) * pieces * C * math.ceil(filters / tile_sizes(4)[1]) * tile_sizes(4)[1]
    transforms = tiles * (pieces * C + shape.K) * _fft_seconds(tile)
    products = tiles * 8 * matrices / (SPECTRA_SPEED * NOMINAL[active_isa()] * 1e9)
    prepared = PREPARED_SPECTRA * pieces * C * filters * _fft_seconds(tile)
    return transforms + products + _reading(8 * matrices) + transposing(shape, 4), prepared, FFT[tile]


def _fft_depthwise_costs(shape, tile):
    """The same for a nest that takes a vector of tiles there and back, and copies them unless they are in place."""
    if max(shape.R, shape.S) > tile:
        return math.inf, math.inf, None
    nest, lanes = FFT_DEPTHWISE[tile], tile_sizes(4)[2]
    transforms = THERE_AND_BACK * 2 * lanes * nest.vectors(shape.packed, 4) * _fft_seconds(tile)
    seconds = transforms + nest.copied_bytes(shape.packed, 4) / (TRANSPOSED_GBYTES * 1e9)
    return seconds, PREPARED_SPECTRA * shape.K * _fft_seconds(tile), nest


@lru_cache(maxsize=1024)
def _cheapest_fft(shape, _isa):
    costs = _fft_depthwise_costs if _fft_depthwise(shape) else _fft_costs
    return min((costs(shape, tile) for tile in FFT), key=lambda plan: plan[0])


def fft_plan(shape):
    """(seconds, seconds of preparing, nest) of the cheapest size of tile."""
    return _cheapest_fft(shape, active_isa())
