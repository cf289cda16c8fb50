/* Runs the drivers over every row of csrc/isa.def that this machine can run, both dtypes and three ways of placing
 * memory, and checks that they tried every kernel of the table. tools/drivers.py builds and runs it.
 *
 * With EVERY_SHAPE all rows are run: built without any ISA's flags, a row of another machine is still a vector width
 * and a tile, and that is what loops and edges depend on. */
#include "driver.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EVERY_SHAPE
#define FC_X86(...) __VA_ARGS__
#define FC_ARM(...) __VA_ARGS__
#define FC_ANY(...) __VA_ARGS__
#define FC_ISA(name, arch, test, bytes, mr, nv, flags) \
    arch(extern const fc_kernels fc_##name##_f32, fc_##name##_f64;)
#include "isa.def"
#undef FC_ISA
static const fc_isa *isa_list(int *count) {
    static const fc_isa list[] = {
#define FC_ISA(name, arch, test, bytes, mr, nv, flags) \
    arch({#name, "", 1, &fc_##name##_f32, &fc_##name##_f64}, )
#include "isa.def"
#undef FC_ISA
    };
    *count = sizeof list / sizeof *list;
    return list;
}
#else
#define isa_list fc_isa_list
#endif

#define MOST_BUFFERS 16
#define BUFFER_BYTES ((size_t)4 << 20)

const fc_kernels *kernels;

static const char *const placements[] = {"at the end of a page", "at the start of a page",
                                         "one byte behind"};
static int placement;
static char what[256];
static char *buffers[MOST_BUFFERS];
static double *expectations[MOST_BUFFERS];
static int buffers_used, expectations_used;
static uint64_t state;
static char slots_tried[sizeof(fc_kernels)];

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s f%d, memory %s, %s: ", kernels->isa, (int)kernels->itemsize * 8,
            placements[placement], what);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    _exit(1);
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)context;
    fail("signal %d at %p", signal, info->si_addr);
}

void tried(const void *slot) { slots_tried[(const char *)slot - (const char *)kernels] = 1; }

void begin(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    while (expectations_used) free(expectations[--expectations_used]);
    buffers_used = 0;
    state = 1;
}

static char *place(idx size, idx misaligned) {
    const size_t page = sysconf(_SC_PAGESIZE);
    if (buffers_used == MOST_BUFFERS || size + page > BUFFER_BYTES)
        fail("too much memory: %ld bytes", (long)size);
    char **buffer = &buffers[buffers_used++];
    if (!*buffer) {
        char *map = mmap(NULL, BUFFER_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED || mprotect(map + page, BUFFER_BYTES, PROT_READ | PROT_WRITE))
            fail("no memory");
        *buffer = map + page;
    }
    return placement == 0 ? *buffer + BUFFER_BYTES - size : *buffer + (placement == 2) * misaligned;
}

double number(void) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)((state >> 33) % 7) - 3;
}

double get(const void *p, idx i) {
    float f32;
    double f64;
    if (kernels->itemsize == 8) return memcpy(&f64, (const char *)p + i * 8, 8), f64;
    return memcpy(&f32, (const char *)p + i * 4, 4), f32;
}

void put(void *p, idx i, double value) {
    const float f32 = (float)value;
    if (kernels->itemsize == 8)
        memcpy((char *)p + i * 8, &value, 8);
    else
        memcpy((char *)p + i * 4, &f32, 4);
}

static const uint64_t poison_f64 = UINT64_C(0x7ff8123456789abc);
static const uint32_t poison_f32 = 0x7fc12345;

static int is_poison(const void *p, idx i) {
    if (kernels->itemsize == 8) return !memcmp((const char *)p + i * 8, &poison_f64, 8);
    return !memcmp((const char *)p + i * 4, &poison_f32, 4);
}

char *poisoned(idx count) {
    char *p = place(bytes(count), 1);
    for (idx i = 0; i < count; i++)
        memcpy(p + bytes(i), kernels->itemsize == 8 ? (const void *)&poison_f64 : &poison_f32,
               kernels->itemsize);
    return p;
}

char *zeros(idx count) { return memset(place(bytes(count), 1), 0, bytes(count)); }

char *numbers(idx count) {
    char *p = place(bytes(count), 1);
    for (idx i = 0; i < count; i++) put(p, i, number());
    return p;
}

idx *offsets(idx count) { return (idx *)place(count * sizeof(idx), 0); }

double epsilon(void) { return kernels->itemsize == 8 ? 0x1p-52 : 0x1p-23; }

double *untouched(idx count) {
    if (expectations_used == MOST_BUFFERS) fail("too many results");
    double *p = malloc(larger(1, count) * sizeof *p);
    if (!p) fail("no memory");
    expectations[expectations_used++] = p;
    for (idx i = 0; i < count; i++) p[i] = NAN;
    return p;
}

void same(const void *got, const double *expected, idx count, double bound) {
    for (idx i = 0; i < count; i++) {
        if (expected[i] == ANYTHING) continue;
        if (isnan(expected[i]) ? !is_poison(got, i) : !(fabs(get(got, i) - expected[i]) <= bound))
            fail("element %ld of %ld is %.17g, expected %.17g within %g", (long)i, (long)count,
                 get(got, i), expected[i], bound);
    }
}

/* Every word of the table behind its numbers is a kernel, or one of the numbers of a transform. */
static void check_that_all_were_tried(void) {
    const char *table = (const char *)kernels;
    for (int t = 0; t < FC_TRANSFORMS; t++) {
        const fc_transform *transform = &kernels->transforms[t];
        tried(&transform->tile_h), tried(&transform->tile_w), tried(&transform->frequencies);
        tried(&transform->parts), tried(&transform->scratch_bytes);
    }
    for (size_t at = offsetof(fc_kernels, tile); at < sizeof(fc_kernels); at += sizeof(void *)) {
        void *kernel;
        memcpy(&kernel, table + at, sizeof kernel);
        if (kernel && !slots_tried[at]) fail("no driver tries the kernel at byte %zu of fc_kernels", at);
    }
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    int count, ran = 0;
    const fc_isa *rows = isa_list(&count);
    sigaction(SIGSEGV, &action, NULL), sigaction(SIGBUS, &action, NULL),
        sigaction(SIGILL, &action, NULL);
    for (int row = 0; row < count; row++) {
        if (!rows[row].usable) {
            printf("%s: not run, this machine cannot\n", rows[row].name);
            continue;
        }
        for (int wide = 0; wide < 2; wide++) {
            kernels = wide ? rows[row].f64 : rows[row].f32;
            memset(slots_tried, 0, sizeof slots_tried);
            for (placement = 0; placement < 3; placement++) {
#define DRIVE(name) drive_##name();
                DRIVERS(DRIVE)
            }
            placement = 0;
            begin("the whole table");
            check_that_all_were_tried();
            ran++;
        }
        printf("%s: every kernel tried, f32 and f64\n", rows[row].name);
        fflush(stdout);
    }
    return ran == 0;
}
