# SPDX-License-Identifier: Apache-2.0
"""Lesions told apart and measured, on shapes whose answer is arithmetic."""

import json
from dataclasses import asdict, replace
from itertools import permutations, product

import numpy as np
import pytest

from bids_brainmask.analyses import candidates, lesion_table, lesions

ONE_MM = np.diag([1.0, 1, 1, 1])
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def grid(spacing=(1, 1, 1), origin=(0, 0, 0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def tilted(affine, degrees, axis=0):
    """The same image, turned around a world axis."""
    angle = np.deg2rad(degrees)
    one, other = [place for place in range(3) if place != axis]
    turn = np.eye(4)
    turn[[one, one, other, other], [one, other, one, other]] = (
        *(np.cos(angle), -np.sin(angle)),
        *(np.sin(angle), np.cos(angle)),
    )
    return turn @ affine


def stored(data, affine, order, signs):
    """The same image with its axes in another order and direction."""
    data = np.transpose(data, order)
    affine = affine[:, [*order, 3]]
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, data.shape[axis] - 1
            affine = affine @ turn
    return data, affine


def ellipsoid(radii, centre, affine, shape):
    """Voxels whose middle is in an ellipsoid along the world's axes; radii and centre in mm."""
    world = np.tensordot(affine[:3, :3], np.indices(shape), 1) + affine[:3, 3, None, None, None]
    away = (world - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
    return (away**2).sum(0) < 1


def ball(radius, affine=ONE_MM):
    """A ball whose middle is at no special place between voxels, in an image that fits it."""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    half = np.ceil(radius / spacing).astype(int) + 2
    centre = affine[:3, :3] @ (half + np.array([0.1, 0.3, 0.2])) + affine[:3, 3]
    return ellipsoid([radius] * 3, centre, affine, tuple(2 * half + 1))


def block(*slices, shape=(30, 32, 34)):
    mask = np.zeros(shape, bool)
    for part in slices:
        mask[part] = True
    return mask


def measure(mask, affine=ONE_MM, brain=None, **settings):
    return lesions.measure(mask, mask.astype(np.float32), affine, brain, **settings)


def only(*args, **settings):
    """The one lesion that there is."""
    (lesion,) = measure(*args, **settings).candidates
    return lesion


def numbers(lesion):
    """All that is measured in numbers, whichever lesion it is.

    Of the diameters' ends, their distance: a symmetric body has several longest diameters.
    """
    found = asdict(lesion)
    ends = [found.pop(f"{name}_ends_mm") for name in ("longest", "perpendicular")]
    apart = [np.linalg.norm(np.subtract(*np.reshape(pair, (2, 3)))) for pair in ends]
    del found["index"], found["slice_index"]
    axes = [*found.pop("centroid_mm"), *apart]
    return [*axes, *(value for value in found.values() if isinstance(value, float))]


BOX = np.s_[4:14, 6:26, 8:23]  # 10 x 20 x 15 voxels


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1, 2.5)])
def test_a_box_is_its_voxels(spacing):
    found = measure(block(BOX), grid(spacing, origin=(-30, 5, 60)))
    lesion = found.candidates[0]
    assert lesion.volume_ml == pytest.approx(3 * np.prod(spacing))
    assert found.volume_ml == lesion.volume_ml
    middle = np.array([8.5, 15.5, 15]) * spacing + (-30, 5, 60)
    assert lesion.centroid_mm == pytest.approx(middle)
    # From the middle of the first voxel's outer face to that of the last one, on the other side.
    wide, deep = 10 * spacing[0], 20 * spacing[1]
    diagonals = [np.hypot(wide - spacing[0], deep), np.hypot(wide, deep - spacing[1])]
    assert lesion.longest_mm == pytest.approx(max(diagonals))


@pytest.mark.parametrize("radius", [6, 10, 24.3])
def test_the_volume_of_a_ball(radius):
    assert only(ball(radius)).volume_ml == pytest.approx(4 / 3e3 * np.pi * radius**3, rel=0.01)


