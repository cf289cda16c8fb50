"""What every test file shares: the ISA fixture, threads that start for any work, and hypothesis profiles.

HYPOTHESIS_PROFILE=thorough draws 40 times as many calls; with CI set the draws are the same in every run.
REPEAT=50 runs what depends on chance 50 times."""

import os

import pytest
from hypothesis import HealthCheck, settings
from support import ISAS, eager_threads, use_isa

COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=60, **COMMON)
settings.register_profile("ci", max_examples=60, derandomize=True, print_blob=True, **COMMON)
settings.register_profile("thorough", max_examples=2400, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "quick"))


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: the smoke test, under two seconds (pytest -m quick)")
    config.addinivalue_line("markers", "repeated: depends on chance; REPEAT=50 runs it 50 times (make stress)")


def pytest_generate_tests(metafunc):
    times = int(os.environ.get("REPEAT") or 1)
    if times > 1 and metafunc.definition.get_closest_marker("repeated"):
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(times))


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
