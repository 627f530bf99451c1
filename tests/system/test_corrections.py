# SPDX-License-Identifier: Apache-2.0
"""Masks that a person corrects: seen, kept, measured, and never lost.

The heads are tiny and the network is one comparison; all else is as in any run.
"""

import gzip
import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import nibabel as nb
import numpy as np
import pytest
import SimpleITK
from bench import load
from conftest import Dataset

from bids_brainmask.analyses import catalog, rendering
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.dataset import storage
from bids_brainmask.results import files
from bids_brainmask.voxels import image, masks

_, scale = map(load, ("document", "scale"))

NAME = "sub-01_ce-gd"


class Study:
    """A dataset of one contrast-enhanced head, and its results."""

    def __init__(self, folder):
        self.data = Dataset(folder / "bids")
        self.out = folder / "out"
        self.anat = self.out / "sub-01/anat"
        self.mask = self.anat / f"{NAME}_desc-brain_mask.nii.gz"
        self.automatic = self.anat / f"{NAME}_desc-brainauto_mask.nii.gz"
        self.tumor = self.anat / f"{NAME}_label-tumor_desc-meningioma_mask.nii.gz"

    def run(self, *words, level="participant", status=0):
        """Run a level; the row of the closing table about the head, or its status."""
        serial = ["--executor", "serial"] if level == "participant" else []
        words = [str(self.data.root), str(self.out), level, *serial, *words]
        with redirect_stdout(StringIO()) as said:
            assert bids_app.main(words) == status
        row = re.search(r"^sub-01/\S+ +(.*)$", said.getvalue(), re.M)
        if row:
            return row[1]
        return "skipped" if "1 skipped" in said.getvalue() else "done"

    def tool(self, *words, status=0):
        """Run a tool; what it prints."""
        with redirect_stdout(StringIO()) as said:
            assert brainmask.main(list(map(str, words))) == status
        return said.getvalue()

    def states(self):
        """State of each file by `brainmask status`, by name."""
        with redirect_stdout(StringIO()) as said:
            brainmask.main(["status", str(self.out), "--format", "json"])
        return {each["path"].split("/")[-1]: each["state"] for each in json.loads(said.getvalue())}

    def record(self, path=None):
        """Sidecar of a file; of the mask if none is named."""
        return json.loads(((path or self.mask).parent / (self.stem(path) + ".json")).read_text())

    def stem(self, path):
        return (path or self.mask).name.split(".")[0]

    def edit(self, path=None, **how):
        """Halve a mask, as a person would: the lower planes are cleared."""
        return edit(path or self.mask, **how)

    def is_of(self, mask):
        """Tell that all that is shown is of a mask."""
        np.testing.assert_array_equal(image.read_mask(self.mask), mask)
        record = self.record()
        assert record["VoxelsSHA256"] == masks.digest(mask)
        volume = mask.sum() * 27 / 1000
        assert record["BrainVolume"] == pytest.approx(volume, abs=1e-3)
        assert record["Quality"]["volume_ml"] == pytest.approx(volume, abs=1e-3)
        brain = nb.load(self.anat / f"{NAME}_desc-brain_T1w.nii.gz")
        assert not np.asanyarray(brain.dataobj)[~mask].any()
        union = image.read_mask(self.anat / f"{NAME}_desc-brainandtumor_mask.nii.gz")
        np.testing.assert_array_equal(union, mask | image.read_mask(self.tumor))
        shown = json.loads((self.out / f"sub-01/figures/{NAME}_desc-brain_T1w.webp").read_text())
        assert shown == [NAME, masks.digest(mask), masks.digest(image.read_mask(self.tumor))]
        return True


