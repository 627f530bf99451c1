# SPDX-License-Identifier: Apache-2.0
"""What a process may use."""

import importlib
import os
import subprocess
import sys

import pytest

from bids_brainmask import machine
from bids_brainmask.machine import cpus, memory_gb, peak_memory_gb


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


def test_affinity_alone(tmp_path):
    assert cpus(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)],
)
def test_control_group_version_2(tmp_path, quota, expected):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8)])
def test_control_group_version_1(tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(("value", "expected"), [("4", 4), ("64", 8), ("", 8), ("x", 8)])
def test_slurm(tmp_path, monkeypatch, value, expected):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", value)
    assert cpus(tmp_path) == expected


def test_memory_is_the_machines_or_the_control_groups(tmp_path):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    assert memory_gb(tmp_path) == pytest.approx(machine)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_gb(tmp_path) == pytest.approx(machine)
    (tmp_path / "memory.max").write_text("500000000\n")
    assert memory_gb(tmp_path) == 0.5
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("250000000")
    assert memory_gb(tmp_path) == 0.25


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_gb()
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert peak_memory_gb() > 0.2
    assert peak_memory_gb() >= before


def test_where_the_system_has_no_such_calls(monkeypatch, tmp_path):
    """As on Windows and macOS: no affinity, no sysconf."""
    importlib.import_module("psutil")  # which reads sysconf when it is imported
    expected = machine.memory_gb(tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert machine.cpus(tmp_path) == 3
    assert machine.memory_gb(tmp_path) == pytest.approx(expected, rel=0.01)
    linux = machine.peak_memory_gb()
    monkeypatch.setattr(sys, "platform", "darwin")  # which counts in bytes
    assert machine.peak_memory_gb() == pytest.approx(linux / 1024, rel=0.1)


FAULTS = """
import resource, sys, numpy as np
from bids_brainmask import machine
if sys.argv[1] == "keep":
    machine.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(100):
    np.ones(2**17)  # 1 MB, in 256 pages
print((faults() - before) // 100)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has mallopt")
def test_a_worker_uses_the_memory_of_one_array_for_the_next():
    """Though dask has set a threshold in its environment."""
    found = {}
    for what in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, what],
            env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"},
            check=True,
            capture_output=True,
            text=True,
        )
        found[what] = int(done.stdout)
    assert found["keep"] < 20 < 200 < found["leave"]


TUNED = """
import atexit, gc, os, sys
from bids_brainmask import machine
machine.tune_python()
assert "numpy" not in sys.modules  # which is to be told before
assert gc.get_threshold()[0] == machine.BETWEEN_COLLECTIONS
assert gc.isenabled()
assert abs(sys.getswitchinterval() - machine.SWITCH_S) < 1e-9
print(os.environ["OPENBLAS_NUM_THREADS"])
atexit._run_exitfuncs()
print(gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize("threads", ["", "4"])
def test_a_command_line_tunes_its_own_python(threads):
    """What the user chose for OpenBLAS stays."""
    before = sys.getswitchinterval()
    env = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", TUNED],
        env=env | ({"OPENBLAS_NUM_THREADS": threads} if threads else {}),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.split() == [threads or "1", "True"]
    assert sys.getswitchinterval() == before
