# SPDX-License-Identifier: Apache-2.0
"""Meningiomas through the whole path: with networks that are arithmetic, and with the real one."""

import csv
import json
import shutil

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset, head_phantom

from bids_brainmask import app, hashes, plan
from bids_brainmask.analyses import candidates, catalog, lesion_table, lesions
from bids_brainmask.cli import bids_app, brainmask
from bids_brainmask.dataset import decisions
from bids_brainmask.models import backends
from bids_brainmask.results import lesion_decisions, standing
from bids_brainmask.settings import Settings
from bids_brainmask.voxels import image

LESION_FILES = {"tumor", "lesions", "lesion_indices", "lesion_names"}

BALLS = {(30.0, 25.0, 20.0): 14.0, (-32.0, -32.0, 20.0): 9.0}
"""Middles of two tumours in the world, and their radii, mm; each is 2 mm from the skull."""

NAME = "sub-01_ce-gadolinium_T1w.nii.gz"


def run(root, **options):
    return Settings(
        bids_dir=root, output_dir=root.parent / "out", analysis_level="participant", **options
    )


def process(settings):
    return list(app.process(plan.prepare(settings)))


def with_tumors(balls, spacing=1.5):
    """Make the phantom of two balls, with brighter ones in it."""
    shape = tuple(int(180 / spacing) for _ in range(3))
    head = head_phantom(shape, (spacing,) * 3)
    data = np.asanyarray(head.dataobj).copy()
    where = np.indices(shape).reshape(3, -1)
    world = head.affine[:3, :3] @ where + head.affine[:3, 3:]
    for middle, radius in balls.items():
        near = np.linalg.norm(world - np.array(middle)[:, None], axis=0) < radius
        data[near.reshape(shape)] = 190
    return nb.Nifti1Image(data, head.affine, head.header)


@pytest.fixture
def arithmetic(monkeypatch):
    """Networks that take what is bright for brain, and what is brightest for tumour.

    Scaled robustly, the phantom's brain is at 1, and at 0.69 at the second look; scalp at 0.4, and
    then at 0.28; tumours, which are looked for once, at 1.9.
    """
    levels = {"brain": 0.48, "meningioma": 1.45}

    def load(model, *_):
        level = levels[model.task]
        return backends.Network(lambda x: (x > level).astype(np.float32), "arithmetic 1", 16)

    monkeypatch.setattr(backends, "load", load)


def rows(job):
    with job.files["lesions"].open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_two_tumours_are_measured(dataset, arithmetic):
    dataset.add(NAME, with_tumors(BALLS))
    (outcome,) = process(run(dataset.root))
    assert outcome.status == "done"
    table = rows(outcome.plan)
    assert len(table) == 2
    for row, (middle, radius) in zip(table, BALLS.items(), strict=True):
        volume = 4 / 3 * np.pi * radius**3 / 1000
        assert float(row["volume_ml"]) == pytest.approx(volume, rel=0.05)
        assert float(row["longest_mm"]) == pytest.approx(2 * radius, abs=2)
        assert float(row["perpendicular_mm"]) == pytest.approx(2 * radius, abs=2)
        centroid = [float(row[f"centroid_{axis}_mm"]) for axis in "xyz"]
        np.testing.assert_allclose(centroid, middle, atol=0.3)
        assert float(row["surface_mm2"]) == pytest.approx(4 * np.pi * radius**2, rel=0.1)
        assert float(row["mean_probability"]) > 0.9
        assert row["share_in_brain"] == "1.000"
    record = json.loads(outcome.plan.sidecars["tumor"].read_text())
    assert record["LesionCount"] == 2
    assert record["LesionVolume"] == pytest.approx(
        sum(float(row["volume_ml"]) for row in table), abs=2e-3
    )
    assert outcome.detail.split(" in ")[0].endswith(
        f"2 candidate lesions of {record['LesionVolume']:.2f} mL"
    )


