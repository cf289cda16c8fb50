"""Small networks that the tests share, and what they give according to fastconv.reference."""

import numpy as np

from fastconv import nn, reference

# {name: (layers, shape of a batch)}: every layer, and every way that convolutions can lie next to others.
NETWORKS = {
    "convolutions": (lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(),
                              nn.Flatten(), nn.Linear(54, 3)], (3, 2, 8, 7)),
    # Channels and pixels enough for Winograd's weight gradient: test_training.py sees to that.
    "wide": (lambda: [nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 40, 3, padding=1), nn.ReLU(),
                      nn.GlobalAvgPool(), nn.Flatten(), nn.Linear(40, 3)], (3, 3, 20, 20)),
    "pooling": (lambda: [nn.Conv2d(2, 4, 3, padding="same", bias=False), nn.Sigmoid(), nn.MaxPool2d(2),
                         nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(24, 3)], (3, 2, 8, 6)),
    "groups": (lambda: [nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
                        nn.ReLU(), nn.Conv2d(8, 4, (5, 3), stride=(3, 2), padding=((1, 2), (0, 1))),
                        nn.GlobalAvgPool(), nn.Flatten(), nn.Linear(4, 3)], (3, 4, 9, 8)),
    "response": (lambda: [nn.Conv2d(2, 6, 3), nn.LocalResponseNorm(3, alpha=0.5), nn.Flatten(),
                          nn.Linear(54, 8, bias=False), nn.Sigmoid(), nn.Linear(8, 3), nn.Softmax()], (4, 2, 5, 5)),
    "dropout": (lambda: [nn.Conv2d(2, 6, 3), nn.Dropout(0.3), nn.Flatten(), nn.Linear(54, 8), nn.Dropout(),
                         nn.Linear(8, 3)], (4, 2, 5, 5)),
    "residual": (lambda: [nn.Conv2d(2, 4, 3, padding=1),
                          nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))),
                          nn.ReLU(),
                          nn.Residual(nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()),
                                      nn.Conv2d(4, 6, 1, stride=2)),
                          nn.Flatten(), nn.Linear(54, 3)], (3, 2, 6, 5)),
    "norm": (lambda: [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False),
                      nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(60, 3)], (5, 2, 6, 5)),
    "norm-first": (lambda: [nn.ReLU(), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)],
                   (5, 3, 4, 5)),
    "softmax-inside": (lambda: [nn.Linear(4, 5), nn.Softmax(), nn.Linear(5, 3)], (6, 4)),
    "dense": (lambda: [nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)], (6, 4)),
}  # fmt: skip
COUPLED = ("norm", "norm-first")  # BatchNorm2d: no image on its own


def network(name, dtype=np.float64, seed=0):
    """The network of that name, its running statistics not those of a new one."""
    layers, shape = NETWORKS[name]
    net = nn.Sequential(*layers(), dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    state = net.state()
    for key, value in state.items():
        if "running" in key or key.endswith("bias"):
            value += rng.random(value.shape).astype(dtype)
    net.load_state(state)
    return net, rng.standard_normal(shape).astype(dtype)


def expected(layer, x):
    """What a layer gives for x in evaluation, by the definitions."""
    kind, a = type(layer).__name__, layer.arguments
    if kind == "Sequential":
        for child in layer.children.values():
            x = expected(child, x)
        return x
    if kind == "Residual":
        shortcut = layer.children.get("shortcut")
        return expected(layer.children["body"], x) + (x if shortcut is None else expected(shortcut, x))
    if kind == "Conv2d":
        return reference.conv2d(x, layer.weight, layer.bias, stride=a["stride"], padding=a["padding"],
                                dilation=a["dilation"], groups=a["groups"])  # fmt: skip
    if kind == "Linear":
        return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)
    if kind == "BatchNorm2d":
        mean, var, weight, bias = (v[:, None, None] for v in (layer.running_mean, layer.running_var, layer.weight,
                                                              layer.bias))  # fmt: skip
        return (x - mean) / np.sqrt(var + layer.eps) * weight + bias
    if kind == "LocalResponseNorm":
        half = layer.size // 2
        squares = np.pad(x * x, ((0, 0), (half, layer.size - 1 - half), (0, 0), (0, 0)))
        sums = sum(squares[:, i : i + x.shape[1]] for i in range(layer.size))
        return x / (layer.k + layer.alpha / layer.size * sums) ** layer.beta
    if kind == "MaxPool2d":
        return reference.max_pool2d(x, a["kernel_size"], stride=a["stride"], padding=a["padding"])
    if kind == "AvgPool2d":
        return reference.avg_pool2d(x, a["kernel_size"], stride=a["stride"], padding=a["padding"],
                                    count_include_pad=a["count_include_pad"])  # fmt: skip
    if kind == "Softmax":
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
    return {
        "GlobalAvgPool": lambda: x.mean((2, 3), keepdims=True),
        "ReLU": lambda: np.maximum(x, 0),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Flatten": lambda: x.reshape(len(x), -1),
        "Dropout": lambda: x,
    }[kind]()