def edit(path, *, planes=8, dtype=np.uint8, value=1, level=9, plain=False, shift=0.0):
    """Clear the lower planes of a mask, and save it as some tool does; the voxels."""
    file = nb.load(path)
    voxels = np.asanyarray(file.dataobj) > 0
    voxels[:, :, :planes] = False
    affine = file.affine + shift
    new = nb.Nifti1Image((voxels * value).astype(dtype), affine)
    target = path.with_suffix("") if plain else path
    content = new.to_bytes()
    target.write_bytes(content if plain else gzip.compress(content, level))
    return voxels


@pytest.fixture(scope="module", autouse=True)
def _light():
    """Let networks and figures take no time: a figure is the hashes of the masks it shows."""

    def draw(row):
        return lambda source, findings, name: tuple(
            json.dumps([name, *(files.mask_digest(each, findings) for each in findings)]).encode()
            for _ in row.files
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale.backends, "load", scale.backends.load)  # which is put back at the end
        scale.dask_setup(None)
        rows = [replace(row, draw=draw(row)) for row in catalog.FIGURES]
        patch.setattr(catalog, "FIGURES", tuple(rows))
        yield


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    """Folder of a study that has been processed once."""
    study = Study(tmp_path_factory.mktemp("corrections"))
    study.data.add(f"{NAME}_T1w.nii.gz", scale.head(1))
    study.run()
    return study.out.parent


@pytest.fixture
def study(processed, tmp_path):
    """A head that has been processed once."""
    shutil.copytree(processed, tmp_path / "study")
    return Study(tmp_path / "study")


def edit_with_simpleitk(path):
    """Clear the lower planes of a mask with SimpleITK, as ITK-SNAP would save it; the voxels."""
    read = SimpleITK.ReadImage(str(path))
    voxels = SimpleITK.GetArrayFromImage(read) > 0
    voxels[:8] = False
    new = SimpleITK.GetImageFromArray(voxels.astype(np.uint16))
    new.CopyInformation(read)
    SimpleITK.WriteImage(new, str(path), useCompression=True)
    return voxels.T


EDITS = {
    "in place": {},
    "recompressed": {"level": 1},
    "float": {"dtype": np.float32},
    "int16": {"dtype": np.int16},
    "255": {"value": 255},
    "header rounded": {"shift": 1e-4},
    "as .nii": {"plain": True},
}


@pytest.mark.parametrize("how", [*EDITS, "by SimpleITK"])
def test_a_changed_mask_is_kept_and_everything_is_made_of_it(study, how):
    before = image.read_mask(study.mask)
    mask = study.edit(**EDITS[how]) if how in EDITS else edit_with_simpleitk(study.mask)
    row = study.run("--editor", "Anna")
    assert row.startswith("done")
    assert re.search(r"manual mask of \d{4}-\d\d-\d\d by Anna", row)
    assert study.is_of(mask)
    record = study.record()
    assert record["Manual"] is True
    assert record["CorrectedBy"] == "Anna"
    assert "PredictedDice" not in record
    np.testing.assert_array_equal(image.read_mask(study.automatic), before)
    assert study.record(study.automatic)["Manual"] is False
    assert not study.mask.with_suffix("").exists()
    assert study.run().startswith("skipped  finished before")
    assert "manual mask" in study.run("--overwrite")
    assert study.is_of(mask)
    assert study.record()["CorrectedBy"] == "Anna"


def test_a_changed_tumor_mask_is_kept_with_its_small_lesions(study):
    mask = image.read_mask(study.tumor)
    mask[:] = False
    mask[3, 3, 3] = True
    file = nb.load(study.tumor)
    nb.save(nb.Nifti1Image(mask.astype(np.uint8), file.affine), study.tumor)
    assert "1 candidate lesion of 0.03 mL" in study.run()
    record = study.record(study.tumor)
    assert record["Manual"] is True
    assert record["LesionVolume"] == pytest.approx(0.027)
    automatic = study.tumor.with_name(study.tumor.name.replace("ioma_mask", "iomaauto_mask"))
    assert image.read_mask(automatic).sum() > 1
    assert study.is_of(image.read_mask(study.mask))
    assert study.run().startswith("skipped")


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def forget(study, *paths):
    """Lose the sidecars of some files."""
    for path in paths:
        path.with_name(study.stem(path) + ".json").unlink()


