# SPDX-License-Identifier: Apache-2.0
"""What the participant level wrote is read back, whatever else lies there."""

import json
import os

import pytest

from bids_brainmask.dataset import readback
from bids_brainmask.dataset.query import Scan
from bids_brainmask.dataset.session_order import natural
from bids_brainmask.plan import name_files
from bids_brainmask.settings import Settings

BRAIN = "_desc-brain_mask.json"
TUMOR = "_label-tumor_desc-meningioma_mask.json"

RECORD = {"Parameters": {"Model": "embedded", "ModelVersion": "1"}}


def put(root, name, ending=BRAIN, content=None):
    """Write a sidecar where the participant level does."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    folder = root.joinpath(*parts, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{ending}"
    path.write_text(json.dumps(RECORD if content is None else content))
    return path


def crash(root, name, stamp, message="broken", **changes):
    folder = root / "logs" / name.split("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    record = {
        "Time": stamp,
        "Source": "/".join([*parts, "anat", f"{name}_T1w.nii.gz"]),
        "Message": message,
    }
    path = folder / f"{name}_T1w_crash-{stamp}-1.json"
    path.write_text(json.dumps(record | changes))
    return path


def test_results_come_by_participant_session_and_name(tmp_path):
    for name in ("sub-02_ses-10", "sub-02_ses-2", "sub-02_ses-2_ce-gd", "sub-01"):
        put(tmp_path, name)
    assert [one.prefix for one in readback.read(tmp_path)] == [
        "sub-01",
        "sub-02_ses-2",
        "sub-02_ses-2_ce-gd",
        "sub-02_ses-10",
    ]


def test_both_sidecars_of_an_image_are_one_result(tmp_path):
    put(tmp_path, "sub-01_ses-1_ce-gd")
    put(tmp_path, "sub-01_ses-1_ce-gd", TUMOR, RECORD | {"LesionCount": 2})
    put(tmp_path, "sub-01_ses-2_ce-gd", TUMOR)
    both, alone = readback.read(tmp_path)
    assert (both.participant, both.session, both.folder) == ("01", "1", "sub-01/ses-1/anat")
    assert both.entities == (("sub", "01"), ("ses", "1"), ("ce", "gd"))
    assert both.records["brain"] == RECORD
    assert both.records["meningioma"]["LesionCount"] == 2
    assert alone.records == {"meningioma": RECORD}


def test_names_are_those_that_the_participant_level_writes(tmp_path):
    entities = (("sub", "01"), ("ses", "1"), ("ce", "gd"))
    scan = Scan(tmp_path / "x.nii", "sub-01/ses-1/anat/sub-01_ses-1_ce-gd_T1w.nii", entities, True)
    settings = Settings(
        bids_dir=tmp_path, output_dir=tmp_path / "out", analysis_level="participant", viewer=True
    )
    job = name_files(scan, settings, ("brain", "meningioma"))
    put(settings.output_dir, "sub-01_ses-1_ce-gd")
    (one,) = readback.read(settings.output_dir)
    assert settings.output_dir / one.main("brain") == job.files["mask"]
    assert settings.output_dir / one.main("meningioma") == job.files["tumor"]
    assert {kind: settings.output_dir / name for kind, name in one.figures.items()} == job.figures


def test_participants_asked_for(tmp_path):
    for name in ("sub-01", "sub-02", "sub-03"):
        put(tmp_path, name)
        crash(tmp_path, f"{name}_ses-9", "20260101T000000")
    assert [one.participant for one in readback.read(tmp_path, ["03", "01"])] == ["01", "03"]
    assert len(readback.failures(tmp_path, ["03"])) == 1


@pytest.mark.parametrize(
    "content", ["[]", '{"Parameters"', "{}", '{"Parameters": 3}', "", "[" * 10**5 + "]" * 10**5]
)
def test_a_torn_sidecar_is_passed_over_with_a_warning(tmp_path, caplog, content):
    put(tmp_path, "sub-01")
    put(tmp_path, "sub-02").write_text(content)
    assert [one.prefix for one in readback.read(tmp_path)] == ["sub-01"]
    assert "ignored, not a complete record" in caplog.text


def test_a_sidecar_that_is_a_pipe_is_not_waited_for(tmp_path, caplog):
    sidecar = put(tmp_path, "sub-01")
    sidecar.unlink()
    os.mkfifo(sidecar)
    assert readback.read(tmp_path) == []
    assert "is not a file" in caplog.text


def test_other_files_are_not_results(tmp_path):
    put(tmp_path, "sub-01", "_desc-brain_T1w.json")
    put(tmp_path, "sub-01", "_desc-brainandtumor_mask.json")
    assert readback.read(tmp_path) == []
    assert readback.read(tmp_path / "absent") == []


def test_rows_of_a_table_of_lesions(tmp_path, caplog):
    path = put(tmp_path, "sub-01_ce-gd", TUMOR)
    (one,) = readback.read(tmp_path)
    assert readback.table(tmp_path, one, "meningioma") == []
    assert "ignored" in caplog.text
    table = path.with_name("sub-01_ce-gd_desc-meningioma_lesions.tsv")
    table.write_text("index\tvolume_ml\n1\t2.5\n2\n")  # the second row is torn
    assert readback.table(tmp_path, one, "meningioma") == [{"index": "1", "volume_ml": "2.5"}]


def test_the_newest_crash_of_each_image_that_is_not_done(tmp_path, caplog):
    crash(tmp_path, "sub-02", "20260101T000000", "first")
    newest = crash(tmp_path, "sub-02", "20260102T000000", "second")
    crash(tmp_path, "sub-01_ses-1", "20260101T000000", "other")
    crash(tmp_path, "sub-03", "20260101T000000").write_text("{")
    found = readback.failures(tmp_path)
    assert [record["Message"] for record in found] == ["other", "second"]
    assert found[1]["Log"] == newest.relative_to(tmp_path).as_posix()
    assert "ignored, not a complete record" in caplog.text


def test_a_crash_is_over_once_the_image_is_done(tmp_path):
    record, done = crash(tmp_path, "sub-01", "20260101T000000"), put(tmp_path, "sub-01")
    os.utime(record, (1000, 1000))
    os.utime(done, (2000, 2000))
    assert readback.failures(tmp_path) == []
    os.utime(done, (500, 500))  # of a run before the one that failed
    assert len(readback.failures(tmp_path)) == 1


def test_labels_with_numbers_are_sorted_by_them():
    assert sorted(["10", "2", "b10", "b9", "a"], key=natural) == [
        "2", "10", "a", "b9", "b10",
    ]  # fmt: skip
    assert sorted(["\u00b2", "2"], key=natural) == ["2", "\u00b2"]  # a digit, and no number