@pytest.mark.parametrize("radius", [3, 8, 15, 24.3])
@pytest.mark.parametrize(
    ("affine", "within"),
    [
        (ONE_MM, 1),
        (tilted(ONE_MM, 20), 1),
        (grid((2, 2, 2)), 2),
        (grid((1, 1, 5)), 2),
        (tilted(grid((0.5, 0.9, 3)), 20), 2),
    ],
)
def test_the_diameters_of_a_ball(radius, affine, within):
    lesion = only(ball(radius, affine), affine)
    assert lesion.longest_mm == pytest.approx(2 * radius, abs=within)
    assert lesion.perpendicular_mm == pytest.approx(2 * radius, abs=within)


@pytest.mark.parametrize(
    ("radii", "expected"),
    [((8, 14, 10), (28, 16)), ((14, 8, 20), (28, 16)), ((5, 5, 20), (10, 10))],
)
@pytest.mark.parametrize("degrees", [0, 20])
def test_an_ellipsoid_is_measured_across_the_body(radii, expected, degrees):
    """However long it is from top to bottom; about, where the slices are tilted."""
    affine = tilted(ONE_MM, degrees, axis=2)
    affine[:3, 3] -= affine[:3, :3] @ [25.4, 25.4, 25.4]
    lesion = only(ellipsoid(radii, (0, 0, 0), affine, (52, 52, 52)), affine)
    assert (lesion.longest_mm, lesion.perpendicular_mm) == pytest.approx(expected, abs=1)


def test_slices_tilted_by_20_degrees_are_still_the_axial_ones():
    """Where they cut an ellipse whose axis, of those of the ellipsoid, is known."""
    affine = tilted(ONE_MM, 20)
    affine[:3, 3] -= affine[:3, :3] @ [25.4, 25.4, 25.4]
    lesion = only(ellipsoid((8, 10, 20), (0, 0, 0), affine, (52, 52, 52)), affine)
    angle = np.deg2rad(20)
    long = 2 / np.hypot(np.cos(angle) / 10, np.sin(angle) / 20)
    assert (lesion.longest_mm, lesion.perpendicular_mm) == pytest.approx((long, 16), abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("affine", [grid((1, 0.8, 2), (-12, 7, 30)), tilted(ONE_MM, 20)])
def test_how_the_image_is_stored_does_not_matter(order, signs, affine):
    """Nor which of two equal lesions comes first in it."""
    mask = block(np.s_[2:6, 3:9, 4:9], np.s_[12:16, 3:9, 4:9])
    mask |= ellipsoid((6, 9, 7), affine[:3, :3] @ (21, 20, 18) + affine[:3, 3], affine, mask.shape)
    probability = np.random.default_rng(0).random(mask.shape, np.float32)
    brain = block(np.s_[:16, :, :])
    expected = lesions.measure(mask, probability, affine, brain)
    images = [stored(data, affine, order, signs)[0] for data in (mask, probability, brain)]
    turned = stored(mask, affine, order, signs)[1]
    found = lesions.measure(images[0], images[1], turned, images[2])
    assert found.count == expected.count == 3
    np.testing.assert_array_equal(found.labels, stored(expected.labels, affine, order, signs)[0])
    for one, other in zip(found.candidates, expected.candidates, strict=True):
        assert numbers(one) == pytest.approx(numbers(other))
        assert one.index == other.index


def test_slices_are_across_the_axis_that_runs_upwards():
    """A rod stands if it is along that axis, and is short; it lies along any other."""
    rod = block(np.s_[10:14, 10:14, 2:30])
    upright = only(rod)
    assert upright.longest_mm < 6
    lying = only(rod, tilted(ONE_MM, 90))
    assert lying.longest_mm == pytest.approx(np.hypot(28, 3))
    tilt = [only(rod, tilted(ONE_MM, degrees)).longest_mm for degrees in (44, 46)]
    assert tilt == pytest.approx([upright.longest_mm, lying.longest_mm])


def test_of_two_axes_as_steep_the_one_of_thick_slices_runs_upwards():
    affine = tilted(grid((1, 5, 1)), 45)
    assert only(block(np.s_[10:14, 2:30, 10:14]), affine).longest_mm < 6


def test_a_bar_is_as_long_and_as_wide_as_it_is():
    lesion = only(block(np.s_[2:28, 10:15, 10:12]))
    assert lesion.longest_mm == pytest.approx(np.hypot(26, 4))
    assert lesion.perpendicular_mm == pytest.approx(5, abs=0.5)


def test_an_l_is_as_wide_as_its_arms():
    """Its shadow along the longest diameter is 16 mm wide; no line in it is."""
    mask = block(np.s_[4:24, 4:8, 5:9], np.s_[4:8, 4:24, 5:9])
    lesion = only(mask)
    assert lesion.longest_mm == pytest.approx(np.sqrt(2) * 19.5, abs=1)
    assert lesion.perpendicular_mm == pytest.approx(np.sqrt(2) * 4, abs=1)


def test_a_chord_spans_what_the_lesion_encloses():
    whole = ball(12)
    cored = whole.copy()
    cored[10:20, 10:20] = False
    one, other = only(whole), only(cored)
    assert other.longest_mm == pytest.approx(one.longest_mm)
    assert other.perpendicular_mm == pytest.approx(one.perpendicular_mm)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 3, 5), (3, 2, 1)])
