# SPDX-License-Identifier: Apache-2.0
"""Samples from label maps and images, made by processes, on their way into a training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml
from conftest import labelled_dataset
from synthetic_heads import label_map, write

from bids_brainmask.cli import brainmask
from bids_brainmask.errors import WorkerError
from bids_brainmask.train import export, fit, samples, sources, surgery
from bids_brainmask.train.config import read

SMALL = {"encoder": [[4, 4], [8, 8]], "up": [8], "decoder": [[4, 4]], "stem": 4}
STAGE = {"epochs": 2, "rate": [5e-3, 1e-3], "steps": 3, "batch": 2, "window": [32, 32, 32]}

TUMORS = msgspec.to_builtins(read("meningioma-label-maps").synthesis)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    labelled_dataset(folder / "bids", 1)
    write(folder / "maps" / "one_dseg.nii.gz", label_map())
    write(folder / "maps" / "two_dseg.nii.gz", label_map()[::-1])
    return folder


def content(**changes):
    recipe = msgspec.to_builtins(read("brain").synthesis)
    return {
        "name": "small",
        "architecture": SMALL,
        "intensities": "brain",
        "seed": 3,
        "data": {"bids_dir": "bids", "labels": "derivatives/labels", "validation": 0},
        "label_maps": {"folder": "maps"},
        "synthesis": recipe,
        "stages": [STAGE | {"synthetic": 0.5}],
    } | changes


def test_heads_and_label_maps_with_tumors_are_mixed_by_shares(folder, tmp_path):
    some = content(target="lesion", intensities="robust", synthesis=TUMORS)
    some["stages"] = [STAGE | {"synthetic": 0.5, "batch": 8, "steps": 1, "variants": {"one": 1}}]
    some["variants"] = {"one": {"steps": {"contrast": 1}}}
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump(some))
    config = read(path)
    found = sources.lay_out(config, folder, tmp_path / "out")
    sampler = samples.Sampler(config, config.stages[0], 0, **vars(found))
    drawn = sampler._mixed(200, np.random.default_rng(0))
    maps = sum(type(head).__name__ == "LabelMap" for head in drawn)
    assert 70 < maps < 130
    images, labels = sampler.batch(0, 0)
    assert images.shape == labels.shape == (8, 32, 32, 32, 1)
    assert np.isfinite(images).all()


def configuration(folder, name="config.yaml", **changes):
    path = folder / name
    path.write_text(yaml.safe_dump(content(**changes)))
    return path


@pytest.fixture(scope="module")
def laid_out(folder, tmp_path_factory):
    config = read(configuration(folder))
    return config, sources.lay_out(config, folder, tmp_path_factory.mktemp("out"))


def batches(laid_out, workers):
    config, found = laid_out
    some = fit.batches(config, config.stages[0], found, 7, workers)
    with some.running():
        return [some[number] for number in range(len(some))]


def test_the_same_seed_gives_the_same_samples_whatever_the_workers(laid_out):
    alone, one, two = (batches(laid_out, workers) for workers in (0, 1, 2))
    assert len(alone) == STAGE["steps"]
    for a, b, c in zip(alone, one, two, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            assert x.tobytes() == y.tobytes() == z.tobytes()


def test_both_sources_are_drawn_by_their_share(laid_out):
    config, found = laid_out
    sampler = samples.Sampler(config, config.stages[0], 7, **vars(found))
    drawn = sampler._mixed(400, np.random.default_rng(0))
    maps = sum(isinstance(head, samples.LabelMap) for head in drawn)
    assert 160 < maps < 240
    assert {head.name for head in drawn if isinstance(head, samples.LabelMap)} == {"one", "two"}


def test_a_stage_can_do_without_a_label_map(laid_out):
    assert [head.name for head in laid_out[1].without(("one",)).label_maps] == ["two"]


def test_a_killed_worker_ends_the_training_with_a_clear_error(laid_out):
    config, found = laid_out
    some = fit.batches(config, config.stages[0], found, 7, 1)
    with some.running():
        some[0]
        (worker,) = some.pool._processes
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(
            WorkerError, match=r"ended unexpectedly \(epoch 1, batch \d.*--workers"
        ):
            [some[number] for number in range(1, len(some))]


def test_workers_end_with_a_training_that_is_killed(folder, tmp_path):
    path = configuration(folder, stages=[STAGE | {"synthetic": 1.0, "steps": 1000}])
    code = "from bids_brainmask.cli.brainmask import main; main()"
    command = ["train", str(path), "--out", str(tmp_path / "out"), "--workers", "2"]
    with subprocess.Popen([sys.executable, "-c", code, *command]) as training:
        deadline = time.monotonic() + 120
        while not (found := workers_of(training.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        training.kill()
    while any(Path(f"/proc/{pid}").exists() for pid in found):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers_of(parent):
    """Processes that a process has spawned to make samples."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    return [pid for pid, line in lines.items() if "spawn_main" in line]


