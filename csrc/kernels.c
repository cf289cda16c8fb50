/* The translation unit that setup.py compiles once per row of isa.def and dtype. It defines one
 * symbol, fc_<isa>_<dtype>; everything else is static, so no code of one ISA can be linked into
 * another. setup.py passes FC_ISA_NAME, FC_VECTOR_BYTES, FC_MR, FC_NV and FC_REAL_BYTES. */
#include <math.h>

#include "kernels.h"

#if FC_REAL_BYTES == 4
typedef float real;
#define FC_DTYPE f32
#else
typedef double real;
#define FC_DTYPE f64
#endif

#include "simd.h"

#include "kernels/tile.c"
#include "kernels/pack.c"
#include "kernels/vector.c"
#include "kernels/lower.c"
#include "kernels/depthwise.c"
#include "kernels/depthwise_in_place.c"
#include "kernels/split.c"
#include "kernels/winograd.c"
#include "kernels/fft.c"
#include "kernels/elementwise.c"
#include "kernels/channels.c"
#include "kernels/pool.c"
#include "kernels/probe.c"

#define PASTE(isa, dtype) fc_##isa##_##dtype
#define TABLE(isa, dtype) PASTE(isa, dtype)
#define STRING(x) #x
#define QUOTE(x) STRING(x)

const fc_kernels TABLE(FC_ISA_NAME, FC_DTYPE) = {
    .isa = QUOTE(FC_ISA_NAME),
    .itemsize = sizeof(real),
    .lanes = FC_VECTOR_BYTES / sizeof(real),
    .MR = FC_MR,
    .NV = FC_NV,
    .NR = FC_NV * (FC_VECTOR_BYTES / sizeof(real)),
    .rows = {FC_TALL, FC_MR},
    .tile = TILE_TABLE,
    .pack = pack,
    .dot = dot,
    .axpy = axpy,
    .scale = scale,
    .lower_rows = lower_rows,
    .lower_columns = lower_columns,
    .depthwise = depthwise,
    .depthwise_rows = depthwise_rows,
    .depthwise_3x3 = {depthwise_3x3_step_1, depthwise_3x3_step_2},
    .depthwise_last = {{depthwise_last_3_1, depthwise_last_3_2},
                       {depthwise_last_5_1, depthwise_last_5_2}},
    .split = split,
    .transforms = {WINOGRAD_TABLE FFT_TABLE WINOGRAD_GRAD},
    .map = MAP_TABLE,
    .largest = largest,
    .dropout = dropout,
    .covariance = covariance,
    .combine = combine,
    .response_norm = response_norm,
    .response_norm_grad = response_norm_grad,
    .max_pool = max_pool,
    .mean_pool = mean_pool,
    .max_pool_grad = max_pool_grad,
    .mean_pool_grad = mean_pool_grad,
    .fma_chain = fma_chain,
    .read_sum = read_sum,
};
