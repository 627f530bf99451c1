# SPDX-License-Identifier: Apache-2.0
"""Cross-validation of a fine-tuning: who is held out, what is written, and how it goes on."""

import csv
import json
import re

import msgspec
import nibabel as nb
import numpy as np
import pytest
import yaml
from conftest import LITTLE, labelled_dataset, train_eagerly

from bids_brainmask.cli import brainmask, training
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.train import checkpoints, folds
from bids_brainmask.train.config import Config
from bids_brainmask.voxels.agreement import dice

SMALL = {"encoder": [[4, 4], [8, 8]], "up": [8], "decoder": [[4, 4]], "stem": 4}

SHAPE = (40, 40, 40)

MASK = "sub-{0}/anat/sub-{0}_desc-brain_mask.nii.gz"


@pytest.fixture(scope="module", autouse=True)
def _eagerly():
    with pytest.MonkeyPatch.context() as patch:
        train_eagerly(patch)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder with a dataset of three participants and a tiny network to start from."""
    folder = tmp_path_factory.mktemp("folds")
    labelled_dataset(folder / "bids", 3, shape=SHAPE, **LITTLE)
    content = {
        "name": "start",
        "architecture": SMALL,
        "data": {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0},
        "stages": [
            {"epochs": 1, "rate": [5e-3, 1e-3], "steps": 1, "batch": 1, "window": [32, 32, 32]}
        ],
    }
    (folder / "start.yaml").write_text(yaml.safe_dump(content))
    assert brainmask.main(["train", str(folder / "start.yaml"), "--out", str(folder / "s")]) == 0
    return folder


def words(place, out, *options):
    small = ["--epochs", "2", "--steps", "1", "--batch", "1", "--window", "32", "--from"]
    data = [str(place / "bids"), str(place / "bids/derivatives/labels"), "--name", "mine"]
    return ["finetune", *data, "--out", str(out), *small, str(place / "s"), *options]


class StopError(Exception):
    """An interruption."""


@pytest.fixture(scope="module")
def finished(place):
    """Folder of a cross-validation that was interrupted in its second fold and went on."""
    out, write = place / "out", checkpoints.Record._save

    def stop(self, path):
        if self.out.name == "fold-2" and path.name == "checkpoint-0002.keras":
            raise StopError
        write(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.Record, "_save", stop)
        with pytest.raises(StopError):
            brainmask.main(words(place, out, "--folds", "2"))
    assert not (out / "README.md").exists()
    before = {path: path.stat().st_mtime_ns for path in watched(out)}
    assert len(before) > 2
    assert brainmask.main(words(place, out, "--folds", "2")) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    return out


def watched(out):
    """Masks, and checkpoints of the first fold, which is finished."""
    return [*out.glob("out-of-fold/sub-*/anat/*"), *out.glob("fold-1/*point-*.keras")]


def table(path, delimiter="\t"):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.slow
def test_each_participant_is_held_out_once(finished, place):
    scores = table(finished / "scores.tsv")
    assert sorted(row["image"] for row in scores) == [
        f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2, 3)
    ]
    assert sorted(row["fold"] for row in scores) in (["1", "1", "2"], ["1", "2", "2"])
    for row in scores:
        label = row["image"][4:6]
        mask = nb.load(finished / folds.MASKS / MASK.format(label))
        truth = nb.load(place / "bids/derivatives/labels" / MASK.format(label))
        assert np.array_equal(mask.affine, truth.affine)
        expected = dice(mask.get_fdata() > 0, truth.get_fdata() > 0)
        assert float(row["dice"]) == pytest.approx(expected)
        record = json.loads(
            (finished / folds.MASKS / MASK.format(label)).with_suffix("").with_suffix(".json")
            .read_text()
        )  # fmt: skip
        assert record["Parameters"]["Model"] == f"mine-fold{row['fold']}"
        assert record["Sources"] == [f"bids:raw:{row['image']}"]


@pytest.mark.slow
def test_the_model_is_one_network_trained_on_all(finished):
    """For the mean number of epochs of the folds; each fold's network runs in the app too."""
    best = []
    for number in (1, 2):
        rows = table(finished / f"fold-{number}/log.csv", ",")
        assert [row["epoch"] for row in rows] == ["0", "1"]  # the interrupted one is no exception
        scores = [float(row["val_dice"]) for row in rows]
        best.append(1 + scores.index(max(scores)))
        assert registry.resolve(finished / f"fold-{number}").name == f"mine-fold{number}"
    rows = table(finished / "log.csv", ",")
    assert len(rows) == round(np.mean(best))
    assert "val_dice" not in rows[0]
    assert registry.resolve(finished).name == "mine"


