# SPDX-License-Identifier: Apache-2.0
"""A head's own coordinates, on ellipsoids that are shifted, turned and of uneven voxels."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_brainmask.train.dataset import depth_of
from bids_brainmask.train.transforms import anatomy
from bids_brainmask.train.transforms.augment import Example

AXES = np.array([66.0, 84.0, 58.0])
"""Half the brain's width, length and height, mm: about those of a head."""

UPRIGHT = np.eye(3)

MIXED = [(3, 3, 3), (2, 3, 5)]


def made_head(spacing=(3, 3, 3), *, middle=(0, 0, 0), turn=UPRIGHT, axes=AXES, room=20) -> Example:
    """Make a head: white (0.8) and grey matter (0.6), ventricles, bone, scalp to 14 mm, and air.

    Parameters
    ----------
    spacing : tuple of 3 float
        Voxel sizes, mm.
    middle : tuple of 3 float
        World position of the brain's middle, mm; the grid is about 0.
    turn : (3, 3) array
        From the world to the brain's own axes is its inverse.
    axes : (3,) array
        Half the brain's width, length and height, mm.
    room : float
        From the brain to the edge of the grid, mm.
    """
    spacing = np.array(spacing, float)
    reach = np.abs(turn) @ axes + np.abs(middle) + room
    shape = tuple(int(n) for n in np.ceil(2 * reach / spacing))
    affine = np.diag([*spacing, 1])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    own = own_axes(shape, affine, middle, turn)
    brain = within(own, axes)
    depth = depth_of(brain, spacing)
    layers = [depth > 5, depth > 0, depth > -6, depth > -14]
    image = np.select(layers, [0.8, 0.6, 0.1, 0.5], 0).astype(np.float32)
    image[within(own, (22, 32, 14))] = 0.2
    return Example(image, affine, brain.astype(np.float32), affine, depth)


def own_axes(shape, affine, middle, turn) -> np.ndarray:
    """Coordinates along the brain's own axes, (3, I, J, K), mm."""
    steps = np.diag(affine)[:3]
    grid = [
        (np.arange(n) * step + start - m).astype(np.float32)
        for n, step, start, m in zip(shape, steps, affine[:3, 3], middle, strict=True)
    ]
    world = np.stack(np.meshgrid(*grid, indexing="ij"))
    return np.tensordot(np.linalg.inv(turn).astype(np.float32), world, 1)


def within(own, axes) -> np.ndarray:
    """Voxels of an ellipsoid about the brain's middle, (I, J, K) bool."""
    return sum((along / half) ** 2 for along, half in zip(own, axes, strict=True)) < 1


def side_error(example, middle, plane) -> np.ndarray:
    """How far off sides are in the brain, mm: of x from ``plane[0] y + plane[1] z``."""
    x, y, z = own_axes(example.image.shape, example.affine, middle, np.eye(3))
    expected = x - plane[0] * y - plane[1] * z
    return np.abs(anatomy.of(example).side - expected)[example.depth > 0]


@pytest.mark.parametrize("spacing", MIXED)
@pytest.mark.parametrize("middle", [(0, 0, 0), (-9.5, 11, 5)])
def test_sides_are_distances_from_the_middle_and_positive_to_the_right(spacing, middle):
    example = made_head(spacing, middle=middle)
    assert side_error(example, middle, (0, 0)).max() < 0.5 * spacing[0]


@pytest.mark.parametrize("spacing", MIXED)
@pytest.mark.parametrize("angles", [(15, 0), (-15, 15)])
def test_the_plane_of_a_leaning_head_is_found(spacing, angles):
    """Sheared, so that each line from left to right has its middle in the plane."""
    lean = np.tan(np.deg2rad(angles))
    shear = np.array([[1, *lean], [0, 1, 0], [0, 0, 1]])
    middle = (6, -4, 3)
    example = made_head(spacing, middle=middle, turn=shear)
    assert side_error(example, middle, lean).max() < spacing[0]


@pytest.mark.parametrize("spacing", MIXED)
@pytest.mark.parametrize("angles", [(0, 15), (15, -15)])
def test_the_plane_of_a_turned_ellipsoid_is_that_of_the_middles_of_its_chords(spacing, angles):
    """Which is not that of its symmetry: ``e A x = 0`` for chords along ``e`` in ``x A x = 1``."""
    turn = Rotation.from_euler("zy", angles, degrees=True).as_matrix()
    row = (turn @ np.diag(AXES**-2.0) @ turn.T)[0]
    example = made_head(spacing, middle=(3, 2, -1), turn=turn)
    assert side_error(example, (3, 2, -1), -row[1:] / row[0]).max() < spacing[0]


