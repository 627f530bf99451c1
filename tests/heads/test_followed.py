# SPDX-License-Identifier: Apache-2.0
"""Lesions over sessions, from the registration of two scans to the table and the page."""

import csv
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import missing
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_brainmask.analyses import lesion_table, lesions
from bids_brainmask.errors import ImageError, UsageError
from bids_brainmask.reports import group, lesion_changes
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image, registration
from bids_brainmask.voxels.image import Volume


@pytest.fixture(autouse=True, scope="module")
def _registers():
    if not find_spec("SimpleITK"):
        missing("SimpleITK is not installed: pip install '.[test]'")


def motion(volume, degrees, mm):
    """A motion about the middle of an image."""
    middle = (volume.affine @ [*(np.array(volume.data.shape) / 2), 1])[:3]
    found = np.eye(4)
    found[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    found[:3, 3] = middle - found[:3, :3] @ middle + mm
    return found


@pytest.fixture(scope="module")
def head(shared):
    """A real head and its brain mask, on voxels of about 2 mm."""
    mask = sorted((shared / "data/heads/derivatives/deepbet").rglob("*_desc-brain_mask.nii.gz"))[0]
    name = mask.name.split("_desc-")[0]
    (path,) = (shared / "data/heads").glob(f"sub-*/**/{name}_T1w.nii.gz")
    whole, brain = image.read(path).volume, image.read_mask(mask)
    step = tuple(slice(None, None, max(round(2 / size), 1)) for size in whole.spacing)
    affine = whole.affine @ np.diag([*(each.step for each in step), 1])
    return Volume(whole.data[step], affine), brain[step]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("degrees", "mm"),
    [((0, 0, 0), (0, 0, 0)), ((8, -5, 10), (6, -9, 12))],
)
def test_registration_recovers_a_known_motion_of_a_real_head(head, degrees, mm):
    """To 0.5 mm and 0.5 degrees, on a copy that was sampled anew."""
    volume, brain = head
    known = motion(volume, degrees, mm)
    moved = Volume(registration.onto(volume, volume, np.linalg.inv(known), 1), volume.affine)
    mask = registration.onto(volume, Volume(brain, volume.affine), np.linalg.inv(known))
    found = registration.rigid(volume, moved, brain, mask)
    error = found @ np.linalg.inv(known)
    angle = Rotation.from_matrix(error[:3, :3]).magnitude()
    middle = (volume.affine @ [*np.argwhere(brain).mean(0), 1])[:3]
    there = (known @ [*middle, 1])[:3]
    away = np.linalg.norm((error @ [*there, 1])[:3] - there)
    assert np.rad2deg(angle) < 0.5
    assert away < 0.5
    fixed, moving = Volume(brain, volume.affine), Volume(mask, volume.affine)
    assert registration.check_overlap(found, fixed, moving) > 0.95
    if any(mm):
        with pytest.raises(ImageError, match=r"overlap with a Dice of 0\.\d\d only"):
            registration.check_overlap(np.eye(4), fixed, moving)


def test_what_cannot_be_registered_is_refused(head, monkeypatch):
    volume, brain = head
    with pytest.raises(ImageError, match="a brain mask is empty"):
        registration.rigid(volume, volume, brain, np.zeros_like(brain))
    one = np.zeros_like(brain)
    one[tuple(np.argwhere(brain)[0])] = True
    with pytest.raises(ImageError, match="the optimizer fails: "):
        registration.rigid(volume, volume, one, one)
    skewed = volume.affine @ [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    with pytest.raises(ImageError, match="not at right angles"):
        registration.rigid(Volume(volume.data, skewed), volume, brain, brain)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UsageError, match="not installed: pip install SimpleITK"):
        registration.rigid(volume, volume, brain, brain)


SHAPE = (56, 64, 52)

SPACING = 3.0


def textured():
    """A brain of an ellipsoid with folds of noise, on voxels of 3 mm."""
    rng = np.random.default_rng(5)
    places = np.indices(SHAPE) - np.reshape(np.array(SHAPE) / 2, (3, 1, 1, 1))
    brain = sum((part / size) ** 2 for part, size in zip(places, (22, 27, 20), strict=True)) < 1
    folds = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5)
    data = np.where(brain, 100 + 400 * folds, 0).astype(np.float32)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -np.array(SHAPE) * SPACING / 2
    return Volume(data, affine), brain


def ball(volume, middle, radius):
    where = np.indices(SHAPE).reshape(3, -1)
    world = volume.affine[:3, :3] @ where + volume.affine[:3, 3:]
    near = np.linalg.norm(world - np.reshape(middle, (3, 1)), axis=0) < radius
    return near.reshape(SHAPE)


PARAMETERS = {"Model": "own", "ModelVersion": "1", "Threshold": 0.5}


