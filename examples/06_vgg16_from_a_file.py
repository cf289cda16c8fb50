"""VGG-16 from a safetensors file: torchvision's weights under torchvision's names.

    python examples/06_vgg16_from_a_file.py vgg16.safetensors

Where torchvision is installed, this writes such a file:

    import torchvision, safetensors.torch
    model = torchvision.models.vgg16(weights="DEFAULT")
    safetensors.torch.save_file(model.state_dict(), "vgg16.safetensors")

Without a file it uses random weights, which is enough to see shapes, memory and speed.
"""

import sys
import time

import numpy as np

from fastconv import nn

net = nn.vgg16()
if len(sys.argv) > 1:
    net.load_state(sys.argv[1])
print(net.summary((1, 3, 224, 224)))

# An image as the network wants it: RGB, 224 x 224, less the mean and over the deviation of ImageNet's colours.
image = np.random.default_rng(0).random((3, 224, 224), np.float32)
mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
x = ((image - mean[:, None, None]) / deviation[:, None, None])[None]

logits = net(x)  # the first call prepares the weights
start = time.perf_counter()
logits = net(x)
print(f"one image in {(time.perf_counter() - start) * 1e3:.0f} ms")
probabilities = np.exp(logits - logits.max())
probabilities /= probabilities.sum()
for index in probabilities[0].argsort()[::-1][:5]:
    print(f"class {index}: {probabilities[0, index]:.1%}")