def test_a_single_voxel_has_the_size_of_its_sides(spacing):
    lesion = only(block(np.s_[5, 6, 7]), grid(spacing), smallest_ml=0)
    sides = (max(spacing[:2]), min(spacing[:2]))
    assert (lesion.longest_mm, lesion.perpendicular_mm) == pytest.approx(sides)
    a, b, c = spacing
    assert lesion.surface_mm2 == pytest.approx(2 * (a * b + b * c + a * c))
    assert lesion.volume_ml == pytest.approx(a * b * c / 1000)


@pytest.mark.parametrize("radius", [8, 12, 20])
@pytest.mark.parametrize(
    "affine", [ONE_MM, grid((2, 2, 2)), tilted(ONE_MM, 20), grid((0.8, 1, 1.2))]
)
def test_the_surface_of_a_ball(radius, affine):
    lesion = only(ball(radius, affine), affine)
    assert lesion.surface_mm2 == pytest.approx(4 * np.pi * radius**2, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(16, 16, 16), (20, 30, 40), (60, 60, 30)])
@pytest.mark.parametrize("spacing", [1, 0.5])
def test_the_surface_of_a_box(sides, spacing):
    mask = np.pad(np.ones([int(side / spacing) for side in sides], bool), 1)
    a, b, c = sides
    found = only(mask, grid([spacing] * 3))
    assert found.surface_mm2 == pytest.approx(2 * (a * b + b * c + a * c), rel=0.05)


def test_the_edge_of_the_volume_does_not_matter():
    """A lesion that touches it has its surface and its outline there."""
    core = np.ones((10, 12, 14), bool)
    at_edge, within = only(core, grid(origin=(3, 3, 3))), only(np.pad(core, 3))
    assert numbers(at_edge) == pytest.approx(numbers(within))


def test_the_largest_comes_first_and_is_where_it_is():
    affine = grid((1, 1, 2), origin=(-20, -10, 5))
    small, large = np.s_[2:8, 3:9, 4:10], np.s_[15:25, 10:20, 10:20]
    found = measure(block(small, large), affine)
    assert (found.count, [lesion.index for lesion in found.candidates]) == (2, [1, 2])
    assert [lesion.volume_ml for lesion in found.candidates] == pytest.approx([2, 0.432])
    assert found.volume_ml == pytest.approx(2.432)
    assert found.candidates[0].centroid_mm == pytest.approx((-0.5, 4.5, 34))
    assert found.candidates[1].centroid_mm == pytest.approx((-15.5, -4.5, 18))
    expected = block(large).astype(np.int32) + 2 * block(small).astype(np.int32)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.mask, block(small, large))


def test_lesions_whose_boxes_overlap_are_measured_apart():
    corner = block(np.s_[2:20, 2:5, 2:6], np.s_[2:5, 2:20, 2:6])
    cube = block(np.s_[10:16, 10:16, 2:6])
    found = measure(corner | cube)
    for lesion, alone in zip(found.candidates, (corner, cube), strict=True):
        assert numbers(lesion) == pytest.approx(numbers(only(alone)))


def test_what_is_too_small_is_dropped():
    """50 voxels of 1 mm^3 stay, 49 go; and the affine's last bits do not matter."""
    fifty, less = np.s_[2:7, 2:7, 2:4], np.s_[15:22, 15:22, 15]
    for affine in (ONE_MM, tilted(ONE_MM, 20), ONE_MM.astype(np.float32)):
        found = measure(block(fifty, less), affine)
        np.testing.assert_array_equal(found.mask, block(fifty))
        np.testing.assert_array_equal(found.labels, block(fifty))
        assert found.count == 1
    assert measure(block(fifty, less), smallest_ml=0.04).count == 2
    assert measure(block(fifty, less), smallest_ml=0.06).count == 0


