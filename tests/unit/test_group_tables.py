# SPDX-License-Identifier: Apache-2.0
"""Tables of quality at the group level, from masks whose faults are known."""

import csv
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from test_readback import put

from bids_brainmask.analyses import quality
from bids_brainmask.reports import group, group_tables
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import cleanup
from bids_brainmask.voxels.image import Volume

QUALITY = group.TABLE.format("brain")
LESIONS = group.TABLE.format("meningioma")

BRAIN = "_desc-brain_mask.json"
TUMOR = "_label-tumor_desc-meningioma_mask.json"


def settings(root, **options):
    options = {"bids_dir": root / "gone"} | options
    return Settings(output_dir=root, analysis_level="group", **options)


def table(root, name):
    with (root / f"{name}.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def record(measured, **changes):
    """Sidecar of a brain mask, as the participant level writes it."""
    return {
        "Parameters": {"Model": "embedded", "ModelVersion": "0.3.0", "Threshold": 0.5},
        "BrainVolume": measured["volume_ml"],
        "BoundaryUncertainty": 0.2,
        "ContrastEnhanced": False,
        "Seconds": 2.5,
        "Quality": measured,
    } | changes


def head(seed, fault=""):
    """Measure a brain of an ellipsoid in a head of another; a mask may have a fault."""
    rng = np.random.default_rng(seed)
    places = np.indices((44, 52, 48)).astype(np.float32) - [[[[21.5]]], [[[25.5]]], [[[23.5]]]]
    size = np.array([14, 18, 13]) * rng.normal(1, 0.03, 3)
    far = np.sqrt(sum((part / axis) ** 2 for part, axis in zip(places, size, strict=True)))
    data = np.where(far < 1, 100, np.where(far < 1.3, 40, 0)).astype(np.float32)
    data += rng.normal(0, 2, data.shape).astype(np.float32)
    mask = far < 1
    if fault == "half":
        mask &= places[0] > 0
    if fault == "tiny":
        mask = far < 0.2
    if fault == "empty":
        mask[:] = False
    cleaned = cleanup.brain(mask)
    return quality.measure(
        Volume(data, np.diag([4.0, 4, 4, 1])),
        cleaned.mask,
        np.clip(1.5 - far, 0, 1).astype(np.float32),
        pieces_removed=cleaned.components,
        removed=cleaned.removed,
        holes_filled=cleaned.holes,
        filled=cleaned.filled,
        predicted_dice=None if fault else 0.97 + rng.normal(0, 0.003),
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Thirty good masks, and one bad, one empty and one tiny among them."""
    root = tmp_path_factory.mktemp("out")
    faults = {3: "half", 17: "empty", 25: "tiny"}
    for number in range(33):
        measured = head(number, faults.get(number, ""))
        put(root, f"sub-{number:02}", content=record(measured))
    group.write(settings(root))
    return root


def test_the_worst_three_of_thirty_three_come_first(cohort):
    rows = table(cohort, QUALITY)
    worst = sorted(rows, key=lambda row: -float(row["outlier_score"]))[:3]
    assert {row["participant_id"] for row in worst} == {"sub-03", "sub-17", "sub-25"}
    reasons = {row["participant_id"]: row["outlier_reasons"] for row in worst}
    assert reasons["sub-17"] == "the mask is empty"
    assert "volume" in reasons["sub-03"]
    assert "MAD below the group" in reasons["sub-25"]
    others = [float(row["outlier_score"]) for row in rows if row not in worst]
    assert max(others) < float(worst[-1]["outlier_score"])


def test_a_row_holds_what_was_measured(cohort):
    row = table(cohort, QUALITY)[0]
    wanted = head(0)
    assert list(row) == list(group_tables.columns("brain"))
    for name, value in wanted.items():
        assert float(row[name]) == pytest.approx(value, rel=1e-4, abs=1e-4), name
    assert row["image"] == "sub-00/anat/sub-00_desc-brain_mask.nii.gz"
    assert (row["session_id"], row["contrast_enhanced"]) == ("n/a", "false")
    assert (row["model"], row["seconds"]) == ("embedded 0.3.0", "2.5")


def test_the_columns_are_explained(cohort):
    explained = json.loads((cohort / f"{QUALITY}.json").read_text(encoding="utf-8"))
    assert list(explained) == list(group_tables.columns("brain"))
    assert all(column["Description"] for column in explained.values())


def test_what_is_not_known_is_not_applicable(cohort):
    empty = table(cohort, QUALITY)[17]
    assert empty["volume_ml"] == "0"
    assert empty["roughness"] == empty["predicted_dice"] == "n/a"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["predicted Dice 0.73", "shape\ttoo long"], "predicted Dice 0.73; shape too long"),
        ([], "n/a"),
        (["", 3, None, "shape too long"], "shape too long"),
        ("shape too long", "n/a"),
        (None, "n/a"),
    ],
)
def test_doubts_are_in_the_table_and_in_the_page(tmp_path, said, wanted):
    put(tmp_path, "sub-01", content=record(head(0)) | {"Doubts": said})
    group.write(settings(tmp_path))
    assert table(tmp_path, QUALITY)[0]["doubts"] == wanted
    page = (tmp_path / group.PAGE).read_text(encoding="utf-8")
    listed = re.search(r'shape(\\t| )too long"', page)
    assert bool(listed) == (wanted != "n/a")


def test_the_page_has_every_image(cohort):
    page = (cohort / group.PAGE).read_text(encoding="utf-8")
    for number in range(33):
        assert f"sub-{number:02}.html#sub-{number:02}" in page


def test_kinds_of_image_are_compared_with_their_like(tmp_path):
    """Twelve with contrast are brighter at the rim, and none of them is an outlier for it."""
    for number in range(24):
        enhanced = number % 2 == 1
        measured = head(number) | {"rim_contrast": 0.6 if enhanced else 0.3}
        name = f"sub-{number:02}" + "_ce-gd" * enhanced
        put(tmp_path, name, content=record(measured, ContrastEnhanced=enhanced))
    group.write(settings(tmp_path))
    rows = table(tmp_path, QUALITY)
    assert len({row["group"] for row in rows}) == 2
    assert not any("contrast" in row["outlier_reasons"] for row in rows)


def test_a_sidecar_of_an_older_version_gives_its_volume(tmp_path):
    content = record({"volume_ml": 1400.0})
    del content["Quality"], content["Seconds"], content["BoundaryUncertainty"]
    put(tmp_path, "sub-01", content=content)
    group.write(settings(tmp_path))
    (row,) = table(tmp_path, QUALITY)
    assert (row["volume_ml"], row["roughness"], row["seconds"]) == ("1400", "n/a", "n/a")
    assert (row["outlier_score"], row["outlier_reasons"]) == ("n/a", "fewer than 8 similar images")


def test_a_record_without_a_volume_is_passed_over(tmp_path, caplog):
    put(tmp_path, "sub-01")
    put(tmp_path, "sub-02", content=record(head(2)))
    group.write(settings(tmp_path))
    assert [row["participant_id"] for row in table(tmp_path, QUALITY)] == ["sub-02"]
    assert "sub-01: ignored" in caplog.text


def test_rows_of_meningiomas(tmp_path):
    content = {
        "Parameters": {"Model": "ams", "ModelVersion": "0.1.0"},
        "LesionCount": 2,
        "LesionVolume": 4.0,
        "ContrastEnhanced": True,
        "Seconds": 3,
    }
    path = put(tmp_path, "sub-01_ses-1_ce-gd", TUMOR, content)
    put(tmp_path, "sub-01_ses-1_ce-gd", content=record(head(1)))
    lines = ["counted\tvolume_ml\tlongest_mm\tmean_probability\tbrain_distance_mm"]
    lines.append("yes\t3.0\t21.5\t0.9\t0.0")
    lines.append("yes\t1.0\t12.0\t0.5\t3.1")
    lines.append("no\t9.0\t50.0\t0.5\t3.1\n")
    lesions = path.with_name("sub-01_ses-1_ce-gd_desc-meningioma_lesions.tsv")
    lesions.write_text("\n".join(lines))
    none = {"LesionCount": 0, "LesionVolume": 0.0}
    path = put(tmp_path, "sub-02_ce-gd", TUMOR, content | none)
    path.with_name("sub-02_ce-gd_desc-meningioma_lesions.tsv").write_text(lines[0] + "\n")
    group.write(settings(tmp_path))
    two, clear = table(tmp_path, LESIONS)
    assert list(two) == list(group_tables.columns("meningioma"))
    assert two["image"].endswith("_label-tumor_desc-meningioma_mask.nii.gz")
    assert (two["lesions"], two["volume_ml"], two["largest_ml"]) == ("2", "4", "3")
    assert (two["longest_mm"], two["mean_probability"]) == ("21.5", "0.8")
    assert two["not_counted"] == "1"
    assert (two["outside_brain"], two["seconds"], two["session_id"]) == ("1", "3", "ses-1")
    assert (clear["lesions"], clear["volume_ml"], clear["largest_ml"]) == ("0", "0", "n/a")
    assert (clear["mean_probability"], clear["outside_brain"]) == ("n/a", "n/a")


def test_participants_are_copied_where_they_are(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    put(out, "sub-01", content=record(head(1)))
    assert out / "participants.tsv" not in group.write(settings(out, bids_dir=raw))
    raw.mkdir()
    (raw / "participants.tsv").write_bytes(b"participant_id\tage\r\nsub-01\t31\r\n")
    assert out / "participants.tsv" in group.write(settings(out, bids_dir=raw))
    assert (out / "participants.tsv").read_bytes() == (raw / "participants.tsv").read_bytes()


def test_a_value_with_tabs_stays_in_its_cell():
    assert (
        group_tables.text({"a": {}, "b": {}}, [{"a": "x\ty\n z", "b": True}])
        == "a\tb\nx y z\ttrue\n"
    )


LARGE = r"""
import pathlib, re, sys
from bids_brainmask.cli import bids_app
status = bids_app.main([sys.argv[1], sys.argv[1], "group"])
own = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss has the parent's before the exec
print(status, int(re.search(r"VmHWM:\s+(\d+) kB", own)[1]) / 1e6)
"""


@pytest.mark.slow
def test_five_thousand_images_take_a_minute_and_two_gigabytes_at_most(tmp_path):
    measured = [head(seed) for seed in range(20)]
    lines = (
        "counted\tvolume_ml\tlongest_mm\tmean_probability\tbrain_distance_mm\n"
        "yes\t3.0\t21.5\t0.9\t0.0\n"
    )
    tumour = {"Parameters": {"Model": "ams", "ModelVersion": "1"}, "LesionCount": 1}
    tumour |= {"LesionVolume": 3.0}
    for number in range(5000):
        name = f"sub-{number // 2:04}_ses-{number % 2 + 1}_ce-gd"
        path = put(tmp_path, name, content=record(measured[number % 20], ContrastEnhanced=True))
        put(tmp_path, name, TUMOR, tumour)
        path.with_name(f"{name}_desc-meningioma_lesions.tsv").write_text(lines)
    started = time.perf_counter()
    command = [sys.executable, "-c", LARGE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    status, gigabytes = done.stdout.split()[-2:]
    assert status == "0", done.stderr
    assert len(table(tmp_path, QUALITY)) == len(table(tmp_path, LESIONS)) == 5000
    size = (tmp_path / group.PAGE).stat().st_size
    print(f"\n5,000 images: {seconds:.1f} s, {float(gigabytes):.2f} GB, page {size / 1e6:.1f} MB")  # noqa: T201
    assert seconds < 60
    assert float(gigabytes) < 2
    assert size < 15e6
