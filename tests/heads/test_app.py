# SPDX-License-Identifier: Apache-2.0
"""The whole path, on real heads, with the network that ships."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset, head_phantom

from bids_brainmask import app, hashes
from bids_brainmask.analyses import brain as brains
from bids_brainmask.analyses.brain import extract
from bids_brainmask.cli import bids_app, messages
from bids_brainmask.errors import ImageError, ModelError, UsageError
from bids_brainmask.models import backends, registry
from bids_brainmask.plan import prepare
from bids_brainmask.results import files as results
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import agreement, image


def run(root, out, **options):
    return Settings(bids_dir=root, output_dir=out, analysis_level="participant", **options)


def process(settings):
    return list(app.process(prepare(settings)))


@pytest.fixture(scope="module")
def heads(shared, near_brain_file):
    """Two small real heads, of two scanners, and the first one cut close."""
    names = ("pumi", "ixi014")
    found = {name: shared / f"data/heads/sub-{name}/anat/sub-{name}_T1w.nii.gz" for name in names}
    return found | {"near": near_brain_file}


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    """A run over real heads with sessions, runs, acq- and ce-, all outputs."""
    folder = tmp_path_factory.mktemp("heads")
    data = Dataset(folder / "bids")
    files = {
        "sub-01_ses-1_acq-mprage_run-01_T1w.nii.gz": "near",
        "sub-01_ses-1_acq-mprage_ce-gadolinium_run-01_T1w.nii.gz": "pumi",
        "sub-01_ses-2_T1w.nii.gz": "near",
        "sub-02_rec-norm_echo-1_part-mag_T1w.nii.gz": "ixi014",
    }
    for name, head in files.items():
        data.add(name, heads[head].read_bytes())
    options = {"outputs": ("mask", "brain", "probseg"), "analyses": ("brain",)}
    settings = run(data.root, folder / "out", **options)
    return settings, process(settings)


def test_every_scan_is_done(finished):
    assert [outcome.status for outcome in finished[1]] == ["done"] * 4


def test_masks_agree_with_the_reference(finished, shared, near_brain):
    heads = ["pumi", "near", "near", "ixi014"]
    for head, outcome in zip(heads, finished[1], strict=True):
        reference = shared / f"data/heads/derivatives/deepbet/sub-{head}/anat"
        truth = near_brain[1]
        if head != "near":
            truth = image.read_mask(reference / f"sub-{head}_desc-brain_mask.nii.gz")
        assert agreement.dice(image.read_mask(outcome.plan.files["mask"]), truth) > 0.96


def test_files_are_what_they_say(finished):
    for outcome in finished[1]:
        job = outcome.plan
        raw, mask, brain, probability = (
            nb.load(path) for path in (job.scan.path, *job.files.values())
        )
        for made in (mask, brain, probability):
            np.testing.assert_array_equal(made.affine, raw.affine)
            assert made.shape == raw.shape[:3]
            for key in ("qform_code", "sform_code", "srow_x", "quatern_c", "qoffset_z"):
                np.testing.assert_array_equal(made.header[key], raw.header[key])
        inside = np.asanyarray(mask.dataobj) == 1
        assert mask.get_data_dtype() == np.uint8
        stored = [np.asanyarray(x.dataobj.get_unscaled()) for x in (raw, brain)]
        np.testing.assert_array_equal(stored[0][inside], stored[1][inside])
        assert not brain.get_fdata()[~inside].any()
        assert 0 <= probability.get_fdata().min() <= probability.get_fdata().max() <= 1
        assert (probability.get_fdata()[inside] >= 0.5).mean() > 0.99  # holes are filled


def test_sidecars_hold_the_record(finished):
    model = registry.models()["embedded"]
    for outcome in finished[1]:
        mask = nb.load(outcome.plan.files["mask"])
        voxel = np.prod(nb.affines.voxel_sizes(mask.affine)) / 1000
        for path in outcome.plan.sidecars.values():
            record = json.loads(path.read_text())
            assert record["Parameters"]["ModelSHA256"] == model.sha256
            assert record["Parameters"]["Threshold"] == model.threshold
            assert record["BrainVolume"] == pytest.approx(mask.get_fdata().sum() * voxel, abs=1e-3)
            assert record["Seconds"] > 0
            assert record["ContrastEnhanced"] is ("_ce-" in path.name)
            assert record["AlreadyStripped"] is False
            assert record["Software"]["OpenVINO"]
            assert "not a medical device" in record["IntendedUse"]


def test_sidecars_say_how_far_to_trust_the_mask(finished):
    for outcome in finished[1]:
        for path in outcome.plan.sidecars.values():
            record = json.loads(path.read_text())
            assert 0 < record["BoundaryUncertainty"] < 0.8
            assert record["PredictedDice"] > 0.95
            assert "Warning" not in record
        assert "doubtful" not in outcome.detail


@pytest.mark.parametrize(("calibration", "said"), [([-1.3, 0, 0, 0, 0], True), ([], False)])
def test_a_mask_of_low_predicted_dice_is_flagged(heads, tmp_path, calibration, said):
    """A calibration that predicts 0.73 whatever the mask; and a model without one."""
    data = Dataset(tmp_path / "bids")
    data.add("sub-01_T1w.nii.gz", heads["near"].read_bytes())
    plan = prepare(run(data.root, tmp_path / "out"))
    model = replace(plan.models["brain"], confidence=calibration)
    plan = replace(plan, models={"brain": model})
    outcomes = list(app.process(plan))
    record = json.loads(outcomes[0].plan.sidecars["mask"].read_text())
    assert outcomes[0].status == "done"
    words = "doubtful, predicted Dice 0.73: check the mask"
    assert (words in " ".join(messages.table(outcomes))) is said
    assert (record.get("Warning") == words) is said
    assert ("PredictedDice" in record) is said


def test_the_validator_finds_no_error(finished, issues):
    assert issues(finished[0].output_dir) == []


def test_what_the_validator_does_not_look_at(finished):
    settings, outcomes = finished
    description = json.loads((settings.output_dir / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "bids_brainmask"
    for outcome in outcomes:
        for path in outcome.plan.sidecars.values():
            for uri in json.loads(path.read_text())["Sources"]:
                scheme, name, relative = uri.split(":")
                root = settings.output_dir / description["DatasetLinks"][name]
                assert scheme == "bids"
                assert (root / relative).is_file()


def test_nothing_hidden_is_left(finished):
    files = [path.name for path in finished[0].output_dir.rglob("*") if path.is_file()]
    assert [name for name in files if name.startswith(".")] == [".bidsignore"]
    run_records = 4  # in logs/
    figures, pages = 4 * (6 + 5), 2
    assert len(files) == 3 + figures + pages + run_records


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_does_nothing(finished):
    settings, _ = finished
    before = snapshot(settings.output_dir)
    outcomes = process(settings)
    assert [outcome.status for outcome in outcomes] == ["skipped"] * 4
    assert "finished before" in outcomes[0].detail
    assert snapshot(settings.output_dir) == before


@pytest.mark.parametrize(
    "change",
    [{"overwrite": True}, {"threshold": (("brain", 0.6),)}],
    ids=["overwrite", "threshold"],
)
def test_what_was_asked_for_otherwise_is_done_again(finished, tmp_path, change):
    settings, _ = finished
    out = shutil.copytree(settings.output_dir, tmp_path / "out")
    settings = replace(settings, output_dir=out, participant_label=("02",), **change)
    assert [outcome.status for outcome in process(settings)] == ["done"]


def test_a_result_without_its_sidecar_is_done_again(finished, tmp_path):
    settings, _ = finished
    out = shutil.copytree(settings.output_dir, tmp_path / "out")
    next(out.rglob("sub-02*_mask.json")).unlink()
    settings = replace(settings, output_dir=out)
    assert [o.status for o in process(settings)] == ["skipped"] * 3 + ["done"]


def test_the_same_input_gives_the_same_bytes(finished, tmp_path):
    settings = replace(finished[0], output_dir=tmp_path / "out", participant_label=("02",))
    again = process(settings)[0].plan.files
    first = finished[1][3].plan.files
    assert [p.read_bytes() for p in again.values()] == [p.read_bytes() for p in first.values()]


@pytest.fixture
def failing(dataset, small_head):
    """Two good images among those that cannot be used."""
    good = dataset.add("sub-01_T1w.nii.gz", small_head).read_bytes()
    nan = nb.Nifti1Image(np.full(small_head.shape, np.nan, np.float32), small_head.affine)
    constant = nb.Nifti1Image(np.full(nan.shape, 5, np.int16), nan.affine)
    flat = nb.Nifti1Image(np.ones((60, 60), np.int16), np.eye(4))
    dataset.add("sub-02_T1w.nii.gz", b"")
    dataset.add("sub-03_T1w.nii.gz", good[: len(good) // 2])
    dataset.add("sub-04_T1w.nii.gz", nan)
    dataset.add("sub-05_T1w.nii.gz", constant)
    dataset.add("sub-06_T1w.nii.gz", flat)
    dataset.add("sub-07_T1w.nii.gz").unlink()
    path = dataset.root / "sub-07/anat/sub-07_T1w.nii.gz"
    path.symlink_to("../../.git/annex/objects/absent")
    dataset.add("sub-08_T1w.nii.gz", good)
    return dataset


REASONS = {
    "02": "the file is empty",
    "03": "the voxels cannot be read",
    "04": "no voxel has a finite value",
    "05": "every voxel is 5",
    "06": "expected a 3D image",
    "07": "a link to",
}


def test_a_bad_image_fails_alone_with_its_reason(failing, tmp_path, capsys):
    out = tmp_path / "out"
    assert bids_app.main([str(failing.root), str(out), "participant"]) == 1
    lines = capsys.readouterr().out.strip().splitlines()
    assert "2 done, 0 skipped, 6 failed" in lines
    table = {line.split("/")[0]: line for line in lines if line.startswith("sub-")}
    for label in ("01", "08"):
        assert table[f"sub-{label}"].split()[1] == "done"
        assert (out / f"sub-{label}/anat/sub-{label}_desc-brain_mask.json").is_file()
    for label, reason in REASONS.items():
        assert table[f"sub-{label}"].split()[1] == "failed"
        assert reason in table[f"sub-{label}"]
        assert not (out / f"sub-{label}").exists()
        record = json.loads(next((out / f"logs/sub-{label}").glob("*.json")).read_text())
        assert record["Source"] == f"sub-{label}/anat/sub-{label}_T1w.nii.gz"
        assert record["Error"] == "ImageError"
        assert reason in record["Message"]
        assert "Traceback" in record["Traceback"]


def test_no_brain_is_a_failure(dataset, tmp_path):
    empty = np.zeros((60, 60, 60), np.float32)
    empty[30, 30, 30] = 100
    dataset.add("sub-01_T1w.nii.gz", nb.Nifti1Image(empty, np.diag([3.0, 3, 3, 1])))
    outcome = process(run(dataset.root, tmp_path / "out"))[0]
    assert outcome.status == "failed"
    assert "no brain was found: the highest probability is" in outcome.detail


def test_the_noise_of_a_scanner_is_no_head_and_its_mask_is_flagged(dataset, tmp_path):
    noise = np.random.default_rng(0).rayleigh(size=(60, 60, 60)).astype(np.float32)
    dataset.add("sub-01_T1w.nii.gz", nb.Nifti1Image(noise, np.diag([3.0, 3, 3, 1])))
    outcome = process(run(dataset.root, tmp_path / "out"))[0]
    assert outcome.status == "failed" or "doubtful, predicted Dice" in outcome.detail


def test_an_unexpected_error_is_recorded_and_does_not_stop_the_run(
    dataset, tmp_path, monkeypatch, small_head
):
    for label in ("01", "02"):
        dataset.add(f"sub-{label}_T1w.nii.gz", small_head)

    def bug(source, *args, **more):
        monkeypatch.setattr(brains, "extract", extract)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(brains, "extract", bug)
    outcomes = process(run(dataset.root, tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert outcomes[0].detail == "ZeroDivisionError: a bug"


def test_a_crash_record_that_cannot_be_written_goes_to_the_log(dataset, tmp_path, caplog):
    dataset.add("sub-01_T1w.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    (out / "logs").write_text("in the way")
    assert [outcome.status for outcome in process(run(dataset.root, out))] == ["failed"]
    assert "the crash record" in caplog.text
    assert "the file is empty" in caplog.text


def test_two_images_of_one_name_are_not_merged(dataset, small_head, tmp_path):
    dataset.add("sub-01_T1w.nii.gz", small_head)
    dataset.add("sub-01_T1w.nii", small_head)
    outcomes = process(run(dataset.root, tmp_path / "out"))
    assert sorted(outcome.status for outcome in outcomes) == ["done", "failed"]
    assert "would have the same names as those of" in outcomes[1].detail


def test_the_work_folder_is_where_temporary_files_go(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    dataset.add("sub-01_T1w.nii.gz")
    process(run(dataset.root, tmp_path / "out", work_dir=tmp_path / "work/here"))
    assert Path(tempfile.gettempdir()) == tmp_path / "work/here"
    assert (tmp_path / "work/here").is_dir()


def test_a_work_folder_that_cannot_be_made_is_refused(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--work-dir: .* cannot be created"):
        process(run(dataset.root, tmp_path / "out", work_dir=tmp_path / "file/work"))


def test_an_output_folder_that_is_a_file_is_an_error(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="results cannot be written there"):
        process(run(dataset.root, tmp_path / "out"))


def test_too_little_memory_is_refused_with_the_number_needed(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    needed = registry.models()["embedded"].memory_gb
    with pytest.raises(
        UsageError, match=rf"0.1 GB are available, but embedded needs {needed:g} GB"
    ):
        prepare(run(dataset.root, tmp_path / "out", mem_gb=0.1))


def test_auto_is_embedded_where_brainy_is_not_at_hand(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    plan = prepare(run(dataset.root, tmp_path / "out"))
    assert {name: model.name for name, model in plan.models.items()} == {"brain": "embedded"}


@pytest.mark.parametrize(("asked", "used"), [(3, 3), (None, 7)])
def test_the_network_gets_the_threads_and_the_engine_asked_for(
    dataset, tmp_path, monkeypatch, asked, used
):
    dataset.add("sub-01_T1w.nii.gz")
    seen = []
    monkeypatch.setattr(app.machine, "cpus", lambda: 7)
    network = backends.Network(np.zeros_like, "arithmetic 1", 16)
    monkeypatch.setattr(backends, "load", lambda *args: seen.append(args[1:]) or network)
    process(run(dataset.root, tmp_path / "out", n_cpus=asked, engine="tensorflow"))
    assert seen == [("tensorflow", used, "auto")]


def test_a_model_that_is_not_at_hand_ends_the_run_before_any_work(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    with pytest.raises(ModelError, match="brainmask models get brainy"):
        process(run(dataset.root, tmp_path / "out", model=("brainy",)))
    assert not (tmp_path / "out/sub-01").exists()


def test_extract_finds_the_ball_with_an_arithmetic_network(tmp_path):
    """The path around the network, with one whose answer is known: bright is brain."""
    nb.save(head_phantom(), tmp_path / "t1.nii")
    source = image.read(tmp_path / "t1.nii")
    model = replace(registry.models()["embedded"], intensities="robust")
    network = backends.Network(lambda x: (x > 0.7).astype(np.float32), "arithmetic 1", 16)
    brain = extract(source, model, network, 0.5)
    assert brain.volume_ml == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.02)
    assert agreement.dice(brain.mask, source.volume.data > 70) > 0.99
    with pytest.raises(ImageError, match="no brain was found"):
        extract(source, model, replace(network, run=np.zeros_like), 0.5)


def test_the_seeds_protocol_on_a_real_head(shared, heads, tmp_path):
    """256^3, z-score, 128^3 blocks: every block reaches the network, and the mask its head."""
    model = registry.models()["brainy"]
    seen = []

    def network(block):
        seen.append(block.shape)
        return (block > 1.0).astype(np.float32)

    source = image.read(heads["pumi"])
    brain = extract(source, model, backends.Network(network, "arithmetic 1", 8), 0.3)
    assert seen == [(128, 128, 128)] * 8
    truth = image.read_mask(
        shared / "data/heads/derivatives/deepbet/sub-pumi/anat/sub-pumi_desc-brain_mask.nii.gz"
    )
    assert agreement.dice(brain.mask, truth) > 0.5  # bright tissue, scalp too, in the right place


@pytest.mark.slow
def test_a_published_style_file_runs_through_the_app(shared, dataset, heads, tmp_path):
    """Its weights are random, so what it takes for brain is of no matter; the path is.

    The head is blank but for an octant: of the eight blocks, which take ten seconds each, those
    that hold one value are asked about once.
    """
    head = nb.load(heads["pumi"])
    data = np.zeros_like(np.asanyarray(head.dataobj))
    octant = tuple(slice(0, size // 2 - 2) for size in head.shape[:3])
    data[octant] = np.asanyarray(head.dataobj)[octant]
    dataset.add("sub-01_T1w.nii.gz", nb.Nifti1Image(data, head.affine, head.header))
    file = shared / "reference_models/unet_128iso_tf20.h5"
    options = {"model": (str(file),), "threshold": (("", 0.01),)}
    outcome = process(run(dataset.root, tmp_path / "out", **options))[0]
    assert outcome.status == "done"
    record = json.loads(outcome.plan.sidecars["mask"].read_text())
    assert record["Parameters"]["Model"] == "unet_128iso_tf20"
    assert record["Parameters"]["ModelVersion"] == "local"
    assert record["Parameters"]["ModelSHA256"] == hashes.sha256(file)


def test_a_run_killed_while_it_writes_leaves_whole_results_or_none(dataset, small_head, tmp_path):
    for label in ("01", "02", "03"):
        dataset.add(f"sub-{label}_T1w.nii.gz", small_head)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bids_brainmask", dataset.root, out, "participant"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob("sub-01/anat/*_mask.nii.gz")) and running.poll() is None:
        time.sleep(0.001)
    running.kill()
    running.wait()
    for sidecar in out.glob("sub-*/anat/*.json"):
        assert json.loads(sidecar.read_text())
        nb.load(sidecar.with_name(sidecar.stem + ".nii.gz")).get_fdata()
    outcomes = process(run(dataset.root, out))
    assert {outcome.status for outcome in outcomes} <= {"done", "skipped"}
    plan = prepare(run(dataset.root, out))
    assert all(results.outdated(o.plan, plan) is None for o in outcomes)
