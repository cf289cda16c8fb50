"""Networks and what they learn, and the peers of whole networks: a fastconv network's twins in torch and in ONNX
Runtime, with the same weights."""

import numpy as np

from fastconv import nn
from harness import peers
from harness.peers import ONNX_IR, ONNX_OPSET, onnxruntime, torch

CIFAR_WIDTHS = (32, 32, "pool", 64, 64, "pool", 128, 128, "pool")


def lenet():
    """(network, images, labels, batch size) of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = (data.images[:, None] / 16).astype(np.float32)
    return nn.lenet(input_shape=(1, 8, 8)), x, data.target, 32


def cifar():
    """A VGG of 0.3 M parameters for 32 x 32 pixels; the images are noise around a picture for each label."""
    layers, channels = [], 3
    for width in CIFAR_WIDTHS:
        layers += [nn.MaxPool2d(2)] if width == "pool" else [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = channels if width == "pool" else width
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 1024)
    x = rng.standard_normal((10, 3, 32, 32))[y] + rng.standard_normal((1024, 3, 32, 32))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 10)), x.astype(np.float32), y, 32


def vgg16():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 3, 224, 224), np.float32)
    return nn.vgg16(), x, rng.integers(0, 1000, len(x)), 4


TASKS = {"lenet": lenet, "cifar": cifar, "vgg16": vgg16}


def torch_twin(layer):
    """The torch module of a fastconv layer, parameters uninitialised; for the layers of vgg16, alexnet and lenet."""
    arguments = dict(layer.arguments)
    arguments.pop("algorithm", None)
    kind = type(layer).__name__
    if kind == "Sequential":
        twin = torch.nn.Sequential()
        for name, child in layer.children.items():
            twin.add_module(name, torch_twin(child))
        return twin
    return getattr(torch.nn, kind)(**arguments)


def torch_model(net, training=False):
    """net's twin with net's parameters."""
    twin = torch_twin(net).train(training)
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in net.state().items()})
    return twin


def torch_networks(net, x):
    """{name: callable}: torch's eager network, contiguous and channels-last."""
    if not torch:
        return {}
    twin, image = torch_model(net), torch.from_numpy(x)
    last = torch_model(net).to(memory_format=torch.channels_last)
    image_last = image.contiguous(memory_format=torch.channels_last)
    return {"torch": lambda: twin(image), "torch channels_last": lambda: last(image_last)}


def torch_trainings(net, x, y, batch_size, order, **descent):
    """{name: callable}: an epoch of torch's own loop over the images in that order, which returns the mean loss."""
    if not torch:
        return {}

    @torch.inference_mode(False)
    def epoch_of(memory_format):
        model = torch_model(net, training=True).to(memory_format=memory_format)
        images, targets = torch.from_numpy(x).contiguous(memory_format=memory_format), torch.from_numpy(y)
        optimizer = torch.optim.SGD(model.parameters(), **descent, fused=True)

        @torch.inference_mode(False)
        def epoch():
            loss = 0.0
            for some in torch.from_numpy(order).split(batch_size):
                optimizer.zero_grad()
                mean = torch.nn.functional.cross_entropy(model(images[some]), targets[some])
                mean.backward()
                optimizer.step()
                loss += float(mean.detach()) * len(some)
            return loss / len(x)

        return epoch

    return {"torch": epoch_of(torch.contiguous_format), "torch channels_last": epoch_of(torch.channels_last)}


def onnx_network(net, x, threads):
    """{name: callable}: ONNX Runtime, all its optimisations on."""
    if not onnxruntime:
        return {}
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, name = [], [], "x"
    for path, layer in net.named_layers():
        if layer.children or type(layer).__name__ == "Dropout":
            continue
        inputs, made = [name], f"y{len(nodes)}"
        for own in layer.parameter_shapes():
            tensors.append(numpy_helper.from_array(np.ascontiguousarray(getattr(layer, own)), f"{path}.{own}"))
            inputs.append(tensors[-1].name)
        kind, attributes = ONNX_KINDS[type(layer).__name__](layer)
        nodes.append(helper.make_node(kind, inputs, [made], **attributes))
        name = made
    shape = [len(x), *net.output_shape(x.shape[1:])]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=ONNX_IR)
    session = onnxruntime.InferenceSession(model.SerializeToString(), peers.onnx_options(threads),
                                           providers=["CPUExecutionProvider"])  # fmt: skip
    return {"onnxruntime": lambda: session.run([name], {"x": x})[0]}


def _pair(value):
    return value if isinstance(value, tuple) else (value,) * 2


def _conv(layer):
    return "Conv", {"strides": _pair(layer.stride), "pads": _pair(layer.padding) * 2, "group": layer.groups,
                    "kernel_shape": layer.kernel_size}  # fmt: skip


def _pool(layer):
    stride = layer.kernel_size if layer.stride is None else _pair(layer.stride)
    return "MaxPool", {"kernel_shape": layer.kernel_size, "strides": stride}


def _response(layer):
    return {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}


ONNX_KINDS = {
    "Conv2d": _conv,
    "MaxPool2d": _pool,
    "ReLU": lambda layer: ("Relu", {}),
    "Flatten": lambda layer: ("Flatten", {}),
    "Linear": lambda layer: ("Gemm", {"transB": 1}),
    "LocalResponseNorm": lambda layer: ("LRN", _response(layer)),
}