@pytest.mark.parametrize("corner", [np.s_[8:12, 8:12, 8:12], np.s_[8:12, 8:12, 4:8]])
def test_pieces_that_touch_at_a_corner_or_an_edge_are_one(corner):
    assert only(block(np.s_[4:8, 4:8, 4:8], corner)).volume_ml == pytest.approx(0.128)


def test_pieces_a_voxel_apart_are_two():
    assert measure(block(np.s_[4:8, 4:8, 4:8], np.s_[9:13, 4:8, 4:8])).count == 2


@pytest.mark.parametrize("mask", [block(), block(np.s_[5, 5, 5])])
def test_none(mask):
    found = measure(mask, brain=block())
    assert (found.count, found.volume_ml, found.candidates) == (0, 0, ())
    assert not found.mask.any()
    assert not found.labels.any()
    assert (found.mask.dtype, found.labels.dtype) == (bool, np.int32)
    assert found.mask.shape == found.labels.shape == mask.shape
    assert lesion_table.table(found.candidates) == "\t".join(lesion_table.COLUMNS) + "\n"


INNER = np.s_[10:16, 10:16, 10:16]


@pytest.mark.parametrize(
    ("brain", "share", "away"),
    [
        (None, None, None),
        (np.s_[9:17, 9:17, 9:17], 1, 0),
        (np.s_[:, :, :13], 0.5, 0),
        (np.s_[16:20, :, :], 0, 0),  # touches at a face
        (np.s_[18:22, :, :], 0, 2),
        (np.s_[:0], 0, None),
    ],
)
def test_where_a_lesion_lies_relative_to_the_brain(brain, share, away):
    brain = None if brain is None else block(brain)
    lesion = only(block(INNER), brain=brain)
    assert (lesion.share_in_brain, lesion.brain_distance_mm) == (share, away)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 0.9, 2)])
@pytest.mark.parametrize("gap", [0, 1, 3])
def test_distance_to_and_contact_with_the_skull(spacing, gap):
    """A box under the flat top of a brain; beyond the image is no skull."""
    brain, lesion = block(np.s_[:, :, :25]), np.s_[3:27, 3:29, 10 - gap : 25 - gap]
    found = only(block(lesion), grid(spacing), brain=brain)
    assert found.skull_distance_mm == pytest.approx(gap * spacing[2])
    top = 24 * 26 * spacing[0] * spacing[1]
    # Edges of a box are rounded off: 0.4 voxels along each, see `diameters.surface`.
    assert found.skull_contact_mm2 == pytest.approx(0 if gap else top, rel=0.15)


def test_a_lesion_away_from_the_brain_has_no_distance_to_the_skull():
    found = only(block(INNER), brain=block(np.s_[:, :, 20:25]))
    assert (found.skull_distance_mm, found.skull_contact_mm2) == (None, None)
    assert found.brain_distance_mm == 4


def test_a_lesion_in_a_dent_of_the_brain_mask_touches_the_skull():
    """Where the brain mask leaves out a tumor under the skull, the tumor's outer face is it."""
    found = only(block(np.s_[10:20, 8:22, 15:25]), brain=block(np.s_[:, :, :15]))
    assert (found.skull_distance_mm, found.share_in_brain) == (0, 0)
    assert found.skull_contact_mm2 > 140  # the sides, too


