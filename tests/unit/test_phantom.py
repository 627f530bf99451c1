# SPDX-License-Identifier: Apache-2.0
"""The demo's head: a true mask, tissues where and as bright as they should be, valid BIDS."""

import json
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from bids_brainmask.demo import phantom, phantom_dataset
from bids_brainmask.errors import OutputError

pytestmark = pytest.mark.slow

SPACING = 2.0
WHITE = phantom.WHITE


def voxels(image: nb.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj)


@pytest.fixture(scope="module")
def plain():
    return phantom.head(1, spacing=SPACING)


@pytest.fixture(scope="module")
def enhanced():
    return phantom.head(1, spacing=SPACING, contrast=True)


@pytest.fixture(scope="module")
def upright():
    """A head on the template's own coordinates, without bias."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "_shape", lambda random: np.eye(4))
        patch.setattr(phantom, "_bias", lambda random, shape: np.float32(1))
        return phantom.head(0, spacing=SPACING)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, plain):
    """A dataset of coarse voxels, which are faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "head", partial(phantom.head, spacing=SPACING))
        return phantom_dataset.write_dataset(tmp_path_factory.mktemp("phantom") / "bids")


def template_over(image: nb.Nifti1Image, load) -> np.ndarray:
    """One of nilearn's templates on the grid of an image."""
    template = load(resolution=1)
    matrix = np.linalg.inv(template.affine) @ image.affine
    data = np.asarray(template.dataobj, dtype=np.float32)
    return ndimage.affine_transform(data, matrix, output_shape=image.shape, order=1)


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [2.0, 3.0, 4.0])
def test_one_grid_upright_in_scanner_coordinates(spacing):
    image, mask = phantom.head(spacing=spacing)
    assert image.shape == mask.shape
    assert image.get_data_dtype() == np.int16
    assert mask.get_data_dtype() == np.uint8
    for file in (image, mask):
        assert nb.aff2axcodes(file.affine) == ("R", "A", "S")
        assert file.header.get_zooms() == pytest.approx((spacing,) * 3)
        assert file.header["qform_code"] == file.header["sform_code"] == 1
        np.testing.assert_allclose(file.get_qform(), file.get_sform(), atol=1e-4)
        np.testing.assert_allclose(file.get_sform(), phantom._grid(spacing), atol=1e-4)
        assert file.header.get_xyzt_units()[0] == "mm"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_mask_is_one_solid_brain_of_human_size(seed):
    mask = voxels(phantom.head(seed, spacing=SPACING)[1])
    assert set(np.unique(mask)) == {0, 1}
    assert 1.4e6 < mask.sum() * SPACING**3 < 2.2e6
    pieces, count = ndimage.label(mask)
    assert np.bincount(pieces.ravel())[1:].max() > 0.999 * mask.sum(), count
    np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)
    assert not any(mask.take(edge, axis).any() for axis in range(3) for edge in (0, -1))


def test_mask_is_the_templates_where_nothing_is_deformed(upright):
    from nilearn.datasets import load_mni152_brain_mask

    truth = template_over(upright[0], load_mni152_brain_mask) > 0.5
    mask = voxels(upright[1]) > 0
    assert 2 * (truth & mask).sum() / (truth.sum() + mask.sum()) > 0.99


def test_brain_is_inside_the_head(plain):
    image, mask = map(voxels, plain)
    head = ndimage.binary_opening(image > 0.3 * WHITE)
    # Slice by slice, as the fluid of the spinal canal is a way in from below.
    head = np.stack([ndimage.binary_fill_holes(cut) for cut in np.moveaxis(head, 2, 0)], axis=2)
    depth = ndimage.distance_transform_edt(head, SPACING)
    assert depth[mask > 0].min() > 8  # mm of fluid, bone and scalp


