# SPDX-License-Identifier: Apache-2.0
"""Trainings from their command lines to a model in use: they learn, stop, and go on."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import msgspec
import nibabel as nb
import numpy as np
import pytest
import yaml
from conftest import LITTLE, labelled_dataset, train_eagerly

from bids_brainmask.cli import bids_app, brainmask, training
from bids_brainmask.errors import ModelError, UsageError
from bids_brainmask.models import backends, registry
from bids_brainmask.models.unet import COMPACT, Architecture, fold_normalization, unet3d
from bids_brainmask.train import dataset, fit
from bids_brainmask.train.config import read
from bids_brainmask.train.surgery import widen, with_normalization
from bids_brainmask.voxels.agreement import dice

SMALL = {"encoder": [[8, 8], [16, 16]], "up": [16], "decoder": [[8, 8]], "stem": 8}
"""A network of a few thousand parameters, which a phantom can be learnt with."""

STAGE = {"epochs": 1, "rate": [5e-3, 1e-3], "steps": 2, "batch": 1, "window": [32, 32, 32]}

DEBRIS = "partial-"


@pytest.fixture
def graph():
    """A test with this trains as users do: the steps are compiled to a graph."""


@pytest.fixture(autouse=True)
def _eagerly(request, monkeypatch):
    if "graph" not in request.fixturenames:
        train_eagerly(monkeypatch)


@pytest.fixture
def root(tmp_path):
    return labelled_dataset(tmp_path / "bids", 2, **LITTLE)


def configuration(tmp_path, **changes):
    content = {
        "name": "small",
        "architecture": SMALL,
        "seed": 3,
        "data": {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0.5},
        "stages": [STAGE],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a training of one step; copied before it is changed."""
    folder = tmp_path_factory.mktemp("trained")
    labelled_dataset(folder / "bids", 1, **LITTLE)
    data = {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0}
    path = configuration(folder, data=data, stages=[STAGE | {"steps": 1}])
    assert brainmask.main(["train", str(path), "--out", str(folder / "out")]) == 0
    return folder / "out"


def rows(out):
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_phantom_is_learnt_by_heart_within_two_minutes(tmp_path, graph):
    """From a configuration to a mask of Dice above 0.98, through the BIDS App."""
    started = time.monotonic()
    root, out = labelled_dataset(tmp_path / "bids", 1), tmp_path / "out"
    data = {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0}
    stage = STAGE | {
        "steps": 55,
        "epochs": 2,
        "window": [80, 80, 80],
        "reach": 50,
        "rate": [0.01, 0],
    }
    path = configuration(tmp_path, data=data, stages=[stage | {"normalise": True}])
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    assert (
        bids_app.main([str(root), str(tmp_path / "masks"), "participant", "--model", str(out)])
        == 0
    )
    assert time.monotonic() - started < 120
    mask = nb.load(tmp_path / "masks/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    truth = nb.load(root / "derivatives/labels/sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    found = dice(mask.get_fdata() > 0, truth.get_fdata() > 0)
    assert found > 0.98


def test_a_training_leaves_a_model_its_card_and_its_log(root, tmp_path, capsys):
    out = tmp_path / "out"
    stages = [
        STAGE | {"normalise": True},
        STAGE | {"epochs": 2, "variants": {"rigid": 1}},
    ]
    variants = {"rigid": {"geometry": {"turn": 5}, "steps": {"noise": 1}}}
    path = configuration(tmp_path, stages=stages, variants=variants)
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    assert f"--model {out}" in capsys.readouterr().out
    assert [row["epoch"] for row in rows(out)] == ["0", "1", "2"]
    assert set(rows(out)[0]) >= {"loss", "dice", "jaccard", "val_loss", "val_dice"}
    assert [p.name for p in out.glob("checkpoint*")] == ["checkpoint-0003.keras"]
    assert not list(out.glob(f"{DEBRIS}*"))
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "config.json").read_text())["seed"] == 3
    card = (out / "README.md").read_text()
    model = registry.resolve(out)
    for text in ("not a medical device", model.sha256, "training (1)", "median", "curve.png"):
        assert text in card
    with (out / "scores.tsv").open() as file:
        scores = list(csv.DictReader(file, delimiter="\t"))
    assert len(scores) == 1
    assert 0 <= float(scores[0]["dice"]) <= 1
    with np.load(out / "weights.npz") as weights:
        assert weights["stem/kernel"].dtype == np.float16


