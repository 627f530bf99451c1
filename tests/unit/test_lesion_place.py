# SPDX-License-Identifier: Apache-2.0
"""On which part of the dura a lesion lies, in a brain of known axes, however it is turned."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from bench import load
from scipy.spatial.transform import Rotation
from synthetic_heads import head_with_sheets, write

from bids_brainmask.analyses import candidates, head_frame, lesion_place, lesions
from bids_brainmask.train import label_maps

load("document")
places = load("places")

RADII = np.array([70.0, 88.0, 63.0])
"""Half axes of the brain, mm: to the side, along its longest axis, and across both."""

LONG = Rotation.from_rotvec(head_frame.PITCH * np.array([1, 0, 0])).as_matrix()
"""From the brain's half axes to those of the head."""

SPACING = 3.0


def outline(*direction):
    """Point of the outline in a direction from the middle; both on the head's axes, mm."""
    own = LONG.T @ np.array(direction, float)
    return LONG @ (own / np.linalg.norm(own / RADII))


def on_tentorium(x, y):
    """Point between cerebrum and cerebellum: that of the least distance to both."""
    z = np.linspace(-45, 30, 200)
    points = np.stack([np.full(200, x), np.full(200, y), z], 1)
    away = lesion_place.terms(points, RADII / np.sqrt(5)) @ np.array(lesion_place.TENTORIUM)
    return points[np.abs(away).argmin()]


PLACES = {
    "convexity": outline(1, 0.1, 0.4),
    "parasagittal": outline(0.12, 0, 1),
    "falx": np.array([6.0, 5.0, 30.0]),
    "tentorium": on_tentorium(25.0, -40.0),
    "skull base": outline(0.3, 0.35, -1),
    "posterior fossa": outline(0.2, -0.8, -0.75),
}

POSES = {
    "straight": np.eye(3),
    "nodding": Rotation.from_euler("xyz", [18, 0, 0], degrees=True).as_matrix(),
    "tilted": Rotation.from_euler("xyz", [-10, 14, -17], degrees=True).as_matrix(),
}


def measured(middle, pose, *, radius=11.0, cut=0):
    """Measure a ball in a brain that is turned about the middle of its head, and moved."""
    shape = (70, 70, 70)
    affine = np.diag([SPACING] * 3 + [1.0])
    affine[:3, 3] = [-80, -120, -60]
    world = np.moveaxis(np.indices(shape), 0, -1) * SPACING + affine[:3, 3]
    points = (world - (affine[:3, :3] @ np.full(3, 34.5) + affine[:3, 3]) - [3, -4, 2]) @ pose
    inside = (((points @ LONG) / RADII) ** 2).sum(-1) < 1
    lesion = inside & (((points - middle) ** 2).sum(-1) < radius**2)
    lesion &= points[..., 0] * np.sign(middle[0]) > 0  # on one side of the falx
    some = np.s_[:, :, : shape[2] - cut]
    brain, lesion = (inside & ~lesion)[some], lesion[some]
    found = lesions.measure(lesion, lesion.astype(np.float32), affine, brain)
    return found.candidates[0]


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("place", PLACES)
def test_the_place_is_that_of_the_dura_that_a_lesion_lies_on(place, pose):
    for mirror in (1, -1) if pose == "tilted" else (1,):
        found = measured(PLACES[place] * [mirror, 1, 1], POSES[pose])
        assert found.place == place
        assert found.place_certainty >= 0.7


def test_no_place_is_told_of_a_lesion_on_no_dura():
    deep = measured(np.array([35.0, 15.0, 20.0]), POSES["straight"], radius=8)
    assert (deep.place, deep.place_certainty) == (None, 1.0)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("away", [3.0, 7.0, 12.0])
def test_the_distance_to_the_dura_is_that_to_the_nearest_sheet(away, pose):
    """A ball of 8 mm beside the plane of symmetry, on either side, far from all else."""
    for side in (1, -1):
        found = measured(np.array([side * (away + 8), 20.0, 25.0]), POSES[pose], radius=8)
        assert found.skull_distance_mm > away + 5
        assert found.dura_distance_mm == pytest.approx(away, abs=SPACING)
        unlikely = "away from the dura" in candidates.reasons(found)
        assert unlikely == (found.dura_distance_mm > candidates.FROM_DURA_MM)


