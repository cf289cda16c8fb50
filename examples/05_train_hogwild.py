"""Train Hogwild: threads take images and add their gradients to one shared vector, without locks. What is lost when
two add at the same moment is noise that stochastic gradient descent bears; what is saved is a gradient a thread.

    python examples/05_train_hogwild.py [epochs]

Needs scikit-learn, for its data.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import fastconv as fc
from fastconv import nn, train

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 15

# First the thing itself: two threads add ones to 64 shared numbers as fast as they can.
ones = np.broadcast_to(np.ones(64, np.float32), (500_000, 64))
for mode in ("private", "locked", "atomic", "hogwild"):
    shared = np.zeros(64, np.float32)
    fc.hogwild.accumulate(shared, ones, mode=mode, num_threads=2)
    print(f"{mode:>8}: {1 - shared.sum(dtype=float) / ones.size:.3%} lost")

# Then in training, where two threads seldom meet at one of thousands of parameters.
data = load_digits()
x, y = (data.images[:, None] / 16).astype(np.float32), data.target
kept = np.arange(len(y)) % 5 != 0
ways = [("private", "sync"), ("locked", "sync"), ("atomic", "sync"), ("hogwild", "sync"), ("hogwild", "async")]
for accumulation, update in ways:
    net = nn.lenet(input_shape=(1, 8, 8))
    history = train.fit(net, x[kept], y[kept], epochs=epochs, batch_size=32, lr=0.1, momentum=0.5, progress=False,
                        accumulation=accumulation, update=update, num_threads=2)  # fmt: skip
    right = np.mean(net(x[~kept]).argmax(1) == y[~kept])
    speed = epochs * kept.sum() / sum(history.times)
    print(f"{accumulation:>8}, {update:>5}: loss {history.losses[-1]:.4f}, {right:.2%} right, {speed:,.0f} images/s")