LOST = {
    "both sidecars": lambda study: forget(study, study.mask, study.automatic),
    "the automatic mask": lambda study: (study.automatic.unlink(), forget(study, study.mask)),
    "all of it": lambda study: (
        forget(study, study.mask, study.automatic),
        study.automatic.unlink(),
    ),
}


@pytest.mark.parametrize("how", LOST)
def test_a_manual_mask_that_has_lost_its_sidecar_is_kept(study, how):
    mask = study.edit()
    study.run("--editor", "Anna")
    corrected = study.record()["Corrected"]
    LOST[how](study)
    assert "by Anna" in study.run()
    assert study.is_of(mask)
    record = study.record()
    assert (record["Manual"], record["Corrected"]) == (True, corrected)
    assert study.run().startswith("skipped")


@pytest.mark.parametrize("logs", [True, False])
def test_a_changed_mask_that_nothing_tells_of_is_copied_before_it_is_replaced(study, logs):
    before = image.read_mask(study.mask)
    mask = study.edit()
    content = study.mask.read_bytes()
    forget(study, study.mask)
    if not logs:
        shutil.rmtree(study.out / "logs")
    said = study.run()
    (copy,) = study.out.glob("logs/sub-01/*.nii.gz")
    assert f"a mask without a sidecar, which is kept as {copy.relative_to(study.out)}" in said
    assert copy.read_bytes() == content
    assert study.is_of(before)
    shutil.copy(copy, study.out.parent / study.mask.name)
    study.tool("adopt", study.out, study.out.parent / study.mask.name)
    study.run()
    assert study.is_of(mask)


def test_the_programs_own_mask_without_a_sidecar_is_not_copied(study):
    forget(study, study.mask)
    study.run("--threshold", "brain=0.2")
    forget(study, study.mask)
    shutil.rmtree(study.out / "logs")
    study.run()  # the same content, as after a run that was killed
    forget(study, study.mask)
    study.edit()
    study.run("--overwrite-manual")
    assert not list(study.out.glob("logs/sub-01/*.nii.gz"))


DAMAGES = {
    "0 bytes": lambda path: path.write_bytes(b""),
    "truncated": cut,
    "zeros": lambda path: edit(path, planes=16),
    "other bytes": lambda path: path.write_bytes(gzip.compress(b"mask" * 1000)),
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_mask_is_made_again_and_said_so(study, how):
    before = study.mask.read_bytes()
    DAMAGES[how](study.mask)
    said = "is missing" if how == "absent" else "has changed"
    assert f"made again: {study.mask.name} {said}" in study.run()
    assert study.mask.read_bytes() == before
    assert study.record()["Manual"] is False
    assert not study.automatic.exists()


UNFIT = {
    "another grid": (lambda path: edit(path, shift=3.0), "are not on one grid"),
    "another shape": (
        lambda path: nb.save(nb.Nifti1Image(np.ones((20, 20, 20), np.uint8), 3 * np.eye(4)), path),
        "are not on one grid",
    ),
    "three values": (
        lambda path: nb.save(
            nb.Nifti1Image(np.arange(4096, dtype=np.uint8).reshape(16, 16, 16) % 3, SHIFTED), path
        ),
        "expected a mask of two values",
    ),
    "two corrections": (
        lambda path: (edit(path, planes=7, plain=True), edit(path)),
        "two different corrections",
    ),
    "an empty .nii": (lambda path: edit(path, planes=16, plain=True), "the mask is empty"),
    "a damaged .nii": (lambda path: path.with_suffix("").write_bytes(b""), "the file is empty"),
}

SHIFTED = np.array([[3, 0, 0, -22.5], [0, 3, 0, -22.5], [0, 0, 3, -22.5], [0, 0, 0, 1]])


@pytest.mark.parametrize("how", UNFIT)
def test_a_mask_that_does_not_fit_is_left_untouched(study, how):
    change, reason = UNFIT[how]
    change(study.mask)
    there = {path: path.read_bytes() for path in study.mask.parent.glob("*_desc-brain_mask.nii*")}
    for words in ((), ("--overwrite",)):
        row = study.run(*words, status=1)
        assert row.startswith("failed")
        assert reason in row
        assert {path: path.read_bytes() for path in there} == there
    study.run("--overwrite-manual")
    assert study.record()["Manual"] is False


@pytest.mark.parametrize("moment", ["figures are drawn", "the mask is to be written"])
def test_a_mask_that_is_saved_while_its_image_is_processed_is_left(study, monkeypatch, moment):
    saved = []
    places = {"figures are drawn": (rendering, "draw")}
    module, name = places.get(moment, (storage, "write_bytes"))
    usual = getattr(module, name)

    def meanwhile(first, *args):
        if not saved and (module is rendering or first == study.mask):
            saved.append(study.edit())
        return usual(first, *args)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, meanwhile)
        assert "changed while the image was processed" in study.run("--overwrite", status=1)
    np.testing.assert_array_equal(image.read_mask(study.mask), saved[0])
    assert study.record()["Manual"] is False  # as before the run: the mask is known to be changed
    assert "manual mask" in study.run()
    assert study.is_of(saved[0])


