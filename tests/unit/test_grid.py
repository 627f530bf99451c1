# SPDX-License-Identifier: Apache-2.0
"""Where voxels go: every orientation, oblique, sheared, stretched."""

import nibabel as nb
import numpy as np
import pytest
from conftest import AXCODES
from nibabel.orientations import axcodes2ornt, ornt_transform
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_brainmask.voxels import grid
from bids_brainmask.voxels.image import Volume

OBLIQUE = Rotation.from_euler("xy", [20, 20], degrees=True).as_matrix()


def world(affine, shape, steps=(1, 1, 1)):
    """World coordinates of every voxel, or of some along each axis, (3, I, J, K)."""
    i, j, k = np.ogrid[tuple(slice(0, n, step) for n, step in zip(shape, steps, strict=True))]
    return np.stack([row[0] * i + row[1] * j + row[2] * k + row[3] for row in affine[:3]])


def affine_of(codes="RAS", spacing=(2.0, 2.0, 2.0), turn=None, shape=(50, 60, 55)):
    """Affine of a volume centred near the origin whose axes run as `codes` say."""
    affine = np.diag([*spacing, 1.0])
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = [3, -5, 7] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    image = nb.Nifti1Image(np.zeros(shape, np.uint8), affine)
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(codes)))
    turned = image.as_reoriented(ornt)
    return turned.affine, turned.shape


def ball(affine, shape, radius=40.0):
    """1 within `radius` mm of (3, -5, 7), falling linearly to 0 over the next 10 mm."""
    distance = np.linalg.norm(world(affine, shape) - np.reshape([3, -5, 7], (3, 1, 1, 1)), axis=0)
    return np.clip((radius + 10 - distance) / 10, 0, 1).astype(np.float32)


CASES = {
    **{codes: affine_of(codes) for codes in AXCODES},
    "oblique": affine_of(turn=OBLIQUE),
    "oblique PIR": affine_of("PIR", turn=OBLIQUE),
    "thick slices": affine_of("LAS", (1.0, 1.0, 3.0), shape=(100, 110, 36)),
    "sheared": affine_of(turn=np.array([[1, 0.1, 0], [0, 1, 0.05], [0, 0, 1]])),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "make",
    [pytest.param(grid.fsconform, marks=pytest.mark.slow), lambda volume: grid.head(volume, 16)],
)
def test_a_linear_ramp_of_the_world_is_resampled_exactly(case, make):
    affine, shape = CASES[case]
    ramp = (np.array([1.0, -2.0, 0.5]).reshape(3, 1, 1, 1) * world(affine, shape)).sum(0)
    volume = Volume(ramp.astype(np.float32) + 500, affine)
    target = make(volume)
    there = world(target.affine, target.shape, (5, 4, 3))
    inverse = np.linalg.inv(affine)
    index = np.tensordot(inverse[:3, :3], there, 1) + inverse[:3, 3].reshape(3, 1, 1, 1)
    limits = np.array(shape).reshape(3, 1, 1, 1) - 1
    inside = ((index > 0.01) & (index < limits - 0.01)).all(0)
    assert inside.sum() > 3000
    expected = (np.array([1.0, -2.0, 0.5]).reshape(3, 1, 1, 1) * there).sum(0) + 500
    found = grid.resample(volume, target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[::5, ::4, ::3][inside], expected[inside], atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_there_and_back_keeps_the_ball_in_its_place(case):
    affine, shape = CASES[case]
    volume = Volume(ball(affine, shape), affine)
    target = grid.head(volume, 16)
    back = grid.restore(grid.resample(volume, target), target, volume)
    assert back.shape == volume.data.shape
    assert np.abs(back - volume.data).mean() < 0.01
    truth, found = volume.data > 0.5, back > 0.5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.98


@pytest.mark.parametrize("case", CASES)
def test_fsconform_is_lia_1_mm_about_the_middle(case):
    affine, shape = CASES[case]
    target = grid.fsconform(Volume(np.zeros(shape, np.float32), affine))
    assert target.shape == (256, 256, 256)
    assert nb.aff2axcodes(target.affine) == ("L", "I", "A")
    np.testing.assert_allclose(nb.affines.voxel_sizes(target.affine), 1)
    middle = affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3]
    np.testing.assert_allclose((target.affine @ [128, 128, 128, 1])[:3], middle)


def test_256_cubed_of_other_voxels_is_conformed_too():
    shape = (256, 256, 256)
    affine = np.diag([0.8, 0.8, 0.8, 1])
    volume = Volume(np.zeros(shape, np.float32), affine)
    volume.data[100:156, 100:156, 100:156] = 1  # 44.8 mm a side
    assert grid.resample(volume, grid.fsconform(volume)).sum() == pytest.approx(44.8**3, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["RAS", "PIR", "oblique", "thick slices"])
