"""What every test file shares: the ISA fixture, threads that start for any work, and hypothesis profiles.

With CI set the draws are the same in every run; fuzzing.py says how many there are."""

import os

import fuzzing
import pytest
from hypothesis import HealthCheck, settings
from support import ISAS, eager_threads, use_isa

settings.register_profile(
    "drawn", max_examples=60, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.register_profile("ci", settings.get_profile("drawn"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") and not fuzzing.CASES else "drawn")


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: the smoke test, under two seconds (pytest -m quick)")


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