def test_a_mask_that_is_saved_just_after_its_image_is_processed_is_known(study, monkeypatch):
    """The sidecar, which is written after it, is bound to the mask that the run wrote."""
    saved, usual = [], storage.write_bytes

    def meanwhile(path, *args):
        modified = usual(path, *args)
        if path == study.mask:
            saved.append(study.edit())
        return modified

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", meanwhile)
        study.run("--overwrite")
    assert study.states()[study.mask.name] == "stale"
    assert "manual mask" in study.run()
    assert study.is_of(saved[0])


def test_manual_masks_are_replaced_where_that_is_asked_for_and_counted_before(study, caplog):
    before = image.read_mask(study.mask)
    study.edit()
    study.run("--editor", "Anna")
    assert "--overwrite-manual" not in caplog.text
    study.run("--overwrite-manual")
    assert "--overwrite-manual: the manual masks of 1 of 1 images are replaced" in caplog.text
    np.testing.assert_array_equal(image.read_mask(study.mask), before)
    assert study.record()["Manual"] is False
    assert "CorrectedBy" not in study.record()
    assert not study.automatic.exists()
    assert study.run("--overwrite-manual").startswith("skipped")


def test_what_does_not_fit_any_more_is_removed_and_said_so(study):
    row = study.run("--outputs", "mask", "--no-reports", "--threshold", "brain=0.2")
    for name in ("desc-brain_T1w.nii.gz", "desc-brain_T1w.webp", "desc-thumbnail_T1w.webp"):
        assert f"removed, because it does not fit any more: {NAME}_{name}" in row
    assert not (study.anat / f"{NAME}_desc-brain_T1w.nii.gz").exists()
    assert not (study.anat / f"{NAME}_desc-brain_T1w.json").exists()
    left = {path.name for path in (study.out / "sub-01/figures").iterdir()}
    assert not left


def test_no_figure_of_a_former_image_is_left_where_none_is_drawn(study):
    study.data.add(f"{NAME}_T1w.nii.gz", scale.head(2))
    assert f"removed, because it does not fit any more: {NAME}_desc-brain_T1w.webp" in study.run(
        "--no-reports"
    )
    assert not list((study.out / "sub-01/figures").iterdir())


