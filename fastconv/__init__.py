"""fastconv: convolution and GEMM for NumPy arrays on CPUs, every algorithm, block size and thread in your hands."""

from fastconv import filters
from fastconv._loops.scratch import release_memory
from fastconv._loops.team import set_flush_denormals
from fastconv.blocking import Blocking
from fastconv.config import show_config
from fastconv.convolution import col2im, conv2d, explain_conv2d, im2col
from fastconv.images import filter2d
from fastconv.plan import Plan, plan_conv2d
from fastconv.products import gemm, matmul
from fastconv.signals import conv1d
from fastconv.threads import get_num_threads, num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "Blocking",
    "Plan",
    "col2im",
    "conv1d",
    "conv2d",
    "explain_conv2d",
    "filter2d",
    "filters",
    "gemm",
    "get_num_threads",
    "im2col",
    "matmul",
    "num_threads",
    "plan_conv2d",
    "release_memory",
    "set_flush_denormals",
    "set_num_threads",
    "show_config",
]
