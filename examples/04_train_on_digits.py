"""Train on real digits: 1797 images of 8 x 8 pixels that come with scikit-learn, a fifth of them held out.

python examples/04_train_on_digits.py [epochs]

Needs scikit-learn, for its data.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

from fastconv import nn, train

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
data = load_digits()
x, y = (data.images[:, None] / 16).astype(np.float32), data.target
held = np.concatenate([np.flatnonzero(y == digit)[::5] for digit in range(10)])  # a fifth of each digit
kept = np.setdiff1d(np.arange(len(y)), held)

net = nn.lenet(input_shape=(1, 8, 8))
print(net.summary((1, 1, 8, 8)))

history = train.fit(net, x[kept], y[kept], epochs=epochs, batch_size=32, lr=0.1, momentum=0.5)
print(history)
answers = net(x[held]).argmax(1)
print(f"right on {np.mean(answers == y[held]):.2%} of {len(held)} images it has never seen")
wrong = held[answers != y[held]][:5]
print("some that it takes for another:", [(int(y[i]), int(net(x[i : i + 1]).argmax())) for i in wrong])
