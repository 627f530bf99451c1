# SPDX-License-Identifier: Apache-2.0
"""Damage by the thousand: only results and the package's own errors come out.

What is tried is in benchmarks/fuzz.py, which goes on for as long as it is asked to.
"""

import json

import bench
import pytest
from conftest import Dataset

from bids_brainmask.cli import bids_app

records, fuzz, _, scale = map(bench.load, ("fuzz_records", "fuzz", "document", "scale"))

EXAMPLES = {
    "headers": 2000,
    "images": 100,
    "scans": 20,
    "sidecars": 200,
    "filters": 200,
    "groups": 250,  # of 8 participants each: 2,000
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


@pytest.mark.filterwarnings("default:Generating overly large repr")  # it would hide the error
@pytest.mark.parametrize("name", EXAMPLES)
def test_only_results_and_our_own_errors_come_out(name, tmp_path, caplog):
    caplog.set_level("CRITICAL")  # thousands of warnings are told to nobody
    found = fuzz.check(name, tmp_path, EXAMPLES[name], derandomize=True)
    assert found.total() >= EXAMPLES[name]
    assert found.keys() >= WANTED[name]


def test_records_have_every_field_that_a_run_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(scale.backends, "load", None)  # so that it is put back
    scale.dask_setup(None)
    data, out = Dataset(tmp_path / "bids"), tmp_path / "out"
    data.add("sub-x_T1w.nii.gz", scale.head(1), ContrastBolusIngredient="GADOLINIUM")
    data.add("sub-x_T2w.nii.gz", b"")
    words = ("--suffix", "T1w", "T2w", "--model", "brain=embedded", "--executor", "serial")
    assert bids_app.main([str(data.root), str(out), "participant", *words]) == 1
    (crash,) = out.glob("logs/*/*_crash-*.json")
    crash.rename(crash.with_name("sub-x_T2w_crash-1.json"))
    for name, content in records.FILES.items():
        if name.endswith(".json"):
            written = json.loads((out / name).read_text(encoding="utf-8"))
            assert written.keys() <= content.keys(), name
        elif not name.endswith("_decisions.tsv"):  # a person's
            assert (out / name).read_text(encoding="utf-8").split("\n")[0].split("\t") == content[
                0
            ]


def test_every_field_of_every_record_may_be_anything(tmp_path, caplog):
    caplog.set_level("CRITICAL")
    tried = [records.groups(tmp_path, damaged) for damaged in records.each_once()]
    assert len(tried) * records.TOGETHER > 2000
    assert {"all", "some"} == set(tried)
