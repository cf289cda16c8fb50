/* csrc/kernels/tile.c: each kind of tile at every row count, with one column too many, one too few and all columns of
 * each vector count, through each way out. */
#include "driver.h"

/* One tile. a lies by rows, or by columns; taps lie in memory in reverse; rows of b and c have a gap behind them. */
static void try_tile(int kind, idx m, idx v, idx n, idx k, idx taps, int by_columns, fc_store store,
                     int biased) {
    static const char *const names[] = {"product", "taps in a", "taps in b"};
    const int taps_in_b = kind == FC_TAPS_IN_B;
    const idx lanes = kernels->lanes, depth = taps_in_b ? taps * k : k;
    const idx a_row = by_columns ? 1 : depth + 2, a_col = by_columns ? m + 2 : 1;
    const idx a_block = by_columns ? depth * a_col : m * a_row, a_blocks = taps_in_b ? 1 : taps;
    const idx b_row = v * lanes + 1, b_block = k * b_row, c_row = n + 2;
    begin("%s: m=%ld v=%ld n=%ld k=%ld taps=%ld by_columns=%d alpha=%g beta=%g bias=%d relu=%d",
          names[kind], (long)m, (long)v, (long)n, (long)k, (long)taps, by_columns, store.alpha,
          store.beta, biased, store.relu);
    const char *a = numbers(larger(0, a_blocks * a_block - 2)),
               *b = numbers(larger(0, taps * b_block - 1));
    char *c = poisoned(m * c_row - 2);
    double *expected = untouched(m * c_row - 2);
    idx *tap = offsets(taps);
    for (idx t = 0; t < taps; t++) tap[t] = bytes((taps - 1 - t) * (taps_in_b ? b_block : a_block));
    store.row_bias = biased == 1 ? numbers(m) : NULL;
    store.col_bias = biased == 2 ? numbers(n) : NULL;
    for (idx i = 0; i < m; i++)
        for (idx j = 0; j < n; j++) {
            double sum = biased == 1 ? get(store.row_bias, i) : biased == 2 ? get(store.col_bias, j) : 0;
            for (idx t = 0; t < taps; t++)
                for (idx l = 0; l < k; l++) {
                    const idx a_at = i * a_row + (taps_in_b ? t * k + l : l) * a_col;
                    const idx b_at = (taps_in_b ? l : t * k + l) * b_row + j;
                    sum += get(a + (taps_in_b ? 0 : tap[t]), a_at) *
                           get(b + (taps_in_b ? tap[t] : 0), b_at);
                }
            sum *= store.alpha;
            if (store.beta != 0) {
                put(c, i * c_row + j, number());
                sum += store.beta * get(c, i * c_row + j);
            }
            expected[i * c_row + j] = store.relu ? rectified(sum) : sum;
        }
    TRY(tile[kind][v - 1][m - 1])(taps, tap, k, a, bytes(a_row), bytes(a_col), b, bytes(b_row), b, 64, c,
                                  bytes(c_row), n, &store);
    same(c, expected, m * c_row - 2, 0);
}

/* NaN and infinities: an output without ReLU keeps them all, ReLU all but -infinity. */
static void try_special_values(idx m, idx v, idx n, int relu) {
    const fc_store store = fc_store_of(1, 0, relu);
    begin("product of special values: m=%ld v=%ld n=%ld relu=%d", (long)m, (long)v, (long)n, relu);
    char *a = zeros(m), *b = zeros(v * kernels->lanes), *c = zeros(m * n);
    double *expected = untouched(m * n);
    idx *tap = offsets(1);
    tap[0] = 0;
    for (idx j = 0; j < n; j++) put(b, j, 1);
    for (idx i = 0; i < m; i++) put(a, i, i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : INFINITY);
    TRY(tile[FC_PRODUCT][v - 1][m - 1])(1, tap, 1, a, bytes(1), bytes(1), b, bytes(v * kernels->lanes),
                                        b, 0, c, bytes(n), n, &store);
    for (idx i = 0; i < m; i++)
        for (idx j = 0; j < n; j++) {
            const double got = get(c, i * n + j); /* under names that can be compared */
            put(c, i * n + j, isnan(got) ? 7 : isinf(got) ? copysign(8, got) : got);
            expected[i * n + j] = i % 3 == 0 ? 7 : i % 3 == 2 ? 8 : relu ? 0 : -8;
        }
    same(c, expected, m * n, 0);
}

void drive_tile(void) {
    static const struct {
        double alpha, beta;
        int biased, relu;
    } ways_out[] = {{1, 0, 0, 0}, {1, 0, 2, 1}, {1, 1, 1, 1}, {2, -1, 2, 0}, {-1, 0, 1, 1}};
    static const struct {
        idx k, taps;
    } sums[] = {{0, 1}, {1, 1}, {5, 1}, {3, 3}};
    const idx lanes = kernels->lanes;
    for (idx v = 1; v <= kernels->NV; v++)
        for (idx m = 1; m <= kernels->rows[v - 1]; m++) {
            EACH (n, v * lanes - 1, v * lanes)
                if (n > 0) try_special_values(m, v, n, 0), try_special_values(m, v, n, 1);
            EACH (n, (v - 1) * lanes + 1, v * lanes - 1, v * lanes)
                for (int s = 0; s < 4; s++)
                    for (int way = 0; way < 5; way++)
                        for (int kind = 0; kind < 2 * FC_TILES; kind++)
                            if (kind / 2 != FC_PRODUCT || sums[s].taps == 1)
                                try_tile(kind / 2, m, v, n, sums[s].k, sums[s].taps, kind % 2,
                                         fc_store_of(ways_out[way].alpha, ways_out[way].beta,
                                                     ways_out[way].relu),
                                         ways_out[way].biased);
        }
}
