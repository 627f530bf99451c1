# SPDX-License-Identifier: Apache-2.0
"""Memory over many scans in one process."""

import json
import subprocess
import sys

import bench
import pytest

bench.load("document")
scale = bench.load("scale")
PROGRAM = bench.BENCHMARKS / "speed.py"


@pytest.mark.slow
def test_200_scans_in_one_process_hold_no_more_than_the_first_few(tmp_path):
    scale.make_study(tmp_path / "bids", 200)
    command = [sys.executable, PROGRAM, "inside", "memory", tmp_path / "bids"]
    done = subprocess.run(
        [*map(str, command), tmp_path / "out"], check=True, capture_output=True, text=True
    )
    held = json.loads(done.stdout.splitlines()[-1])
    assert len(held) == 200
    # A copy of a conformed head kept from each scan would be 1 MB a scan, 175 MB in all.
    assert max(held[175:]) - max(held[:25]) < 10e6
    first, last = (sum(part) / 25 for part in (held[25:50], held[175:]))
    assert last - first < 5e6
