# SPDX-License-Identifier: Apache-2.0
"""Augmentation by its properties, the losses by arithmetic, and a training that can be resumed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from conftest import head_phantom

from bids_brainmask.network import COMPACT
from bids_brainmask.train import augment, dataset, fit, losses

WINDOW = (48, 40, 44)


def rng(seed=0):
    return np.random.default_rng(seed)


def a_head():
    picture = head_phantom()
    data = picture.get_fdata(dtype=np.float32)
    return data / 100, (data == 100).astype(np.float32), picture.affine


@pytest.mark.parametrize("seed", range(6))
def test_image_and_label_move_together(seed):
    """In the phantom bright is brain, wherever the window looks and however it bends."""
    image, label, affine = a_head()
    found, truth = augment.sample(image, label, affine, np.zeros(3), (96, 96, 96), rng(seed))
    assert found.shape == truth.shape == (96, 96, 96)
    assert found.dtype == truth.dtype == np.float32
    inside, outside = truth > 0.99, truth < 0.01
    assert inside.sum() > 1000
    np.testing.assert_allclose(found[inside], 1, atol=0.02)
    assert found[outside].max() < 0.42
    assert 0 <= truth.min() <= truth.max() <= 1


def test_an_affine_keeps_a_head_a_head():
    for seed in range(50):
        values = np.linalg.svd(augment.random_affine(rng(seed)), compute_uv=False)
        assert 0.6 < values.min() < values.max() < 1.6


def test_a_smooth_field_is_smooth_and_about_zero():
    field = augment.smooth_field(WINDOW, 5, rng())
    assert field.shape == WINDOW
    assert abs(field.mean()) < 1
    assert np.abs(np.diff(field, axis=0)).max() < 1


@pytest.mark.parametrize("seed", range(20))
def test_cuts_blank_the_image_and_never_make_brain_of_air(seed):
    image, label, _ = a_head()
    found, truth = augment.cut_field_of_view(image, label, rng(seed))
    assert ((found == image) | (found == 0)).all()
    assert ((truth == label) | (truth == 0)).all()
    assert (found[truth > 0.5] > 0).all()  # what is still brain is still seen


def test_cuts_of_a_window_without_brain_do_nothing():
    image, label, _ = a_head()
    found, truth = augment.cut_field_of_view(image, np.zeros_like(label), rng())
    np.testing.assert_array_equal(found, image)
    assert not truth.any()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("change", [augment.degrade, augment.recolour])
def test_intensities_change_and_stay_finite(change, seed):
    image, _, _ = a_head()
    found = change(image, rng(seed))
    assert found.shape == image.shape
    assert np.isfinite(found).all()
    assert found.min() >= 0


def test_stripping_leaves_the_brain_alone_now_and_then():
    image, label, _ = a_head()
    found = [augment.strip(image, label, rng(seed))[0] for seed in range(200)]
    stripped = [values for values in found if not values[label < 0.5].any()]
    assert 10 < len(stripped) < 40
    np.testing.assert_array_equal(stripped[0][label > 0.5], image[label > 0.5])


def logits(*values):
    return np.reshape(np.array(values, np.float32), (1, -1, 1, 1, 1))


def test_losses_by_arithmetic():
    truth = logits(1, 1, 0, 0)
    right, wrong = 50 * (2 * truth - 1), -50 * (2 * truth - 1)
    assert float(losses.soft_dice_loss(truth, right)[0]) == pytest.approx(0, abs=1e-6)
    assert float(losses.soft_dice_loss(truth, wrong)[0]) == pytest.approx(1 - 1 / 5)
    assert float(losses.soft_dice_loss(0 * truth, -50 + 0 * truth)[0]) == pytest.approx(0)
    half = losses.dice_cross_entropy_loss(truth, 0 * truth)
    assert float(half[0]) == pytest.approx(1 - 3 / 5 + 2 * np.log(2), rel=1e-5)
    assert float(losses.dice(truth, right)[0]) == 1
    assert float(losses.dice(truth, wrong)[0]) == pytest.approx(1 / 5)


@pytest.fixture
def heads(tmp_path):
    """A dataset of three phantoms, two of them to train on."""
    root = tmp_path / "bids"
    for label in ("01", "02", "03"):
        for folder, kind in (("", "T1w"), ("derivatives/x/", "desc-brain_mask")):
            anat = root / f"{folder}sub-{label}/anat"
            anat.mkdir(parents=True)
            picture = head_phantom()
            if kind != "T1w":
                mask = (picture.get_fdata() == 100).astype(np.uint8)
                picture = nb.Nifti1Image(mask, picture.affine)
            nb.save(picture, anat / f"sub-{label}_{kind}.nii.gz")
    rows = ["participant_id\tsplit", "sub-01\ttrain", "sub-02\tdev", "sub-03\ttrain"]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


def test_only_the_split_asked_for_is_read(heads):
    found = dataset.read_heads(heads, "x", "train", {"sub-03": 5.0})
    assert [(head.participant, head.weight) for head in found] == [("sub-01", 1), ("sub-03", 5)]
    assert set(np.unique(found[0].label)) == {0, 1}


def test_a_batch_depends_on_its_number_alone(heads):
    read = dataset.read_heads(heads, "x", "train", {})
    first, again = (dataset.Windows(read, WINDOW, 2, 3, seed=1, neck=0.5) for _ in range(2))
    again[0]
    np.testing.assert_array_equal(first[2][0], again[2][0])
    assert first[2][0].shape == (2, *WINDOW, 1)
    assert len(first) == 3
    first.on_epoch_end()
    assert (first[2][0] != again[2][0]).any()


RECIPE = fit.Recipe(
    labels="x",
    stages=(
        fit.Stage(epochs=1, rate=(1e-3, 1e-4), window=(32, 32, 32)),
        fit.Stage(epochs=1, rate=(1e-3, 0.0), window=(32, 32, 64), neck=0.5, normalise=False),
    ),
    steps=2,
    policy="float32",
    favoured=(),
)


def train_to_the_end_and_with_a_stop(heads, whole, stopped):
    """Train without a break, and with one between the stages; to the bit alike in this process."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    fit.train(heads, whole, RECIPE)

    def stop(*args, neck, **options):
        if neck:  # the second stage
            raise KeyboardInterrupt
        return dataset.Windows(*args, neck=neck, **options)

    windows, fit.Windows = fit.Windows, stop
    with pytest.raises(KeyboardInterrupt):
        fit.train(heads, stopped, RECIPE)
    assert fit.epochs_done(stopped / "log.csv") == 1
    assert not (stopped / "weights.npz").exists()
    fit.Windows = windows
    fit.train(heads, stopped, RECIPE)


@pytest.mark.slow
def test_training_leaves_weights_and_continues_after_a_stop(heads, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    code = (  # a process of its own, for determinism cannot be switched off again
        "import sys; from pathlib import Path; import test_train\n"
        "test_train.train_to_the_end_and_with_a_stop(*map(Path, sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, heads, whole, stopped]
    subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True)
    assert json.loads((whole / "recipe.json").read_text())["steps"] == 2
    with (stopped / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    with np.load(whole / "weights.npz") as first, np.load(stopped / "weights.npz") as second:
        assert {name: first[name].shape for name in first} == dict(COMPACT.shapes())
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_the_command_trains_the_recipe(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(fit, "train", lambda *args: asked.append(args))
    assert fit.main([str(tmp_path), str(tmp_path / "out")]) == 0
    assert asked == [(tmp_path, tmp_path / "out", fit.Recipe())]
