/* What the drivers of csrc's kernels share: the table under test, memory between pages that may not be touched, and
 * the comparison. A driver calls each kernel of one file of csrc/kernels at the sizes where it could go wrong, on whole
 * numbers, and compares all that lies in the result's memory with a plain loop in double precision. */
#ifndef FC_DRIVER_H
#define FC_DRIVER_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

typedef intptr_t idx;

extern const fc_kernels *kernels; /* of the ISA and dtype under test */

/* A kernel of the table, which counts as tried from now on: every one has to be. */
#define TRY(slot) (tried(&kernels->slot), kernels->slot)
void tried(const void *slot);

/* Names what is tried next, and frees all memory below. */
void begin(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory for so many elements, which ends where a forbidden page begins, or begins where one ends: of whole numbers in
 * [-3, 3], of zeros, or of a NaN that no kernel makes. offsets: for lists, never misaligned. */
char *numbers(idx count);
char *zeros(idx count);
char *poisoned(idx count);
idx *offsets(idx count);

double get(const void *p, idx i); /* element i of an array of the dtype */
void put(void *p, idx i, double value);
double number(void); /* the next of the whole numbers */
double epsilon(void);

/* What is expected of `poisoned` memory: at first, that it is as it was. ANYTHING: a kernel may write there. */
#define ANYTHING INFINITY
double *untouched(idx count);
void same(const void *got, const double *expected, idx count, double bound); /* of the absolute error */

static inline idx larger(idx a, idx b) { return a > b ? a : b; }
static inline idx smaller(idx a, idx b) { return a < b ? a : b; }
static inline idx rounded_up(idx n, idx step) { return (n + step - 1) / step * step; }
static inline double rectified(double v) { return v > 0 ? v : 0; }
static inline idx bytes(idx elements) { return elements * kernels->itemsize; }

/* for (each of a list of sizes) */
#define EACH(name, ...)                                                 \
    for (idx name##_list[] = {__VA_ARGS__}, name##_at = 0, name;        \
         name##_at < (idx)(sizeof name##_list / sizeof *name##_list) && \
         (name = name##_list[name##_at], 1);                            \
         name##_at++)

/* The drivers, each in the file of its name. */
/* clang-format off */
#define DRIVERS(X) \
    X(tile) X(pack) X(vector) X(lower) X(depthwise) X(split) X(transforms) X(elementwise) X(channels) X(pool) X(probe)
/* clang-format on */
#define DECLARE(name) void drive_##name(void);
DRIVERS(DECLARE)
#undef DECLARE
#endif
