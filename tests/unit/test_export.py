# SPDX-License-Identifier: Apache-2.0
"""Masks for other programs: grids, names and values, and what is refused."""

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from conftest import head_phantom
from export_phantoms import ExportedDataset, places, turned

from bids_brainmask.cli import brainmask
from bids_brainmask.dataset import folders, storage
from bids_brainmask.errors import UsageError
from bids_brainmask.export import targets
from bids_brainmask.voxels import grid, image, mgh


class Exported(ExportedDataset):
    """Such a dataset, and a folder to export to."""

    def __init__(self, folder, capsys):
        super().__init__(folder)
        self.dest, self.capsys = folder / "dest", capsys

    def run(self, program, *words):
        """Exit status, printed paths relative to the folder, and messages."""
        status = self.export(program, self.dest, *words)
        shown = self.capsys.readouterr()
        paths = [Path(line) for line in shown.out.split("\n") if line]
        return status, [path.relative_to(self.dest).as_posix() for path in paths], shown.err

    def read(self, name):
        return nb.load(self.dest / name)


@pytest.fixture
def exported(tmp_path, capsys):
    return Exported(tmp_path, capsys)


def test_one_image_gives_one_mask_on_the_canonical_grid(exported):
    path = exported.add("sub-01_run-1", turned("PIR", 12))
    status, names, said = exported.run("fmriprep")
    assert (status, names) == (0, ["sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz"])
    assert "--derivatives" in said
    raw, mask = nb.load(path), exported.read(names[0])
    canonical = nb.as_closest_canonical(raw)
    assert mask.shape == canonical.shape
    np.testing.assert_allclose(mask.affine, canonical.affine, atol=1e-6)
    np.testing.assert_allclose(mask.get_qform(), mask.get_sform(), atol=1e-5)
    np.testing.assert_array_equal(places(mask), places(raw, 100))
    record = json.loads((exported.dest / names[0].replace(".nii.gz", ".json")).read_text())
    assert record["Sources"][0] == "bids:raw:sub-01/anat/sub-01_run-1_T1w.nii.gz"
    links = folders.description(exported.dest)["DatasetLinks"]
    assert links == {"raw": "../raw%20%26%20more", "brainmask": "../out"}


def test_of_several_images_the_finest_plain_one_is_the_reference(exported):
    exported.add("sub-01_run-1", head_phantom((40, 44, 48), (4.0, 4.0, 4.0)))
    path = exported.add("sub-01_run-2", head_phantom().slicer[::-1])
    exported.add("sub-01_run-3")
    exported.add("sub-01_ce-gad", head_phantom((90, 100, 90), (2.0, 2.0, 2.0)))
    status, names, said = exported.run("fmriprep")
    start = "sub-01/anat/sub-01_run-2_desc-"
    assert (status, names) == (0, [f"{start}brain_mask.nii.gz", f"{start}preproc_T1w.nii.gz"])
    assert "one of 4 T1w images" in said
    mask, reference = map(exported.read, names)
    np.testing.assert_array_equal(mask.affine, reference.affine)
    assert nb.aff2axcodes(mask.affine) == ("R", "A", "S")
    expected = nb.as_closest_canonical(nb.load(path)).get_fdata()
    np.testing.assert_array_equal(reference.get_fdata(), expected)


def test_a_filter_that_leaves_one_image_needs_no_reference(exported, tmp_path):
    exported.add("sub-01_acq-a")
    exported.add("sub-01_acq-b")
    file = tmp_path / "filter.json"
    file.write_text('{"t1w": {"acquisition": "b"}}')
    status, names, _ = exported.run("fmriprep", "--bids-filter-file", file)
    assert (status, names) == (0, ["sub-01/anat/sub-01_acq-b_desc-brain_mask.nii.gz"])


def test_a_mask_for_each_session(exported):
    for session in ("1", "2"):
        exported.add(f"sub-01_ses-{session}")
    words = ("--per", "session", "--participant-label", "sub-01", "--session-label", "ses-2", "1")
    status, names, _ = exported.run("fmriprep", *words)
    assert status == 0
    assert names == [
        f"sub-01/ses-{s}/anat/sub-01_ses-{s}_desc-brain_mask.nii.gz" for s in ("1", "2")
    ]