@pytest.mark.parametrize("words", [(), ("--analyses", "brain")])
def test_the_union_is_of_the_present_brain_or_is_removed(study, words):
    union = study.anat / f"{NAME}_desc-brainandtumor_mask.nii.gz"
    before = image.read_mask(union)
    study.run("--border", "3", *words)
    mask = image.read_mask(study.mask)
    assert (mask & ~before).any()
    if words:
        assert not union.exists()
        assert not union.with_name(study.stem(union) + ".json").exists()
    else:
        assert study.is_of(mask)


def test_nothing_of_an_image_that_lost_its_contrast_agent_is_shown(tmp_path):
    study = Study(tmp_path)
    path = study.data.add("sub-01_T1w.nii.gz", scale.head(1), ContrastBolusIngredient="GD")
    study.run()
    study.run(level="group")
    assert len(rows(study, "meningioma_qc")) == len(rows(study, "meningioma_volumes")) == 1
    path.with_name("sub-01_T1w.json").unlink()
    study.run(level="group", status=3)  # before the participant level: nothing is of this image
    assert not rows(study, "meningioma_qc")
    assert not rows(study, "meningioma_volumes")
    assert "made again: other contrast enhancement" in study.run()
    sidecars = [json.loads(each.read_text()) for each in study.anat.glob("*.json")]
    assert sidecars
    assert not any(each["ContrastEnhanced"] for each in sidecars)
    left = [each.name for each in study.out.rglob("sub-01*") if "logs" not in each.parts]
    assert not [name for name in left if "meningioma" in name or "lesion" in name]
    study.run(level="group")
    assert len(rows(study)) == 1
    assert not rows(study, "meningioma_qc")
    assert set(study.states().values()) == {"current"}


def test_tumors_of_another_image_go_with_its_contrast(study):
    row = study.run("--analyses", "brain")
    assert "removed" not in row, "the tumors are still of this image"
    study.data.add(f"{NAME}_T1w.nii.gz", scale.head(2))
    row = study.run("--analyses", "brain")
    assert "made again: the image has changed" in row
    assert "desc-meningioma_mask.nii.gz" in row
    left = {path.name for path in study.out.rglob("*") if "meningioma" in path.name}
    assert not left
    assert not (study.anat / f"{NAME}_desc-brainandtumor_mask.nii.gz").exists()


def test_a_manual_tumor_mask_is_not_removed(study):
    edit(study.tumor)
    study.run()
    study.data.add(f"{NAME}_T1w.nii.gz", scale.head(2))
    row = study.run("--analyses", "brain")
    assert f"kept, though it does not fit any more: {study.tumor.name}" in row
    assert study.tumor.exists()


def test_the_validator_is_silent_about_corrected_masks(study, issues):
    study.edit()
    edit(study.tumor)
    study.run()
    study.run(level="group")
    assert issues(study.out) == []


def test_a_mask_from_elsewhere_is_adopted_listed_and_reverted(study, tmp_path, capsys):
    before = image.read_mask(study.mask)
    given = tmp_path / study.mask.name
    shutil.copy(study.mask, given)
    mask = edit(given, dtype=np.float32)
    said = study.tool("adopt", study.out, given, "--editor", "Anna")
    assert said == f"{study.mask}\n"
    assert study.states()[study.mask.name] == "stale"
    assert "was made from another mask" in study.run()
    assert study.is_of(mask)
    assert study.record()["CorrectedBy"] == "Anna"
    np.testing.assert_array_equal(image.read_mask(study.automatic), before)
    assert study.tool("adopt", study.out, "--list").endswith("\tAnna\n")
    study.tool("adopt", study.out, "--revert", study.mask.name)
    assert not study.automatic.exists()
    study.run()
    assert study.is_of(before)
    assert study.record()["Manual"] is False
    assert not study.tool("adopt", study.out, "--list")


