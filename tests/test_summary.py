"""net.summary against the lecture: parameters, bytes, FLOPs, energy, exact."""

import numpy as np
import pytest

from fastconv import nn

KB, MB = 1024, 1024**2


def test_units_have_a_parameter_more_than_inputs():
    net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
    assert [row.parameters for row in net.summary((1, 4)).rows] == [15, 0, 16, 0, 5, 0]


def test_a_residual_has_a_sum_of_its_own():
    conv, size = nn.Conv2d(2, 2, 3, padding=1), 2 * 8 * 8 * 4
    net = nn.Sequential(conv, nn.Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU())), nn.ReLU())
    summary = net.summary((1, 2, 8, 8))
    assert [(row.name, row.activation_bytes) for row in summary.rows] == [
        ("0", size), ("1.body.0", size), ("1.body.1", size), ("1.body.2", 0), ("1", size), ("2", size),
    ]  # fmt: skip


# Weights and results of VGG-16's layers for one image, exact; the lecture's slide has them rounded.
WEIGHTS = [1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160, 2359808, 2359808, 2359808, 2359808, 2359808,
           102764544, 16781312, 4097000]  # fmt: skip
RESULTS = [3211264, 3211264, 802816, 1605632, 1605632, 401408, 802816, 802816, 802816, 200704, 401408, 401408, 401408,
           100352, 100352, 100352, 100352, 25088]  # fmt: skip


def test_vgg16():
    summary = nn.vgg16().summary((1, 3, 224, 224))
    assert [row.parameters for row in summary.rows if row.parameters] == WEIGHTS
    assert summary.parameters == sum(WEIGHTS) == 138357544
    assert summary.weight_bytes == 4 * 138357544
    kept = [row.activation_bytes for row in summary.rows if row.kind in ("Conv2d", "MaxPool2d")]
    assert kept == [4 * count for count in RESULTS]
    assert not any(row.activation_bytes for row in summary.rows[:30] if row.kind == "ReLU")
    convolutions = [row for row in summary.rows if row.kind == "Conv2d"]
    assert convolutions[1].im2col_bytes == 224 * 224 * 64 * 9 * 4  # nine times its input
    assert sum(row.flops for row in convolutions) == pytest.approx(30.69e9, rel=1e-3)
    assert summary.rows[-1].flops == 2 * 4096 * 1000
    assert summary.energy == pytest.approx(138357544 * 640e-12)
    assert summary.evaluation_bytes == summary.weight_bytes + 2 * 4 * 3211264
    assert summary.training_bytes == 3 * summary.weight_bytes + 2 * summary.activation_bytes
    assert all(row.algorithm for row in convolutions)


def test_the_batch_multiplies_activations_only():
    net = nn.lenet()
    one, many = net.summary((1, 1, 28, 28)), net.summary((8, 1, 28, 28))
    assert many.activation_bytes == 8 * one.activation_bytes
    assert many.weight_bytes == one.weight_bytes
    assert many.flops == 8 * one.flops
    assert many.rows[0].im2col_bytes == 8 * one.rows[0].im2col_bytes
    assert many.rows[-1].output_shape == (8, 10)


def test_it_prints():
    text = str(nn.alexnet().summary((1, 3, 224, 224)))
    assert "61,100,840 parameters" in text and "233.1 MB" in text
    assert "features.0" in text and "64x55x55" in text
    float64 = nn.Sequential(nn.Linear(2, 2), dtype=np.float64).summary((1, 2))
    assert float64.weight_bytes == 6 * 8


@pytest.mark.parametrize("shape, error", [((1, 4, 4), ValueError), ((0, 4), ValueError), ((1.0, 4), TypeError),
                                          ((1, 5), ValueError)])  # fmt: skip
def test_bad_shapes(shape, error):
    with pytest.raises(error):
        nn.Sequential(nn.Linear(4, 3)).summary(shape)
