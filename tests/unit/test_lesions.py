# SPDX-License-Identifier: Apache-2.0
"""Lesions told apart and measured, on shapes whose answer is arithmetic."""

from dataclasses import asdict
from itertools import permutations, product

import numpy as np
import pytest

from bids_brainmask.analyses import lesions

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
    (lesion,) = measure(*args, **settings).found
    return lesion


def numbers(lesion):
    """All that is measured in numbers, whichever lesion it is."""
    found = asdict(lesion)
    return [*found.pop("centroid_mm"), *list(found.values())[1:-1]]


BOX = np.s_[4:14, 6:26, 8:23]  # 10 x 20 x 15 voxels


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1, 2.5)])
def test_a_box_is_its_voxels(spacing):
    found = measure(block(BOX), grid(spacing, origin=(-30, 5, 60)))
    lesion = found.found[0]
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
    for one, other in zip(found.found, expected.found, strict=True):
        assert numbers(one) == pytest.approx(numbers(other))
        assert (one.index, one.location) == (other.index, other.location)


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
    assert (found.count, [lesion.index for lesion in found.found]) == (2, [1, 2])
    assert [lesion.volume_ml for lesion in found.found] == pytest.approx([2, 0.432])
    assert found.volume_ml == pytest.approx(2.432)
    assert found.found[0].centroid_mm == pytest.approx((-0.5, 4.5, 34))
    assert found.found[1].centroid_mm == pytest.approx((-15.5, -4.5, 18))
    expected = block(large).astype(np.int32) + 2 * block(small).astype(np.int32)
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.mask, block(small, large))


def test_lesions_whose_boxes_overlap_are_measured_apart():
    corner = block(np.s_[2:20, 2:5, 2:6], np.s_[2:5, 2:20, 2:6])
    cube = block(np.s_[10:16, 10:16, 2:6])
    found = measure(corner | cube)
    for lesion, alone in zip(found.found, (corner, cube), strict=True):
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
    assert (found.count, found.volume_ml, found.found) == (0, 0, ())
    assert not found.mask.any()
    assert not found.labels.any()
    assert (found.mask.dtype, found.labels.dtype) == (bool, np.int32)
    assert found.mask.shape == found.labels.shape == mask.shape
    assert lesions.table(found) == "\t".join(lesions.COLUMNS) + "\n"


INNER = np.s_[10:16, 10:16, 10:16]


@pytest.mark.parametrize(
    ("brain", "location"),
    [
        (None, "n/a"),
        (np.s_[9:17, 9:17, 9:17], "inside"),
        (np.s_[:, :, :], "inside"),
        (np.s_[10:17, 9:17, 9:17], "edge"),  # touches what is not brain
        (INNER, "edge"),
        (np.s_[:, :, :13], "edge"),  # half and half
        (np.s_[16:20, :, :], "edge"),  # touches brain from outside
        (np.s_[16:20, 16:20, 10:16], "outside"),  # touches at an edge only
        (np.s_[17:20, :, :], "outside"),
        (np.s_[:0], "outside"),
    ],
)
def test_location(brain, location):
    brain = None if brain is None else block(brain)
    assert only(block(INNER), brain=brain).location == location


def test_location_is_by_faces():
    """A lesion in the brain may touch what is not at its corner."""
    brain = ~block(np.s_[16, 16, 16], np.s_[9, 9, 12])
    assert only(block(INNER), brain=brain).location == "inside"


def test_beyond_the_volume_is_no_brain():
    full = block(np.s_[:, :, :])
    for place in (np.s_[:6, 10:16, 10:16], np.s_[10:16, 10:16, -6:]):
        assert only(block(place), brain=full).location == "edge"
        assert only(block(place), brain=block()).location == "outside"


def test_mean_probability():
    mask = block(INNER, np.s_[2:6, 2:6, 2:6])
    probability = np.where(block(np.s_[:, :, :13]), 0.5, 0.9).astype(np.float32)
    probability[~mask] = 0.1
    found = lesions.measure(mask, probability, ONE_MM, None)
    assert [lesion.mean_probability for lesion in found.found] == pytest.approx([0.7, 0.5])


def test_the_table():
    found = measure(block(BOX, np.s_[20:24, 6:10, 8:12]), grid(origin=(-8.51, -30, 0)))
    text = lesions.table(found)
    header, *rows = text.splitlines()
    assert text.endswith("\n")
    assert header.split("\t") == list(lesions.COLUMNS)
    lesion = found.found[0]
    assert rows[0].split("\t") == [
        *("1", "3.000", f"{lesion.longest_mm:.1f}", f"{lesion.perpendicular_mm:.1f}"),
        *("0.0", "-14.5", "15.0"),  # x is -0.01
        *(f"{lesion.surface_mm2:.0f}", "1.000", "n/a"),
    ]
    assert [row.split("\t")[0] for row in rows] == ["1", "2"]


def test_every_column_is_described():
    for name, column in lesions.COLUMNS.items():
        assert {"LongName", "Description"} <= set(column), name
        assert ("Units" in column) == name.endswith(("_ml", "_mm", "_mm2"))
    assert set(lesions.COLUMNS["location"]["Levels"]) == {"inside", "edge", "outside"}


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
