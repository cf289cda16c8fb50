"""Training: gradients of whole networks against finite differences, the same bits for any number of threads, digits
learnt in every way of accumulation, and bad input refused before anything changes."""

import sys

import numpy as np
import pytest
from networks import COUPLED, NETWORKS, network

import fastconv as fc
from fastconv import nn, train
from fastconv._loops import hogwild, weight_grad, winograd_grad
from fastconv._loops.training import Session
from fastconv.algorithms import BY_NAME, choose_weight_grad
from fastconv.nn.parameters import store_of
from fastconv.nn.program import packed_strides
from fastconv.shapes import conv_shape

WAYS = [("private", "sync"), ("locked", "sync"), ("atomic", "sync"), ("hogwild", "sync"), ("locked", "async"),
        ("atomic", "async"), ("hogwild", "async")]  # fmt: skip
STEP = 1e-6


def labels(x):
    return np.random.default_rng(1).integers(0, 3, len(x))


def loss_at(net, x, y, state):
    net.load_state(state)
    return train.gradients(net, x, y)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_finite_differences(name):
    net, x = network(name)
    y, rng = labels(x), np.random.default_rng(2)
    loss, gradients = train.gradients(net, x, y)
    state = net.state()
    assert set(gradients) == {key for key in state if "running" not in key}
    largest = max(abs(gradient).max() for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert gradient.shape == state[key].shape
        for i in rng.permutation(gradient.size)[:6]:
            losses = []
            for sign in (1, -1):
                moved = {**state, key: state[key].copy()}
                moved[key].reshape(-1)[i] += sign * STEP
                losses.append(loss_at(net, x, y, moved))
            difference = (losses[0] - losses[1]) / (2 * STEP)
            assert abs(difference - gradient.reshape(-1)[i]) <= 1e-6 * max(largest, 1), (key, i)
    assert loss_at(net, x, y, state) == loss


def test_binary_targets():
    """The lecture's 4-3-4-1 net; its Sigmoid belongs to the loss."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid(),
                        dtype=np.float64)  # fmt: skip
    x, y = np.random.default_rng(0).random((20, 4)), np.random.default_rng(1).random((20, 1))
    p = net(x)
    loss, gradients = train.gradients(net, x, y)
    assert loss == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
    assert gradients["4.bias"] == pytest.approx((p - y).mean(0))
    history = train.fit(net, x, y, epochs=3, batch_size=None, lr=0.5, progress=False)
    assert history.losses[-1] < history.losses[0] and history.accuracy == [None] * 3


@pytest.mark.parametrize("parallel", ["images", "operations"])
def test_binary_targets_of_several_results_have_the_mean_loss(parallel):
    net = nn.Sequential(nn.Linear(4, 5), dtype=np.float64)
    x, y = np.random.default_rng(0).random((6, 4)), np.random.default_rng(1).random((6, 5))
    loss, gradients = train.gradients(net, x, y, parallel=parallel)
    assert loss == pytest.approx(fc.binary_cross_entropy(net(x), y))
    assert gradients["0.bias"] == pytest.approx(fc.binary_cross_entropy_grad(net(x), y).sum(0))


@pytest.mark.parametrize("parallel", ["images", "operations"])
def test_a_dropout_of_images_keeps_pixels_in_place(parallel):
    x, y = np.random.default_rng(0).standard_normal((4, 3, 6, 5)), np.array([0, 1, 2, 0])
    net = nn.Sequential(nn.Dropout(1e-12), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(48, 3), dtype=np.float64)
    loss, _ = train.gradients(net, x, y, parallel=parallel)
    assert loss == pytest.approx(fc.cross_entropy(net(x), y), rel=1e-9)


@pytest.mark.parametrize(("accumulation", "update"), [("private", "sync"), ("hogwild", "async")])
def test_a_part_of_a_network_learns_alone(accumulation, update):
    head = nn.Sequential(nn.Linear(5, 3))
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), head, nn.Linear(3, 2))
    before = net.state()
    train.fit(head, np.ones((6, 5), np.float32), np.array([0, 1, 2] * 2), epochs=3, batch_size=2, lr=0.1, momentum=0.5,
              weight_decay=0.1, accumulation=accumulation, update=update, progress=False)  # fmt: skip
    changed = {name for name, value in net.state().items() if not np.array_equal(value, before[name])}
    assert changed == {"2.0.weight", "2.0.bias"}


def test_statistics_that_gradients_have_moved_show():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x, y = (np.random.default_rng(0).standard_normal((8, 2, 6, 6)) + 3).astype(np.float32), np.arange(8) % 3
    before = net(x)
    train.gradients(net, x, y)
    after = net(x)
    net.load_state(net.state())
    np.testing.assert_array_equal(after, net(x))
    assert not np.array_equal(before, after)


def test_what_an_interrupted_training_has_changed_shows(monkeypatch):
    """The signal's exception comes behind the call that changed the parameters."""
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 3))
    x, y = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32), np.arange(40) % 3
    before = net(x)
    forward_backward = train.Job.forward_backward

    def interrupted(*arguments):
        forward_backward(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Job, "forward_backward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.fit(net, x, y, epochs=1, batch_size=8, lr=0.1, accumulation="hogwild", update="async", progress=False)
    after = net(x)
    net.load_state(net.state())
    np.testing.assert_array_equal(after, net(x))
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("itemsize", [4, 8])
def test_the_wide_network_has_winograds_weight_gradient(itemsize):
    shape = network("wide")[0][2].conv_shape((24, 20, 20))
    assert choose_weight_grad(shape, itemsize) is BY_NAME["winograd4x4"].weight_grad


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in COUPLED])
def test_every_way_gives_the_same_gradient(name, eager):
    net, x = network(name)
    loss, exact = train.gradients(net, x, labels(x), parallel="operations")
    for accumulation in fc.hogwild.MODES:
        for threads in (1, 2):
            if accumulation == "hogwild" and threads == 2:
                continue  # may lose adds
            other, gradients = train.gradients(net, x, labels(x), accumulation=accumulation, parallel="images",
                                               num_threads=threads)  # fmt: skip
            assert other == pytest.approx(loss, rel=1e-12)
            for key, gradient in gradients.items():
                np.testing.assert_allclose(gradient, exact[key], rtol=0, atol=1e-12 * max(1, abs(exact[key]).max()))


