"""What every test file shares: the ISA fixture, threads that start for any work, hypothesis profiles, and which tests
`pytest -m quick` runs.

With CI set the draws are the same in every run; fuzzing.py says how many there are. REPEAT=50 runs what depends on
chance 50 times."""

import os

import fuzzing
import pytest
from hypothesis import HealthCheck, settings
from support import ISAS, eager_threads, use_isa

from fastconv.algorithms import ALGORITHMS

settings.register_profile(
    "drawn", max_examples=60, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.register_profile("ci", settings.get_profile("drawn"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") and not fuzzing.CASES else "drawn")


# The algorithms of convolutions and of products that run no kernel of csrc: for every ISA they are the same code.
WITHOUT_KERNELS = {row.name for row in ALGORITHMS if row.nest is None} | {"naive", "blocked"}
# `pytest -m quick` runs these modules, and one test in ten of those, on the best ISA: together less than a minute.
QUICK = {"accuracy", "activations", "algorithms", "bad_input", "conv1d", "files", "fully_connected", "hogwild",
         "images", "kernels", "layer_nests", "layering", "networks", "plans", "pooling", "shapes", "summary",
         "tiny"}  # fmt: skip
ONE_IN_TEN = {"chunks", "conv2d", "fft", "gemm", "gradients", "lowering", "subnormals"}


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: some of everything, in less than a minute")
    config.addinivalue_line("markers", "repeated: depends on chance; REPEAT=50 runs it 50 times (make stress)")


def pytest_generate_tests(metafunc):
    times = int(os.environ.get("REPEAT") or 1)
    if times > 1 and metafunc.definition.get_closest_marker("repeated"):
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(times))


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if not is_repetition(item)]
    for number, item in enumerate(items):
        module = item.path.stem.removeprefix("test_")
        if on_best_isa(item) and (module in QUICK or (module in ONE_IN_TEN and number % 10 == 0)):
            item.add_marker("quick")


def parameters_of(item):
    return item.callspec.params if hasattr(item, "callspec") else {}


def on_best_isa(item):
    """Whether the test does not ask for another ISA."""
    return parameters_of(item).get("isa", ISAS[0]) == ISAS[0]


def is_repetition(item):
    """Whether the test is, on another ISA, one of an algorithm that is the same there."""
    return parameters_of(item).get("algorithm") in WITHOUT_KERNELS and not on_best_isa(item)


@pytest.fixture(params=ISAS)
def isa(request):
    """The test runs once for each instruction set this machine has."""
    with use_isa(request.param):
        yield request.param


@pytest.fixture
def eager():
    """Teams start for any amount of work, so that small problems run on several threads."""
    with eager_threads():
        yield


@pytest.fixture
def fuzz_round(request):
    """The number of the round; there are none after the time is up."""
    if fuzzing.out_of_time():
        pytest.skip("the time for fuzzing is over")
    return request.param