def test_a_tumor_mask_is_adopted_with_each_of_its_lesions_and_reverted(study, tmp_path):
    before, given = image.read_mask(study.tumor), tmp_path / study.tumor.name
    mask = np.zeros_like(before)
    mask[3, 3, 3] = mask[9:11, 9, 9] = True
    nb.save(nb.Nifti1Image(mask.astype(np.uint8), nb.load(study.tumor).affine), given)
    study.tool("adopt", study.out, given, "--editor", "Anna")
    assert "2 candidate lesions of 0.08 mL" in study.run()
    labels = nb.load(study.anat / f"{NAME}_desc-meningioma_dseg.nii.gz")
    assert np.unique(np.asanyarray(labels.dataobj)[mask]).tolist() == [1, 2]
    assert study.record(study.tumor)["CorrectedBy"] == "Anna"
    assert study.tumor.name in study.tool("adopt", study.out, "--list")
    study.tool("adopt", study.out, "--revert", study.tumor.name)
    study.run()
    np.testing.assert_array_equal(image.read_mask(study.tumor), before)
    assert study.record(study.tumor)["Manual"] is False


def test_a_mask_of_any_name_is_adopted_for_an_image(study, tmp_path):
    given = tmp_path / "mine.nii"
    shutil.copy(study.mask, tmp_path / "mine.nii.gz")
    mask = edit(tmp_path / "mine.nii.gz", plain=True)
    study.tool("adopt", study.out, given, "--for", f"{NAME}_T1w.nii.gz")
    study.run()
    assert study.is_of(mask)
    assert given.exists()


def test_what_cannot_be_adopted_is_refused(study, tmp_path, capsys):
    given = tmp_path / study.mask.name
    shutil.copy(study.mask, given)
    before = study.mask.read_bytes()
    edit(given, shift=3.0)
    study.tool("adopt", study.out, given, status=1)
    edit(given, planes=16)
    study.tool("adopt", study.out, given, status=1)
    study.tool("adopt", study.out, tmp_path / "unknown.nii.gz", status=2)
    study.tool("adopt", study.out, status=2)
    study.tool("adopt", tmp_path / "none", given, status=2)
    study.tool("adopt", study.out, "--revert", study.mask.name, status=2)
    assert study.mask.read_bytes() == before
    study.edit()
    study.tool("adopt", study.out, given, status=2)
    assert "has been changed since the last run" in capsys.readouterr().err


def test_the_status_of_every_file(study):
    assert set(study.states().values()) == {"current"}
    assert "5 current, 0 manual, 0 stale, 0 failed, 0 orphaned" in study.tool("status", study.out)
    study.edit()
    assert study.states()[study.mask.name] == "stale"
    said = study.tool("status", study.out, status=1)
    assert f"stale\tsub-01/anat/{study.mask.name}\t{study.mask.name} has changed" in said
    for form in ("tsv", "json"):
        assert f"{study.mask.name} has changed" in study.tool(
            *("status", study.out, "--format", form), status=1
        )
    study.run()
    assert study.states()[study.mask.name] == "manual"
    assert study.states()[study.automatic.name] == "current"
    study.tool("status", study.out, "--verify")
    (study.data.root / f"sub-01/anat/{NAME}_T1w.nii.gz").rename(study.out.parent / "away.nii.gz")
    rows = study.tool("status", study.out, "--format", "tsv", status=1).splitlines()
    assert rows[0] == "path\tstate\treason"
    assert all("\torphaned\t" in row for row in rows[1:])
    study.tool("status", study.out / "none", status=2)


def test_a_failed_image_has_that_status_until_it_is_done(study):
    content = (study.data.root / f"sub-01/anat/{NAME}_T1w.nii.gz").read_bytes()
    study.data.add(f"{NAME}_T1w.nii.gz", b"")
    study.run(status=1)
    assert study.states()[f"{NAME}_T1w.nii.gz"] == "failed"
    assert "1 failed" in study.tool("status", study.out, status=1)
    page = study.out / "sub-01.html"
    assert "the file is empty" in page.read_text()
    study.data.add(f"{NAME}_T1w.nii.gz", content)
    assert study.run().startswith("skipped")
    assert set(study.states().values()) == {"current"}
    assert "the file is empty" not in page.read_text()


