# SPDX-License-Identifier: Apache-2.0
"""The guide of docs/brats-men-rt.md from end to end, on made-up cases of that layout."""

import csv
import json

import nibabel as nb
import numpy as np
import pytest
import yaml
from conftest import head_phantom

from bids_brainmask import brats
from bids_brainmask.cli import bids_app, brainmask

pytestmark = pytest.mark.slow

SHAPE = (40, 40, 40)

MASK, REFERENCE = "label-tumor_desc-meningioma_mask", "label-tumor_mask"

NETWORK = {"encoder": [[4, 4], [8, 8]], "up": [8], "decoder": [[4, 4]], "stem": 4}


def put(folder, case, place):
    """Make a head with a bright cube at a place, and the outline of the cube."""
    head = head_phantom(shape=SHAPE)
    outline = np.zeros(SHAPE, np.uint8)
    outline[tuple(slice(start, start + 8) for start in place)] = 1
    image = np.where(outline, 220, np.asanyarray(head.dataobj)).astype(np.int16)
    for kind, data in (("t1c", image), ("gtv", outline)):
        path = folder / f"BraTS-MEN-RT-{case}" / f"BraTS-MEN-RT-{case}_{kind}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nb.save(nb.Nifti1Image(data, head.affine), path)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Folder with the dataset of four participants, and a tiny network to start from."""
    folder = tmp_path_factory.mktemp("brats")
    places = {"0001-1": (8, 16, 16), "0001-2": (8, 16, 17), "0002-1": (24, 12, 20)}
    places |= {"0003-1": (16, 24, 10), "0004-1": (12, 12, 14)}
    for case, place in places.items():
        put(folder / "download", case, place)
    asked = ["import", "brats-men-rt", str(folder / "download"), str(folder / "bids")]
    assert brainmask.main(asked) == 0
    stage = {"epochs": 1, "rate": [1e-2, 1e-2], "steps": 20, "batch": 1, "window": [32, 32, 32]}
    content = {
        "name": "start",
        "task": "meningioma",
        "architecture": NETWORK,
        "data": {"bids_dir": "bids", "labels": brats.LABELS, "validation": 0},
        "stages": [stage],
        "peak": 0.1,
    }
    content["data"]["ending"] = REFERENCE
    (folder / "start.yaml").write_text(yaml.safe_dump(content))
    assert brainmask.main(["train", str(folder / "start.yaml"), "--out", str(folder / "s")]) == 0
    return folder


def test_from_the_download_to_a_judged_model(imported, tmp_path):
    bids, out = str(imported / "bids"), tmp_path / "mine"
    labels = f"{bids}/{brats.LABELS}"
    words = ["finetune", bids, labels, "--ending", REFERENCE, "--task", "meningioma"]
    words += ["--from", str(imported / "s"), "--out", str(out), "--exclude", "menrt0004"]
    words += ["--folds", "2", "--epochs", "1", "--steps", "10", "--batch", "1", "--window", "32"]
    assert brainmask.main([*words, "--rate", "0.005"]) == 0
    scores = tmp_path / "scores.json"
    words = ["--mask", MASK, "--reference-mask", REFERENCE, "--lesions"]
    table = ["--lesions-tsv", str(tmp_path / "folds.tsv"), "--json", str(scores)]
    # the participant that was kept aside has no mask: exit status 1
    assert brainmask.main(["evaluate", str(out / "out-of-fold"), labels, *words, *table]) == 1
    found = json.loads(scores.read_text())
    assert len(found["LesionWise"]["Cases"]) == 4
    assert [name[:13] for name in found["ReferencesWithoutPrediction"]] == ["sub-menrt0004"]
    with (out / "scores.tsv").open(newline="") as file:
        held_out = {row["image"]: row for row in csv.DictReader(file, delimiter="\t")}
    sessions = [row["fold"] for image, row in held_out.items() if "menrt0001" in image]
    assert len(sessions) == 2
    assert len(set(sessions)) == 1  # both sessions of a participant are in one fold
    for scan in found["Scans"]:
        if scan["prediction"]:
            image = scan["reference"].replace(REFERENCE, "T1w")
            assert float(held_out[image]["dice"]) == pytest.approx(scan["dice"], abs=1e-6)
    card = (out / "README.md").read_text()
    rate = found["LesionWise"]["Pooled"]["all"]["sensitivity"]["value"]
    assert "Lesions, one to one by an intersection over union of 0.1 or more" in card
    assert f"sensitivity {rate:.3f}, " in card
    assert "(4 in the labels" in card
    run = [bids, str(tmp_path / "out"), "participant", "--analyses", "meningioma"]
    run += ["--model", f"meningioma={out}", "--participant-label", "menrt0004"]
    assert bids_app.main(run) == 0
    asked = ["evaluate", str(tmp_path / "out"), labels, *words, "--json", str(scores)]
    assert brainmask.main(asked) == 1
    assert len(json.loads(scores.read_text())["LesionWise"]["Cases"]) == 1