def test_a_training_learns_what_it_grows_itself(root, tmp_path):
    """The dataset has no tumours; what is then learnt of, tests of `batches` tell."""
    out = tmp_path / "out"
    data = {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0}
    path = configuration(
        tmp_path,
        data=data,
        task="meningioma",
        target="lesion",
        height=192,
        near_brain=4.0,
        peak=0.8,
        flips=True,
        stages=[STAGE | {"near": 1, "reach": 5, "variants": {"grown": 1}}],
        variants={"grown": {"steps": {"meningiomas": 1}}},
    )
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    model = registry.resolve(out)
    assert (model.task, model.near_brain, model.peak) == ("meningioma", 4, 0.8)
    assert (model.height, model.flips) == (192, True)
    asked = json.loads((out / "config.json").read_text())
    assert (asked["target"], asked["stages"][0]["near"]) == ("lesion", 1)
    assert len(rows(out)) == 1
    assert np.isfinite(float(rows(out)[0]["loss"]))


def test_the_card_shows_what_the_configuration_says_of_the_data(root, tmp_path):
    words = {
        "license": "CC0-1.0",
        "citation": "Nobody 2026",
        "intended_use": "Phantoms only.",
        "sources": ["phantoms, CC0"],
    }
    path = configuration(tmp_path, card=words)
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out/README.md").read_text()
    for text in ("CC0-1.0", "Phantoms only.", "- phantoms, CC0"):
        assert text in card
    assert registry.resolve(tmp_path / "out").citation == "Nobody 2026"