def test_resampling_agrees_with_nilearn(case):
    from nilearn.image import resample_img

    affine, shape = CASES[case]
    rng = np.random.default_rng(1)
    data = (ball(affine, shape) * rng.uniform(0.5, 1, shape)).astype(np.float32)
    volume = Volume(data, affine)
    target = grid.head(volume, 16)
    reference = resample_img(
        nb.Nifti1Image(data, affine),
        target.affine,
        target.shape,
        interpolation="linear",
        copy_header=True,
        force_resample=True,
    ).get_fdata()
    found = grid.resample(volume, target)
    np.testing.assert_allclose(found, reference, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_head_grid_covers_the_head_in_1_mm_voxels(case):
    affine, shape = CASES[case]
    volume = Volume(ball(affine, shape), affine)
    target = grid.head(volume, 32)
    assert all(size % 32 == 0 for size in target.shape)
    np.testing.assert_allclose(nb.affines.voxel_sizes(target.affine), 1)
    assert nb.aff2axcodes(target.affine) == ("R", "A", "S")
    lost = (
        volume.data.sum() * abs(np.linalg.det(affine[:3, :3]))
        - grid.resample(volume, target).sum()
    )
    assert abs(lost) < 0.01 * volume.data.sum() * abs(np.linalg.det(affine[:3, :3]))


def test_head_grid_leaves_out_empty_air():
    affine, shape = affine_of(spacing=(3.0, 3.0, 3.0), shape=(100, 100, 100))
    noise = np.random.default_rng(0).uniform(0, 0.05, shape).astype(np.float32)
    target = grid.head(Volume(ball(affine, shape) + noise, affine), 16)
    assert max(target.shape) <= 128  # the ball is 100 mm wide, the field of view 300 mm


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0)])
def test_the_level_of_the_air_is_what_noise_makes_of_it(spacing):
    """Rician noise: in air a Rayleigh distribution, of mean 1.25 of its deviation."""
    affine, shape = affine_of(spacing=spacing, shape=(90, 80, 70))
    real, imaginary = np.random.default_rng(0).normal(0, 0.1, (2, *shape)).astype(np.float32)
    volume = Volume(np.hypot(ball(affine, shape) + real, imaginary), affine)
    assert grid.air(volume) == pytest.approx(0.125, rel=0.15)
    assert grid.air(Volume(ball(affine, shape), affine)) == 0
    assert grid.air(Volume(np.full(shape, 3, np.float32), affine)) == 3


def test_beyond_the_volume_there_is_what_was_asked_for():
    affine, shape = affine_of(spacing=(2.0, 2.0, 2.0), shape=(30, 30, 30))
    volume = Volume(np.full(shape, 5, np.float32), affine)
    target = grid.head(volume, 32)
    for outside in (0.0, 7.5):
        found = grid.resample(volume, target, outside)
        assert set(np.unique(found)) == {5, outside}


def test_head_grid_has_an_upper_limit():
    volume = Volume(np.ones((40, 40, 40), np.float32), np.diag([20.0, 20.0, 20.0, 1.0]))
    assert grid.head(volume, 32).shape == (320, 320, 320)


@pytest.mark.slow
@pytest.mark.parametrize("codes", AXCODES)
def test_head_grid_is_the_same_for_every_orientation(codes):
    affine, shape = affine_of(codes)
    reference = affine_of("RAS")
    found = grid.head(Volume(ball(affine, shape), affine), 16)
    expected = grid.head(Volume(ball(*reference), reference[0]), 16)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 5, 6), (1, 4, 2)])
def test_interpolation_agrees_with_scipys_wherever_it_is_asked(shape):
    rng = np.random.default_rng(5)
    data = rng.normal(size=shape)
    # On voxels' middles as well, and backwards along the first axis.
    places = [np.sort(np.r_[rng.uniform(-2, size + 1, 40), np.arange(size)]) for size in shape]
    places[0] = places[0][::-1]
    found = grid.interpolate(data, places, -9.0)
    at = np.meshgrid(*places, indexing="ij")
    wanted = ndimage.map_coordinates(data, at, order=1, cval=-9.0, prefilter=False)
    inside = np.all([(x >= 0) & (x <= n - 1) for x, n in zip(at, shape, strict=True)], axis=0)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-5)
    np.testing.assert_array_equal(found[~inside], -9.0)


@pytest.mark.parametrize("start", [0.0, 0.25, 2.5])
def test_interpolation_of_places_a_voxel_apart_agrees_with_scipys(start):
    """Where rows follow each other they are not copied; the data stay as they are."""
    data = np.random.default_rng(5).normal(size=(7, 8, 9)).astype(np.float32)
    before = data.copy()
    places = [start + np.arange(5), start + np.arange(9.0) - 3, np.arange(9.0)]
    found = grid.interpolate(data, places, -2.0)
    where = np.stack(np.meshgrid(*places, indexing="ij"))
    expected = ndimage.map_coordinates(data, where, order=1, cval=-2.0)
    outside = (where < 0).any(0) | (where > np.array(data.shape)[:, None, None, None] - 1).any(0)
    np.testing.assert_allclose(found, np.where(outside, -2, expected), atol=1e-6)
    np.testing.assert_array_equal(data, before)


def test_interpolation_reaches_nothing_where_no_place_is_inside():
    found = grid.interpolate(np.ones((3, 3, 3)), [np.array([8.0, 9.0]), *[np.arange(3.0)] * 2], 4)
    np.testing.assert_array_equal(found, np.full((2, 3, 3), 4, np.float32))


def test_the_order_in_memory_changes_nothing():
    affine, shape = affine_of("ASL", (1.3, 0.9, 1.1))
    data = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    target = grid.fsconform(Volume(data, affine))
    for turned in (np.eye(3), OBLIQUE):
        to = grid.Grid(
            (40, 50, 60), target.affine @ np.block([[turned, np.zeros((3, 1))], [np.zeros(3), 1]])
        )
        one, other = (grid.resample(Volume(np.array(data, order=o), affine), to) for o in "CF")
        np.testing.assert_array_equal(one, other)