# All but a network that couples images with threads that take one each.
@pytest.mark.parametrize(("name", "parallel"), [(name, parallel) for name in ("convolutions", "wide", "dropout", "norm")
                                                for parallel in ("images", "operations")
                                                if parallel == "operations" or name not in COUPLED])  # fmt: skip
def test_the_same_bits_for_any_number_of_threads(name, parallel, eager):
    states = []
    for threads in (1, 2, 3):
        net, x = network(name, np.float32)
        train.fit(net, x, labels(x), epochs=3, batch_size=2, lr=0.1, momentum=0.9, weight_decay=0.01, seed=4,
                  parallel=parallel, num_threads=threads, progress=False)  # fmt: skip
        states.append(net.state())
    for state in states[1:]:
        for key, value in state.items():
            np.testing.assert_array_equal(value, states[0][key])


@pytest.mark.parametrize(
    "name, images, options",
    [
        ("convolutions", None, {}),
        ("dense", 1, {"accumulation": "hogwild", "update": "async", "num_threads": 1}),  # each image is a step
    ],
    ids=["sync", "async"],
)
def test_descent_is_what_it_says(name, images, options):
    """Three steps of momentum and weight decay, by hand: the first has no velocity yet, the third has one of both."""
    net, x = network(name)
    x = x[:images]
    y, lr, decay, momentum = labels(x), 0.1, 0.05, 0.8
    state = net.state()
    velocity = {key: 0 * value for key, value in state.items()}
    for _ in range(3):
        _, gradients = train.gradients(net, x, y)
        for key, gradient in gradients.items():
            velocity[key] = momentum * velocity[key] + gradient + decay * state[key]
            state[key] = state[key] - lr * velocity[key]
        net.load_state(state)
    same, _ = network(name)
    train.fit(same, x, y, epochs=3, batch_size=None, lr=lr, momentum=momentum, weight_decay=decay, progress=False,
              **options)  # fmt: skip
    for key, value in same.state().items():
        np.testing.assert_allclose(value, state[key], rtol=0, atol=1e-13)