@pytest.mark.slow
def test_the_card_has_the_folds_and_the_scores_out_of_fold(finished):
    card = (finished / "README.md").read_text()
    assert "Before, each was held out once" in card
    assert re.search(r"- fold 1 \([12]\): 0\d", card)
    assert "Dice of 3 images out of fold" in card
    assert "1 epochs, the mean of the folds" in card or "2 epochs, the mean of the folds" in card
    for row in table(finished / "scores.tsv"):
        assert f"| {row['image']} | {float(row['dice']):.4f} |" in card
    assert json.loads((finished / "config.json").read_text())["folds"] == 2


@pytest.mark.slow
def test_the_masks_can_be_evaluated(finished, place):
    folders = [str(finished / folds.MASKS), str(place / "bids/derivatives/labels")]
    assert brainmask.main(["evaluate", *folders]) == 0


@pytest.mark.slow
def test_the_masks_are_a_valid_dataset(finished, issues):
    assert issues(finished / folds.MASKS) == []


@pytest.mark.slow
def test_another_number_of_folds_is_another_training(finished, place, capsys):
    assert brainmask.main(words(place, finished, "--folds", "3")) == 2
    assert "holds a training with another configuration" in capsys.readouterr().err


def test_the_card_says_if_nothing_could_be_scored():
    """As on a machine that has the arrays and not the images."""
    assert folds.score_text([folds.Fold(["01"], 1, [], [])]).startswith("None")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--folds", "4"], "folds: found 4 folds and 3 participants with labels (01, 02, 03)"),
        (
            ["--folds", "2", "--exclude", "02", "03"],
            "folds: found 2 folds and 1 participants with labels (01)",
        ),
        (["--folds", "2", "--validation", "0.2"], "folds needs data.validation: 0"),
        (["--folds", "1"], "expected 2 folds or more, found 1"),
        (["--folds", "0"], "expected 2 folds or more, found 0"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(place, tmp_path, capsys, options, message):
    try:
        status = brainmask.main(words(place, tmp_path / "out", *options))
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert message in capsys.readouterr().err


PLAIN = {
    "name": "mine",
    "data": {"bids_dir": "x", "labels": "y", "validation": 0},
    "stages": [{"epochs": 3, "rate": [1e-3, 0]}, {"epochs": 4, "rate": [1e-3, 0]}],
    "folds": 2,
    "patience": 2,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1}, "folds: found 1; expected 2 or more"),
        ({"target": "lesion"}, "folds needs target: label"),
        (
            {"stages": [PLAIN["stages"][0] | {"architecture": SMALL}, PLAIN["stages"][1]]},
            "folds needs target: label",
        ),
    ],
)
def test_a_configuration_that_folds_do_not_fit_is_refused(changes, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(PLAIN | changes, Config)


@pytest.mark.parametrize(
    ("best", "stages"), [((1, 2), [2]), ((3, 4, 4), [3, 1]), ((7, 7), [3, 4]), ((1, 1), [1])]
)
def test_the_stages_end_at_the_mean_epoch(best, stages):
    config = msgspec.convert(PLAIN, Config)
    found = folds.of_all(config, [folds.Fold([], number, [], []) for number in best])
    assert [stage.epochs for stage in found.stages] == stages
    assert (found.folds, found.patience) == (0, 0)


def test_participants_are_divided_evenly_and_by_the_seed():
    people = [f"{n:02}" for n in range(11)]
    groups = folds.divide(people, 4, 0)
    assert sorted(name for group in groups for name in group) == people
    assert sorted(map(len, groups)) == [2, 3, 3, 3]
    assert groups == folds.divide(people[::-1], 4, 0)
    assert groups != folds.divide(people, 4, 1)
    with pytest.raises(UsageError, match="found 12 folds and 11 participants"):
        folds.divide(people, 12, 0)


def test_without_folds_a_fifth_is_for_validation(place):
    asked = training.finetuning(brainmask.parser().parse_args(words(place, "x")))
    assert (asked.data.validation, asked.folds) == (0.2, 0)
    asked = training.finetuning(brainmask.parser().parse_args(words(place, "x", "--folds", "3")))
    assert (asked.data.validation, asked.folds, asked.patience) == (0, 3, 8)
