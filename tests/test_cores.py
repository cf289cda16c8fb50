"""How many cores a process may use: quotas and hyper-threads as a folder like /proc and /sys tells them, affinity for
real."""

import os

import pytest
from support import run_python

from fastconv.cores import physical_cores, quota, usable_cores

V2, V1 = "0::/\n", "3:cpuset:/a\n2:cpu,cpuacct:/a\n0::/\n"
QUOTAS = {
    "no-cgroups": ({}, None),
    "no-limit": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "max 100000"}, None),
    "container": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "no-proc": ({"sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
    "rounded-up": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
    "less-than-one": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "10000 100000"}, 1),
    "own-cgroup": ({"proc/self/cgroup": "0::/slurm/job\n", "sys/fs/cgroup/slurm/job/cpu.max": "400000 100000"}, 4),
    "least-of-all-above": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
                            "sys/fs/cgroup/a/cpu.max": "500000 100000", "sys/fs/cgroup/cpu.max": "700000 100000"}, 5),
    "path-of-the-host": ({"proc/self/cgroup": "0::/docker/4f\n", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
    "v1": ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, 3),
    "v1-no-limit": ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                     "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
    "junk": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "many 0 of them"}, None),
    "period-0": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "100000 0"}, None),
    "empty": ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": ""}, None),
}  # fmt: skip


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", QUOTAS)
def test_quota(name, tmp_path):
    files, granted = QUOTAS[name]
    write(tmp_path, files)
    assert quota(tmp_path) == granted
    assert usable_cores(tmp_path) == min(granted or 1024, usable_cores(tmp_path / "no-such-folder"))


def test_hyper_threads_are_counted_once(tmp_path):
    siblings = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    write(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": text
                     for cpu, text in siblings.items()})  # fmt: skip
    assert physical_cores(range(4), tmp_path) == 2
    assert physical_cores([0, 2], tmp_path) == 1
    assert physical_cores([0, 1, 8, 9], tmp_path) == 4  # of some nothing is known


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity():
    """A process held to one CPU has one thread, however many there are."""
    held = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    done = run_python(f"{held}; import fastconv; print(fastconv.get_num_threads())", OMP_NUM_THREADS=None)
    assert done.stdout == "1\n", done.stderr
