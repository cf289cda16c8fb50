"""One small call of everything that computes: what the tests of threads, processes and memory run. A new row of the
table of algorithms is in it by itself; `test_threads.py` sees to it that every public function is."""

from functools import partial

import numpy as np
from conv_cases import Case, shape_of, to_layout
from networks import COUPLED, NETWORKS, network
from support import LAYOUTS, reals

import fastconv as fc
from fastconv import products, train
from fastconv.algorithms import ALGORITHMS

# (N, C, K, H, W). TINY: a call costs what calling costs. ODD: nothing divides, and there is work for eight threads.
TINY = 2, 4, 6, 6, 7
ODD = 3, 13, 21, 19, 17
LABELS = np.array([2, 0, 1, 1, 2, 0])


def cases(size):
    """Convolutions that between them every algorithm can do, by name."""
    N, C, K, H, W = size
    return {
        "3x3": Case("", (N, C, H, W), (K, C, 3, 3), {"padding": 1}),
        "5x5": Case("", (N, C, H, W), (K, C, 5, 5), {"padding": 2}),
        "1x1": Case("", (N, C, H, W), (K, C, 1, 1)),
        "3x1": Case("", (N, C, H, W), (K, C, 3, 1), {"padding": (1, 0)}),
        "strided": Case("", (N, C, H, W), (K, C, 3, 3), {"padding": 1, "stride": 2}),
        "depthwise": Case("", (N, C, H, W), (C, 1, 3, 3), {"padding": 1, "groups": C}),
    }


def calls(size, dtype):
    """{name: call}: call(num_threads=n) gives an array, arrays or numbers, the same bits for any n. Names start with
    the function's."""
    made = {}
    with fc.num_threads(1):  # what is made here starts no threads
        for name, case in cases(size).items():
            for layout in LAYOUTS:
                made |= convolutions(f"{name} {layout}", case, layout, dtype)
        return made | small_operations(size, dtype) | network_calls(dtype)


def convolutions(name, case, layout, dtype):
    """conv2d, a plan and the gradients of a case, by every algorithm that can do it."""
    x, weight, grad = (to_layout(reals(shape, seed, dtype), layout)
                       for seed, shape in enumerate((case.x, case.weight, shape_of(case).output_shape)))  # fmt: skip
    bias, parameters = reals(case.weight[:1], 3, dtype), {**case.parameters, "layout": layout}
    made = {f"conv2d_bias_grad {name}": partial(fc.conv2d_bias_grad, grad, layout=layout)}
    for row in ALGORITHMS:
        by, how = f"{name} {row.name}", {**parameters, "algorithm": row.name}
        if not row.refuse(shape_of(case, layout)):
            made[f"conv2d {by}"] = partial(fc.conv2d, x, weight, bias, activation="relu", **how)
            made[f"plan_conv2d {by}"] = partial(fc.plan_conv2d(x.shape, weight, bias, **how), x)
            made[f"plan_conv2d {by} update"] = partial(updated, x, weight, how)
        if row.weight_grad is not None and not row.weight_grad.refuse(shape_of(case, layout)):
            kernel = case.weight[2:]
            made[f"conv2d_weight_grad {by}"] = partial(fc.conv2d_weight_grad, x, grad, kernel, **how)
        if "stride" not in case.parameters and not row.refuse(shape_of(case, layout)):
            made[f"conv2d_input_grad {by}"] = partial(fc.conv2d_input_grad, grad, weight, x.shape, **how)
    made[f"conv2d_input_grad {name} auto"] = partial(fc.conv2d_input_grad, grad, weight, x.shape, **parameters)
    return made


def updated(x, weight, how, num_threads):
    """A plan's result with other weights than it was made with."""
    with fc.num_threads(num_threads):
        plan = fc.plan_conv2d(x.shape, weight, **how)
        plan.update(-weight)
        return plan(x)