def test_results_without_their_sidecars_have_a_state(study):
    for path in study.anat.glob("*.json"):
        path.unlink()
    states = study.states()
    assert states.pop(f"{NAME}_desc-meningioma_lesions.tsv") == "stale"
    assert len(states) > 4
    assert set(states.values()) == {"stale"}
    said = study.tool("status", study.out, status=1)
    assert f"stale\tsub-01/anat/{study.mask.name}\tit has no complete sidecar" in said
    study.run()
    assert set(study.states().values()) == {"current"}


def rows(study, table="brain_qc"):
    """Rows of a table of the group level, without its header."""
    return (study.out / f"group_desc-{table}.tsv").read_text().splitlines()[1:]


def test_the_group_level_shows_no_numbers_of_a_mask_that_was_changed_since(study, caplog):
    study.run(level="group")
    assert len(rows(study)) == len(rows(study, "meningioma_qc")) == 1
    study.edit()
    study.run(level="group", status=3)
    assert not rows(study)
    assert not rows(study, "meningioma_qc")
    assert "has changed, after its numbers were measured. Run the participant level" in caplog.text
    for page in ("group_desc-brain.html", "sub-01.html"):
        assert "after its numbers were measured" in (study.out / page).read_text()
    study.run()
    study.run(level="group")
    assert len(rows(study)) == 1
    assert "after its numbers" not in (study.out / "sub-01.html").read_text()


def test_a_clone_without_content_has_its_numbers(study):
    study.run(level="group")
    before = rows(study)
    for path in [*study.anat.glob("*.nii.gz"), *study.data.root.rglob("*.nii.gz")]:
        path.unlink()
        path.symlink_to("../.git/annex/objects/absent")
    study.run(level="group")
    assert rows(study) == before


def leave(study):
    """Let the participant leave the dataset; another one stays."""
    study.data.add("sub-02_T1w.nii.gz", scale.head(2))
    shutil.rmtree(study.data.root / "sub-01")


def test_results_of_who_left_are_told_not_shown_and_removed_if_asked(study, caplog):
    leave(study)
    study.run()
    assert f"1 images with results are not in the dataset any more: {NAME}" in caplog.text
    study.run(level="group")
    assert [row.split("\t")[0] for row in rows(study)] == ["sub-02"]
    assert "not in the dataset any more" in (study.out / "sub-01.html").read_text()
    study.run("--remove-orphans")
    assert "removed, because the image is not in the dataset any more" in caplog.text
    assert not (study.out / "sub-01").exists()
    assert not (study.out / "sub-01.html").exists()
    assert (study.out / "sub-02.html").exists()


KEPT = {
    "a manual mask": (lambda study: (study.edit(), study.run()), "is a manual mask"),
    "a mask of a person": (lambda study: study.edit(plain=True), "is of a person"),
    "a changed file": (lambda study: study.edit(), "has changed"),
    "no sidecar": (
        lambda study: study.mask.with_name(study.stem(None) + ".json").unlink(),
        "has no sidecar of bids_brainmask",
    ),
}


@pytest.mark.parametrize("how", KEPT)
def test_what_is_not_proven_to_be_ours_stays_with_all_of_its_image(study, caplog, how):
    change, reason = KEPT[how]
    change(study)
    before = {path: path.read_bytes() for path in study.anat.iterdir()}
    leave(study)
    study.run("--remove-orphans")
    assert reason in caplog.text
    assert {path: path.read_bytes() for path in study.anat.iterdir()} == before


def test_an_empty_folder_of_a_participant_is_no_reason_to_remove(study):
    leave(study)
    (study.data.root / "sub-01").mkdir()
    study.run("--remove-orphans")
    assert study.mask.exists()
    assert "orphaned" not in study.states().values()