def test_masks_tables_and_sidecars_agree(dataset, arithmetic):
    dataset.add(NAME, with_tumors(BALLS))
    (outcome,) = process(run(dataset.root, outputs=("mask", "brain", "probseg")))
    job = outcome.plan
    brain, tumour, both = (
        image.read_mask(job.files[kind]) for kind in ("mask", "tumor", "brainandtumor")
    )
    np.testing.assert_array_equal(both, brain | tumour)
    raw = nb.load(job.scan.path)
    for kind in ("tumor", "tumor_probseg", "brainandtumor"):
        made = nb.load(job.files[kind])
        np.testing.assert_array_equal(made.affine, raw.affine)
        assert made.shape == raw.shape
    voxel_ml = 1.5**3 / 1000
    record = json.loads(job.sidecars["tumor"].read_text())
    assert record["Type"] == "Lesion"
    assert record["LesionVolume"] == pytest.approx(tumour.sum() * voxel_ml, abs=1e-3)
    assert record["Sources"] == [f"bids:raw:sub-01/anat/{NAME}"]
    assert record["Parameters"]["SmallestLesion"] == lesions.SMALLEST_ML
    union = json.loads(job.sidecars["brainandtumor"].read_text())
    assert union["Parameters"]["meningioma"] == record["Parameters"]
    assert json.loads(job.sidecars["lesions"].read_text()) == lesion_table.COLUMNS
    for path in job.sidecars.values():
        assert path.name.startswith("sub-01_ce-gadolinium_")
        if "lesions" not in path.name:
            assert "not a medical device" in json.loads(path.read_text())["IntendedUse"]


def test_a_tumour_outside_of_the_brain_is_in_the_union(dataset, monkeypatch):
    """One at the surface, which the brain network leaves out, and which faces the brain."""
    levels = {"brain": (0.48, 1.1), "meningioma": (1.45, np.inf)}

    def load(model, *_):
        low, high = levels[model.task]
        return backends.Network(
            lambda x: ((x > low) & (x < high)).astype(np.float32), "arithmetic 1", 16
        )

    monkeypatch.setattr(backends, "load", load)
    dataset.add(NAME, with_tumors({(0.0, 0.0, 58.0): 8.0}))
    (outcome,) = process(run(dataset.root))
    brain, tumour, both = (
        image.read_mask(outcome.plan.files[kind]) for kind in ("mask", "tumor", "brainandtumor")
    )
    assert (tumour & ~brain).any()
    np.testing.assert_array_equal(both, brain | tumour)
    (row,) = rows(outcome.plan)
    assert float(row["share_in_brain"]) < candidates.IN_BRAIN
    assert float(row["share_facing_brain"]) > candidates.FACING
    assert row["candidate"] == "likely"


def test_no_tumour_is_an_answer(dataset, arithmetic):
    dataset.add(NAME, with_tumors({}))
    (outcome,) = process(run(dataset.root))
    assert outcome.status == "done"
    assert "no candidate lesion" in outcome.detail
    assert not image.read_mask(outcome.plan.files["tumor"]).any()
    header = "\t".join(lesion_table.COLUMNS) + "\n"
    assert outcome.plan.files["lesions"].read_text() == header
    record = json.loads(outcome.plan.sidecars["tumor"].read_text())
    assert record["LesionCount"] == 0
    assert record["LesionVolume"] == 0


def test_meningioma_alone_by_a_model_without_a_rule_needs_no_brain(dataset, arithmetic, tmp_path):
    dataset.add(NAME, with_tumors(BALLS))
    file = tmp_path / "own.h5"
    file.write_bytes(b"never read: the network is arithmetic")
    options = {"analyses": ("meningioma",), "model": (str(file),)}
    (outcome,) = process(run(dataset.root, **options))
    assert set(outcome.plan.files) == LESION_FILES
    assert {row["share_in_brain"] for row in rows(outcome.plan)} == {"n/a"}
    parameters = json.loads(outcome.plan.sidecars["tumor"].read_text())["Parameters"]
    assert parameters.keys() & {"NearBrain", "LesionPeak"} == set()