def test_an_error_of_a_worker_is_told_as_it_is(laid_out):
    config, found = laid_out
    broken = msgspec.structs.replace(config.stages[0], window=(0, 0, 0), synthetic=1.0)
    some = fit.batches(config, broken, found, 7, 1)
    with some.running(), pytest.raises(Exception, match=r"zero-size|empty|axis"):
        some[0]


def test_samples_are_drawn_before_a_training(folder, tmp_path, capsys):
    path = configuration(folder)
    assert brainmask.main(["train", str(path), "--out", str(tmp_path), "--show", "5"]) == 0
    assert str(tmp_path / "samples.png") in capsys.readouterr().out
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "samples.png").convert("L"))
    assert picture.std() > 10
    assert not (tmp_path / "log.csv").exists()


def test_a_training_from_label_maps_goes_on_after_a_kill_to_the_same_weights(
    folder, tmp_path, monkeypatch
):
    """It has a loss on tissues, whose output is not part of what is exported."""
    config = read(configuration(folder, tissues=0.5))

    def train(name):
        return fit.train(config, folder, tmp_path / name, 1).model.get_weights()

    whole = train("whole")
    original = fit.Record.on_epoch_end

    def killed(self, epoch, logs=None):
        original(self, epoch, logs)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.Record, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        train("twice")
    monkeypatch.undo()
    again = fit.train(config, folder, tmp_path / "twice", 1).model
    assert surgery.with_tissues(again) is again
    for a, b in zip(whole, again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    image = np.random.default_rng(0).random((1, 32, 32, 32, 1), np.float32)
    exported = export.plain(again, config)
    assert exported.output_shape[-1] == 1
    target = np.asarray(again(image))[..., :1]
    np.testing.assert_allclose(np.asarray(exported(image)), target, rtol=1e-4, atol=1e-5)


def test_the_folder_of_label_maps_can_be_given_by_option(folder, tmp_path):
    path = configuration(folder, label_maps={"folder": "nowhere"})
    out, maps = tmp_path / "out", folder / "maps"
    command = ["train", str(path), "--out", str(out), "--label-maps", str(maps), "--lay-out"]
    assert brainmask.main(command) == 0
    assert {path.name for path in (out / "label_maps").iterdir()} >= {"one", "two"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_maps": None}, "synthetic needs label_maps and synthesis"),
        ({"synthesis": None}, "synthetic needs label_maps and synthesis"),
        ({"intensities": "zscore"}, "synthetic needs intensities: robust or brain"),
        ({"target": "lesion"}, "needs synthesis.tumors, and target: label none"),
        ({"target": "lesion", "synthesis": TUMORS, "intensities": "brain"}, "expected robust"),
        ({"synthesis": {"contrasts": {"a": {"share": 1}}, "colour": 1}}, "unknown field `colour`"),
        ({"stages": [STAGE | {"synthetic": 1.5}]}, "<= 1"),
        (
            {"tissues": 1, "stages": [STAGE | {"synthetic": 0.5, "architecture": SMALL}]},
            "tissues needs one architecture for all stages, and not keras",
        ),
        (
            {"grid": "fsconform", "stages": [STAGE | {"synthetic": 1, "windows": "blocks"}]},
            "synthetic needs windows: random",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(folder, tmp_path, capsys, changes, message):
    path = configuration(folder, **changes)
    assert brainmask.main(["train", str(path), "--out", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--workers", "--show"])
def test_counts_must_be_positive(folder, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        brainmask.main(["train", "brain", "--out", str(tmp_path), option, "0"])
    assert option in capsys.readouterr().err
