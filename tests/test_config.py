"""show_config prints the facts of this build, machine and process."""

import platform

import numpy as np

import fastconv as fc
from fastconv._loops import kernels, scratch, team
from fastconv.config import config


def test_the_facts():
    facts = config()
    assert facts["fastconv"] == fc.__version__
    assert facts["numpy"] == np.__version__
    assert facts["isa"] == kernels.active_isa()
    assert facts["threads"] == fc.get_num_threads()
    assert facts["omp_get_max_threads"] == team.max_threads()
    assert facts["idle workspace bytes"] == scratch.held_bytes()
    assert [row["name"] for row in facts["isas"]] == [row[0] for row in kernels.isa_rows()]
    assert facts["cpu"]


def test_show_config_prints_them(capsys, monkeypatch, isa):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    fc.show_config()
    text = capsys.readouterr().out
    in_use = [line for line in text.splitlines() if "in use" in line]
    assert len(in_use) == 1
    assert isa in in_use[0]
    MR, NR, _ = kernels.tile_sizes(4)
    assert f"{MR}x{NR} float32" in in_use[0]
    for fact in (fc.__version__, platform.python_version(), np.__version__, "OMP_WAIT_POLICY=passive", "threads"):
        assert fact in text


def test_every_public_name_is_there_and_documented():
    for name in fc.__all__:
        assert getattr(fc, name).__doc__, name