@pytest.mark.parametrize(
    ("part", "side"),
    [
        (np.s_[2:12, 8:12, 8:12], "left"),
        (np.s_[4:15, 8:12, 8:12], "left"),
        (np.s_[4:17, 8:12, 8:12], None),
        (np.s_[14:24, 8:12, 8:12], None),
        (np.s_[12:30, 8:12, 8:12], "midline"),
        (np.s_[26:38, 8:12, 8:12], "right"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_side_is_told_where_it_is_clear(part, side, turned):
    """A brain of 40 mm: its middle is between the voxels 19 and 20."""
    shape, affine = (40, 20, 20), grid(origin=(-7, 0, 0))
    mask, brain = block(part, shape=shape), np.ones(shape, bool)
    if turned:
        mask, affine = stored(mask, affine, (2, 0, 1), (1, -1, 1))
        brain = brain.transpose(2, 0, 1)
    assert only(mask, affine, brain=brain).side == side
    assert only(mask, affine).side is None


@pytest.mark.parametrize(
    ("part", "spacing", "thickness"),
    [
        (np.s_[3:27, 3:27, 10:13], (1, 1, 1), 3),
        (np.s_[3:27, 3:27, 10:11], (1, 1, 5), 5),
        (np.s_[5:16, 3:27, 3:27], (0.5, 1, 1), 5.5),
    ],
)
def test_the_thickness_of_a_slab(part, spacing, thickness):
    assert only(block(part), grid(spacing)).thickness_mm == pytest.approx(thickness)


@pytest.mark.parametrize("radius", [6, 15])
def test_the_thickness_of_a_ball(radius):
    assert only(ball(radius)).thickness_mm == pytest.approx(2 * radius, abs=2)


def turned(axes):
    """A rotation that no voxel lies along."""
    return np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0] @ np.diag(axes)


@pytest.mark.parametrize("affine", [ONE_MM, grid((0.8, 1, 2.5)), tilted(ONE_MM, 20)])
def test_the_longest_diameter_of_an_oblique_ellipsoid(affine):
    """The longest axis of an ellipsoid that is turned out of all planes."""
    shape = (70, 60, 40)
    own = affine.copy()
    own[:3, 3] = -own[:3, :3] @ (np.array(shape) / 2 - 0.4)
    world = np.tensordot(own[:3, :3], np.indices(shape), 1) + own[:3, 3, None, None, None]
    inside = np.tensordot(np.linalg.inv(turned((17, 9, 7))), world, 1)
    lesion = only((inside**2).sum(0) < 1, own)
    assert lesion.longest_3d_mm == pytest.approx(34, abs=np.sqrt(lesion.longest_3d_mm / 17) * 1.5)
    assert lesion.longest_mm <= lesion.longest_3d_mm + 1e-6


@pytest.mark.parametrize("affine", [ONE_MM, grid((0.8, 1, 2.5), (9, -4, 7)), tilted(ONE_MM, 20)])
def test_the_ends_are_the_diameters(affine):
    """As long, across each other, in the slice that is named, and on the lesion's outline."""
    shape = (52, 52, 52)
    centre = affine[:3, :3] @ (25.4, 25.3, 25.2) + affine[:3, 3]
    mask = ellipsoid((8, 14, 10), centre, affine, shape)
    lesion = only(mask, affine)
    long, wide = np.array(lesion.longest_ends_mm), np.array(lesion.perpendicular_ends_mm)
    for ends, length in ((long, lesion.longest_mm), (wide, lesion.perpendicular_mm)):
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(length)
        voxels = (np.linalg.inv(affine) @ np.c_[ends, np.ones(2)].T).T[:, :3]
        assert voxels[:, 2] == pytest.approx(lesion.slice_index)
        touched = [mask[tuple(np.clip(np.round(v + d).astype(int), 0, 51))] for v in voxels
                   for d in product((-0.6, 0, 0.6), repeat=3)]  # fmt: skip
        assert 0 < np.mean(touched) < 1
    assert (long[1] - long[0]) @ (wide[1] - wide[0]) == pytest.approx(0, abs=1e-6)
    assert lesion.product_mm2 == pytest.approx(lesion.longest_mm * lesion.perpendicular_mm)


def test_index_image_and_tables_agree_on_every_voxel_and_row():
    """On random masks: labels, both tables, the mask and the totals say the same."""
    rng = np.random.default_rng(3)
    for share in (0.0, 0.001, 0.02, 0.06):
        mask = rng.random((20, 22, 24)) < share
        brain = block(np.s_[5:15, 5:15, 5:15], shape=mask.shape)
        found = candidates.judge(measure(mask, brain=brain, smallest_ml=0.002))
        decided = {1: "accepted", 2: "rejected"}
        for each in (found, found.decided(decided)):
            rows = [line.split("\t") for line in lesion_table.table(each.candidates).splitlines()]
            table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
            sizes = np.bincount(each.labels.ravel())[1:]
            assert [float(row["volume_ml"]) for row in table] == pytest.approx(sizes / 1000)
            assert [int(row["index"]) for row in table] == list(range(1, len(sizes) + 1))
            counted = [int(row["index"]) for row in table if row["counted"] == "yes"]
            np.testing.assert_array_equal(each.mask, np.isin(each.labels, counted))
            assert each.volume_ml == pytest.approx(each.mask.sum() / 1000)
            assert each.count == len(counted)
            names = lesion_table.indices(each.candidates).splitlines()
            assert names[0] == "index\tname"
            assert [line.split("\t")[0] for line in names[1:]] == [row["index"] for row in table]
            for row, name in zip(table, names[1:], strict=True):
                assert (row["reasons"] == "n/a") == (row["candidate"] == "likely")
                said = row["candidate"] if row["decision"] == "n/a" else row["decision"]
                assert name.endswith(f", {said}")


def test_mean_probability():
    mask = block(INNER, np.s_[2:6, 2:6, 2:6])
    probability = np.where(block(np.s_[:, :, :13]), 0.5, 0.9).astype(np.float32)
    probability[~mask] = 0.1
    found = lesions.measure(mask, probability, ONE_MM, None)
    assert [lesion.mean_probability for lesion in found.candidates] == pytest.approx([0.7, 0.5])


def test_the_table():
    found = measure(block(BOX, np.s_[20:24, 6:10, 8:12]), grid(origin=(-8.51, -30, 0)))
    text = lesion_table.table(found.candidates)
    header, *rows = text.splitlines()
    assert text.endswith("\n")
    assert header.split("\t") == list(lesion_table.COLUMNS)
    lesion = found.candidates[0]
    first = dict(zip(lesion_table.COLUMNS, rows[0].split("\t"), strict=True))
    assert (first["index"], first["volume_ml"], first["mean_probability"]) == (
        *("1", "3.000", "1.000"),
    )
    assert first["longest_mm"] == f"{lesion.longest_mm:.1f}"
    assert [first[f"centroid_{axis}_mm"] for axis in "xyz"] == ["0.0", "-14.5", "15.0"]
    assert first["skull_distance_mm"] == first["share_in_brain"] == "n/a"
    ends = json.loads(first["longest_ends_mm"])
    np.testing.assert_allclose(ends, lesion.longest_ends_mm, atol=0.051)
    assert "-0.0" not in rows[0].replace("-0.01", "")
    assert [row.split("\t")[0] for row in rows] == ["1", "2"]


def test_every_column_is_described():
    for name, column in lesion_table.COLUMNS.items():
        assert {"LongName", "Description"} <= set(column), name
        assert ("Units" in column) == name.endswith(("_ml", "_mm", "_mm2"))


def test_arrays_of_other_shapes():
    mask, other = block(), np.zeros((30, 32, 33), np.float32)
    with pytest.raises(ValueError, match=r"probability.*\(30, 32, 34\) and \(30, 32, 33\)"):
        lesions.measure(mask, other, ONE_MM, None)
    with pytest.raises(ValueError, match=r"brain.*\(30, 32, 34\) and \(30, 32, 33\)"):
        measure(mask, brain=other > 0)


def test_the_input_stays_as_it_is():
    mask = block(BOX, np.s_[20, 20, 20])
    before = mask.copy()
    found = measure(mask)
    np.testing.assert_array_equal(mask, before)
    assert not found.mask[20, 20, 20]


GOOD = replace(only(ball(12), brain=np.ones(ball(12).shape, bool)), at_edge=False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"share_in_brain": 0.0, "brain_distance_mm": 2.1}, "away from the brain"),
        (
            {"share_in_brain": 0.04, "share_facing_brain": 0.24},
            "barely on the brain",
        ),
        ({"dura_distance_mm": 5.1}, "away from the dura"),
        ({"peak_probability": 0.59}, "low probability"),
        ({"at_edge": True}, "at the edge of the field of view"),
        ({"thickness_mm": 6.0}, "shape of a sheet"),
    ],
)
def test_each_rule_makes_a_lesion_unlikely(change, reason):
    assert candidates.reasons(GOOD) == ()
    assert candidates.reasons(replace(GOOD, **change)) == (reason,)
    assert set(lesion_table.COLUMNS["reasons"]["Levels"]) == set(candidates.RULES)


