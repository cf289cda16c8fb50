"""Networks evaluate to what their layers define, in any layout and on any number of threads; parameters are views of
one vector; what does not fit is named."""

import threading

import numpy as np
import pytest
from networks import COUPLED, NETWORKS, expected, network
from support import DTYPES, laid_out

import fastconv as fc
from fastconv import nn
from fastconv._loops.program import fingerprint
from fastconv.nn.evaluation import build, chain
from fastconv.nn.parameters import store_of

by_network = pytest.mark.parametrize("name", NETWORKS)


@by_network
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_is_its_layers(name, dtype, isa, eager):
    net, x = network(name, dtype)
    wanted = expected(net, x)
    y = net(x, num_threads=1)
    assert y.dtype == dtype and y.shape == (len(x), *net.output_shape(x.shape[1:]))
    near = 5e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y, wanted, rtol=0, atol=near * max(1, abs(wanted).max()))
    for threads in (2, 3):
        np.testing.assert_array_equal(net(x, num_threads=threads), y)
        np.testing.assert_allclose(net(x[:1], num_threads=threads), wanted[:1], atol=2e-5)


@pytest.mark.parametrize("name", ["convolutions", "norm-first", "response"])
def test_any_memory_layout(name):
    net, x = network(name)
    y = net(x)
    for laid in (np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), np.asfortranarray(x),
                 laid_out(x, steps=(-2,) * 4), laid_out(x, offset=1)):  # fmt: skip
        np.testing.assert_allclose(net(laid), y, rtol=0, atol=1e-12)


def test_many_images_and_none():
    net = nn.lenet(input_shape=(1, 8, 8))
    x = np.random.default_rng(0).standard_normal((131, 1, 8, 8)).astype(np.float32)
    y = net(x)
    np.testing.assert_allclose(np.concatenate([net(x[:70]), net(x[70:])]), y, rtol=0, atol=1e-5)
    assert net(x[:0]).shape == (0, 10)


def test_images_come_out_channels_first():
    net = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU())
    x = np.random.default_rng(0).standard_normal((3, 2, 7, 6)).astype(np.float32)
    y = net(x)
    assert y.shape == (3, 5, 5, 4) and y.flags.c_contiguous
    np.testing.assert_allclose(y, fc.conv2d(x, net[0].weight, net[0].bias, activation="relu"), atol=1e-5)
    conv = nn.Conv2d(2, 5, 3)  # a layer alone is a network
    np.testing.assert_allclose(conv(x), fc.conv2d(x, conv.weight, conv.bias), atol=1e-5)


def test_parameters_are_views_of_one_vector():
    net = nn.lenet(input_shape=(1, 8, 8))
    store = store_of(net)
    for name, (layer, own) in net.named_parameters().items():
        view = getattr(layer, own)
        assert np.shares_memory(view, store.parameters), name
        assert view.shape == layer.parameter_shapes()[own]
    weight = net[3].weight
    assert weight.transpose(0, 2, 3, 1).flags.c_contiguous  # channels-last in memory


def test_changed_parameters_show():
    net = nn.lenet(input_shape=(1, 8, 8))
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    before, weight = net(x), net[0].weight
    weight *= 2  # through a view that was handed out
    changed = net(x)
    assert abs(changed - before).max() > 1e-3
    net[0].weight = weight / 2
    np.testing.assert_array_equal(net(x), before)
    net[0].bias += 1
    assert abs(net(x) - before).max() > 1e-3


@pytest.mark.parametrize("kept", ["the view", "a view of it", "a memoryview", "nothing"])
def test_changes_show_in_every_program_as_long_as_a_view_is_about(kept):
    """And only so long are they looked for, since that costs a pass over the weights."""
    net = nn.Sequential(nn.Conv2d(16, 40, 3, padding=1), nn.ReLU())  # prepared by Winograd or packed
    one, two = np.ones((1, 16, 12, 12), np.float32), np.ones((2, 16, 12, 12), np.float32)
    before = net(one), net(two)
    views = [net[0].weight]
    if kept == "a view of it":
        views = [views[0].transpose(1, 0, 2, 3)[3:]]
    elif kept == "a memoryview":
        views = [memoryview(views[0])]
    net(one)
    np.asarray(views[0])[...] += 1
    if kept == "nothing":
        views.clear()
    assert (net(one) != before[0]).any()
    assert (net(two) != before[1]).any()
    if views:
        np.asarray(views[0])[...] -= 1
        for x, y in zip((one, two), before, strict=True):
            np.testing.assert_allclose(net(x), y, rtol=1e-4, atol=1e-4)
    views.clear()
    net(one)
    looked = store_of(net).version
    store_of(net).parameters[...] = 0  # behind the store's back, where nobody has a view
    net(one)
    assert store_of(net).version == looked


