# SPDX-License-Identifier: Apache-2.0
"""Measures of masks whose answers are arithmetic, or a plain reading of their definitions."""

import json
from itertools import permutations, product

import numpy as np
import pytest

from bids_brainmask.analyses import confidence, quality
from bids_brainmask.voxels.image import Volume

ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))
COUNTS = {"pieces_removed": 3, "removed": 50, "holes_filled": 2, "filled": 20}
OF_FILE = [name for name in quality.columns() if name.startswith(("size", "voxel"))]


def measure(data, mask, affine, probability=None, predicted_dice=0.9, **counts):
    probability = mask.astype(np.float32) if probability is None else probability
    given = COUNTS | counts | {"predicted_dice": predicted_dice}
    return quality.measure(Volume(data, affine), mask, probability, **given)


def turned(angle, axis):
    turn = np.eye(4)
    one, other = [place for place in range(3) if place != axis]
    turn[[one, one, other, other], [one, other, one, other]] = (
        *(np.cos(angle), -np.sin(angle)),
        *(np.sin(angle), np.cos(angle)),
    )
    return turn


def stored(array, order, signs):
    """The same image with its axes in another order and direction."""
    array = np.transpose(array, order)
    return np.flip(array, [axis for axis in range(3) if signs[axis] < 0])


def stored_affine(affine, shape, order, signs):
    affine = affine[:, [*order, 3]]
    for axis, sign in enumerate(signs):
        if sign < 0:
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, shape[order[axis]] - 1
            affine = affine @ turn
    return affine


def block(shape=(40, 44, 48), place=np.s_[10:20, 6:26, 20:32]):
    """A box of 10 x 20 x 12 voxels of brain, 100, in a head of 60, in air."""
    mask = np.zeros(shape, bool)
    mask[place] = True
    data = np.zeros(shape, np.float32)
    data[4:36, 2:40, 10:40] = 60
    data[mask] = 100
    return data, mask


def blob(seed, shape=(17, 19, 15)):
    """A mask of no special shape, that touches the edge of the volume, and noise."""
    random = np.random.default_rng(seed)
    where = np.stack(np.indices(shape), -1) - random.uniform(3, 9, 3)
    mask = np.linalg.norm(where / random.uniform(3, 7, 3), axis=-1) < random.uniform(
        0.7, 1.3, shape
    )
    data = random.gamma(2, 50, shape) + 80 * mask
    return data.astype(np.float32), mask, random.random(shape, np.float32)


def test_a_box_by_arithmetic():
    data, mask = block()
    probability = np.where(mask, 0.8, 0.1).astype(np.float32)
    affine = np.diag([2.0, 1.5, 1.0, 1])
    affine[:3, 3] = -30, 12, 7
    found = measure(data, mask, affine, probability)
    ball = np.cbrt(36 * np.pi * (2400 * 3) ** 2)
    assert found == {
        "volume_ml": 7.2,
        "extent_x_mm": 20,
        "extent_y_mm": 30,
        "extent_z_mm": 12,
        "margin_left_mm": 20,
        "margin_right_mm": 40,
        "margin_posterior_mm": 9,
        "margin_anterior_mm": 27,
        "margin_inferior_mm": 20,
        "margin_superior_mm": 16,
        "pieces_removed": 3,
        "removed_ml": 0.15,
        "holes_filled": 2,
        "filled_ml": 0.06,
        "roughness": round(2 * (20 * 30 + 20 * 12 + 30 * 12) / ball, 4),
        "asymmetry": 0,
        "rim_contrast": 0.25,
        "boundary_probability": 0.8,
        "predicted_dice": 0.9,
        "centroid_right_mm": 2 * (14.5 - 19.5),
        "centroid_anterior_mm": 1.5 * (15.5 - 20.5),
        "centroid_below_top_mm": 39 - 25.5,
        "size_i": 40,
        "size_j": 44,
        "size_k": 48,
        "voxel_i_mm": 2,
        "voxel_j_mm": 1.5,
        "voxel_k_mm": 1,
    }


def test_columns_come_in_the_order_of_the_dictionary_and_fit_json():
    found = measure(*block(), np.eye(4), removed=np.int64(4), pieces_removed=np.int64(1))
    assert list(found) == list(quality.columns())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    kinds = {type(found[name]) for name in ("pieces_removed", "holes_filled", "size_i")}
    assert kinds == {int}