@pytest.mark.parametrize(
    "change",
    [
        {"share_in_brain": 0.0, "brain_distance_mm": 2.0},
        {"share_in_brain": None, "brain_distance_mm": None},
        {"share_in_brain": 0.0, "share_facing_brain": 0.25},
        {"share_in_brain": 0.06, "share_facing_brain": 0.1},
        {"share_in_brain": 0.0, "share_facing_brain": None},
        {"dura_distance_mm": 5.0},
        {"dura_distance_mm": None},
        {"peak_probability": 0.6},
    ],
)
def test_what_is_at_the_limit_or_unknown_is_likely(change):
    assert candidates.reasons(replace(GOOD, **change)) == ()


@pytest.mark.parametrize("gap", [0, 1])
def test_a_half_ball_on_the_dura_is_on_the_brain_and_a_ball_that_touches_it_is_not(gap):
    """The mask leaves both out, and some voxels more; the second one faces it with its pole."""
    grid = np.indices((60, 60, 60)) - np.reshape([30, 30, 30], (3, 1, 1, 1))
    within = (grid**2).sum(0) < 12**2
    dome = within & (grid[2] >= 0)
    brain = (grid[2] >= 0) & ((grid**2).sum(0) >= (12 + gap) ** 2)
    on_dura = only(dome, brain=brain)
    assert on_dura.brain_distance_mm <= gap
    assert on_dura.share_facing_brain == pytest.approx(2 / 3, abs=0.07)
    assert candidates.reasons(on_dura) == ()
    if not gap:
        assert on_dura.skull_contact_mm2 == pytest.approx(on_dura.surface_mm2 / 3, rel=0.1)
    beside = only(within, brain=grid[2] >= 12 + gap)
    assert beside.brain_distance_mm == gap
    assert beside.share_facing_brain < 0.15
    assert candidates.reasons(beside) == ("barely on the brain",)