def test_transforms_that_differ_make_a_reference(exported):
    file = head_phantom()
    moved = file.affine.copy()
    moved[0, 3] += 5
    file.set_qform(moved, 1)
    exported.add("sub-01", file)
    status, names, said = exported.run("fmriprep")
    assert (status, len(names)) == (0, 2)
    assert "transforms that differ" in said
    for name in names:
        file = exported.read(name)
        np.testing.assert_allclose(file.get_qform(), file.get_sform(), atol=1e-5)
    _, names, said = exported.run("ants")
    assert names[-1] == "sub-01/sub-01_T1w.nii.gz"
    assert "use the image that is written" in said


def test_what_is_not_exact_is_refused(exported):
    exported.add("sub-01", mask=False)
    exported.add("sub-02_ce-gad")
    exported.add("sub-03", ContrastBolusIngredient="GADOLINIUM")
    storage.write_bytes(exported.add("sub-04"), b"another")
    sheared = head_phantom()
    affine = sheared.affine.copy()
    affine[0, 1] = 0.3
    exported.add("sub-05", nb.Nifti1Image(np.asanyarray(sheared.dataobj), affine))
    exported.add("sub-06")
    other = exported.out / "sub-06/anat/sub-06_desc-brain_mask.nii.gz"
    nb.save(nb.Nifti1Image(np.ones((60, 70, 64), np.uint8), np.eye(4)), other)
    exported.add("sub-07")
    nb.save(
        image.mask_like(
            image.read(exported.raw.root / "sub-07/anat/sub-07_T1w.nii.gz"),
            np.zeros((60, 70, 64), bool),
        ),
        exported.out / "sub-07/anat/sub-07_desc-brain_mask.nii.gz",
    )
    status, names, said = exported.run("fmriprep")
    assert (status, names) == (1, [])
    reasons = dict(line.split(": refused: ") for line in said.splitlines()[:7])
    for number, reason in enumerate(
        (
            "no finished mask",
            "contrast-enhanced, and there is no plain",
            "contrast-enhanced, and there is no plain",
            "has changed since",
            "not at right angles",
            "not on one grid",
            "the mask is empty",
        ),
        1,
    ):
        assert reason in reasons[f"sub-0{number}"]
    assert "7 of 7 refused" in said
    assert not exported.dest.exists()


@pytest.mark.slow
@pytest.mark.parametrize("row", targets.TARGETS, ids=lambda row: row.name)
def test_existing_files_are_kept(exported, row):
    exported.add("sub-01")
    assert exported.run(row.name)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in exported.dest.rglob("*.*")}
    status, names, said = exported.run(row.name)
    assert (status, names) == (1, [])
    assert "already there" in said
    assert before == {path: path.stat().st_mtime_ns for path in exported.dest.rglob("*.*")}


def test_every_row_is_a_choice():
    commands = next(a for a in brainmask.parser()._actions if a.choices)
    option = next(a for a in commands.choices["export"]._actions if a.dest == "program")
    assert list(option.choices) == [row.name for row in targets.TARGETS]


@pytest.mark.slow
def test_freesurfer_before_recon_all(exported):
    path = exported.add("sub-01_ses-1", turned("LPI", 9))
    status, names, said = exported.run("freesurfer")
    assert (status, names) == (0, [f"sub-01_ses-1/mri/{n}.mgz" for n in ("T1", "brainmask")])
    assert "not normalized" in said
    head, brain = map(exported.read, names)
    raw = nb.load(path)
    for file in (head, brain):
        assert isinstance(file, nb.freesurfer.MGHImage)
        assert file.shape == (256, 256, 256)
        assert nb.aff2axcodes(file.affine) == ("L", "I", "A")
        middle = nb.affines.apply_affine(raw.affine, np.array(raw.shape) / 2)
        np.testing.assert_allclose(file.header["Pxyz_c"], middle, atol=1e-3)  # c_ras
    values, inside = np.asanyarray(head.dataobj), np.asanyarray(brain.dataobj) > 0
    assert values.dtype == np.uint8
    assert (values.min(), values.max()) == (0, 255)
    np.testing.assert_array_equal(np.asanyarray(brain.dataobj)[inside], values[inside])
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 60**3, rel=0.03)  # mm^3
    center = nb.affines.apply_affine(brain.affine, np.argwhere(inside)).mean(0)
    np.testing.assert_allclose(center, (7, -3, 11), atol=0.5)