def test_every_column_is_defined_with_its_unit():
    for name, column in quality.columns().items():
        assert {"LongName", "Description"} <= set(column)
        assert column.get("Units", "") == {"mm": "mm", "ml": "mL"}.get(name.split("_")[-1], "")


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_the_order_and_direction_of_the_axes_do_not_count(order, signs):
    data, mask, probability = blob(3)
    affine = np.diag([2.0, 1.5, 1.0, 1]) @ turned(0.0, 0)
    expected = measure(data, mask, affine, probability)
    arrays = [stored(array, order, signs) for array in (data, mask, probability)]
    other = stored_affine(affine, data.shape, order, signs)
    found = measure(arrays[0], arrays[1], other, arrays[2])
    for name in set(found) - set(OF_FILE):
        assert found[name] == pytest.approx(expected[name], abs=2e-4), name
    assert [found[f"size_{axis}"] for axis in "ijk"] == [data.shape[axis] for axis in order]
    assert [found[f"voxel_{axis}_mm"] for axis in "ijk"] == [(2, 1.5, 1)[axis] for axis in order]


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [-40, -10, 25, 40])
def test_an_oblique_image_is_measured_along_its_own_axes(axis, angle):
    data, mask, probability = blob(5)
    affine = np.diag([1.0, 2.0, 3.0, 1])
    tilted = turned(np.deg2rad(angle), axis) @ affine
    expected = measure(data, mask, affine, probability)
    assert measure(data, mask, tilted, probability) == pytest.approx(expected, abs=2e-4)


def test_the_order_of_an_array_in_memory_does_not_count():
    data, mask, probability = blob(7)
    mixed = measure(np.asfortranarray(data), mask, np.eye(4), np.asfortranarray(probability))
    assert mixed == measure(data, np.asfortranarray(mask), np.eye(4), probability)


def dice_with_mirror(mask):
    """Overlap of a mask with its mirror image along the first axis, voxel by voxel."""
    voxels = {tuple(v) for v in np.argwhere(mask).tolist()}
    both = np.floor(2 * np.mean([v[0] for v in voxels]) + 0.5)
    mirrored = {(both - i, j, k) for i, j, k in voxels}
    return 2 * len(voxels & mirrored) / (len(voxels) + len(mirrored))


def faces_outside(mask, voxel):
    """How many faces of a voxel are not shared with one of the mask, along each axis."""
    counts = np.zeros(3, int)
    for axis, step in product(range(3), (-1, 1)):
        other = np.array(voxel)
        other[axis] += step
        inside = 0 <= other[axis] < mask.shape[axis] and mask[tuple(other)]
        counts[axis] += not inside
    return counts


def rim_means(data, mask, depths):
    """Mean intensities of the rims, by looking at the box about every voxel."""
    rims = {True: [], False: []}
    for voxel in np.ndindex(mask.shape):
        around = tuple(slice(max(0, v - d), v + d + 1) for v, d in zip(voxel, depths, strict=True))
        if (mask[around] != mask[voxel]).any():
            rims[bool(mask[voxel])].append(data[voxel])
    return [np.mean(rims[side], dtype=float) - data.min() for side in (True, False)]