def test_dropout_depends_on_seed_and_step_only(eager):
    """The same masks however images meet threads; others for another seed."""

    def trained(seed, **options):
        net, x = network("dropout")
        train.fit(net, x, labels(x), epochs=2, batch_size=3, lr=0.1, seed=seed, progress=False, **options)
        return net.state()["0.weight"]

    first = trained(1, parallel="images", num_threads=2)
    np.testing.assert_allclose(trained(1, parallel="operations"), first, rtol=0, atol=1e-12)
    assert abs(trained(2, parallel="images") - first).max() > 1e-6


def test_every_dropout_layer_has_a_mask_of_its_own():
    """What two layers leave is a quarter; it is what the gradient of the weights behind them sees."""
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5), nn.Linear(8000, 2))
    _, gradients = train.gradients(net, np.ones((1, 8000), np.float32), np.array([0]))
    assert np.mean(gradients["2.weight"][0] != 0) == pytest.approx(0.25, abs=0.03)


def test_batch_norm_learns_running_statistics():
    net, x = network("norm")
    x = x + 3
    train.fit(net, x, labels(x), epochs=1, batch_size=None, lr=0.0, progress=False)
    before, _ = network("norm")
    y = fc.conv2d(x, before[0].weight, before[0].bias, padding=1)
    rows = y.size // 4
    expected = 0.9 * before[1].running_mean + 0.1 * y.mean((0, 2, 3))
    np.testing.assert_allclose(net[1].running_mean, expected, atol=1e-10)
    expected = 0.9 * before[1].running_var + 0.1 * y.var((0, 2, 3)) * rows / (rows - 1)
    np.testing.assert_allclose(net[1].running_var, expected, rtol=1e-8)


def digits():
    """(training, test) images and labels of scikit-learn's digits, a fifth of each digit held out."""
    data = pytest.importorskip("sklearn.datasets").load_digits()
    x, y = (data.images[:, None] / 16).astype(np.float32), data.target
    held = np.concatenate([np.flatnonzero(y == digit)[::5] for digit in range(10)])
    train_on = np.setdiff1d(np.arange(len(y)), held)
    return (x[train_on], y[train_on]), (x[held], y[held])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("accumulation, update", WAYS)
def test_digits(accumulation, update, threads):
    (x, y), (x_test, y_test) = digits()
    net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10))  # fmt: skip
    history = train.fit(net, x, y, epochs=12, batch_size=32, lr=0.05, momentum=0.9, accumulation=accumulation,
                        update=update, num_threads=threads, progress=False)  # fmt: skip
    assert len(history.losses) == len(history.accuracy) == len(history.times) == 12
    assert history.losses[-1] < 0.1 * history.losses[0]
    assert (net(x_test).argmax(1) == y_test).mean() >= 0.97


def test_hogwild_keeps_one_gradient():
    """Beside the shared vector a thread has less than a megabyte for its panels."""
    layers = [nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 10)]
    net = nn.Sequential(nn.Conv2d(64, 512, 3, padding=1), nn.ReLU(), nn.GlobalAvgPool(), nn.Flatten(),
                        nn.Linear(512, 2048), *layers)  # fmt: skip
    job = train.Job(net, np.zeros((4, 64, 8, 8), np.float32), np.zeros(4, int), "hogwild", "sync", "images")
    built, parameters = job.program(1, True), store_of(net).parameters
    session = Session(built.program, parameters, "hogwild", False, False, 4)
    assert session.gradient_bytes == parameters.nbytes
    assert built.program.panel_bytes <= 256 << 10
    for channels, filters, size in ((64, 512, 8), (64, 64, 224), (64, 128, 112), (128, 128, 112), (512, 512, 28)):
        shape = conv_shape((1, size, size, channels), (filters, 3, 3, channels), padding=1, layout="NHWC")
        form = shape.packed, 4, *(packed_strides(1, (n, size, size), 4) for n in (channels, filters)), hogwild.to_sink
        scratch, shared = weight_grad.compiled(*form).workspace_bytes
        assert scratch < 1 << 20 and shared == 0
        assert winograd_grad.waiting(*form) <= 1 << 20
    private = Session(job.program(1, False).program, parameters, "private", False, False, 4)
    assert private.gradient_bytes == 5 * parameters.nbytes