def test_changes_that_could_cancel_show():
    net = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1))
    x = np.random.default_rng(0).standard_normal((1, 64, 8, 8)).astype(np.float32)
    net[0].bias = np.zeros(64, np.float32)
    weight = net[0].weight
    before = net(x)
    weight *= -1  # one bit of every number
    np.testing.assert_allclose(net(x), -before, atol=1e-4)
    weight[...] = weight[::-1].copy()
    np.testing.assert_allclose(net(x), -before[:, ::-1], atol=1e-4)


def test_values_that_come_back_after_a_change_through_the_store_show():
    net = nn.Sequential(nn.Conv2d(16, 40, 3, padding=1))
    x = np.random.default_rng(0).standard_normal((1, 16, 12, 12)).astype(np.float32)
    best, before = net[0].weight.copy(), net(x)
    net[0].weight = 2 * best
    assert (net(x) != before).any()
    net[0].weight[...] = best
    np.testing.assert_array_equal(net(x), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fingerprints_tell_changes_apart(dtype):
    values = np.random.default_rng(0).standard_normal(4096 + 7).astype(dtype)
    changed = [values.copy() for _ in range(6)]
    changed[0][-1] *= -1
    changed[1][:4096] *= -1
    changed[2][[0, 64]] = values[[64, 0]]
    changed[3] *= 2
    changed[4][[5, 5 + 64]] *= -1
    changed[5] = np.append(values, dtype(0))
    assert len({fingerprint(array) for array in [values, *changed]}) == 7
    assert fingerprint(values) == fingerprint(values.copy())


def test_layers_used_alone_keep_their_parameters_in_a_network():
    inner = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    weight = inner[0].weight.copy()
    net = nn.Sequential(inner, nn.Flatten(), nn.Linear(3 * 36, 2), seed=5)
    np.testing.assert_array_equal(net[0][0].weight, weight)
    x = np.zeros((1, 1, 8, 8), np.float32)
    assert net(x).shape == (1, 2)
    assert inner(x).shape == (1, 3, 6, 6)
    with pytest.raises(ValueError, match="part of a network already"):
        nn.Sequential(inner[0])


def test_a_layer_is_in_one_place_only():
    layer = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"layer '1', Linear.*part of a network already"):
        nn.Sequential(layer, layer)
    assert nn.Sequential(layer)(np.zeros((1, 3), np.float32)).shape == (1, 3)


def test_numpy_s_integers_and_arrays_as_parameters_are_saved(tmp_path):
    """A layer keeps plain Python values, whatever it was given."""
    pytest.importorskip("safetensors")
    layer = nn.Conv2d(np.int64(3), 4, np.int8(3), stride=np.array([1, 2]), padding=np.array([[0, 1], [1, 0]]))
    nn.Sequential(layer, nn.MaxPool2d(2, np.int64(1), [0, 1])).save(tmp_path / "net.safetensors")
    conv, pool = nn.load(tmp_path / "net.safetensors").children.values()
    assert (conv.stride, conv.padding) == ((1, 2), ((0, 1), (1, 0)))
    assert (pool.stride, pool.padding) == ((1, 1), ((0, 0), (1, 1)))