def test_white_grey_and_fluid_differ_as_in_t1w(upright):
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

    image, mask = map(voxels, upright)
    grey, white = (
        template_over(upright[0], load)
        for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    inside = ndimage.binary_erosion(mask, iterations=3)
    assert image[inside & (white > 0.9)].mean() == pytest.approx(WHITE, rel=0.07)
    assert image[inside & (grey > 0.8)].mean() == pytest.approx(0.65 * WHITE, rel=0.1)
    assert image[inside & (grey + white < 0.1)].mean() < 0.4 * WHITE


def test_places_of_the_head_have_their_tissues(upright):
    image = ndimage.gaussian_filter(voxels(upright[0]).astype(np.float32), 0.5) / WHITE
    expected = {
        "air": ((0, 110, 100), 0.02),
        "eye": ((32, 60, -40), 0.20),
        "orbital fat": ((32, 42, -46), 1.30),
        "airway": ((0, 10, -110), 0.02),
        "muscle": ((40, -40, -120), 0.55),
        "cord": ((0, -49, -104), 0.85),
    }
    for place, (point, intensity) in expected.items():
        index = nb.affines.apply_affine(np.linalg.inv(upright[0].affine), point).round()
        assert image[tuple(index.astype(int))] == pytest.approx(intensity, abs=0.12), place


def test_air_is_dark_and_not_blank(plain):
    corner = voxels(plain[0])[:8, -20:, -20:]
    assert 0.005 * WHITE < corner.mean() < 0.04 * WHITE
    assert corner.std() > 0


def rays():
    """Directions upwards and sideways, and some between."""
    angles = np.radians(np.arange(0, 181, 15))
    yield from ((np.cos(a), 0, np.sin(a)) for a in angles)
    yield from ((0, np.cos(a), np.sin(a)) for a in angles[3:-3])


@pytest.mark.parametrize("direction", list(rays()))
def test_bone_lies_between_brain_and_scalp(upright, direction):
    image, mask = map(voxels, upright)
    centre = nb.affines.apply_affine(np.linalg.inv(upright[0].affine), (0, -18, 10))
    path = centre[:, None] + np.outer(direction, np.arange(0, 130) / SPACING)
    brain = ndimage.map_coordinates(mask.astype(float), path, order=0)
    values = ndimage.map_coordinates(image / WHITE, path, order=1)[brain.nonzero()[0].max() + 1 :]
    scalp = np.argmax(values > 0.95)
    assert values[scalp] > 0.95
    assert values[max(scalp - 6, 0) : scalp].min() < 0.25  # mm; fluid is deeper than these
    assert values[-10:].max() < 0.1


def test_cord_goes_on_below_the_mask_to_the_edge(upright):
    image, mask = map(voxels, upright)
    lowest = mask.any((0, 1)).argmax()
    middle = image[image.shape[0] // 2 - 1 : image.shape[0] // 2 + 1]
    behind = slice(*((np.array([-60, -40]) - phantom.BOX[1, 0]) / SPACING).astype(int))
    assert lowest > 30
    assert (middle[:, behind, :lowest].max((0, 1)) > 0.7 * WHITE).all()


def test_a_seed_is_a_head(plain):
    again = phantom.head(1, spacing=SPACING)
    other = phantom.head(2, spacing=SPACING)
    for first, same, different in zip(plain, again, other, strict=True):
        assert first.to_bytes() == same.to_bytes()
        assert (voxels(first) != voxels(different)).any()


def test_contrast_brightens_what_is_outside_the_brain(plain, enhanced):
    np.testing.assert_array_equal(voxels(plain[1]), voxels(enhanced[1]))
    gain = voxels(enhanced[0]).astype(int) - voxels(plain[0])
    inside = ndimage.binary_erosion(voxels(plain[1]), iterations=3)  # its edge is blurred
    assert not gain[inside].any()
    assert gain.min() > -3 * phantom.NOISE * WHITE  # noise may turn a faint sum's sign
    assert (gain > 0.8 * WHITE).sum() * SPACING**3 > 5000  # mm3 of vessels


def test_dataset_holds_heads_and_their_masks(dataset):
    scans = sorted(path.relative_to(dataset) for path in dataset.glob("sub-*/**/*_T1w.nii.gz"))
    assert [scan.as_posix() for scan in scans] == [
        "sub-phantom01/anat/sub-phantom01_T1w.nii.gz",
        "sub-phantom02/ses-1/anat/sub-phantom02_ses-1_T1w.nii.gz",
        "sub-phantom02/ses-1/anat/sub-phantom02_ses-1_ce-gadolinium_T1w.nii.gz",
    ]
    for scan in scans:
        mask = Path(str(scan).replace("_T1w.", "_desc-brain_mask."))
        truth = dataset / "derivatives" / "truth" / mask
        np.testing.assert_array_equal(nb.load(truth).affine, nb.load(dataset / scan).affine)
        sidecar = json.loads(Path(str(truth).replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"] == [f"bids:raw:{scan.as_posix()}"]
        sidecar = json.loads((dataset / str(scan).replace(".nii.gz", ".json")).read_text())
        contrast = "GADOLINIUM" if "_ce-" in scan.name else None
        assert sidecar.get("ContrastBolusIngredient") == contrast
    assert "phantom" in json.loads((dataset / "dataset_description.json").read_text())["Name"]
    assert "no scan" in (dataset / "README").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("part", [".", "derivatives/truth"])
def test_dataset_is_valid(dataset, part, issues):
    assert issues(dataset / part) == []


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes"):
        with pytest.raises(OutputError, match="not an empty folder"):
            phantom_dataset.write_dataset(taken)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "the seed is -1"),
        ({"spacing": 0.7}, "the spacing is 0.7 mm"),
        ({"spacing": 5}, "the spacing is 5 mm"),
        ({"spacing": float("nan")}, "the spacing is nan mm"),
    ],
)
def test_head_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        phantom.head(**settings)
