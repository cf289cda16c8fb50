"""Networks of the literature, under the names that torchvision gives their parameters."""

import numpy as np

from fastconv.checks import to_choice, to_count
from fastconv.nn.activations import ReLU
from fastconv.nn.containers import Sequential
from fastconv.nn.convolution import Conv2d
from fastconv.nn.dense import Dropout, Flatten, Linear
from fastconv.nn.normalisation import LocalResponseNorm
from fastconv.nn.pooling import MaxPool2d
from fastconv.shapes import to_shape

VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")


def vgg16(num_classes=1000, *, dtype=np.float32, seed=0):
    """VGG-16 (Simonyan and Zisserman, 2014) for images of 224 x 224: 13 convolutions of 3x3, three Linear layers.

    It gives logits, as torchvision's does; a Softmax behind it makes probabilities."""
    num_classes = to_count(num_classes, "num_classes")
    layers, channels = [], 3
    for width in VGG16:
        if width == "pool":
            layers.append(MaxPool2d(2))
        else:
            layers += [Conv2d(channels, width, 3, padding=1), ReLU()]
            channels = width
    classifier = Sequential(
        Linear(512 * 7 * 7, 4096), ReLU(), Dropout(), Linear(4096, 4096), ReLU(), Dropout(), Linear(4096, num_classes)
    )
    return Sequential(features=Sequential(*layers), flatten=Flatten(), classifier=classifier, dtype=dtype, seed=seed)


def alexnet(num_classes=1000, variant="torchvision", *, dtype=np.float32, seed=0):
    """AlexNet for images of 224 x 224, with logits at the end: 5 convolutions, three Linear layers.

    variant "torchvision": one tower, no response normalisation, torchvision's parameters. "krizhevsky": the net of
    2012 (Krizhevsky, Sutskever and Hinton) with its 96 filters, two towers as groups and response normalisation."""
    num_classes = to_count(num_classes, "num_classes")
    if to_choice(variant, "variant", ("torchvision", "krizhevsky")) == "torchvision":
        layers = [
            Conv2d(3, 64, 11, stride=4, padding=2), ReLU(), MaxPool2d(3, 2),
            Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(3, 2),
            Conv2d(192, 384, 3, padding=1), ReLU(),
            Conv2d(384, 256, 3, padding=1), ReLU(),
            Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(3, 2),
        ]  # fmt: skip
    else:
        # The paper's alpha is not divided by the window's size, torch's and so LocalResponseNorm's is.
        norm = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}
        layers = [
            Conv2d(3, 96, 11, stride=4, padding=2), ReLU(), LocalResponseNorm(**norm), MaxPool2d(3, 2),
            Conv2d(96, 256, 5, padding=2, groups=2), ReLU(), LocalResponseNorm(**norm), MaxPool2d(3, 2),
            Conv2d(256, 384, 3, padding=1), ReLU(),
            Conv2d(384, 384, 3, padding=1, groups=2), ReLU(),
            Conv2d(384, 256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2),
        ]  # fmt: skip
    classifier = Sequential(
        Dropout(), Linear(256 * 6 * 6, 4096), ReLU(), Dropout(), Linear(4096, 4096), ReLU(), Linear(4096, num_classes)
    )
    return Sequential(features=Sequential(*layers), flatten=Flatten(), classifier=classifier, dtype=dtype, seed=seed)


def lenet(num_classes=10, input_shape=(1, 28, 28), *, dtype=np.float32, seed=0):
    """LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) with ReLU and max-pooling, for images (C, H, W) of 4 x 4
    pixels or more; both convolutions keep the size of their images."""
    num_classes = to_count(num_classes, "num_classes")
    channels, height, width = to_shape(input_shape, "input_shape", 3)
    if channels < 1 or min(height, width) < 4:
        raise ValueError(f"input_shape must be a channel or more of 4 x 4 pixels or more, got {input_shape!r}")
    return Sequential(
        Conv2d(channels, 6, 5, padding=2), ReLU(), MaxPool2d(2),
        Conv2d(6, 16, 5, padding=2), ReLU(), MaxPool2d(2),
        Flatten(), Linear(16 * (height // 4) * (width // 4), 120), ReLU(), Linear(120, 84), ReLU(),
        Linear(84, num_classes), dtype=dtype, seed=seed,
    )  # fmt: skip
