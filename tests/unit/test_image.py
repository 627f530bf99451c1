# SPDX-License-Identifier: Apache-2.0
"""Reading every kind of file, and writing onto the same grid."""

import gzip
import logging

import nibabel as nb
import numpy as np
import pytest
from conftest import head_phantom

from bids_brainmask.errors import ImageError
from bids_brainmask.voxels import image
from bids_brainmask.voxels.image import Volume


def saved(picture, path):
    nb.save(picture, path)
    return path


def variant(picture, *, dtype=None, slope=None, inter=0.0, order="<", shape=None):
    """Store the phantom's intensities otherwise."""
    header = nb.Nifti1Header(endianness=order)
    data = np.asanyarray(picture.dataobj)
    if slope is not None:
        data = np.round((data - inter) / slope)
    header.set_data_dtype(np.dtype(dtype or data.dtype).newbyteorder(order))
    data = data.astype(dtype or data.dtype).reshape(shape or data.shape)
    made = nb.Nifti1Image(data, None, header)
    made.set_qform(picture.affine, 1)
    made.set_sform(picture.affine, 1)
    if slope is not None:
        made.header.set_slope_inter(slope, inter)
    return made


VARIANTS = {
    "int16": {},
    "int16 with slope and intercept": {"dtype": np.int16, "slope": 0.5, "inter": 20.0},
    "uint8": {"dtype": np.uint8},
    "float32": {"dtype": np.float32},
    "float64": {"dtype": np.float64},
    "big-endian": {"order": ">"},
    "one frame": {"shape": (60, 70, 64, 1)},
}


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_intensities_are_read_whatever_their_storage(kind, extension, phantom, tmp_path):
    path = saved(variant(phantom, **VARIANTS[kind]), tmp_path / f"t1{extension}")
    found = image.read(path).volume
    np.testing.assert_allclose(found.data, phantom.get_fdata())
    np.testing.assert_allclose(found.affine, phantom.affine)
    assert found.data.dtype == np.float32


def test_nifti_2_is_read_and_results_are_nifti_2(phantom, tmp_path):
    path = saved(nb.Nifti2Image.from_image(phantom), tmp_path / "t1.nii")
    source = image.read(path)
    assert isinstance(image.mask_like(source, source.volume.data > 50), nb.Nifti2Image)


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_brain_is_bit_equal_to_the_source_inside_the_mask(kind, phantom, tmp_path):
    source = image.read(saved(variant(phantom, **VARIANTS[kind]), tmp_path / "t1.nii.gz"))
    mask = source.volume.data > 50
    content = image.to_bytes(image.brain_like(source, mask), compress=True)
    (tmp_path / "brain.nii.gz").write_bytes(content)
    brain = nb.load(tmp_path / "brain.nii.gz")
    raw = nb.load(tmp_path / "t1.nii.gz")
    assert brain.get_data_dtype() == raw.get_data_dtype()
    assert (brain.dataobj.slope, brain.dataobj.inter) == (raw.dataobj.slope, raw.dataobj.inter)
    stored = np.asanyarray(raw.dataobj.get_unscaled()).reshape(mask.shape)
    np.testing.assert_array_equal(np.asanyarray(brain.dataobj.get_unscaled())[mask], stored[mask])
    assert not brain.get_fdata()[~mask].any()


def test_outside_the_brain_is_the_nearest_to_zero_that_can_be_stored(phantom, tmp_path):
    made = variant(phantom, dtype=np.uint8, slope=1.0, inter=0.0)
    made.header.set_slope_inter(1.0, 100.0)  # the darkest that uint8 can say is 100
    source = image.read(saved(made, tmp_path / "t1.nii"))
    brain = image.brain_like(source, source.volume.data > 150)
    assert set(np.unique(np.asanyarray(brain.dataobj))) == {0, 100}


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 1), (1, 4), (0, 2), (1, 0), (0, 0)])
def test_results_carry_both_transforms_and_codes(qform_code, sform_code, phantom, tmp_path):
    shifted = phantom.affine.copy()
    shifted[:3, 3] += [3, -4, 5]
    phantom.set_qform(phantom.affine, qform_code)
    phantom.set_sform(shifted, sform_code)
    path = saved(phantom, tmp_path / "t1.nii")
    source = image.read(path)
    raw = nb.load(path)
    content = image.to_bytes(image.mask_like(source, source.volume.data > 50), compress=False)
    mask = nb.Nifti1Image.from_bytes(content)
    for key in (
        "qform_code",
        "sform_code",
        "pixdim",
        "qoffset_x",
        "quatern_b",
        "srow_x",
        "srow_z",
    ):
        np.testing.assert_array_equal(mask.header[key], raw.header[key])
    np.testing.assert_array_equal(mask.affine, raw.affine)
    assert mask.get_data_dtype() == np.uint8
    assert (mask.dataobj.slope, mask.dataobj.inter) == (1, 0)
    assert mask.header.get_xyzt_units() == raw.header.get_xyzt_units()
    assert set(np.unique(np.asanyarray(mask.dataobj))) == {0, 1}


def test_probabilities_are_float32(phantom, tmp_path):
    source = image.read(saved(phantom, tmp_path / "t1.nii"))
    probability = source.volume.data / 128
    made = nb.Nifti1Image.from_bytes(
        image.to_bytes(image.probability_like(source, probability), compress=False)
    )
    assert made.get_data_dtype() == np.float32
    np.testing.assert_array_equal(made.get_fdata(), probability)


