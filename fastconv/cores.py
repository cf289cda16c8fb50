"""How many cores this process may use: its affinity, hyper-threads counted once, and what the quotas of its container
grant. Called by threads.py, at import and in a forked child."""

import os
from pathlib import Path

# Where a cgroup says what it grants, by version: the folder they are mounted in, and (quota, period).
MOUNTS = {"v1": "sys/fs/cgroup/cpu", "v2": "sys/fs/cgroup"}


def usable_cores(root=Path("/")):
    """At least 1. root: where /proc and /sys are."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores, granted = physical_cores(cpus, root), quota(root)
    return cores if granted is None else min(cores, granted)


def physical_cores(cpus, root):
    """How many cores these logical CPUs are."""
    siblings = (_read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") for cpu in cpus)
    return len({known or cpu for known, cpu in zip(siblings, cpus, strict=True)})


def quota(root):
    """CPUs, at least 1, that the cgroups of this process grant, or None. Each cgroup above its own limits it too;
    in a container the topmost is what the container got, and its own path may not be there."""
    grants = []
    for line in (_read(root / "proc/self/cgroup") or "0::/").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / MOUNTS["v1" if controllers else "v2"]
        own = mount / path.lstrip("/")
        for folder in (own, *(above for above in own.parents if above.is_relative_to(mount))):
            grants.append(_granted(folder, "v1" if controllers else "v2"))
    return min((grant for grant in grants if grant is not None), default=None)


def _granted(folder, version):
    """CPUs that one cgroup grants, or None."""
    if version == "v2":
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
    else:
        quota, period = (_read(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None  # "max", or -1: no limit
    return max(1, -(-int(quota) // int(period)))


def _read(path):
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
