# SPDX-License-Identifier: Apache-2.0
"""Which masks to correct, and corrected masks as labels of a training.

Records are written by hand where only they are read.
"""

import json
from pathlib import Path

import pytest
from conftest import Dataset

from bids_brainmask.cli import brainmask, training
from bids_brainmask.errors import NothingToDo, UsageError
from bids_brainmask.hashes import sha256
from bids_brainmask.reports import outliers, select
from bids_brainmask.train import config, dataset

DICE = {"01": 0.95, "02": 0.80, "03": 0.79, "04": 0.95, "05": 0.85, "06": None}
SCANNER = {"01": "A", "02": "A", "03": "A", "04": "B", "05": "B", "06": ""}


@pytest.fixture
def results(tmp_path):
    """Results of six images, as sidecars: `DICE` is predicted, by `SCANNER`."""
    data, out = Dataset(tmp_path / "bids"), tmp_path / "out"
    out.mkdir()
    links = {"DatasetLinks": {"raw": "../bids"}}
    (out / "dataset_description.json").write_text(json.dumps(links))
    for label, dice in DICE.items():
        fields = {"Manufacturer": SCANNER[label]} if SCANNER[label] else {}
        data.add(f"sub-{label}_T1w.nii.gz", b"image", **fields)
        place = out / f"sub-{label}/anat/sub-{label}_desc-brain_mask"
        place.parent.mkdir(parents=True)
        mask = place.with_name(f"{place.name}.nii.gz")
        mask.write_bytes(label.encode())
        record = {
            "Parameters": {"Model": "m", "ModelVersion": "1", "Threshold": 0.5},
            "Sources": [f"bids:raw:sub-{label}/anat/sub-{label}_T1w.nii.gz"],
            "BrainVolume": 1400.0,
            "Quality": {"volume_ml": 1400.0},
            "Seconds": 1.0,
            "Files": {mask.name: {"Bytes": mask.stat().st_size, "SHA256": sha256(mask)}},
        }
        record |= {} if dice is None else {"PredictedDice": dice}
        place.with_name(f"{place.name}.json").write_text(json.dumps(record))
    return out


def change(results, label, **entries):
    path = results / f"sub-{label}/anat/sub-{label}_desc-brain_mask.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def names(found):
    return [Path(pick.image).parts[0][4:] for pick in found]


def test_the_worst_come_first_but_of_every_scanner(results):
    """Of two images of a scanner the second counts half: 05 comes before 02."""
    found = select.select(results, 4)
    assert names(found) == ["03", "05", "02", "04"]
    assert found[0].mask == "sub-03/anat/sub-03_desc-brain_mask.nii.gz"
    assert found[0].image == "sub-03/anat/sub-03_T1w.nii.gz"
    assert found[0].reason == "predicted Dice 0.790; A"
    assert len(select.select(results, 20)) == 6
    assert select.select(results, 20)[-1].scanner == select.UNKNOWN


def test_outliers_count(results, monkeypatch):
    """Of like images, a mask of another volume comes first."""
    monkeypatch.setattr(outliers.judge, "__defaults__", (5, None))  # of six images
    for label in DICE:
        change(results, label, PredictedDice=0.95)
    change(results, "06", Quality={"volume_ml": 700.0})
    first, second, *_ = select.select(results, 9)
    assert names([first]) == ["06"]
    assert first.outlier_score > outliers.FLAGGED
    assert "outlier: volume" in first.reason
    assert second.outlier_score == 0


def test_corrected_masks_are_left_out(results):
    change(results, "03", Manual=True)
    mask = results / "sub-02/anat/sub-02_desc-brain_mask.nii.gz"
    mask.write_bytes(b"edited")  # and no run has taken it yet
    (results / "sub-05/anat/sub-05_desc-brain_mask.nii").write_bytes(b"saved beside")
    (results / "sub-01/anat/sub-01_desc-brain_mask.nii.gz").unlink()
    change(results, "06", Files="damaged")
    assert names(select.select(results, 9)) == ["04"]
    for label in DICE:
        change(results, label, Manual=True)
    with pytest.raises(NothingToDo, match="found no automatic brain mask"):
        select.select(results, 9)
    with pytest.raises(UsageError, match="no such folder"):
        select.select(results / "none", 9)