def put(root, session, volume, brain, mask):
    """Write the results of one session as the participant level does."""
    folder = root / f"sub-01/ses-{session}/anat"
    folder.mkdir(parents=True)
    name = f"{folder}/sub-01_ses-{session}_ce-gd"
    found = lesions.measure(mask, mask.astype(np.float32), volume.affine, brain)
    record = {"Parameters": PARAMETERS, "LesionCount": found.count, "Sources": []}
    record |= {"LesionVolume": found.volume_ml}
    for ending, data in (
        ("desc-brain_mask", brain.astype(np.uint8)),
        ("desc-brain_T1w", volume.data),
        ("desc-meningioma_dseg", found.labels.astype(np.uint8)),
    ):
        image.of_volume(Volume(data, volume.affine)).to_filename(f"{name}_{ending}.nii.gz")
    brainless = {"Parameters": PARAMETERS, "BrainVolume": 1000.0, "Quality": {}}
    for ending, content in (
        ("desc-brain_mask", brainless),
        ("label-tumor_desc-meningioma_mask", record),
    ):
        Path(f"{name}_{ending}.json").write_text(json.dumps(content))
    Path(f"{name}_desc-meningioma_lesions.tsv").write_text(lesion_table.table(found.candidates))
    return name


def moved(volume, brain, *masks, degrees=(6, -4, 9), mm=(5, -4, 6)):
    back = np.linalg.inv(motion(volume, degrees, mm))
    head = Volume(registration.onto(volume, volume, back, 1), volume.affine)
    whole = (registration.onto(volume, Volume(each, volume.affine), back) for each in masks)
    return head, registration.onto(volume, Volume(brain, volume.affine), back), *whole


def follow(root, **options):
    settings = Settings(bids_dir=root / "gone", output_dir=root, analysis_level="group", **options)
    written = group.write(settings)
    path = root / f"{group.CHANGES}.tsv"
    if path not in written:
        return None
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.slow
def test_lesions_of_moved_sessions_are_followed(tmp_path):
    """One grows, one goes, one comes; then nothing changes, in a head that has moved."""
    volume, brain = textured()
    grown = (-30, 20, 10)
    before = ball(volume, grown, 9) | ball(volume, (30, 0, 0), 8)
    after = ball(volume, grown, 13) | ball(volume, (0, -45, 0), 9)
    put(tmp_path, "1", volume, brain, before)
    second = moved(volume, brain, after)
    put(tmp_path, "2", *second)
    put(tmp_path, "3", *moved(volume, brain, after, degrees=(-5, 3, 0), mm=(2, 2, -8)))
    rows = follow(tmp_path)
    first = {row["change"]: row for row in rows if row["session_before"] == "ses-1"}
    assert set(first) == {"grown", "gone", "new"}
    assert float(first["grown"]["change_percent"]) == pytest.approx(
        100 * ((13 / 9) ** 3 - 1), rel=0.1
    )
    assert first["new"]["change_percent"] == first["gone"]["indices_after"] == "n/a"
    assert {row["change"] for row in rows if row["session_before"] == "ses-2"} == {"stable"}
    kept = [row["lesion"] for row in rows if row["session_before"] == "ses-2"]
    assert sorted(kept) == sorted([first["grown"]["lesion"], first["new"]["lesion"]])
    assert all(float(row["overlap"]) > 0.93 for row in rows)
    page = (tmp_path / f"{group.CHANGES}.html").read_text()
    assert page.count("data:image/webp") == len(rows) == 5
    assert "Left: ses-1. Right:" in page
    explained = json.loads((tmp_path / f"{group.CHANGES}.json").read_text())
    assert list(explained) == list(lesion_changes.COLUMNS) == list(rows[0])
    # Sessions of another brain are refused, with the reason, and the rest is written.
    half = brain & (np.indices(SHAPE)[0] < 22)
    (tmp_path / "other").mkdir()
    put(tmp_path / "other", "1", volume, brain, before)
    put(tmp_path / "other", "2", second[0], half, before)
    (row,) = follow(tmp_path / "other")
    assert row["change"] == "n/a"
    assert "registration: after it, the brain masks overlap" in row["remark"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (None, None),  # no table: no lesion counts
        ("index\tcounted\n", None),
        ("index\tcounted\tvolume_ml\tlongest_mm\tvolume_sd_ml\n1\tyes\tx\t1\tn/a\n", None),
        ("index\tcounted\n1\tyes\n", None),
        ("\x00\tcounted\n1\n", None),
    ],
)
def test_hostile_and_empty_tables_are_passed_over(tmp_path, text, lines):
    volume, brain = textured()
    none = np.zeros_like(brain)
    for session in "12":
        name = put(tmp_path, session, volume, brain, none)
        Path(f"{name}_desc-meningioma_lesions.tsv").write_text(text or "")
    assert follow(tmp_path) is lines


@pytest.mark.parametrize("is_there", [False, True])
def test_an_index_image_that_is_missing_or_of_another_grid_is_a_remark(tmp_path, is_there):
    volume, brain = textured()
    for session in "12":
        put(tmp_path, session, volume, brain, ball(volume, (0, 0, 0), 9))
    path = tmp_path / "sub-01/ses-2/anat/sub-01_ses-2_ce-gd_desc-meningioma_dseg.nii.gz"
    path.unlink()
    if is_there:
        other = Volume(np.ones((40, 50, 60), np.uint8), volume.affine)
        image.of_volume(other).to_filename(path)
    (row,) = follow(tmp_path, reports=False)
    said = "are not on one grid" if is_there else path.name
    assert said in row["remark"]
    assert str(tmp_path) not in row["remark"]