@pytest.mark.parametrize("place", PLACES)
def test_a_lesion_on_the_dura_is_not_away_from_it(place):
    found = measured(PLACES[place], POSES["tilted"])
    assert found.dura_distance_mm <= SPACING
    assert "away from the dura" not in candidates.reasons(found)


def test_a_ball_on_both_sides_of_the_falx_is_on_it():
    inside = np.indices((40, 40, 40)) - np.reshape([20, 20, 20], (3, 1, 1, 1))
    ball = (inside**2).sum(0) < 8**2
    frame = head_frame.Frame(np.array([24.0, 20.0, -60.0]), np.eye(3), RADII, 1.0)
    assert lesion_place.sheet_distance(ball, np.eye(4), frame) == 0
    beside = replace(frame, middle=np.array([32.0, 20.0, -60.0]))
    assert lesion_place.sheet_distance(ball, np.eye(4), beside) == pytest.approx(5)  # of 7 mm
    assert lesion_place.sheet_distance(ball, np.eye(4), replace(frame, symmetry=0.5)) is None
    assert lesion_place.sheet_distance(ball, np.eye(4), None) is None


def test_no_place_is_told_where_the_field_of_view_ends_within_the_brain():
    found = measured(PLACES["skull base"], POSES["straight"], cut=20)
    assert (found.place, found.place_certainty, found.dura_distance_mm) == (None, None, None)


def test_no_place_is_told_of_half_a_brain_or_a_small_one():
    brain = np.zeros((60, 60, 60), bool)
    brain[20:40, 20:40, 20:40] = True  # 8 mL
    assert head_frame.find(brain, np.eye(4)) is None
    corner = np.indices((60, 60, 60)).sum(0) < 60
    frame = head_frame.find(corner, np.diag([3.0, 3.0, 3.0, 1.0]))
    piece = np.zeros((60, 60, 60), bool)
    piece[:3, :3, :3] = True
    assert frame.symmetry < lesion_place.LEAST_SYMMETRY
    assert lesion_place.find(piece, corner, np.eye(4), frame) == (None, None)


def test_the_frame_is_that_of_the_brain_however_the_image_is_stored():
    points = np.moveaxis(np.indices((80, 90, 70)), 0, -1) * 2.5 - [98, 111, 86]
    brain = (((points @ POSES["tilted"] @ LONG) / RADII) ** 2).sum(-1) < 1
    affine = np.diag([2.5, 2.5, 2.5, 1.0])
    one = head_frame.find(brain, affine)
    np.testing.assert_allclose(one.axes, POSES["tilted"].T, atol=0.035)  # 2 degrees
    sizes = np.sqrt(np.diag(LONG @ np.diag(RADII**2 / 5) @ LONG.T))  # of a full ellipsoid
    np.testing.assert_allclose(one.sizes, sizes, rtol=0.02)
    turned = np.flip(brain, 0).transpose(1, 0, 2)
    swap = affine @ np.array([[0, -1, 0, 79], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    other = head_frame.find(turned, swap)
    np.testing.assert_allclose(other.axes, one.axes, atol=1e-6)


def test_the_benchmark_judges_each_head_by_the_tentorium_of_the_others(
    tmp_path, monkeypatch, capsys
):
    """A ball with two hemispheres and a cerebellum, twice."""
    for name in ("one", "two"):
        write(tmp_path / "maps" / f"{name}_dseg.nii.gz", head_with_sheets())
    label_maps.lay_out(tmp_path / "maps", label_maps.read_table(), (), tmp_path / "laid-out")
    page, known = tmp_path / "places.md", lesion_place.TENTORIUM
    words = ["--tumors", "2", "--heads", "1", "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["places.py", str(tmp_path / "laid-out"), *words])
    places.main()
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
    counts = {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:8]}
    assert [*counts] == list(lesion_place.PLACES)
    for place in ("convexity", "posterior fossa"):
        assert counts[place][f"told: {place}"] == "2"
    assert page.read_text() in capsys.readouterr().out
    assert known == lesion_place.TENTORIUM
