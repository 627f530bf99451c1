# SPDX-License-Identifier: Apache-2.0
"""The Python API on a real head with contrast: what the app and the command line write."""

import csv
import gzip
import json

import nibabel as nb
import pytest
from conftest import Dataset

import bids_brainmask
from bids_brainmask.cli import bids_app, brainmask

NAME = "sub-01_ce-gadolinium"


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory):
    """The image, and the folder of results of the app."""
    folder = tmp_path_factory.mktemp("api")
    data = Dataset(folder / "bids")
    head = shared / "data/contrast/sub-vs01/anat/sub-vs01_ce-gadolinium_T1w.nii.gz"
    path = data.add(f"{NAME}_T1w.nii.gz", head.read_bytes())
    words = ["--outputs", "mask", "brain", "probseg", "--no-reports"]
    assert bids_app.main([str(data.root), str(folder / "out"), "participant", *words]) == 0
    return path, folder / "out/sub-01/anat"


@pytest.fixture(scope="module")
def brain(run):
    return bids_brainmask.extract(run[0])


def test_the_brain_has_the_bytes_of_the_app_and_of_the_command_line(run, brain, tmp_path):
    path, out = run
    names = ("desc-brain_mask", "desc-brain_T1w", "label-brain_probseg")
    of_app = [(out / f"{NAME}_{name}.nii.gz").read_bytes() for name in names]
    of_python = [tmp_path / f"api/{name}.nii.gz" for name in ("mask", "brain", "probability")]
    brain.save(*of_python)
    assert [place.read_bytes() for place in of_python] == of_app
    of_command = [tmp_path / f"cli/{place.name}" for place in of_python]
    words = [word for pair in zip(("-m", "-o", "-p"), of_command, strict=True) for word in pair]
    assert brainmask.main(["extract", str(path), *map(str, words)]) == 0
    assert [place.read_bytes() for place in of_command] == of_app


def test_what_nibabel_saves_is_what_the_app_writes(run, brain, tmp_path):
    brain.mask.to_filename(tmp_path / "mask.nii.gz")
    places = tmp_path / "mask.nii.gz", run[1] / f"{NAME}_desc-brain_mask.nii.gz"
    saved, written = (gzip.decompress(place.read_bytes()) for place in places)
    assert saved == written


def test_an_image_in_memory_gives_the_same(run, brain):
    found = bids_brainmask.extract(nb.load(run[0]))
    assert found.mask.to_bytes() == brain.mask.to_bytes()
    assert (found.volume_ml, found.quality) == (brain.volume_ml, brain.quality)


def test_meningiomas_are_those_of_the_app(run, brain):
    path, out = run
    found = bids_brainmask.find_meningiomas(path, brain=brain)
    assert found.lesions
    for made, name in ((found.mask, "mask"), (found.probability, "probseg")):
        file = out / f"{NAME}_label-tumor_desc-meningioma_{name}.nii.gz"
        assert made.to_bytes() == gzip.decompress(file.read_bytes())
    table = (out / f"{NAME}_desc-meningioma_lesions.tsv").read_text()
    rows = list(csv.DictReader(table.splitlines(), delimiter="\t"))
    assert len(rows) == len(found.lesions)
    for row, lesion in zip(rows, found.lesions, strict=True):
        assert float(row["volume_ml"]) == pytest.approx(lesion.volume_ml, abs=1e-3)
        assert float(row["longest_mm"]) == pytest.approx(lesion.longest_mm, abs=0.06)
        assert float(row["share_in_brain"]) == pytest.approx(lesion.share_in_brain, abs=1e-3)


def test_the_sidecar_has_the_same_numbers(run, brain):
    record = json.loads((run[1] / f"{NAME}_desc-brain_mask.json").read_text())
    assert record["BrainVolume"] == pytest.approx(brain.volume_ml, abs=1e-3)
    assert record["PredictedDice"] == pytest.approx(brain.predicted_dice, abs=1e-4)
    assert record["Quality"] == brain.quality
