# SPDX-License-Identifier: Apache-2.0
"""The import of BraTS-MEN-RT, on made-up files of that layout."""

import csv
import json

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask import brats
from bids_brainmask.cli import brainmask
from bids_brainmask.dataset import query
from bids_brainmask.settings import Settings

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def put(root, name, kind="t1c", fill=True, affine=AFFINE, folder="BraTS-MEN-RT-Train-v2"):
    data = np.zeros((24, 26, 20), np.uint8)
    data[6:12, 8:14, 5:9] = 1 if fill else 0
    if kind == "t1c":
        data[2:22, 2:24, 2:18] += 40
    path = root / folder / f"BraTS-MEN-RT-{name}" / f"BraTS-MEN-RT-{name}_{kind}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def source(tmp_path):
    for name in ("0002-1", "0003-1", "0003-2"):
        put(tmp_path / "download", name)
        put(tmp_path / "download", name, "gtv")
    put(tmp_path / "download", "0010-1")  # a case of the validation has no outline
    return tmp_path / "download"


def run(source, out):
    return brainmask.main(["import", "brats-men-rt", str(source), str(out)])


def test_the_download_becomes_a_dataset_with_derivatives(source, tmp_path, capsys):
    out = tmp_path / "bids"
    before = {path: path.read_bytes() for path in source.rglob("*.nii.gz")}
    assert run(source, out) == 0
    assert "imported: 4, with outlines: 3, failed: 0" in capsys.readouterr().out
    name = "sub-menrt0003/ses-2/anat/sub-menrt0003_ses-2_ce-gadolinium"
    image, outline = (
        out / f"{name}_T1w.nii.gz",
        out / brats.LABELS / f"{name}_label-tumor_mask.nii.gz",
    )
    case = source / "BraTS-MEN-RT-Train-v2/BraTS-MEN-RT-0003-2"
    assert image.read_bytes() == (case / "BraTS-MEN-RT-0003-2_t1c.nii.gz").read_bytes()
    assert outline.read_bytes() == (case / "BraTS-MEN-RT-0003-2_gtv.nii.gz").read_bytes()
    sidecar = json.loads(outline.with_name(outline.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == [f"bids:raw:{name}_T1w.nii.gz"]
    with (out / "participants.tsv").open(newline="") as file:
        rows = {
            row["participant_id"]: row["outlined"] for row in csv.DictReader(file, delimiter="\t")
        }
    assert rows == {"sub-menrt0002": "yes", "sub-menrt0003": "yes", "sub-menrt0010": "no"}
    for folder, kind in ((out, "raw"), (out / brats.LABELS, "derivative")):
        described = json.loads((folder / "dataset_description.json").read_text())
        assert described["DatasetType"] == kind
        assert described["License"]
    assert before == {path: path.read_bytes() for path in source.rglob("*.nii.gz")}


def test_the_app_finds_the_imported_images_as_contrast_enhanced(source, tmp_path):
    assert run(source, tmp_path / "bids") == 0
    settings = Settings(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        analysis_level="participant",
        skip_bids_validation=True,
    )
    scans = query.find_scans(settings)
    assert scans[0].prefix == "sub-menrt0002_ses-1_ce-gadolinium"
    assert len(scans) == 4


def damaged(source):
    path = put(source, "0004-1")
    path.write_bytes(path.read_bytes()[:200])
    return path.name


def shifted(source):
    put(source, "0004-1")
    return put(source, "0004-1", "gtv", affine=np.diag([2.0, 2.0, 2.0, 1.0])).name


def empty(source):
    put(source, "0004-1")
    return put(source, "0004-1", "gtv", fill=False).name


def alone(source):
    return put(source, "0004-1", "gtv").name


def twice(source):
    put(source, "0002-1", folder="patch")
    return "BraTS-MEN-RT-0002-1: found more than once"


@pytest.mark.parametrize("fault", [damaged, shifted, empty, alone, twice])
def test_a_case_that_cannot_be_imported_is_named_and_the_others_are(
    source, tmp_path, capsys, caplog, fault
):
    words = fault(source)
    assert run(source, tmp_path / "bids") == 1
    assert words in caplog.text + capsys.readouterr().err
    assert (tmp_path / "bids/sub-menrt0003/ses-1/anat").is_dir()
    assert not list((tmp_path / "bids").rglob("*menrt0004*"))


def test_a_file_of_another_name_is_left_out(source, tmp_path, caplog):
    put(source, "0002-1", "seg")
    assert run(source, tmp_path / "bids") == 0
    assert "not a file of the dataset" in caplog.text


def test_nothing_is_overwritten(source, tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids/notes.txt").write_text("mine")
    assert run(source, tmp_path / "bids") == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "bids").iterdir()] == ["notes.txt"]


def test_a_folder_without_cases_is_refused(tmp_path, capsys):
    assert run(tmp_path / "none", tmp_path / "bids") == 2
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "bids") == 3
    assert "no file BraTS-MEN-RT" in capsys.readouterr().err
    alone(tmp_path / "empty")
    assert run(tmp_path / "empty", tmp_path / "bids") == 3
    assert "no case can be imported" in capsys.readouterr().err
    assert not (tmp_path / "bids").exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", [".", brats.LABELS])
def test_the_validator_finds_no_error(source, tmp_path, issues, part):
    assert run(source, tmp_path / "bids") == 0
    assert issues(tmp_path / "bids" / part) == []