def test_the_same_image_gives_the_same_bytes(phantom, tmp_path):
    source = image.read(saved(phantom, tmp_path / "t1.nii"))
    made = [
        image.to_bytes(image.mask_like(source, source.volume.data > 50), compress=True)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert gzip.decompress(made[0])


def test_read_mask(phantom, tmp_path):
    path = saved(
        nb.Nifti1Image((phantom.get_fdata() > 50).astype(np.uint8), phantom.affine),
        tmp_path / "mask.nii.gz",
    )
    np.testing.assert_array_equal(image.read_mask(path), phantom.get_fdata() > 50)


def with_data(picture, change):
    data = picture.get_fdata(dtype=np.float32)
    change(data)
    return nb.Nifti1Image(data, picture.affine)


def test_some_nan_is_zero_with_a_warning(phantom, tmp_path, caplog):
    def spoil(data):
        data[:3] = np.nan
        data[3, 0, 0] = np.inf

    path = saved(with_data(phantom, spoil), tmp_path / "t1.nii")
    found = image.read(path).volume.data
    assert not found[:3].any()
    assert found[3, 0, 0] == 0
    assert np.isfinite(found).all()
    assert f"{3 * 70 * 64 + 1} voxels are not finite" in caplog.text


def fill(value):
    return lambda data: data.__setitem__(slice(None), value)


def broken_files():
    good = head_phantom().to_bytes()
    zipped = gzip.compress(good)
    singular = head_phantom()
    singular.set_sform(np.diag([3, 3, 0, 1]), 1)
    flat = nb.Nifti1Image(np.ones((60, 60), np.int16), np.eye(4))
    frames = nb.Nifti1Image(np.ones((60, 60, 60, 5), np.int16), np.eye(4))
    complexed = nb.Nifti1Image(np.ones((60, 60, 60), np.complex64), np.eye(4))
    coloured = nb.Nifti1Image(
        np.zeros((60, 60, 60), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)
    )
    small = nb.Nifti1Image(np.arange(8.0).reshape(2, 2, 2), np.eye(4))
    return {
        "empty.nii": (b"", "the file is empty"),
        "empty.nii.gz": (b"", "the file is empty"),
        "noise.nii": (b"not an image at all" * 40, "not a readable NIfTI image"),
        "plain.nii.gz": (good, "not a readable NIfTI image"),
        "header.nii": (good[:200], "not a readable NIfTI image"),
        "truncated.nii": (good[:90_000], "found 90000 bytes, expected 537952"),
        "truncated.nii.gz": (zipped[: len(zipped) // 2], "cannot be read|not a readable"),
        "corrupt.nii.gz": (
            zipped[:500] + bytes(200) + zipped[700:],
            "cannot be read|not a readable|more voxels",
        ),
        "checksum.nii.gz": (zipped[:-8] + bytes(8), "cannot be read .*CRC"),
        "long.nii.gz": (gzip.compress(good + bytes(70_000)), "more voxels than the header"),
        "nan.nii": (with_data(head_phantom(), fill(np.nan)), "no voxel has a finite value"),
        "constant.nii": (with_data(head_phantom(), fill(7)), "every voxel is 7"),
        "flat.nii": (flat, r"expected a 3D image, found shape \(60, 60\)"),
        "frames.nii": (frames, r"found shape \(60, 60, 60, 5\)"),
        "complex.nii": (complexed, "expected real intensities, found data type complex64"),
        "rgb.nii": (coloured, "expected real intensities"),
        "singular.nii": (singular, "affine is singular"),
        "small.nii": (small, "expected 40 to 3000 mm"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", broken_files())
def test_what_cannot_be_used_is_refused_with_its_name_and_the_reason(name, tmp_path):
    content, reason = broken_files()[name]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        nb.save(content, path)
    with pytest.raises(ImageError, match=reason) as caught:
        image.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_absent_files_and_dangling_links_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        image.read(tmp_path / "absent.nii")
    link = tmp_path / "link.nii.gz"
    link.symlink_to("../.git/annex/objects/x")
    with pytest.raises(ImageError, match=r"a link to .*objects/x, which does not exist.*get"):
        image.read(link)


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "t1.mgz"
    nb.save(nb.MGHImage(np.ones((50, 50, 50), np.float32), np.eye(4)), path)
    with pytest.raises(ImageError, match=r"expected a NIfTI image, whose name ends in .nii"):
        image.read(path)


def test_no_orientation_is_warned_of(phantom, tmp_path, caplog):
    phantom.set_qform(None, 0)
    phantom.set_sform(None, 0)
    with caplog.at_level(logging.WARNING):
        image.read(saved(phantom, tmp_path / "t1.nii"))
    assert "orientation is a guess" in caplog.text


def test_a_volume_has_three_axes_and_an_affine():
    with pytest.raises(ValueError, match=r"expected shapes \(I, J, K\) and \(4, 4\)"):
        Volume(np.zeros((3, 3)), np.eye(4))
    spacing = Volume(np.zeros((3, 3, 3)), np.diag([2.0, 3.0, 4.0, 1])).spacing
    np.testing.assert_allclose(spacing, [2, 3, 4])
