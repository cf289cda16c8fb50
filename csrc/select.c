/* Which rows of isa.def this machine can run: CPUID for the instructions, XGETBV for whether the
 * operating system saves the registers. Compiled without ISA flags and called once, at import, by
 * fastconv/_loops/kernels.pyx. */
#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

static uint64_t saved_state(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

static unsigned leaf7_ebx(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) ? b : 0;
}

static int cpu_has_avx2(void) {
    unsigned a, b, c, d;
    const uint64_t ymm = 0x6;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_FMA) && (leaf7_ebx() & bit_AVX2) &&
           (saved_state() & ymm) == ymm;
}

static int cpu_has_avx512(void) {
    const unsigned need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const uint64_t zmm = 0xe6;
    return cpu_has_avx2() && (leaf7_ebx() & need) == need && (saved_state() & zmm) == zmm;
}
#define FC_X86(...) __VA_ARGS__
#else
#define FC_X86(...)
#endif
#if defined(__aarch64__)
#define FC_ARM(...) __VA_ARGS__
#else
#define FC_ARM(...)
#endif
#define FC_ANY(...) __VA_ARGS__

#define FC_ISA(name, arch, test, bytes, mr, nv, flags) \
    arch(extern const fc_kernels fc_##name##_f32, fc_##name##_f64;)
#include "isa.def"
#undef FC_ISA

const fc_isa *fc_isa_list(int *count) {
    static fc_isa list[] = {
#define FC_ISA(name, arch, test, bytes, mr, nv, flags) \
    arch({#name, flags, 0, &fc_##name##_f32, &fc_##name##_f64}, )
#include "isa.def"
#undef FC_ISA
    };
    int i = 0;
#define FC_ISA(name, arch, test, bytes, mr, nv, flags) arch(list[i++].usable = (test);)
#include "isa.def"
#undef FC_ISA
    *count = i;
    return list;
}