def small_operations(size, dtype):
    """Products and all that works on elements, rows, windows and signals."""
    N, C, K, H, W = size
    image, signal, rows = (reals(shape, 1, dtype) for shape in ((N, C, H, W), (N, C, H * W), (6 * N, H * W)))
    a, b, grad = reals((H * K, C * W), 2, dtype), reals((C * W, H * N), 3, dtype), reals(image.shape, 4, dtype)
    across, up = reals((K, C, 4), 5, dtype), reals((C, K, 3, 2), 6, dtype)
    labels, targets = np.arange(len(rows)) % 5, abs(rows) / abs(rows).max()
    weight, pooled = reals((K, H * W), 7, dtype), {"kernel_size": 3, "stride": 2, "padding": 1}
    out = reals((len(rows), K), 8, dtype)
    wide = fc.conv_transpose2d(image, up, stride=2)
    small, lines = fc.max_pool2d(image, **pooled), fc.conv1d(signal, across, padding=1)
    cols = fc.im2col(image, 3, padding=1)
    return {
        **{f"gemm {name}": partial(fc.gemm, a, b, algorithm=name) for name in products.ALGORITHMS},
        "gemm one row": partial(fc.gemm, a[:1], b),
        "gemm few columns": partial(fc.gemm, a, b[:, :3]),
        "gemm dots": partial(fc.gemm, a[:5], np.asfortranarray(b), alpha=0.5),
        "matmul": partial(fc.matmul, a, b),
        "linear": partial(fc.linear, rows, weight),
        "linear few rows": partial(fc.linear, rows[:3], weight, out[0]),
        "linear_grad": partial(fc.linear_grad, out, rows, weight),
        "im2col": partial(fc.im2col, image, 3, padding=1),
        "col2im": partial(fc.col2im, cols, image.shape, 3, padding=1),
        "conv1d": partial(fc.conv1d, signal, across, padding=1),
        "conv1d_input_grad": partial(fc.conv1d_input_grad, lines, across, signal.shape, padding=1),
        "conv1d_bias_grad": partial(fc.conv1d_bias_grad, lines),
        "conv1d_weight_grad": partial(fc.conv1d_weight_grad, signal, lines, 4, padding=1),
        "conv_transpose2d": partial(fc.conv_transpose2d, image, up, stride=2),
        "conv_transpose2d_input_grad": partial(fc.conv_transpose2d_input_grad, wide, up, image.shape, stride=2),
        "conv_transpose2d_weight_grad": partial(fc.conv_transpose2d_weight_grad, image, wide, (3, 2), stride=2),
        "filter2d": partial(fc.filter2d, image[0, 0], reals((5, 3), 9, dtype), border="reflect"),
        "filter2d large": partial(fc.filter2d, rows, reals((15, 15), 9, dtype)),
        "max_pool2d": partial(fc.max_pool2d, image, **pooled),
        "max_pool2d_grad": partial(fc.max_pool2d_grad, small, image, **pooled),
        "avg_pool2d": partial(fc.avg_pool2d, image, **pooled),
        "avg_pool2d_grad": partial(fc.avg_pool2d_grad, small, image.shape, **pooled),
        "relu": partial(fc.relu, image),
        "relu_grad": partial(fc.relu_grad, grad, image),
        "sigmoid": partial(fc.sigmoid, image),
        "sigmoid_grad": partial(fc.sigmoid_grad, grad, image),
        "softmax": partial(fc.softmax, rows),
        "softmax_grad": partial(fc.softmax_grad, rows, rows),
        "cross_entropy": partial(fc.cross_entropy, rows, labels),
        "cross_entropy_grad": partial(fc.cross_entropy_grad, rows, labels),
        "binary_cross_entropy": partial(fc.binary_cross_entropy, rows, targets),
        "binary_cross_entropy_grad": partial(fc.binary_cross_entropy_grad, rows, targets),
        "hogwild.accumulate private": partial(accumulated, rows, "private"),
    }


def accumulated(updates, mode, num_threads):
    """What the rows of `updates` add up to."""
    shared = np.zeros(updates.shape[1], updates.dtype)
    fc.hogwild.accumulate(shared, updates, mode=mode, num_threads=num_threads)
    return shared


def network_calls(dtype):
    """Every small network: its answers, its gradients, an epoch of training."""
    made = {}
    for name in NETWORKS:
        net, x = network(name, dtype)
        made[f"nn {name}"] = partial(net, x)
        learning, x = network(name, dtype)  # its running statistics move
        for parallel in ("images", "operations"):
            if name not in COUPLED or parallel == "operations":
                made[f"train.gradients {name} {parallel}"] = partial(gradients, learning, x, parallel=parallel)
                made[f"train.fit {name} {parallel}"] = partial(fitted, name, dtype, parallel=parallel)
    return made


def gradients(net, x, **how):
    """(loss, gradients) of the network."""
    loss, made = train.gradients(net, x, LABELS[: len(x)], **how)
    return loss, *made.values()


def fitted(name, dtype, **how):
    """The network of that name after an epoch."""
    net, x = network(name, dtype)
    train.fit(net, x, LABELS[: len(x)], epochs=1, batch_size=2, lr=0.1, momentum=0.9, weight_decay=0.01,
              progress=False, **how)  # fmt: skip
    return tuple(net.state().values())


def unordered_calls(dtype):
    """{name: call} of what threads add up in any order, so that only one thread gives the same bits."""
    made = {}
    for mode in ("locked", "atomic", "hogwild"):
        net, x = network("convolutions", dtype)
        made[f"hogwild.accumulate {mode}"] = partial(accumulated, reals((7, 500), 1, dtype), mode)
        made[f"train.gradients {mode}"] = partial(gradients, net, x, accumulation=mode, parallel="images")
        for update in ("sync", "async"):
            made[f"train.fit {mode} {update}"] = partial(fitted, "residual", dtype, accumulation=mode, update=update,
                                                         parallel="images")  # fmt: skip
    return made


def bits(result):
    """The bytes of a call's result."""
    parts = result if isinstance(result, tuple) else (result,)
    return b"".join(np.asarray(part).tobytes() for part in parts)
