/* What this core can do at most, for benchmarks to stand beside: fma_chain runs independent chains of
 * FMAs in registers (2 * 12 * LANES FLOPs a step), read_sum adds up a buffer, which also tells whether
 * all of it is finite. Both return a value so that the work cannot be dropped. Called by
 * fastconv/_loops/probe.pyx. */

#define CHAINS 12 /* 2 FMA ports x 4 cycles of latency need 8; 16 registers leave room for 12 */

static double fma_chain(intptr_t steps) {
    static const volatile real factor = (real)0.999,
                               term = (real)1e-3; /* nothing to fold at compile time */
    vec acc[CHAINS], x = broadcast(factor), y = broadcast(term);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) acc[i] = x * (real)i;
    for (; steps > 0; steps--) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * x + y;
    }
    double sum = 0;
    for (int i = 0; i < CHAINS; i++) sum += sum_lanes(acc[i]);
    return sum;
}

static double read_sum(const void *p, intptr_t bytes) {
    vec acc[8];
    const char *q = p;
    for (int i = 0; i < 8; i++) acc[i] = (vec){0};
    for (; bytes >= (intptr_t)sizeof(acc); bytes -= sizeof(acc), q += sizeof(acc)) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) acc[i] += load(q + i * sizeof(vec));
    }
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += sum_lanes(acc[i]);
    for (; bytes > 0; bytes -= sizeof(real), q += sizeof(real)) sum += load1(q);
    return sum;
}