def test_seeds():
    first, same, other = (nn.lenet(seed=seed)[0].weight for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_names_and_shapes_are_torchvisions():
    vgg = {name: layer.parameter_shapes()[own] for name, (layer, own) in nn.vgg16().named_parameters().items()}
    assert vgg["features.0.weight"] == (64, 3, 3, 3)
    assert vgg["features.28.bias"] == (512,)
    assert vgg["classifier.0.weight"] == (4096, 25088)
    assert vgg["classifier.6.bias"] == (1000,)
    assert len(vgg) == 32
    alexnet = nn.alexnet().named_parameters()
    assert list(alexnet)[::2] == [f"features.{i}.weight" for i in (0, 3, 6, 8, 10)] + [
        f"classifier.{i}.weight" for i in (1, 4, 6)
    ]
    assert nn.alexnet(variant="krizhevsky").output_shape((3, 224, 224)) == (1000,)
    residual = nn.Sequential(nn.Residual(nn.Sequential(nn.Conv2d(2, 2, 1)), nn.BatchNorm2d(2)))
    assert list(residual.named_parameters()) == ["0.body.0.weight", "0.body.0.bias", "0.shortcut.weight",
                                                 "0.shortcut.bias", "0.shortcut.running_mean",
                                                 "0.shortcut.running_var"]  # fmt: skip


def test_vgg16_keeps_little():
    """The arena of an evaluation, and the convolutions' prepared weights."""
    net = nn.vgg16()
    # The program knows shapes only; the 528 MB of the parameters are not needed to build it.
    body = [layer for layer in chain(net) if not layer.reads_much and type(layer).__name__ not in ("Dropout",)][:32]
    assert type(body[-1]).__name__ == "Flatten"
    small = nn.Sequential(*(type(layer)(**layer.arguments) for layer in body))
    built = build(store_of(small), chain(small), 1, (3, 224, 224))
    largest = 2 * 64 * 224 * 224 * 4
    assert built.program.arena_bytes <= 1.3 * largest
    convolutions = store_of(small).parameters.nbytes
    assert built.memory.nbytes <= 4.1 * convolutions


def test_no_arena_per_call():
    net, x = network("convolutions")
    net(x, num_threads=1)
    held = fc._loops.scratch.held_bytes()
    for _ in range(3):
        net(x, num_threads=1)
    assert fc._loops.scratch.held_bytes() == held


def test_many_python_threads_at_once():
    net, x = network("residual")
    y, wrong = net(x), []

    def call():
        for _ in range(30):
            if (net(x, num_threads=1) != y).any():
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("name", COUPLED)
def test_norms_of_running_statistics(name):
    """They are folded into filters where there are some: the answers of test_a_network_is_its_layers say so; here, that
    new statistics show."""
    net, x = network(name)
    before = net(x)
    norm = next(layer for layer in chain(net) if isinstance(layer, nn.BatchNorm2d))
    norm.running_mean = norm.running_mean + 1
    assert abs(net(x) - before).max() > 1e-3
    np.testing.assert_allclose(net(x), expected(net, x), atol=1e-12)


@pytest.mark.parametrize(
    "x, error, message",
    [
        (np.zeros((1, 8, 8), np.float32), ValueError, "batch"),
        (np.zeros((2, 3, 8, 8), np.float32), ValueError, "layer '0', Conv2d.*1 channels"),
        (np.zeros((2, 1, 12, 8), np.float32), ValueError, "layer '7', Linear.*64 features.*96"),
        (np.zeros((2, 64), np.float32), ValueError, "layer '0', Conv2d"),
        (np.zeros((2, 1, 8, 8)), TypeError, "float64"),
        ([[1.0]], TypeError, "x must be"),
    ],
)
def test_what_does_not_fit_is_named(x, error, message):
    with pytest.raises(error, match=message):
        nn.lenet(input_shape=(1, 8, 8))(x)


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (nn.BatchNorm2d(3), (2, 4, 5, 5), "BatchNorm2d.*images of 3 channels"),
        (nn.LocalResponseNorm(3), (2, 4), "LocalResponseNorm.*images"),
        (nn.MaxPool2d(2), (2, 4), "MaxPool2d.*images"),
        (nn.Softmax(), (2, 4, 5, 5), "Softmax.*features.*Flatten"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_takes_images_or_features(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        nn.Sequential(layer)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Flatten, nn.Sequential])
def test_a_network_that_only_hands_its_input_on(layer):
    x = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    y = nn.Sequential(layer())(x)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)


def test_a_network_without_layers():
    for shape in ((3, 7), (2, 3, 4, 5)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        y = nn.Sequential()(x)
        np.testing.assert_array_equal(y, x)
        assert not np.shares_memory(x, y)


def test_more_shapes_than_are_kept():
    """Programs are compiled for each shape of input; of many shapes the ones used last are kept, and all are right."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), dtype=np.float64)
    for width in (*range(3, 40), 3):
        x = np.random.default_rng(width).standard_normal((1, 1, 3, width))
        np.testing.assert_allclose(net(x), expected(net, x), atol=1e-13)
    assert len(store_of(net).programs) < 20


def test_the_path_of_an_inner_layer_is_named():
    net = nn.Sequential(features=nn.Sequential(nn.Conv2d(1, 2, 3), nn.Residual(nn.Conv2d(2, 3, 1))))
    with pytest.raises(ValueError, match=r"'features\.1', Residual"):
        net(np.zeros((1, 1, 5, 5), np.float32))
    with pytest.raises(ValueError, match="larger than the padded input"):
        net(np.zeros((1, 1, 2, 2), np.float32))


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError),
        (lambda: nn.Conv2d(0, 4, 3), ValueError),
        (lambda: nn.Conv2d(3.0, 4, 3), TypeError),
        (lambda: nn.Conv2d(3, 4, 3, algorithm="naive"), ValueError),
        (lambda: nn.Linear(0, 4), ValueError),
        (lambda: nn.Dropout(1.0), ValueError),
        (lambda: nn.BatchNorm2d(0), ValueError),
        (lambda: nn.Sequential(np.zeros(3)), TypeError),
        (lambda: nn.Sequential(nn.ReLU), TypeError),
        (lambda: nn.ReLU(True), TypeError),
        (lambda: nn.Sequential(dtype=np.float16), TypeError),
        (lambda: nn.alexnet(variant="resnet"), ValueError),
        (lambda: nn.LocalResponseNorm(0), ValueError),
        (lambda: nn.Conv2d(3, 4, 3, algorithm=3), TypeError),
        (lambda: nn.Sequential(nn.ReLU()).nothing, AttributeError),
        (lambda: nn.Linear(2, 2).weight.__setitem__(5, 0), IndexError),
        (lambda: setattr(nn.Linear(2, 2), "weight", np.zeros((3, 2), np.float32)), ValueError),
        (lambda: setattr(nn.Linear(2, 2, bias=False), "bias", np.zeros(2, np.float32)), ValueError),
    ],
)
def test_bad_layers(make, error):
    with pytest.raises(error):
        make()
