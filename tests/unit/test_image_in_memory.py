# SPDX-License-Identifier: Apache-2.0
"""Images of nibabel's in memory are taken as their files are: the same values, results, errors."""

import logging

import nibabel as nb
import numpy as np
import pytest
from conftest import AXCODES, head_phantom
from test_image import VARIANTS, saved, variant

from bids_brainmask.errors import ImageError
from bids_brainmask.voxels import image, nifti


def results(source):
    """Bytes of each image that is made like a source."""
    mask = source.volume.data > 50
    return [
        image.to_bytes(made, compress=False)
        for made in (
            image.mask_like(source, mask),
            image.brain_like(source, mask),
            image.probability_like(source, mask / 2),
        )
    ]


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_loaded_image_gives_the_bytes_that_its_file_gives(kind, phantom, tmp_path):
    path = saved(variant(phantom, **VARIANTS[kind]), tmp_path / "t1.nii.gz")
    from_file, from_memory = image.read(path), image.read(nb.load(path))
    np.testing.assert_array_equal(from_memory.volume.data, from_file.volume.data)
    np.testing.assert_array_equal(from_memory.volume.affine, from_file.volume.affine)
    assert results(from_memory) == results(from_file)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_an_array_is_stored_with_its_own_type_and_values(kind, order, phantom):
    header = nb.Nifti1Header(endianness=order)  # which says int16, whatever the array is
    header.set_data_dtype(np.int16)
    data = np.asanyarray(phantom.dataobj).astype(np.dtype(kind).newbyteorder(order))
    source = image.read(nb.Nifti1Image(data, phantom.affine, header))
    assert source.file.get_data_dtype() == np.dtype(kind).newbyteorder(order)
    assert source.file.header.endianness == order
    np.testing.assert_array_equal(source.volume.data, phantom.get_fdata())


@pytest.mark.parametrize(
    ("kind", "stored"), [(np.float16, np.float32), (np.longdouble, np.float64), (bool, np.uint8)]
)
def test_an_array_of_a_type_that_nifti_lacks_is_stored_in_the_next(kind, stored, phantom):
    data = np.asanyarray(phantom.dataobj).astype(kind)
    source = image.read(nb.Nifti1Image(data, phantom.affine, phantom.header))
    assert source.file.get_data_dtype() == stored
    np.testing.assert_array_equal(source.volume.data, data.astype(np.float32))


@pytest.mark.parametrize("codes", AXCODES)
def test_the_grid_is_the_images(codes, phantom):
    turn = nb.orientations.ornt_transform(
        nb.io_orientation(phantom.affine), nb.orientations.axcodes2ornt(codes)
    )
    turned = phantom.as_reoriented(turn)
    source = image.read(turned)
    mask = image.mask_like(source, source.volume.data > 50)
    assert nb.aff2axcodes(mask.affine) == tuple(codes)
    np.testing.assert_allclose(mask.affine, turned.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), turned.get_fdata() > 50)


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 1), (1, 4), (0, 2), (1, 0), (0, 0)])
@pytest.mark.parametrize("units", [("mm", "sec"), ("micron", "unknown"), ("unknown", "unknown")])
def test_codes_and_units_are_kept(qform_code, sform_code, units, phantom):
    header = phantom.header.copy()
    header.set_qform(phantom.affine, qform_code)
    header.set_sform(phantom.affine, sform_code)
    header.set_xyzt_units(*units)
    given = nb.Nifti1Image(np.asanyarray(phantom.dataobj), None, header)
    mask = image.mask_like(source := image.read(given), source.volume.data > 50)
    for key in ("qform_code", "sform_code", "pixdim", "quatern_b", "qoffset_x", "srow_y"):
        np.testing.assert_array_equal(mask.header[key], header[key])
    assert mask.header.get_xyzt_units() == units


def test_an_affine_that_is_new_replaces_that_of_the_header(phantom):
    moved = phantom.affine.copy()
    moved[:3, 3] += 7
    source = image.read(nb.Nifti1Image(np.asanyarray(phantom.dataobj), moved, phantom.header))
    np.testing.assert_allclose(source.volume.affine, moved)
    np.testing.assert_allclose(image.mask_like(source, source.volume.data > 50).affine, moved)


def test_the_header_of_the_image_given_is_left_alone(phantom):
    before = phantom.header.binaryblock
    image.read(phantom)
    assert phantom.header.binaryblock == before


