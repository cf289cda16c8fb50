"""Timing: contestants in turn, in bursts, so that a noisy moment meets all of them alike.

A burst first calls for WARM seconds untimed: the threads of the previous contestant's library still spin, and
caches and clocks settle. Then it calls for BURST seconds and its figure is the mean of those calls. What is
reported is the minimum and the median over the bursts; ratios are ratios of minima."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter

BURST = 0.030  # 30 ms, thousands of small calls, a few large ones
WARM = 0.150  # GNU OpenMP's workers spin 1-3 ms after their last region, OpenBLAS's 100 ms
LONG = 0.5  # in a call of this length those first milliseconds do not count: it is not called twice
ROUNDS = 7


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the least and the median of the bursts, and how many bursts there were."""

    least: float
    median: float
    bursts: int

    def rate(self, work):
        """`work` per second, in units of 1e9, of the least time."""
        return work / self.least / 1e9


def timed(call, seconds):
    """Seconds per call, calling for at least that long and at least once."""
    calls, batch, start = 0, 1, perf_counter()
    while True:
        for _ in range(batch):
            call()
        calls += batch
        elapsed = perf_counter() - start
        if elapsed >= seconds:
            return elapsed / calls
        # The clock is read every millisecond or so, not at every call: small calls last less than a reading.
        batch = max(1, int(1e-3 / elapsed * calls))


def burst(call):
    first = timed(call, WARM)
    return first if first > LONG else timed(call, BURST)


def alternate(calls, seconds=float("inf"), rounds=ROUNDS):
    """{name: Timing} of calls {name: callable}, in turn, for `rounds` rounds or until `seconds` are over."""
    samples = {name: [] for name in calls}
    start = perf_counter()
    for _ in range(rounds):
        for name, call in calls.items():
            samples[name].append(burst(call))
        if perf_counter() - start > seconds:
            break
    return {name: Timing(min(s), median(s), len(s)) for name, s in samples.items()}


class Budget:
    """The seconds a script may take; share() deals what is left out to the cases that are left."""

    def __init__(self, seconds, cases):
        self.end, self.cases, self.skipped = perf_counter() + seconds, cases, 0

    @property
    def left(self):
        return self.end - perf_counter()

    def share(self):
        """Seconds for the next case: an equal part of what is left, and 0 when nothing is."""
        share = max(0.0, self.left) / max(1, self.cases)
        self.cases -= 1
        self.skipped += share == 0
        return share
