# SPDX-License-Identifier: Apache-2.0
"""The group level: volumes over sessions, from sidecars whose answer is arithmetic."""

import csv
import json

import pytest

from bids_brainmask.cli import bids_app
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.reports import group
from bids_brainmask.settings import Settings

LESIONS = group.TABLE.format("meningioma")

PARAMETERS = {"Model": "ams", "ModelVersion": "0.1.0", "Threshold": 0.3}


def put(root, name, volume, lesions=1, **parameters):
    """Write a sidecar as the participant level does."""
    pairs = dict(part.split("-") for part in name.split("_"))
    folder = root / f"sub-{pairs['sub']}"
    folder = folder / f"ses-{pairs['ses']}/anat" if "ses" in pairs else folder / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_label-tumor_desc-meningioma_mask.json"
    record = {
        "Parameters": PARAMETERS | parameters,
        "LesionCount": lesions,
        "LesionVolume": volume,
        "LesionVolumeUnits": "mL",
    }
    path.write_text(json.dumps(record))
    return path


def settings(root, **options):
    return Settings(bids_dir=root / "gone", output_dir=root, analysis_level="group", **options)


def table(root, **options):
    assert root / f"{group.VOLUMES}.tsv" in group.write(settings(root, **options))
    path = root / f"{group.VOLUMES}.tsv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_volumes_over_sessions(tmp_path):
    for session, volume in (("10", 3.0), ("1", 4.0), ("2", 5.0)):
        put(tmp_path, f"sub-01_ses-{session}_ce-gd", volume)
    rows = table(tmp_path)
    assert [row["session_id"] for row in rows] == ["ses-1", "ses-2", "ses-10"]
    assert [row["volume_ml"] for row in rows] == ["4.000", "5.000", "3.000"]
    assert [row["change_ml"] for row in rows] == ["n/a", "1.000", "-1.000"]
    assert [row["change_percent"] for row in rows] == ["n/a", "25.0", "-25.0"]
    assert [row["since_last_ml"] for row in rows] == ["n/a", "1.000", "-2.000"]
    assert [row["since_last_percent"] for row in rows] == ["n/a", "25.0", "-40.0"]


def test_a_tumour_that_appears_has_a_change_in_ml_and_none_in_percent(tmp_path):
    put(tmp_path, "sub-01_ses-1_ce-gd", 0.0, lesions=0)
    put(tmp_path, "sub-01_ses-2_ce-gd", 2.0)
    last = table(tmp_path)[1]
    assert (last["lesions"], last["change_ml"], last["change_percent"]) == ("1", "2.000", "n/a")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("sub-02_ses-2_ce-gd", {}),
        ("sub-01_ses-2_acq-other_ce-gd", {}),
        ("sub-01_ses-2_ce-gd", {"ModelVersion": "2"}),
        ("sub-01_ses-2_ce-gd", {"Threshold": 0.5}),
    ],
    ids=["participant", "acquisition", "model", "threshold"],
)
def test_what_cannot_be_compared_is_not(tmp_path, name, parameters):
    put(tmp_path, "sub-01_ses-1_ce-gd", 4.0)
    put(tmp_path, name, 5.0, **parameters)
    assert [row["change_ml"] for row in table(tmp_path)] == ["n/a", "n/a"]


def test_rows_say_which_image_and_model(tmp_path):
    put(tmp_path, "sub-01_ce-gd", 1.25, lesions=3)
    (row,) = table(tmp_path)
    assert row["participant_id"] == "sub-01"
    assert row["session_id"] == "n/a"
    assert row["image"] == ("sub-01/anat/sub-01_ce-gd_label-tumor_desc-meningioma_mask.nii.gz")
    assert row["model"] == "ams 0.1.0"
    assert (row["lesions"], row["volume_ml"]) == ("3", "1.250")


def test_the_columns_are_explained(tmp_path):
    put(tmp_path, "sub-01_ce-gd", 1.0)
    (row,) = table(tmp_path)
    explained = json.loads((tmp_path / f"{group.VOLUMES}.json").read_text())
    assert list(explained) == list(row)
    assert all(column["Description"] for column in explained.values())


def test_a_torn_sidecar_is_passed_over_with_a_warning(tmp_path, caplog):
    put(tmp_path, "sub-01_ce-gd", 1.0)
    put(tmp_path, "sub-02_ce-gd", 1.0).write_text('{"Parameters"')
    put(tmp_path, "sub-03_ce-gd", 1.0).write_text("[]")
    assert [row["participant_id"] for row in table(tmp_path)] == ["sub-01"]
    assert caplog.text.count("ignored, not a complete record") == 2


def test_participants_asked_for(tmp_path):
    for label in ("01", "02"):
        put(tmp_path, f"sub-{label}_ce-gd", 1.0)
    rows = table(tmp_path, participant_label=("02",))
    assert [row["participant_id"] for row in rows] == ["sub-02"]


def test_nothing_to_sum_up(tmp_path):
    with pytest.raises(NothingToDo, match="no masks of the requested participants"):
        group.write(settings(tmp_path))
    with pytest.raises(UsageError, match=r"no such folder\. Run the participant level first"):
        group.write(settings(tmp_path / "absent"))


def test_the_command_prints_what_it_wrote_and_wants_no_raw_dataset(tmp_path, capsys):
    put(tmp_path, "sub-01_ce-gd", 1.0)
    assert bids_app.main([str(tmp_path / "gone"), str(tmp_path), "group"]) == 0
    printed = capsys.readouterr().out.split()
    names = [f"{name}.{end}" for name in (LESIONS, group.VOLUMES) for end in ("tsv", "json")]
    assert printed == [str(tmp_path / name) for name in names]
    assert bids_app.main([str(tmp_path / "gone"), str(tmp_path / "none"), "group"]) == 2


def test_a_second_run_gives_the_same_bytes(tmp_path):
    put(tmp_path, "sub-01_ce-gd", 1.0)
    first = [path.read_bytes() for path in group.write(settings(tmp_path))]
    assert [path.read_bytes() for path in group.write(settings(tmp_path))] == first
