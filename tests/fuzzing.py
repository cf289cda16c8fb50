"""How many calls a fuzz test draws. In `make test` a few; with FUZZ_CASES=n, as `make fuzz` sets it, n a test and
instruction set, in rounds of their own draws, until FUZZ_SECONDS are over: rounds that are then left are skipped."""

import math
import os
import time

import pytest
from hypothesis import settings

CASES = int(os.environ.get("FUZZ_CASES") or 0)
ROUND = 500
_end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS") or "inf")


def fuzzed(quick, share=1.0):
    """The decorator of a test under @given that draws `quick` calls, or `share` of FUZZ_CASES."""
    cases = math.ceil(share * CASES) or quick

    def decorate(test):
        test = settings(max_examples=min(cases, ROUND))(test)
        test = pytest.mark.usefixtures("fuzz_round")(test)
        return pytest.mark.parametrize("fuzz_round", range(math.ceil(cases / ROUND)), indirect=True)(test)

    return decorate


def out_of_time():
    """Whether FUZZ_SECONDS are over."""
    return time.monotonic() > _end
