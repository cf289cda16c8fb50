"""What was built and what runs: show_config() and `python -m fastconv info`."""

import os
import platform

import numpy as np
import threadpoolctl

from fastconv import threads
from fastconv._loops import kernels, scratch, team

VARIABLES = ("FASTCONV_ISA", "FASTCONV_TUNED", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_SPINCOUNT")


def cpu_model():
    """The CPU's name as the operating system gives it."""
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def config():
    """The facts of show_config as a dictionary."""
    from fastconv import __version__

    openmp = team.openmp_version()
    return {
        "fastconv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": cpu_model(),
        "isa": kernels.active_isa(),
        "isas": [{"name": name, "flags": flags, "runs here": usable} for name, flags, usable in kernels.isa_rows()],
        "tiles": {dtype: kernels.tile_sizes(np.dtype(dtype).itemsize)[:2] for dtype in ("float32", "float64")},
        "openmp": openmp or None,
        "threads": threads.get_num_threads(),
        "omp_get_max_threads": team.max_threads(),
        "idle workspace bytes": scratch.held_bytes(),
        "thread pools": [
            {key: pool.get(key) for key in ("user_api", "internal_api", "num_threads", "filepath")}
            for pool in threadpoolctl.threadpool_info()
        ],
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def show_config():
    """Prints what was built, what this machine can run, and what is in use."""
    facts = config()
    print(f"fastconv {facts['fastconv']}, Python {facts['python']}, NumPy {facts['numpy']}")
    print(f"CPU      {facts['cpu']}")
    tiles = ", ".join(f"{mr}x{nr} {dtype}" for dtype, (mr, nr) in facts["tiles"].items())
    for row in facts["isas"]:
        in_use = row["name"] == facts["isa"]
        state = f"in use: tiles {tiles}" if in_use else "runs here" if row["runs here"] else "cannot run here"
        print(f"ISA      {row['name']:<9} {state}; {row['flags'] or 'no flags'}")
    if facts["openmp"]:
        print(f"OpenMP   {facts['openmp']}, at most {facts['omp_get_max_threads']} threads")
    else:
        print("OpenMP   none: this is a serial build (FASTCONV_NO_OPENMP=1), everything runs on one thread")
    print(f"threads  {facts['threads']} by default here; {facts['idle workspace bytes']} bytes of idle workspace held")
    for pool in facts["thread pools"]:
        print(
            f"pool     {pool['internal_api']} ({pool['user_api']}), {pool['num_threads']} threads: {pool['filepath']}"
        )
    for name, value in facts["environment"].items():
        print(f"env      {name}={value}")