@pytest.mark.parametrize("kind", [nb.Nifti1Pair, nb.MGHImage, nb.Nifti2Image])
def test_other_kinds_become_nifti(kind, phantom):
    source = image.read(kind.from_image(phantom))
    np.testing.assert_array_equal(source.volume.data, phantom.get_fdata())
    np.testing.assert_allclose(source.volume.affine, phantom.affine)
    assert isinstance(source.file, nb.Nifti1Image)
    assert isinstance(source.file, nb.Nifti2Image) is (kind is nb.Nifti2Image)
    assert source.file.header.get_xyzt_units()[0] == "mm"


def test_an_image_without_a_place_is_a_guess(phantom, caplog):
    data = np.asanyarray(phantom.dataobj)
    with caplog.at_level(logging.WARNING):
        image.read(nb.Nifti1Image(data, None))
    assert "the image in memory: qform and sform codes are 0" in caplog.text


def altered(change):
    """Make the phantom with other values."""
    phantom = head_phantom()
    return nb.Nifti1Image(change(np.asanyarray(phantom.dataobj)), phantom.affine, phantom.header)


def placed(change):
    """Make the phantom with another affine."""
    phantom = head_phantom()
    return nb.Nifti1Image(np.asanyarray(phantom.dataobj), change(phantom.affine), None)


FAULTS = {
    "frames": (
        lambda: altered(lambda x: np.stack([x, x], -1)),
        "expected a 3D image, found shape",
    ),
    "a slice": (lambda: altered(lambda x: x[:, :, 30]), "expected a 3D image, found shape"),
    "constant": (lambda: altered(np.zeros_like), "every voxel is 0; expected intensities"),
    "no number": (
        lambda: altered(lambda x: np.full(x.shape, np.nan, np.float32)),
        "no voxel has a finite value",
    ),
    "complex": (lambda: altered(lambda x: x.astype(np.complex64)), "expected real intensities"),
    "a corner": (lambda: altered(lambda x: x[:9, :9, :9]), "the field of view is"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_are_those_of_the_file(fault, tmp_path):
    make, words = FAULTS[fault]
    given = make()
    header = given.header.copy()
    header.set_data_dtype(np.asanyarray(given.dataobj).dtype)
    path = tmp_path / "t1.nii"
    nb.save(nb.Nifti1Image(np.asanyarray(given.dataobj), given.affine, header), path)
    with pytest.raises(ImageError, match=words) as of_file:
        image.read(path)
    with pytest.raises(ImageError, match=words) as of_memory:
        image.read(given)
    expected = str(of_file.value).replace(str(path), nifti.IN_MEMORY)
    assert str(of_memory.value) == expected
    with pytest.raises(ImageError, match=words) as of_loaded:
        image.read(nb.load(path))
    assert str(of_loaded.value) == str(of_file.value)  # which has a name


def test_errors_of_images_that_no_file_holds(phantom):
    with pytest.raises(ImageError, match="expected a 3D image, found shape"):
        image.read(altered(lambda x: x[:0]))
    colored = np.zeros(phantom.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageError, match="expected real intensities"):
        image.read(nb.Nifti1Image(colored, phantom.affine))
    with pytest.raises(ImageError, match="found Spm2AnalyzeImage"):
        image.read(nb.Spm2AnalyzeImage.from_image(phantom))
    for affine in (np.nan, 0.0):
        broken = head_phantom()
        broken.affine[0, 0] = affine  # in place: nibabel does not look
        with pytest.raises(ImageError, match="the affine is singular or not finite"):
            image.read(broken)
    with pytest.raises(ImageError, match="expected real intensities"):
        image.read(altered(lambda x: x.astype("U3")))


def test_a_header_that_nibabel_cannot_use_is_refused(phantom):
    header = phantom.header.copy()
    header["sform_code"], header["quatern_b"] = 0, 5
    with pytest.raises(ImageError, match="not a usable NIfTI image"):
        image.read(nb.Nifti1Image(np.asanyarray(phantom.dataobj), None, header))


@pytest.mark.parametrize("given", [np.zeros((60, 60, 60)), None, 3])
def test_what_is_no_image_is_refused(given):
    with pytest.raises(ImageError, match="expected a path or a nibabel image, found"):
        image.read(given)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_a_file_that_ends_early_is_told_of_when_it_is_read(extension, phantom, tmp_path):
    path = saved(phantom, tmp_path / f"t1{extension}")
    loaded = nb.load(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match="the voxels cannot be read"):
        image.read(loaded)


def test_a_path_may_be_text(phantom, tmp_path):
    path = saved(phantom, tmp_path / "t1.nii")
    np.testing.assert_array_equal(image.read(str(path)).volume.data, phantom.get_fdata())