@pytest.mark.parametrize("seed", range(6))
def test_measures_follow_their_definitions(seed):
    data, mask, probability = blob(seed)
    spacing = np.array([(1, 1, 1), (2, 1, 0.7), (6.5, 1.2, 2)][seed % 3], float)
    found = measure(data, mask, np.diag([*spacing, 1]), probability)
    faces = {tuple(v): faces_outside(mask, v) for v in np.argwhere(mask).tolist()}
    boundary = [voxel for voxel, counts in faces.items() if counts.any()]
    area = sum(faces.values()) @ (spacing.prod() / spacing)
    volume = mask.sum() * spacing.prod()
    depths = {0.7: 4, 1: 3, 1.2: 3, 2: 2, 6.5: 1}
    inside, outside = rim_means(data, mask, [depths[size] for size in spacing.tolist()])
    head = np.sort(np.argwhere(data > data.mean()), axis=0)
    low, high = (head[int(np.ceil(part * len(head))) - 1] for part in (0.01, 0.99))
    centroid = np.argwhere(mask).mean(0)
    right, anterior, _ = (centroid - (low + high) / 2) * spacing
    expected = {
        "volume_ml": volume / 1000,
        "roughness": area / (4 * np.pi * (3 * volume / (4 * np.pi)) ** (2 / 3)),
        "asymmetry": 1 - dice_with_mirror(mask),
        "rim_contrast": (inside - outside) / (inside + outside),
        "boundary_probability": np.mean([probability[voxel] for voxel in boundary]),
        "centroid_right_mm": right,
        "centroid_anterior_mm": anterior,
        "centroid_below_top_mm": (high[2] - centroid[2]) * spacing[2],
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_a_mask_that_mirrors_itself_about_its_own_middle_is_symmetric():
    for width in (4, 5):
        _, mask = block(place=np.s_[1 : 1 + width, 6:26, 20:32])
        assert measure(mask + 0.0, mask, np.eye(4))["asymmetry"] == 0


def test_two_of_unequal_size_are_no_mirror_images():
    """The middle of two equal boxes is between them; it moves once half of one is gone."""
    mask = np.zeros((30, 20, 20), bool)
    mask[5:7, 5:15, 5:15] = True
    mask[17:19, 5:15, 5:15] = True
    assert measure(mask + 0.0, mask, np.eye(4))["asymmetry"] == 0
    mask[17:19, 5:15, 10:15] = False
    assert measure(mask + 0.0, mask, np.eye(4))["asymmetry"] == 1


def test_roughness_is_that_of_the_confidence():
    _, mask, probability = blob(2)
    spacing = np.array([1.2, 0.8, 3])
    found = measure(mask + 0.0, mask, np.diag([*spacing, 1]))
    expected = confidence.of(mask, probability, spacing, 0).roughness
    assert found["roughness"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("change", [lambda x: 3 * x, lambda x: x - 500, lambda x: 0.1 * x + 7])
def test_the_scale_of_intensities_does_not_count(change):
    data, mask, probability = blob(4)
    expected = measure(data, mask, np.eye(4), probability)
    found = measure(change(data), mask, np.eye(4), probability)
    assert found == pytest.approx(expected, abs=2e-4)


def test_a_rim_darker_than_what_surrounds_it_has_a_negative_contrast():
    data, mask = block()
    assert measure(np.where(mask, 30, 60), mask, np.eye(4))["rim_contrast"] == pytest.approx(0 - 1)
    data[mask] = 20
    assert measure(data, mask, np.eye(4))["rim_contrast"] == -0.5


def test_the_rim_ends_where_the_image_does():
    """At the edge of the field of view there is no outside to compare with, nor a rim inside."""
    mask = np.zeros((20, 20, 20), bool)
    mask[:10] = True
    data = np.where(mask, 100.0, 0)
    data[:7] = 7000  # beyond the rim
    data[10:13] = 50
    data[19, 19, 19] = 0
    assert measure(data, mask, np.eye(4))["rim_contrast"] == pytest.approx(1 / 3, abs=1e-4)


def test_an_empty_mask_has_a_volume_of_0_and_what_it_was_told():
    data, mask = block()
    found = measure(data, np.zeros_like(mask), np.eye(4), predicted_dice=None)
    known = {name: value for name, value in found.items() if value is not None}
    assert list(found) == list(quality.columns())
    assert known == {
        "volume_ml": 0,
        "pieces_removed": 3,
        "removed_ml": 0.05,
        "holes_filled": 2,
        "filled_ml": 0.02,
        **{name: found[name] for name in OF_FILE},
    }


@pytest.mark.parametrize("place", [(5, 6, 7), (0, 0, 0), (39, 43, 47)])
def test_one_voxel(place):
    data, mask = block()
    data[0, 0, 0] = -1
    mask = np.zeros_like(mask)
    mask[place] = True
    found = measure(data, mask, np.eye(4))
    assert None not in found.values()
    assert [found[f"extent_{axis}_mm"] for axis in "xyz"] == [1, 1, 1]
    assert found["roughness"] == pytest.approx(6 / np.cbrt(36 * np.pi), abs=1e-4)
    assert (found["asymmetry"], found["boundary_probability"]) == (0, 1)
    assert found["margin_left_mm"] + found["margin_right_mm"] == 39


def test_a_mask_that_fills_the_image_has_no_margin_and_no_rim():
    data = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    full = np.ones(data.shape, bool)
    found = measure(data, full, np.eye(4), np.where(data > 0, 0.5, 0.5))
    margins = {value for name, value in found.items() if name.startswith("margin")}
    assert margins == {0}
    assert found["rim_contrast"] is None
    assert found["boundary_probability"] == 0.5
    assert found["roughness"] == pytest.approx(
        2 * (42 + 48 + 56) / np.cbrt(36 * np.pi * 336**2), abs=1e-4
    )


def test_an_image_of_one_intensity_has_no_head_and_no_contrast():
    data, mask = block()
    found = measure(np.full_like(data, 4), mask, np.eye(4))
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {
        "rim_contrast",
        "centroid_right_mm",
        "centroid_anterior_mm",
        "centroid_below_top_mm",
    }


def test_rims_as_dark_as_the_darkest_have_no_contrast():
    data, mask = block(place=np.s_[0:2, 0:2, 0:2])
    data[mask] = 0
    assert measure(data, mask, np.eye(4))["rim_contrast"] is None


def test_arrays_of_another_grid_are_refused():
    data, mask = block()
    with pytest.raises(ValueError, match="image and mask: expected one shape"):
        measure(data, mask[1:], np.eye(4), mask + 0.0)
    with pytest.raises(ValueError, match="image and probabilities: expected one shape"):
        measure(data, mask, np.eye(4), mask[1:] + 0.0)
