"""fastconv: convolution and GEMM for NumPy arrays on CPUs, every algorithm, block size and thread in your hands."""

from fastconv import filters, hogwild, nn, train
from fastconv._loops.scratch import release_memory
from fastconv._loops.team import set_flush_denormals
from fastconv.activations import relu, relu_grad, sigmoid, sigmoid_grad, softmax, softmax_grad
from fastconv.blocking import Blocking
from fastconv.config import show_config
from fastconv.convolution import col2im, conv2d, explain_conv2d, im2col
from fastconv.fully_connected import linear, linear_grad
from fastconv.gradients import (
    conv2d_bias_grad,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_transpose2d,
    conv_transpose2d_input_grad,
    conv_transpose2d_weight_grad,
)
from fastconv.images import filter2d
from fastconv.losses import binary_cross_entropy, binary_cross_entropy_grad, cross_entropy, cross_entropy_grad
from fastconv.plan import Plan, plan_conv2d
from fastconv.pooling import avg_pool2d, avg_pool2d_grad, max_pool2d, max_pool2d_grad
from fastconv.products import gemm, matmul
from fastconv.signals import conv1d, conv1d_bias_grad, conv1d_input_grad, conv1d_weight_grad
from fastconv.threads import get_num_threads, num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "Blocking",
    "Plan",
    "avg_pool2d",
    "avg_pool2d_grad",
    "binary_cross_entropy",
    "binary_cross_entropy_grad",
    "col2im",
    "conv1d",
    "conv1d_bias_grad",
    "conv1d_input_grad",
    "conv1d_weight_grad",
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_transpose2d",
    "conv_transpose2d_input_grad",
    "conv_transpose2d_weight_grad",
    "cross_entropy",
    "cross_entropy_grad",
    "explain_conv2d",
    "filter2d",
    "filters",
    "gemm",
    "get_num_threads",
    "hogwild",
    "im2col",
    "linear",
    "linear_grad",
    "matmul",
    "max_pool2d",
    "max_pool2d_grad",
    "nn",
    "num_threads",
    "plan_conv2d",
    "release_memory",
    "relu",
    "relu_grad",
    "set_flush_denormals",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sigmoid_grad",
    "softmax",
    "softmax_grad",
    "train",
]