def test_history(tmp_path):
    net, x = network("dense", np.float32)
    history = train.fit(net, x, labels(x), epochs=2, batch_size=4, lr=0.1, progress=True)
    assert history.settings["batch_size"] == 4
    assert str(history).count("\n") == 2
    figure = pytest.importorskip("matplotlib.figure")
    assert isinstance(history.plot(), figure.Figure)
    history.plot(tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_training_without_tqdm(monkeypatch):
    """progress=True shows a bar where there is the package for it, and is no reason to fail."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    net, x = network("dense", np.float32)
    assert len(train.fit(net, x, labels(x), epochs=2, batch_size=4, lr=0.1, progress=True).losses) == 2


GOOD = {"epochs": 1, "batch_size": 2, "lr": 0.1, "progress": False}


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"lr": float("nan")}, ValueError, "lr must be"),
        ({"lr": -1.0}, ValueError, "lr must be"),
        ({"momentum": 1.0}, ValueError, "momentum"),
        ({"weight_decay": float("inf")}, ValueError, "weight_decay"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"epochs": 1.5}, TypeError, "epochs"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"num_threads": 0}, ValueError, "num_threads"),
        ({"accumulation": "fast"}, ValueError, "accumulation must be one of"),
        ({"update": "later"}, ValueError, "update must be 'sync' or 'async'"),
        ({"parallel": True}, TypeError, "parallel must be one of"),
        ({"update": "async"}, ValueError, "private"),
        ({"accumulation": "hogwild", "parallel": "operations"}, ValueError, "operations"),
        ({"seed": -1}, ValueError, "seed"),
        ({"y": np.array([0, 3, 1])}, ValueError, "labels from 0 to 3, but the network has 3 classes"),
        ({"y": np.array([0, -1, 1])}, ValueError, "labels from -1"),
        ({"y": np.array([0, 1])}, ValueError, "one label an image"),
        ({"y": np.zeros((3, 3)) + 2}, ValueError, r"\[0, 1\]"),
        ({"y": np.zeros((3, 2))}, ValueError, "shape of the network's result"),
        ({"y": [0, 1, 2]}, TypeError, "y must be"),
        ({"y": np.zeros((3, 3), np.float32)}, TypeError, "y is float32, but the network is float64"),
        ({"x": np.zeros((0, 2, 8, 7)), "y": np.zeros(0, int)}, ValueError, "empty"),
        ({"x": np.zeros((3, 2, 8, 9))}, ValueError, "layer '5', Linear"),
        ({"x": np.zeros((3, 2, 8, 7), np.float32)}, TypeError, "float32"),
    ],
)
def test_bad_input_changes_nothing(options, error, message):
    net, x = network("convolutions")
    before = net.state()
    arguments = {"x": x, "y": labels(x), **GOOD, **options}
    with pytest.raises(error, match=message):
        train.fit(net, arguments.pop("x"), arguments.pop("y"), **arguments)
    for key, value in net.state().items():
        np.testing.assert_array_equal(value, before[key])


def test_what_batch_norm_needs_is_said():
    net, x = network("norm")
    for options in ({"parallel": "images"}, {"accumulation": "hogwild"}):
        with pytest.raises(ValueError, match=r"BatchNorm2d.*operations"):
            train.fit(net, x, labels(x), **{**GOOD, **options})


def test_a_last_layer_that_does_not_go_with_the_loss():
    net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), dtype=np.float64)
    with pytest.raises(ValueError, match="Softmax"):
        train.fit(net, np.zeros((2, 4)), np.array([0, 1]), **GOOD)
    with pytest.raises(ValueError, match="at least two classes"):
        train.fit(nn.Sequential(nn.Linear(4, 1), dtype=np.float64), np.zeros((2, 4)), np.array([0, 0]), **GOOD)
    with pytest.raises(ValueError, match="no parameters"):
        train.fit(nn.Sequential(nn.ReLU()), np.zeros((2, 4), np.float32), np.array([0, 1]), **GOOD)