@pytest.mark.slow
def test_freesurfer_after_recon_all(exported):
    """Its own T1.mgz keeps its values; another grid is refused."""
    path = exported.add("sub-01")
    target = grid.fsconform(image.read(path).volume)
    own = np.full(target.shape, 110, np.uint8)
    place = exported.dest / "sub-01/mri/T1.mgz"
    storage.write_bytes(place, mgh.to_bytes(image.Volume(own, target.affine)))
    status, names, said = exported.run("freesurfer")
    assert (status, names) == (0, ["sub-01/mri/brainmask.mgz"])
    assert "recon-all's T1.mgz" in said
    assert set(np.unique(np.asanyarray(exported.read(names[0]).dataobj))) == {0, 110}
    (exported.dest / names[0]).unlink()
    moved = target.affine.copy()
    moved[0, 3] += 1
    storage.write_bytes(place, mgh.to_bytes(image.Volume(own, moved)))
    assert "recon-all had another image" in exported.run("freesurfer")[2]
    place.write_bytes(b"nothing")
    assert "not readable as MGH" in exported.run("freesurfer")[2]
    storage.write_bytes(place, mgh.to_bytes(image.Volume(own[:2, :2, :2], moved)))
    assert "recon-all had another image" in exported.run("freesurfer")[2]
    nb.save(nb.freesurfer.MGHImage(np.zeros((2, 2, 2, 2), np.uint8), moved), place)
    assert "expected three axes" in exported.run("freesurfer")[2]


def test_a_brain_beyond_the_grid_of_freesurfer_is_refused(exported):
    file = head_phantom()
    padded = np.pad(np.asanyarray(file.dataobj), ((0, 0), (0, 0), (0, 80)))
    exported.add("sub-01", nb.Nifti1Image(padded, file.affine))
    status, names, said = exported.run("freesurfer")
    assert (status, names) == (1, [])
    assert "partly outside" in said


def test_fsl_has_bets_names_and_the_orientation_of_mni152(exported):
    path = exported.add("sub-01_ses-1_ce-gad", turned("SAR"))
    status, names, _ = exported.run("fsl")
    start = "sub-01/ses-1/sub-01_ses-1_ce-gad_T1w"
    assert (status, names) == (
        0,
        [f"{start}{end}.nii.gz" for end in ("", "_brain", "_brain_mask")],
    )
    whole, brain, mask = map(exported.read, names)
    assert {nb.aff2axcodes(file.affine) for file in (whole, brain, mask)} == {("L", "A", "S")}
    np.testing.assert_array_equal(places(mask), places(nb.load(path), 100))
    expected = whole.get_fdata() * (mask.get_fdata() > 0)
    np.testing.assert_array_equal(brain.get_fdata(), expected)


def test_ants_has_the_names_of_its_script_and_the_images_own_grid(exported):
    path = exported.add("sub-01", turned("LIP"))
    status, names, _ = exported.run("ants")
    assert (status, names) == (
        0,
        [f"sub-01/sub-01_BrainExtraction{end}.nii.gz" for end in ("Mask", "Brain")],
    )
    for name in names:
        np.testing.assert_array_equal(exported.read(name).affine, nb.load(path).affine)


@pytest.mark.parametrize(
    ("links", "reason"),
    [(None, "no DatasetLinks with 'raw'"), ({"raw": "nowhere"}, "no such folder")],
)
def test_the_raw_dataset_is_needed(exported, links, reason):
    path = exported.add("sub-01")
    storage.write_json(exported.out / "dataset_description.json", {"DatasetLinks": links})
    with pytest.raises(UsageError, match=reason):
        folders.raw_dataset(exported.out)
    assert exported.run("ants")[0] == 2
    assert exported.run("ants", "--bids-dir", path.parents[2])[0] == 0
