"""Networks of layers: describe one, evaluate it by calling it, train it with fastconv.train."""

from fastconv.nn.activations import ReLU, Sigmoid, Softmax
from fastconv.nn.containers import Residual, Sequential
from fastconv.nn.convolution import Conv2d
from fastconv.nn.dense import Dropout, Flatten, Linear
from fastconv.nn.loading import load
from fastconv.nn.models import alexnet, lenet, vgg16
from fastconv.nn.normalisation import BatchNorm2d, LocalResponseNorm
from fastconv.nn.pooling import AvgPool2d, GlobalAvgPool, MaxPool2d

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "alexnet",
    "lenet",
    "load",
    "vgg16",
]
