/* csrc/kernels/probe.c: both are sums. */
#include "driver.h"

static void expect(double got, double expected, double bound) {
    char *value = poisoned(1);
    double *wanted = untouched(1);
    put(value, 0, got - expected);
    *wanted = 0;
    same(value, wanted, 1, bound);
}

void drive_probe(void) {
    EACH (n, 0, 1, 8 * kernels->lanes - 1, 8 * kernels->lanes, 8 * kernels->lanes + 1,
          20 * kernels->lanes + 3) {
        begin("read_sum: n=%ld", (long)n);
        const char *p = numbers(n);
        double sum = 0;
        for (idx i = 0; i < n; i++) sum += get(p, i);
        expect(TRY(read_sum)(p, bytes(n)), sum, 0);
    }
    EACH (steps, 0, 1, 7) {
        begin("fma_chain: steps=%ld", (long)steps);
        double sum = 0;
        for (int chain = 0; chain < 12; chain++) {
            double v = 0.999 * chain;
            for (idx i = 0; i < steps; i++) v = v * 0.999 + 1e-3;
            sum += v * (double)kernels->lanes;
        }
        expect(TRY(fma_chain)(steps), sum, 4096 * epsilon());
    }
}
