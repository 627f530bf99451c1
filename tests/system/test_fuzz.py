# SPDX-License-Identifier: Apache-2.0
"""Damage by the thousand: only results and the package's own errors come out.

What is tried is in benchmarks/fuzz.py, which goes on for as long as it is asked to.
"""

import bench
import pytest

records, fuzz = map(bench.load, ("fuzz_records", "fuzz"))

EXAMPLES = {
    "headers": 2000,
    "images": 100,
    "scans": 20,
    "sidecars": 200,
    "filters": 200,
    "groups": 100,  # of 8 participants each
}
WANTED = {
    "headers": {"read", "refused"},
    "images": {"mask", "refused"},
    "scans": {"done", "refused"},
    "sidecars": {"contrast", "no contrast"},
    "filters": {"found", "UsageError", "NothingToDo"},
    "groups": {"some"},
}
"""What must have come out at least once, or nothing was tried."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_results_and_our_own_errors_come_out(name, tmp_path, caplog):
    caplog.set_level("CRITICAL")  # thousands of warnings are told to nobody
    found = fuzz.check(name, tmp_path, EXAMPLES[name], derandomize=True)
    assert found.total() >= EXAMPLES[name]
    assert found.keys() >= WANTED[name]


def test_every_field_of_every_record_may_be_anything(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    tried = [records.groups(tmp_path, damaged) for damaged in records.each_once()]
    assert len(tried) * records.TOGETHER > 1000
    assert {"all", "some"} == set(tried)