@pytest.mark.parametrize("angles", [(5, 0), (-5, 5)])
def test_the_middle_of_a_head_turned_a_little_is_known_to_a_centimetre(angles):
    turn = Rotation.from_euler("zy", angles, degrees=True).as_matrix()
    example = made_head(turn=turn)
    expected = own_axes(example.image.shape, example.affine, (0, 0, 0), turn)[0]
    error = np.abs(anatomy.of(example).side - expected)[example.depth > 0]
    assert 0.5 < error.max() < 10


def test_a_mirrored_head_has_its_sides_exchanged():
    plain = made_head(middle=(5, 0, 0))
    mirrored = anatomy.Anatomy(plain.depth[::-1], plain.spacing)
    np.testing.assert_allclose(mirrored.side, -anatomy.of(plain).side[::-1], atol=1e-3)


@pytest.mark.parametrize("spacing", MIXED)
def test_heights_and_lengths_are_counted_in_brain_lengths(spacing):
    middle = np.array([4, 3, -6])
    example = made_head(spacing, middle=middle)
    head = anatomy.of(example)
    assert head.length == pytest.approx(2 * AXES[1], abs=2 * spacing[1])
    to_voxel = np.linalg.inv(example.affine)
    vertex, base, occiput, forehead = (
        np.round(to_voxel[:3, :3] @ (middle + AXES * place) + to_voxel[:3, 3]).astype(int)
        for place in ([0, 0, 1], [0, 0, -1], [0, -1, 0], [0, 1, 0])
    )
    step = np.array(spacing) / head.length
    assert head.height[0, 0, vertex[2]] == pytest.approx(0, abs=1.5 * step[2])
    assert head.height[0, 0, base[2]] == pytest.approx(-116 / 168, abs=1.5 * step[2])
    assert head.forward[0, occiput[1], 0] == pytest.approx(0, abs=1.5 * step[1])
    assert head.forward[0, forehead[1], 0] == pytest.approx(1, abs=1.5 * step[1])
    np.testing.assert_allclose(np.diff(head.height.ravel()), step[2])
    np.testing.assert_allclose(np.diff(head.forward.ravel()), step[1], rtol=0.03)


@pytest.fixture(scope="module", params=MIXED, ids=str)
def leaning(request):
    lean = np.array([[1, 0.2, -0.1], [0, 1, 0], [0, 0, 1]])
    return anatomy.of(made_head(request.param, middle=(5, 2, 3), turn=lean))


@pytest.mark.parametrize(
    "place", [(0, 0.5, -0.3), (20, 0.4, -0.65), (-40, 0.7, -0.2), (31, 0.25, -0.5), (5, 1, 0)]
)
def test_the_nearest_voxel_is_where_it_was_asked_for(leaning, place):
    head, spacing = leaning, leaning.spacing
    i, j, k = head.nearest(*place)
    assert head.side[i, j, k] == pytest.approx(place[0], abs=0.51 * spacing[0])
    assert head.forward[0, j, 0] == pytest.approx(place[1], abs=0.51 * spacing[1] / head.length)
    assert head.height[0, 0, k] == pytest.approx(place[2], abs=0.51 * spacing[2] / head.length)


@pytest.mark.parametrize("spacing", MIXED)
def test_the_tentorium_is_a_tent(spacing):
    """Its ridge rises to the front; its sides fall to -0.585 at 60 mm and stay there."""
    head = anatomy.of(made_head(spacing))
    over = head.over_tentorium
    np.testing.assert_allclose(np.diff(over, axis=2), spacing[2], rtol=1e-3)
    for side, forward, height in [(0, 0.03, -0.545), (0, 0.6, -0.4006), (60, 0.2, -0.585)]:
        place = tuple(head.nearest(side, forward, height))
        assert abs(over[place]) < 0.6 * spacing[2] + 0.5 * spacing[0]
    np.testing.assert_allclose(over, over[::-1], atol=0.5 * spacing[0])
    middle = head.nearest(0, 0.2, -0.3)[0]
    assert (np.diff(over[middle:, ::8], axis=0) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_white_matter_is_the_80th_percentile_of_the_brain(seed):
    example = made_head()
    values = np.random.default_rng(seed).random(example.image.shape, np.float32)
    values[example.depth <= 0] = 9
    found = anatomy.white(Example(**{**vars(example), "image": values}))
    assert found.dtype == np.float32
    assert found == pytest.approx(0.8, abs=0.03)


def test_white_matter_of_no_brain_is_that_of_most_heads():
    empty = np.zeros((9, 9, 9), np.float32)
    example = Example(empty, np.eye(4), empty, np.eye(4), np.full_like(empty, -np.inf))
    assert anatomy.white(example) == np.float32(0.8)
    assert anatomy.white(example).dtype == np.float32