def test_a_lesion_away_from_the_brain_faces_it_with_nothing():
    found = only(block(INNER), brain=block(np.s_[19:22, :, :]))  # 3 mm
    assert (found.brain_distance_mm, found.share_facing_brain) == (3, 0)
    assert candidates.reasons(found) == ("away from the brain",)
    assert only(block(INNER)).share_facing_brain is None
    assert only(block(INNER), brain=block(np.s_[:0])).share_facing_brain == 0


def test_what_faces_the_brain_ends_with_the_image():
    """A cube in the corner of the image; one of its six faces is a voxel from the brain."""
    found = only(block(np.s_[:6, :6, :6]), brain=block(np.s_[7:, :6, :6]))
    assert found.share_facing_brain == pytest.approx(1 / 6, abs=0.03)


def test_a_square_slab_five_times_as_wide_as_thick_is_the_limit():
    for width, expected in ((24, ()), (26, ("shape of a sheet",))):
        slab = np.pad(np.ones((width, width, 5), bool), 2)
        assert candidates.reasons(only(slab)) == expected


def test_slices_of_padding_are_outside_of_the_field_of_view():
    data = np.zeros((12, 14, 16), np.float32)
    data[2:10, 3:, 4:12] = 7
    field = candidates.field_of_view(data)
    assert field == np.s_[2:10, 3:14, 4:12]
    assert candidates.field_of_view(np.zeros((3, 3, 3))) is None
    for part, at_edge in ((np.s_[3:9, 5:9, 5:9], False), (np.s_[3:10, 5:9, 5:9], True)):
        mask = block(part, shape=data.shape)
        assert only(mask, field=field).at_edge is at_edge
        assert only(mask).at_edge is False


def test_a_person_s_decision_goes_before_the_rules():
    found = candidates.judge(measure(block(np.s_[:6, 3:9, 3:9], np.s_[12:18, 3:8, 3:9])))
    assert [lesion.is_counted for lesion in found.candidates] == [False, True]
    for decisions, counted in (
        ({1: "accepted"}, [True, True]),
        ({2: "rejected"}, [False, False]),
        ({1: "accepted", 2: "rejected"}, [True, False]),
        ({}, [False, True]),
    ):
        decided = found.decided(decisions)
        assert [lesion.is_counted for lesion in decided.candidates] == counted
        assert decided.volume_ml == pytest.approx(np.dot(counted, [0.216, 0.180]))
