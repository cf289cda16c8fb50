"""The machine: what it is, for the record, and what it can do at most, measured at the start of every script."""

import ctypes
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from fastconv import threads
from fastconv._loops import probe
from fastconv.config import config

CPU = Path("/sys/devices/system/cpu/cpu0")
THREAD_VARIABLES = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "FASTCONV_", "MALLOC_")
PACKAGES = ("numpy", "torch", "onnxruntime", "onnx", "scipy", "threadpoolctl", "matplotlib")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
STREAM_BYTES = 400_000_000  # the vector whose sum is the read bandwidth: larger than any cache of today


def text(path):
    """A file's text, stripped, or None where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def caches():
    """Bytes of the data caches that one core sees: {"L1d": 32768, "L2": ...}."""
    found = {}
    for index in sorted(CPU.glob("cache/index*")):
        kind, level, size = (text(index / name) for name in ("type", "level", "size"))
        if kind != "Instruction" and size and size.endswith("K"):
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[:-1]) * 1024
    return found


def cores():
    """How many threads fastconv would use: the cores that affinity and quota leave this process."""
    return threads.get_num_threads()


def git_state():
    """The commit of the checkout, with a + if files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version(package):
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def keep_freed_memory():
    """Has glibc keep what is freed, for everybody in the process; False where there is no glibc. Results beyond 32 MB
    it returns to the kernel, which clears them again page by page at every call: 16 -> 96 channels, 8 images, by torch
    10 GF/s and 48, by fastconv 31 and 54 (Zen 3, 2026-11). ONNX Runtime keeps its memory by itself."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(mallopt)


def environment():
    """Everything about this machine and process that a reader of the figures may ask for."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "git": git_state(),
        "os": platform.platform(),
        "logical cpus": os.cpu_count(),
        "affinity": affinity,
        "quota": text("/sys/fs/cgroup/cpu.max") or text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        "governor": text(CPU / "cpufreq/scaling_governor"),
        "load average": [round(load, 2) for load in os.getloadavg()],
        "caches": caches(),
        "thread variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(THREAD_VARIABLES)},
        "versions": {package: version(package) for package in PACKAGES},
        "fastconv": config(),
    }


@dataclass(frozen=True)
class Limits:
    """GF/s of register-only FMAs per (dtype, threads) with the ISA in use, GB/s of reading per threads."""

    peak: dict
    bandwidth: dict

    def at_least(self, other):
        """The larger of both, figure by figure: what others take from the machine for a while is no limit."""
        pairs = ((self.peak, other.peak), (self.bandwidth, other.bandwidth))
        return Limits(*({key: max(value, b[key]) for key, value in a.items()} for a, b in pairs))

    def __str__(self):
        peaks = ", ".join(f"{dtype} x{n} {value:.0f} GF/s" for (dtype, n), value in self.peak.items())
        return f"FMA peak {peaks}; reading {', '.join(f'x{n} {v:.1f} GB/s' for n, v in self.bandwidth.items())}"

    def as_dict(self):
        return {
            "fma peak GF/s": {f"{dtype} x{n}": value for (dtype, n), value in self.peak.items()},
            "read bandwidth GB/s": {f"x{n}": value for n, value in self.bandwidth.items()},
        }


def measure_limits(dtypes, thread_counts):
    """The Limits, in about a second for each thread count: the best of many bursts, as others may run here."""
    data = np.ones(STREAM_BYTES, np.uint8)
    return Limits(
        {
            (dtype, n): probe.fma_peak(np.dtype(dtype).itemsize, n, repeats=60)
            for dtype in dtypes
            for n in thread_counts
        },
        {n: probe.read_bandwidth(data, n, repeats=15) for n in thread_counts},
    )
