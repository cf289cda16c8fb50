"""The peers: NumPy, PyTorch, ONNX Runtime and SciPy, each at its best and only if it is installed.

Each function returns {name: callable without arguments}, empty where the peer cannot take part. Callables
return what the peer returns; dense() makes an array of it, that of a convolution with the axes (n, k, p, q)."""

from importlib.util import find_spec

import numpy as np
from threadpoolctl import threadpool_limits

from harness.timing import timed

try:
    import torch
    import torch.utils.mkldnn

    # For good, as entering it at every call would cost torch a microsecond; it ends when the object is collected.
    INFERENCE = torch.inference_mode()
    INFERENCE.__enter__()
except ImportError:
    torch = None
try:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnxruntime = None

HAS_SCIPY = find_spec("scipy") is not None
PEERS = {"torch": torch, "onnxruntime and onnx": onnxruntime, "scipy": HAS_SCIPY or None}
ONNX_OPSET, ONNX_IR = 13, 8  # old enough for every ONNX Runtime that is still in use


def missing():
    """Names of the peers that are not installed."""
    return [name for name, module in PEERS.items() if module is None]


def set_threads(n):
    """Gives every peer n threads; ONNX Runtime and SciPy take theirs when a callable is made."""
    threadpool_limits(n, user_api="blas")
    if torch:
        torch.set_num_threads(n)


def dense(answer):
    """The answer of any callable here as a NumPy array."""
    if isinstance(answer, np.ndarray):
        return answer
    return (answer.to_dense() if answer.is_mkldnn else answer).numpy()


def gemm(a, b):
    """NumPy's and torch's products into an output that is there already, as fastconv gets one."""
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    calls = {"numpy": lambda: np.matmul(a, b, out=out)}
    if torch:
        left, right, result = torch.from_numpy(a), torch.from_numpy(b), torch.empty(out.shape, dtype=_torch_dtype(a))
        calls["torch"] = lambda: torch.mm(left, right, out=result)
    return calls


def _torch_dtype(array):
    return torch.from_numpy(array[:0]).dtype


def torch_conv(layer, x, weight, layout):
    """torch's eager convolution of tensors that lie in the layout."""
    if not torch:
        return {}
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 3, 1, 2)
    image, filters = (torch.from_numpy(array).permute(order) for array in (x, weight))
    parameters = (layer.stride, layer.padding, layer.dilation, layer.groups)

    return {"torch": lambda: torch.nn.functional.conv2d(image, filters, None, *parameters)}


def torch_training(layer, x, weight, grad, layout):
    """torch's forward pass, input gradient and weight gradient, as its autograd calls them: a tuple of callables."""
    if not torch:
        return {}
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 3, 1, 2)
    image, filters, gradient = (torch.from_numpy(array).permute(order) for array in (x, weight, grad))
    parameters = [list(pair) for pair in (layer.stride, layer.padding, layer.dilation)]

    def backward(*wanted):
        results = torch.ops.aten.convolution_backward(
            gradient, image, filters, None, *parameters, False, [0, 0], layer.groups, [*wanted, False]
        )
        return results[wanted.index(True)]

    forward = torch_conv(layer, x, weight, layout)["torch"]
    return {"torch": (forward, lambda: backward(True, False), lambda: backward(False, True))}


def torch_packed(layer, x, weight, layout):
    """torch with weights packed once for oneDNN, as torch.compile does it; oneDNN answers in channels_last."""
    if not torch or layout != "NHWC" or x.dtype != np.float32:
        return {}
    image, filters = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (x, weight))
    stride, padding, dilation = (list(pair) for pair in (layer.stride, layer.padding, layer.dilation))
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
        filters.to_mkldnn(), padding, stride, dilation, layer.groups, list(image.shape)
    )

    def run():
        return torch.ops.mkldnn._convolution_pointwise(
            image, packed, None, padding, stride, dilation, layer.groups, "none", [], ""
        )

    return {"torch packed": run}


def torch_blocked(layer, x, weight, layout):
    """torch with input, weights and output in oneDNN's own blocked layout: what a whole network of them pays."""
    if not torch or x.dtype != np.float32:
        return {}
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 3, 1, 2)
    module = torch.nn.Conv2d(
        layer.C, layer.K, (layer.R, layer.S), layer.stride, layer.padding, layer.dilation, layer.groups, bias=False
    )
    module.weight.data = torch.from_numpy(weight).permute(order).contiguous()
    module = torch.utils.mkldnn.to_mkldnn(module.eval())
    image = torch.from_numpy(x).permute(order).contiguous().to_mkldnn()
    return {"torch blocked": lambda: module(image)}


def onnx_options(threads):
    """ONNX Runtime's settings: so many threads, every optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    return options


def onnx_conv(layer, x, weight, layout, threads):
    """ONNX Runtime: one Conv whose weight is an initializer, so packed once; plain run or I/O binding."""
    if not onnxruntime or layout != "NCHW" or x.dtype != np.float32:
        return {}
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        strides=layer.stride,
        pads=layer.padding * 2,
        dilations=layer.dilation,
        group=layer.groups,
        kernel_shape=(layer.R, layer.S),
    )
    output_shape = (layer.N, layer.K, layer.P, layer.Q)
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=ONNX_IR)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), onnx_options(threads), providers=["CPUExecutionProvider"]
    )

    y = np.empty(output_shape, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def bound():
        session.run_with_iobinding(binding)
        return y

    def plain():
        return session.run(["y"], {"x": x})[0]

    return {"onnxruntime": min((bound, plain), key=lambda call: min(timed(call, 0.005) for _ in range(2)))}


def scipy_conv(layer, x, weight, layout, threads):
    """SciPy's overlap-add FFT, for one image and one filter of one channel."""
    if not HAS_SCIPY or (layer.N, layer.C, layer.K) != (1, 1, 1) or layer.stride != (1, 1) or layer.dilation != (1, 1):
        return {}
    from scipy import fft, signal

    # Correlation is convolution with the filter turned round; the padding is cut out of the full result.
    plane, kernel = x.reshape(layer.H, layer.W), weight.reshape(layer.R, layer.S)[::-1, ::-1]
    top, left = layer.R - 1 - layer.padding[0], layer.S - 1 - layer.padding[1]
    if top < 0 or left < 0:
        return {}

    def run():
        with fft.set_workers(threads):
            full = signal.oaconvolve(plane, kernel)
        return full[None, None, top : top + layer.P, left : left + layer.Q]

    return {"scipy": run}


def conv(layer, x, weight, layout, threads):
    """Every peer with weights prepared where it can, in the layout; "torch blocked" is in no layout but its own."""
    return {
        **torch_conv(layer, x, weight, layout),
        **torch_packed(layer, x, weight, layout),
        **torch_blocked(layer, x, weight, layout),
        **onnx_conv(layer, x, weight, layout, threads),
        **scipy_conv(layer, x, weight, layout, threads),
    }