KILLED = """
import os, sys, tensorflow as tf
tf.config.experimental.enable_op_determinism()
tf.config.run_functions_eagerly(True)
from bids_brainmask.cli import brainmask
from bids_brainmask.train import checkpoints
kill_at, config, *folders = sys.argv[1:]
seen, write = [], checkpoints.Record._save
def kill(self, path):
    seen.append(path)
    if len(seen) == int(kill_at):
        os._exit(9)
    write(self, path)
for folder in folders:
    if int(kill_at) and folder == folders[-1]:
        checkpoints.Record._save = kill
    status = brainmask.main(["train", config, "--out", folder])
sys.exit(status)
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(root, tmp_path):
    """Killed after the log's row and before the checkpoint, in the first stage and the second.

    The first process does the whole training before.
    """
    data = {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0}
    stages = [STAGE | {"epochs": 2, "normalise": True}, STAGE | {"epochs": 2}]
    path = configuration(tmp_path, data=data, stages=stages)

    def run(kill_at, *folders):
        command = [sys.executable, "-c", KILLED, str(kill_at), str(path), *folders]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    assert run(2, whole, killed).returncode == 9
    assert [row["epoch"] for row in rows(Path(killed))] == ["0", "1"]
    assert run(2, killed).returncode == 9
    last = run(0, killed)
    assert last.returncode == 0
    assert "resuming after" in last.stderr
    assert rows(Path(whole)) == rows(Path(killed))
    with np.load(f"{whole}/weights.npz") as a, np.load(f"{killed}/weights.npz") as b:
        assert list(a) == list(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_a_folder_of_another_training_is_refused(trained, tmp_path, capsys):
    out = shutil.copytree(trained, tmp_path / "out")
    same, other = (trained.with_name(name) for name in ("config.yaml", "other.yaml"))
    other.write_text(same.read_text().replace("seed: 3\n", "seed: 4\n"))
    assert brainmask.main(["train", str(same), "--out", str(out)]) == 0  # it is finished
    assert brainmask.main(["train", str(other), "--out", str(out)]) == 2
    assert "holds a training with another configuration" in capsys.readouterr().err


def test_training_stops_when_validation_gets_no_better(root, tmp_path):
    """A learning rate of next to nothing makes no epoch better than the first."""
    out = tmp_path / "out"
    stage = STAGE | {"epochs": 30, "steps": 1, "rate": [1e-12, 0]}
    path = configuration(tmp_path, stages=[stage], patience=2)
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    assert len(rows(out)) == 4
    assert "of which number 1 was chosen" in (out / "README.md").read_text()
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    assert len(rows(out)) == 4


def test_laying_out_is_enough_to_train_elsewhere(root, tmp_path, capsys):
    out = tmp_path / "out"
    path = configuration(tmp_path)
    assert brainmask.main(["train", str(path), "--out", str(out), "--lay-out"]) == 0
    assert "2 heads in" in capsys.readouterr().out
    root.rename(tmp_path / "gone")
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    assert "there was no validation" in (out / "README.md").read_text()


def test_options_replace_the_folders_of_a_configuration(root, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    data = {"bids_dir": "x", "labels": "y", "validation": 0}
    path = configuration(tmp_path / "elsewhere", data=data)
    monkeypatch.chdir(tmp_path)
    options = ["--bids-dir", "bids", "--labels", "bids/derivatives/labels"]
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out"), *options]) == 0


def test_blocks_of_conformed_heads_are_learnt_from(root, tmp_path):
    data = {
        "bids_dir": "bids",
        "labels": "derivatives/labels",
        "validation": 0,
        "exclude": ["02"],
        "interpolation": "nearest",
    }
    tiny = {"encoder": [[2], [2]], "up": [2], "decoder": [[2]], "stem": 2}
    stage = {
        "epochs": 1,
        "rate": [1e-3, 1e-3],
        "batch": 2,
        "windows": "blocks",
        "variants": {"rigid": 0.5},
    }
    path = configuration(
        tmp_path,
        data=data,
        stages=[stage],
        architecture=tiny,
        grid="fsconform",
        intensities="zscore",
        loss="jaccard",
        threshold=0.3,
        variants={"rigid": {"geometry": {"turn": 8, "shift": 8}}},
    )
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 0
    model = registry.resolve(tmp_path / "out")
    assert (model.grid, model.intensities, model.block) == ("fsconform", "zscore", 128)


def without_tensorflow(backend, code, *arguments):
    """Run code in a process that has no TensorFlow and another backend."""
    code = f"import sys; sys.modules['tensorflow'] = None\n{code}"
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)


def test_preparing_a_training_wants_no_backend_at_all():
    without_tensorflow(
        "none",
        "from bids_brainmask.cli import training; "
        "from bids_brainmask.train import config, dataset; "
        "from bids_brainmask.train.transforms import augment, geometry",
    )


@pytest.mark.slow
def test_a_training_on_jax_gives_a_model_that_runs_on_tensorflow(root, tmp_path):
    path, out = configuration(tmp_path, stages=[STAGE | {"normalise": True}]), tmp_path / "out"
    code = "from bids_brainmask.cli import brainmask; sys.exit(brainmask.main(sys.argv[1:]))"
    without_tensorflow("jax", code, "train", str(path), "--out", str(out))
    assert "Keras" in (out / "README.md").read_text()
    assert "on jax" in (out / "README.md").read_text()
    network = backends.load(registry.resolve(out), "tensorflow", 2)
    found = network.run(np.random.default_rng(0).random((32, 32, 32), np.float32))
    assert ((found > 0) & (found < 1)).all()


def finetune(root, out, *options):
    small = ["--epochs", "2", "--steps", "1", "--batch", "1", "--window", "32"]
    where = [str(root), str(root / "derivatives/labels")]
    return brainmask.main(["finetune", *where, "--out", str(out), *small, *options])


@pytest.mark.slow
def test_a_fine_tuned_model_runs_in_the_app(root, tmp_path, graph):
    out, masks = tmp_path / "tuned", tmp_path / "masks"
    assert finetune(root, out, "--from", "embedded", "--validation", "0.5", "--name", "mine") == 0
    model = registry.resolve(out)
    assert (model.name, model.grid, model.divisor) == ("mine", "head", 32)
    for number, path in enumerate((out, out / "model.keras")):
        there = masks / str(number)
        assert bids_app.main([str(root), str(there), "participant", "--model", str(path)]) == 0
        sidecar = there / "sub-01/anat/sub-01_desc-brain_mask.json"
        assert json.loads(sidecar.read_text())["Parameters"]["ModelSHA256"] == model.sha256
    again = tmp_path / "again"
    assert finetune(root, again, "--from", str(out), "--validation", "0") == 0
    assert registry.resolve(again).architecture == "keras"


def test_fine_tuning_starts_from_the_weights_it_is_given(root, tmp_path):
    """A learning rate of next to nothing leaves the embedded network as it was."""
    out = tmp_path / "tuned"
    assert finetune(root, out, "--from", "embedded", "--rate", "1e-12", "--validation", "0") == 0
    embedded = backends.load(registry.resolve("embedded"), "tensorflow", 2)
    tuned = backends.load(registry.resolve(out), "auto", 2)
    block = np.random.default_rng(0).random((32, 32, 32), np.float32)
    np.testing.assert_allclose(tuned.run(block), embedded.run(block), atol=1e-4)


def test_fine_tuning_starts_from_a_model_without_a_hash_only_if_allowed(
    root, trained, tmp_path, capsys
):
    start, out = shutil.copytree(trained, tmp_path / "start"), tmp_path / "tuned"
    table = (start / "model.toml").read_text()
    (start / "model.toml").write_text(re.sub("(?m)^(sha256|size) = .*$", "", table))
    words = ["--from", str(start), "--validation", "0"]
    assert finetune(root, out, *words) == 2
    assert "found no sha256" in capsys.readouterr().err
    assert finetune(root, out, *words, "--allow-unverified") == 0
    assert json.loads((out / "config.json").read_text())["allow_unverified"] is True
    assert registry.resolve(out).architecture == "keras"


@pytest.mark.parametrize("task", ["meningioma", "brain"])
def test_a_fine_tuned_model_is_asked_as_the_one_that_it_comes_from(tmp_path, task):
    """What it drops of lesions says nothing of a brain."""
    words = ["finetune", "bids", "labels", "--from", "embedded-meningioma", "--task", task]
    found = training.finetuning(brainmask.parser().parse_args([*words, "--out", str(tmp_path)]))
    ours, lesions = registry.resolve("embedded-meningioma"), task == "meningioma"
    assert (found.grid, found.intensities, found.flips) == (ours.grid, ours.intensities, True)
    assert (found.near_brain, found.peak) == ((ours.near_brain, ours.peak) if lesions else (0, 0))
    assert found.height == (ours.height if lesions else 0)


@pytest.mark.slow
def test_the_published_networks_can_be_taught_a_value_of_a_segmentation(root, shared, tmp_path):
    out = tmp_path / "tuned"
    published = str(shared / "reference_models/unet_128iso_tf20.h5")
    options = ["--labels", "1", "--ending", "desc-brain_mask", "--exclude", "sub-02"]
    options += ["--loss", "jaccard", "--validation", "0", "--task", "meningioma", "--seed", "5"]
    assert (
        finetune(root, out, "--from", published, "--patience", "0", "--allow-empty", *options) == 0
    )
    model = registry.resolve(out)
    assert (model.grid, model.intensities, model.threshold) == ("fsconform", "zscore", 0.3)
    assert model.task == "meningioma"
    asked = json.loads((out / "config.json").read_text())
    assert asked["data"]["values"] == [1]
    assert asked["data"]["exclude"] == ["02"]
    assert asked["loss"] == "jaccard"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "nothing"], "unknown model 'nothing'"),
        (["--from", "embedded", "--window", "40"], "--window: 40 is not a multiple of 32"),
        (["--from", "embedded", "--validation", "1.5"], r"finetune: .*at `\$.data.validation`"),
        (
            ["--from", "embedded", "--exclude", "01"],
            "of one participant (02); expected two or more",
        ),
        (["--from", "embedded", "--labels", "9"], "no voxel is one of [9]"),
        (["--from", "brainy"], "Fetch it once"),
    ],
)
def test_fine_tuning_that_cannot_be_done_says_why(root, tmp_path, capsys, options, message):
    assert finetune(root, tmp_path / "out", *options) in (1, 2)
    error = capsys.readouterr().err
    assert message in error or re.search(message, error)
    # A model that is not at hand is told of before the heads are laid out.
    assert (tmp_path / "out").exists() is ("voxel" in message or "participant" in message)


def test_a_missing_extra_is_told_with_its_command(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bids_brainmask.cli.training.PACKAGES", ("matplotlib", "no_such_package"))
    assert finetune(root, tmp_path / "out", "--from", "embedded") == 2
    said = capsys.readouterr().err
    assert "training needs no_such_package: in the folder of the source" in said
    assert "pip install '.[train]'" in said


def test_a_start_must_fit_the_architecture(root, tmp_path, capsys):
    path = configuration(tmp_path, start="embedded")
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "start: embedded holds weights of the network 'compact'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def conformed(tmp_path_factory):
    """Arrays of sub-01 on the grid of the published networks: seconds of work."""
    folder = tmp_path_factory.mktemp("conformed")
    labelled_dataset(folder / "bids", 1, **LITTLE)
    config = read(configuration(folder, grid="fsconform"))
    dataset.lay_out(config, folder, folder / "heads")
    return folder / "heads"


def keras_file(path, *, sigmoid):
    import keras

    inputs = x = keras.Input((None, None, None, 1))
    x = keras.layers.Conv3D(2, 3, padding="same", activation="relu")(x)
    if sigmoid == "inner":
        inner = keras.Sequential([keras.layers.Conv3D(1, 1, activation="sigmoid")])
        outputs = inner(x)
    else:
        outputs = keras.layers.Conv3D(1, 1, activation="sigmoid" if sigmoid else None)(x)
    keras.Model(inputs, outputs).save(path)
    return path


@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_network_of_ones_own_can_be_tuned(root, conformed, tmp_path, sigmoid):
    own = keras_file(tmp_path / "own.keras", sigmoid=sigmoid)
    out = tmp_path / "out"
    shutil.copytree(conformed, out / "heads")
    one = ["--validation", "0", "--exclude", "02"]
    assert finetune(root, out, "--from", str(own), *one) == 0
    assert registry.resolve(out).grid == "fsconform"


def test_a_sigmoid_that_cannot_be_taken_off_is_an_error(root, conformed, tmp_path, capsys):
    own = keras_file(tmp_path / "own.keras", sigmoid="inner")
    shutil.copytree(conformed, tmp_path / "out/heads")
    one = ["--validation", "0", "--exclude", "02"]
    assert finetune(root, tmp_path / "out", "--from", str(own), *one) == 2
    assert "training needs logits" in capsys.readouterr().err


def test_a_file_with_its_own_network_wants_to_be_told_of(root, tmp_path, capsys):
    own = keras_file(tmp_path / "own.keras", sigmoid=False)
    path = configuration(tmp_path, start=str(own))
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(r"is a whole Keras model; found architecture: \{.*\}, expected keras", error)


def test_normalisation_comes_and_goes(root, tmp_path):
    stages = [STAGE, STAGE | {"normalise": True}, STAGE]
    path = configuration(tmp_path, stages=stages)
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 0
    assert len((tmp_path / "out" / "log.csv").read_text().splitlines()) == 4


def test_normalisation_is_not_for_a_network_of_ones_own(root, tmp_path, capsys):
    own = keras_file(tmp_path / "own.keras", sigmoid=False)
    words = {"architecture": "keras", "start": str(own), "stages": [STAGE | {"normalise": True}]}
    path = configuration(tmp_path, **words)
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "cannot be added to a Keras model of your own" in capsys.readouterr().err


def some_network(seed):
    keras.utils.set_random_seed(seed)
    return unet3d(COMPACT)


def test_a_network_given_normalisation_computes_what_it_did():
    model, images = some_network(3), np.random.default_rng(1).random((2, 2, 32, 32, 32, 1))
    normal = with_normalization(model, COMPACT, list(images.astype(np.float32)))
    batch = images[0].astype(np.float32)
    wanted = np.asarray(model.predict_on_batch(batch))
    np.testing.assert_allclose(
        np.asarray(normal.predict_on_batch(batch)), wanted, atol=1e-4 * np.abs(wanted).max()
    )
    folded = fold_normalization(normal, COMPACT)
    for name, values in fold_normalization(model, COMPACT).items():
        np.testing.assert_allclose(folded[name], values, rtol=1e-3, atol=1e-5)


def test_a_dead_network_is_no_place_to_start_from():
    model = some_network(3)
    layer = model.get_layer("decoder_1_0")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - 1e6])
    with pytest.raises(
        UsageError, match=r"in the convolution decoder_1_1 .* output of every filter is constant"
    ):
        with_normalization(model, COMPACT, [np.random.default_rng(1).random((2, 32, 32, 32, 1))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: (d / "model.toml").unlink(),
            "found no model.toml in it; expected the folder of a finished",
        ),
        (lambda d: (d / "model.toml").write_bytes(b"\xff"), "model.toml: cannot be read"),
        (lambda d: (d / "model.toml").write_text(""), "expected one table, found 0"),
        (lambda d: (d / "model.toml").write_text("[x]\na = 1\n"), "unknown key 'a'"),
        (lambda d: (d / "model.keras").write_bytes(b"x"), "found 1 bytes, expected"),
    ],
)
def test_a_folder_that_is_no_finished_training_is_told_of(trained, tmp_path, change, message):
    out = shutil.copytree(trained, tmp_path / "out")
    change(out)
    with pytest.raises(ModelError, match=message):
        registry.resolve(out)


def filters(*widths, stem=8):
    blocks = [[width] * 2 for width in widths]
    return {
        "encoder": blocks,
        "up": list(widths[-2::-1]),
        "decoder": blocks[-2::-1],
        "stem": stem,
    }


@pytest.mark.parametrize("stem", [0, 8])
def test_a_widened_network_computes_what_the_narrow_one_does(stem):
    from bids_brainmask.models.weights import into_keras

    old, new = (
        msgspec.convert(filters(*widths, stem=stem), Architecture)
        for widths in ((4, 6, 8), (6, 6, 12))
    )
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, 0.2, shape).astype("f") for name, shape in old.shapes()}
    wide = widen(arrays, old, new, 1)
    assert {name: array.shape for name, array in wide.items()} == dict(new.shapes())
    block = rng.random((1, 16, 24, 16, 1), np.float32)
    np.testing.assert_allclose(
        into_keras(new, wide)(block), into_keras(old, arrays)(block), atol=1e-5
    )
    assert any((wide[n] != 0).mean() > (arrays[n] != 0).mean() * 0.5 for n in wide)


@pytest.mark.parametrize("widths", [(4, 6), (4, 6, 7)])
def test_a_network_cannot_be_made_narrower(widths):
    old, new = (msgspec.convert(filters(*w), Architecture) for w in ((4, 6, 8), widths))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in old.shapes()}
    with pytest.raises(UsageError, match="of layers as wide as in the stage before or wider"):
        widen(arrays, old, new, 1)


def test_a_stage_goes_on_with_the_network_widened(root, tmp_path):
    stages = [STAGE | {"architecture": filters(4, 6), "normalise": True}, STAGE]
    data = {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0}
    path = configuration(tmp_path, stages=stages, data=data)
    out = tmp_path / "out"
    assert brainmask.main(["train", str(path), "--out", str(out)]) == 0
    with np.load(out / "weights.npz") as weights:
        assert weights["encoder_0_0/kernel"].shape[-1] == SMALL["encoder"][0][0]


def test_validation_looks_once_at_each_head(root, tmp_path):
    """However many looks the stage has at a head that it has changed."""
    path = configuration(tmp_path, stages=[STAGE | {"batch": 4, "looks": 2}])
    config = read(path)
    heads = dataset.lay_out(config, path.parent, tmp_path / "heads")
    images, _ = fit.validation_batches(config, config.stages[0], heads)[0]
    assert len(images) == len(heads)
