"""Backpropagation by hand: the chain rule through add, multiply, max, and a small network, against finite differences.

python examples/03_backpropagation_by_hand.py
"""

import numpy as np

from fastconv import nn, train

# f = (x + y) z. Forward: q = x + y, f = q z. Backward, from the end: df/dq = z, df/dz = q; and as q = x + y,
# df/dx = df/dy = df/dq.
x, y, z = -2.0, 5.0, -4.0
q = x + y
f = q * z
df_dq, df_dz = z, q
df_dx = df_dy = df_dq
h = 1e-6
difference = (((x + h) + y) * z - ((x - h) + y) * z) / (2 * h)
print(f"f = (x + y) z = {f}: df/dx = {df_dx}, df/dy = {df_dy}, df/dz = {df_dz}; measured df/dx = {difference:.6f}")

# max(x, y) hands the gradient to the larger one; the other gets none.
larger = (1.0, 0.0) if x > y else (0.0, 1.0)
print(f"max(x, y) = {max(x, y)}: gradients {larger}, measured {(max(x, y + h) - max(x, y - h)) / (2 * h):.6f} for y")

# A whole network is the same rule, layer by layer from the loss back to the first; fastconv's against differences.
net = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10), dtype=np.float64
)
rng = np.random.default_rng(0)
images, labels = rng.random((5, 1, 8, 8)), rng.integers(0, 10, 5)
loss, gradients = train.gradients(net, images, labels)
print(f"loss {loss:.4f}")
for name, gradient in gradients.items():
    state = net.state()
    at = np.unravel_index(abs(gradient).argmax(), gradient.shape)
    losses = []
    for step in (h, -h):
        moved = {**state, name: state[name].copy()}
        moved[name][at] += step
        net.load_state(moved)
        losses.append(train.gradients(net, images, labels)[0])
    net.load_state(state)
    print(f"{name:>9}{list(map(int, at))}: {gradient[at]:+.8f}, measured {(losses[0] - losses[1]) / (2 * h):+.8f}")