def test_without_the_dataset_scanners_are_unknown(results):
    (results / "dataset_description.json").write_text("{}")
    assert {pick.scanner for pick in select.select(results, 9)} == {select.UNKNOWN}


def test_the_list_is_printed_in_three_forms(results, capsys):
    assert brainmask.main(["select", str(results), "-n", "1"]) == 0
    mask, reason = capsys.readouterr().out.rstrip("\n").split("\t")
    assert mask.endswith("sub-03_desc-brain_mask.nii.gz")
    assert reason.startswith("predicted Dice 0.790")
    assert brainmask.main(["select", str(results), "--count", "2", "--format", "tsv"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:3] == ["image", "mask", "scanner"]
    assert len(rows) == 2
    assert brainmask.main(["select", str(results), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["predicted_dice"] == 0.79
    with pytest.raises(SystemExit):
        brainmask.main(["select", str(results), "-n", "0"])


def asked(*words):
    """Configuration of a fine-tuning."""
    parse = brainmask.parser().parse_args
    return training.finetuning(parse(["finetune", "--from", "embedded", "--out", "x", *words]))


def test_manual_masks_are_the_labels(results, caplog):
    """And no other mask of the folder; the images are those of the sidecars' sources."""
    for label in ("02", "05"):
        change(results, label, Manual=True)
    change(results, "02", Sources=["bids:raw:sub-03/anat/sub-03_T1w.nii.gz"])
    change(results, "04", Manual=True, Sources=["bids:raw:sub-99/anat/sub-99_T1w.nii.gz"])
    data = asked("--manual", str(results)).data
    assert data.manual == "brain"
    found = dataset.find_pairs(data, Path())
    assert [(pair.scan.participant, pair.label.parts[-3]) for pair in found] == [
        ("03", "sub-02"),
        ("05", "sub-05"),
    ]
    assert "1 corrected masks are of no image of the run; left out" in caplog.text
    data = asked("--manual", str(results), "--exclude", "03").data
    assert [pair.scan.participant for pair in dataset.find_pairs(data, Path())] == ["05"]
    data = asked("--manual", str(results), "--task", "meningioma").data
    with pytest.raises(UsageError, match="has no corrected mask of meningioma for any of 6"):
        dataset.find_pairs(data, Path())


def test_the_folders_of_a_fine_tuning(results):
    raw = str(results.parent / "bids")
    assert asked(raw, "--manual", str(results)).data.bids_dir == raw
    assert asked("--manual", str(results)).data.bids_dir == raw
    (results / "dataset_description.json").unlink()
    for words, said in (
        (["--manual", str(results)], "the dataset of .* is not known or not there"),
        (["--manual", f"{results}/none"], "none: no such folder"),
        ([raw, raw, "--manual", str(results)], "found LABELS_DIR and --manual"),
        ([raw], "expected BIDS_DIR LABELS_DIR, or --manual OUTPUT_DIR"),
        ([], "expected BIDS_DIR LABELS_DIR"),
    ):
        with pytest.raises(UsageError, match=said):
            asked(*words)


def test_a_training_of_an_older_version_goes_on(results, tmp_path):
    """Keys that its configuration lacks have their defaults."""
    change(results, "02", Manual=True)
    one, out = asked(str(results.parent), str(results)), tmp_path / "training"
    config.remember(one, out)
    path = out / "config.json"
    content = json.loads(path.read_text())
    del content["data"]["manual"]
    path.write_text(json.dumps(content))
    config.remember(one, out)
    path.write_text("{}")
    with pytest.raises(UsageError, match="another configuration"):
        config.remember(one, out)