def test_what_nowhere_is_likely_is_no_meningioma(dataset, arithmetic, monkeypatch):
    """Two thresholds: one tells that there is a lesion, a lower one where it ends."""
    sure = next(iter(BALLS))

    def load(model, *_):
        def graded(x):
            found = np.where(x > 1.45, np.float32(0.6), np.float32(0))
            found[:, : x.shape[1] // 2] *= 0.7 / 0.6  # behind, where the second ball is
            found[:, x.shape[1] // 2 :] *= 0.95 / 0.6
            return found

        brain = backends.Network(lambda x: (x > 0.48).astype(np.float32), "arithmetic 1", 16)
        return brain if model.task == "brain" else backends.Network(graded, "arithmetic 1", 16)

    monkeypatch.setattr(backends, "load", load)
    dataset.add(NAME, with_tumors(BALLS))
    (outcome,) = process(run(dataset.root))
    (row,) = rows(outcome.plan)
    where = [float(row[f"centroid_{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(where, sure, atol=1)
    parameters = json.loads(outcome.plan.sidecars["tumor"].read_text())["Parameters"]
    assert 0.7 < parameters["LesionPeak"] <= 0.95


def test_the_embedded_network_is_always_asked_about_the_mirror_image_too(dataset, monkeypatch):
    seen = []

    def load(model, *_):
        def tumours(x):
            seen.append(x.copy())
            return (x > 1.45).astype(np.float32)

        brain = backends.Network(lambda x: (x > 0.48).astype(np.float32), "arithmetic 1", 16)
        return brain if model.task == "brain" else backends.Network(tumours, "arithmetic 1", 16)

    monkeypatch.setattr(backends, "load", load)
    dataset.add(NAME, with_tumors(BALLS))
    (outcome,) = process(run(dataset.root))
    plain, mirrored = seen
    np.testing.assert_array_equal(mirrored, plain[::-1])
    records = {k: json.loads(outcome.plan.sidecars[k].read_text()) for k in ("tumor", "mask")}
    assert records["tumor"]["Parameters"]["TestTimeFlips"] is True
    assert "TestTimeFlips" not in records["mask"]["Parameters"]


NECK = (0.0, 20.0, -82.0)
"""Middle of a bright ball below the phantom's brain."""


NOT_BY_DEFAULT = {"probseg", "tumor_probseg", "mask_automatic", "tumor_automatic"}
"""Outputs on request, and those beside a mask that a person corrected."""


@pytest.mark.parametrize("analyses", [("auto",), ("meningioma",)])
def test_what_lies_far_from_the_brain_is_no_meningioma(dataset, arithmetic, analyses):
    """Also where meningiomas alone are asked for: then the brain is found, and not written."""
    (kept,) = {middle: BALLS[middle] for middle in list(BALLS)[:1]}.items()
    dataset.add(NAME, with_tumors(dict([kept]) | {NECK: 8.0}))
    (outcome,) = process(run(dataset.root, analyses=analyses))
    (row,) = rows(outcome.plan)
    where = [float(row[f"centroid_{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(where, kept[0], atol=1)
    assert row["share_in_brain"] == "1.000"
    near = json.loads(outcome.plan.sidecars["tumor"].read_text())["Parameters"]["NearBrain"]
    assert (near["Distance"], near["Model"], near["Threshold"]) == (5, "embedded", 0.5)
    there = LESION_FILES if analyses == ("meningioma",) else {row.name for row in catalog.OUTPUTS}
    assert set(outcome.plan.files) == there - NOT_BY_DEFAULT
    assert ("mL, 1 candidate lesion" in outcome.detail) == (analyses == ("auto",))


def test_a_plain_image_is_refused_and_the_others_are_done(dataset, arithmetic, capsys):
    dataset.add(NAME, with_tumors(BALLS))
    dataset.add("sub-02_T1w.nii.gz", with_tumors(BALLS))
    out = dataset.root.parent / "out"
    command = [str(dataset.root), str(out), "participant", "--analyses", "meningioma"]
    assert bids_app.main(command) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert "1 done, 0 skipped, 0 failed, 1 refused" in lines
    assert "For research only; not a medical device." in lines
    (refused,) = (line for line in lines if line.startswith("sub-02"))
    assert "refused" in refused
    assert "--force-contrast" in refused
    assert not (out / "sub-02").exists()
    assert bids_app.main([*command, "--force-contrast"]) == 0
    assert "1 done, 1 skipped, 0 failed" in capsys.readouterr().out.splitlines()


def test_a_plain_image_has_its_brain_and_is_told_why_not_more(dataset, arithmetic):
    dataset.add("sub-02_T1w.nii.gz", with_tumors(BALLS))
    options = {"analyses": ("brain", "meningioma")}
    for status in ("done", "skipped"):
        (outcome,) = process(run(dataset.root, **options))
        assert outcome.status == status
        assert "meningioma: refused" in outcome.detail
        assert set(outcome.plan.files) == {"mask", "brain"}


def test_what_is_done_is_skipped_and_what_changed_is_not(dataset, arithmetic):
    dataset.add(NAME, with_tumors(BALLS))
    settings = run(dataset.root)
    assert process(settings)[0].status == "done"
    assert process(settings)[0].status == "skipped"
    assert process(run(dataset.root, threshold=(("meningioma", 0.3),)))[0].status == "done"
    assert process(run(dataset.root, tta=True))[0].status == "done"
    assert process(run(dataset.root, tta=True))[0].status == "skipped"


def test_a_stripped_image_is_told_of(dataset, monkeypatch):
    data = np.zeros((100, 100, 100), np.int16)
    data[20:80, 20:80, 20:80] = 100
    data[40:50, 40:50, 40:50] = 190
    dataset.add(NAME, nb.Nifti1Image(data, np.diag([2.0, 2, 2, 1])))
    levels = {"brain": 0.3, "meningioma": 1.4}

    def load(model, *_):
        level = levels[model.task]
        return backends.Network(lambda x: (x > level).astype(np.float32), "arithmetic 1", 16)

    monkeypatch.setattr(backends, "load", load)
    (outcome,) = process(run(dataset.root))
    words = "the image is already skull-stripped: tumors may be missing"
    assert words in outcome.detail
    assert json.loads(outcome.plan.sidecars["tumor"].read_text())["Warning"] == words
    assert words in json.loads(outcome.plan.sidecars["brainandtumor"].read_text())["Warning"]
    assert words not in json.loads(outcome.plan.sidecars["mask"].read_text()).get("Warning", "")


def test_flips_and_overlap_reach_the_network(dataset, monkeypatch, shared):
    """256^3 in 128^3 blocks, half overlapping, twice: 2 x 27."""
    dataset.add(NAME, with_tumors(BALLS, 3.0))
    seen = []

    def load(model, *_):
        def network(block):
            seen.append(block.shape)
            return np.zeros_like(block)

        return backends.Network(network, "arithmetic 1", 8)

    monkeypatch.setattr(backends, "load", load)
    file = shared / "reference_models/unet_128iso_tf20.h5"
    options = {"analyses": ("meningioma",), "model": (str(file),)}
    (outcome,) = process(run(dataset.root, **options, overlap=True, tta=True))
    assert seen == [(128, 128, 128)] * 54
    parameters = json.loads(outcome.plan.sidecars["tumor"].read_text())["Parameters"]
    assert parameters["Overlap"] is True
    assert parameters["TestTimeFlips"] is True
    assert parameters["Threshold"] == 0.3


@pytest.mark.slow
def test_a_published_style_file_runs_through_the_app(shared, dataset, small_head):
    """Its weights are random, so what it takes for tumour is of no matter; the path is.

    The head is in one octant of its image: of the eight blocks, which take ten seconds each, those
    that hold one value are asked about once.
    """
    values = np.asanyarray(small_head.dataobj)
    values = np.pad(values, [(0, size + 8) for size in values.shape])
    dataset.add(NAME, nb.Nifti1Image(values, small_head.affine, small_head.header))
    file = shared / "reference_models/unet_128iso_tf20.h5"
    out = dataset.root.parent / "out"
    command = [str(dataset.root), str(out), "participant", "--analyses", "meningioma"]
    assert bids_app.main([*command, "--model", str(file), "--threshold", "0.3"]) == 0
    record = json.loads(next(out.rglob("*_label-tumor_desc-meningioma_mask.json")).read_text())
    assert record["Parameters"]["Model"] == "unet_128iso_tf20"
    assert record["Parameters"]["ModelSHA256"] == hashes.sha256(file)
    mask = image.read_mask(next(out.rglob("*_label-tumor_desc-meningioma_mask.nii.gz")))
    candidates = np.asarray(nb.load(next(out.rglob("*_desc-meningioma_dseg.nii.gz"))).dataobj)
    assert candidates.any()
    assert (
        candidates.shape == mask.shape == nb.load(next(dataset.root.rglob("*_T1w.nii.gz"))).shape
    )


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """The embedded networks on the real contrast-enhanced head, which has a schwannoma."""
    data = Dataset(tmp_path_factory.mktemp("real") / "bids")
    head = shared / "data/contrast/sub-vs01/anat/sub-vs01_ce-gadolinium_T1w.nii.gz"
    for session in ("1", "2"):
        data.add(f"sub-01_ses-{session}_ce-gadolinium_T1w.nii.gz", head.read_bytes())
    settings = run(data.root, outputs=("mask", "brain", "probseg"))
    return settings, process(settings)


def test_the_embedded_networks_run_on_a_real_head(real):
    for outcome in real[1]:
        assert outcome.status == "done"
        record = json.loads(outcome.plan.sidecars["tumor"].read_text())
        assert record["Parameters"]["Model"] == "embedded-meningioma"
        assert "synthetic" in record["ModelNotice"]
        assert record["ContrastEnhanced"] is True
        assert len(rows(outcome.plan)) == record["LesionCount"]


def test_the_validator_finds_no_error(real, issues):
    settings, _ = real
    assert bids_app.main([str(settings.bids_dir), str(settings.output_dir), "group"]) == 0
    assert issues(settings.output_dir) == []


def test_the_same_head_a_session_later_has_not_changed(real, tmp_path):
    settings, _ = real
    out = shutil.copytree(settings.output_dir, tmp_path / "out")
    assert bids_app.main([str(settings.bids_dir), str(out), "group"]) == 0
    with (out / "group_desc-meningioma_volumes.tsv").open(newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["session_id"] for row in table] == ["ses-1", "ses-2"]
    assert table[1]["change_ml"] == "0.000"


def decide(out, *lines):
    """Write a file of decisions about the candidates of the image."""
    path = out.parent / "decided.tsv"
    rows = ["image\tindex\tdecision", *(f"{NAME}\t{line}" for line in lines)]
    path.write_text("\n".join(rows) + "\n")
    return path


def of_tumor(plan):
    record = json.loads(plan.sidecars["tumor"].read_text())
    return record["LesionCount"], record["LesionVolume"], record["Decisions"]


def test_accepted_and_rejected_candidates_change_totals_union_and_pages(
    dataset, arithmetic, issues, capsys
):
    """Decisions survive reruns, hold for these candidates alone, and can be taken back."""
    dataset.add(NAME, with_tumors(BALLS, spacing=3.0))
    settings = run(dataset.root)
    out = settings.output_dir

    def again():
        (outcome,) = process(settings)
        picked = ("tumor", "brainandtumor", "mask", "lesion_indices")
        data = [np.asanyarray(nb.load(outcome.plan.files[kind]).dataobj) for kind in picked]
        return outcome, *data

    outcome, tumor, union, brain, labels = again()
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(tumor > 0, labels > 0)
    page = out / "sub-01.html"
    assert page.read_text().count(">rejected<") == 0
    whole = of_tumor(outcome.plan)[1]
    command = ["adopt", str(out), "--lesions", str(decide(out, "1\trejected")), "--editor", "A B"]
    assert brainmask.main(command) == 0
    assert capsys.readouterr().out.strip().endswith("_desc-meningioma_decisions.tsv")
    assert "decisions about candidate lesions have changed" in [
        each.reason for each in standing.read(out)
    ]
    outcome, tumor, union, brain, labels = again()
    assert "made again: decisions about candidate lesions have changed" in outcome.detail
    assert "not counted: 1 rejected" in outcome.detail
    count, volume, decided = of_tumor(outcome.plan)
    assert (count, decided) == (1, {"1": "rejected"})
    assert volume < whole
    np.testing.assert_array_equal(tumor > 0, labels == 2)
    np.testing.assert_array_equal(union > 0, (brain > 0) | (labels == 2))
    table = rows(outcome.plan)
    assert [(row["decision"], row["counted"]) for row in table] == [
        ("rejected", "no"),
        ("n/a", "yes"),
    ]
    assert page.read_text().count(">rejected<") == 1
    assert again()[0].status == "skipped"
    assert issues(out) == []
    assert "current" in {each.state for each in standing.read(out)}
    lesion_decisions.adopt(out, decide(out, "1\tn/a", "2\taccepted"))
    outcome, tumor, *_ = again()
    assert of_tumor(outcome.plan) == (2, whole, {"2": "accepted"})
    # Of other candidates, the decisions hold no more, and are kept.
    (kept,) = {middle: BALLS[middle] for middle in list(BALLS)[:1]}.items()
    dataset.add(NAME, with_tumors(dict([kept]), spacing=3.0))
    (outcome,) = process(settings)
    assert "1 decisions are about other candidates, and not used" in outcome.detail
    assert of_tumor(outcome.plan)[2] == {}
    assert "\taccepted\t" in decisions.beside(outcome.plan.files["lesion_indices"]).read_text()


def test_an_accepted_candidate_counts_whatever_the_rules_say(dataset, arithmetic, monkeypatch):
    monkeypatch.setattr(candidates, "LOW_PEAK", 1.1)
    (kept,) = {middle: BALLS[middle] for middle in list(BALLS)[:1]}.items()
    dataset.add(NAME, with_tumors(dict([kept]), spacing=3.0))
    settings = run(dataset.root, reports=False)
    (outcome,) = process(settings)
    (row,) = rows(outcome.plan)
    assert (row["candidate"], row["counted"]) == ("unlikely", "no")
    assert row["reasons"] == "low probability"
    assert of_tumor(outcome.plan)[:2] == (0, 0)
    assert "no candidate lesion" in outcome.detail
    assert "not counted: 1 unlikely" in outcome.detail
    assert not image.read_mask(outcome.plan.files["tumor"]).any()
    lesion_decisions.adopt(settings.output_dir, decide(settings.output_dir, "1\taccepted"))
    (outcome,) = process(settings)
    assert of_tumor(outcome.plan)[0] == 1
    assert image.read_mask(outcome.plan.files["tumor"]).any()


def test_copies_of_the_image_give_the_uncertainty_of_each_volume(dataset, arithmetic):
    dataset.add(NAME, with_tumors(BALLS, spacing=3.0))
    (outcome,) = process(run(dataset.root, reports=False, lesion_copies=2))
    for row in rows(outcome.plan):
        assert 0 < float(row["volume_sd_ml"]) < 0.2 * float(row["volume_ml"])
    record = json.loads(outcome.plan.sidecars["tumor"].read_text())
    assert record["Parameters"]["LesionCopies"] == 2
    union = json.loads(outcome.plan.sidecars["brainandtumor"].read_text())["Parameters"]
    assert "LesionCopies" not in union["brain"]
