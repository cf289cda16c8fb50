"""Filter an image: blur it, find its edges, and run many filters at once, as the first layer of a network does.

python examples/01_filter_an_image.py
"""

import numpy as np

import fastconv as fc

# A picture of our own: a bright disc on a dark ground, with noise.
rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
picture = (rows**2 + columns**2 < 0.5).astype(np.float32)
picture += np.random.default_rng(0).normal(0, 0.1, picture.shape).astype(np.float32)

# A filter is a small matrix; each pixel becomes the sum of its neighbourhood times the matrix.
blurred = fc.filter2d(picture, fc.filters.gaussian(5, 1.5).astype(np.float32), border="reflect")
across = fc.filter2d(blurred, fc.filters.sobel_x().astype(np.float32), border="reflect")
down = fc.filter2d(blurred, fc.filters.sobel_y().astype(np.float32), border="reflect")
edges = np.hypot(across, down)

print("noise before and after the blur:", picture[:40, :40].std(), blurred[:40, :40].std())
radius = np.hypot(rows, columns)
print("edges are strongest at radius", radius[edges > 0.8 * edges.max()].mean(), "(the disc ends at", 0.5**0.5, ")")

# Many filters at once is a convolution layer: 3 colours in, 96 responses out, as AlexNet's first layer.
image = np.random.default_rng(1).random((1, 3, 227, 227), np.float32)  # N C H W
filters = np.random.default_rng(2).standard_normal((96, 3, 11, 11)).astype(np.float32)  # K C R S
responses = fc.conv2d(image, filters, stride=4, activation="relu")
print("96 filters of 11x11x3, every 4th pixel:", image.shape, "->", responses.shape)
