# SPDX-License-Identifier: Apache-2.0
"""Masks against references: which are paired, what is said of them, what is written."""

import csv
import json
import math
from dataclasses import fields

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask import evaluation
from bids_brainmask.cli import brainmask
from bids_brainmask.errors import ImageError, NothingToDo, UsageError
from bids_brainmask.voxels import agreement

SHAPE = (24, 26, 22)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
CUBE = np.s_[6:16, 6:16, 6:16]
BRAIN = "desc-brain_mask.nii.gz"


def mask(where=CUBE, value=1, kind=np.uint8, shape=SHAPE, affine=AFFINE):
    data = np.zeros(shape, kind)
    data[where] = value
    return nb.Nifti1Image(data, affine)


def shifted(steps):
    """A cube whose Dice with `CUBE` is 1 - steps / 10."""
    return mask(np.s_[6 + steps : 16 + steps, 6:16, 6:16])


def put(root, name, image=None):
    """Save a mask in its place in a dataset."""
    pairs = dict(pair.split("-", 1) for pair in name.split("_") if "-" in pair)
    folder = root / f"sub-{pairs['sub']}" / (f"ses-{pairs['ses']}" if "ses" in pairs else "")
    path = folder / "anat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.save(image or mask(), path)
    return path


@pytest.fixture
def found(tmp_path):
    return tmp_path / "found"


@pytest.fixture
def wanted(tmp_path):
    return tmp_path / "wanted"


def names(pairing):
    return [(p.prediction.relative, p.reference.relative) for p in pairing.pairs]


def run(*words):
    return brainmask.main(["evaluate", *map(str, words)])


# Two files


def test_two_files(tmp_path, capsys):
    nb.save(shifted(1), tmp_path / "found.nii")
    nb.save(mask(), tmp_path / "wanted.nii.gz")
    assert run(tmp_path / "found.nii", tmp_path / "wanted.nii.gz") == 0
    head, row, _, closing = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "Dice Jaccard Sens. Prec. Vol. mL Vol. % HD95 mm ASSD mm"
    assert row.split()[:7] == ["wanted", "0.9000", "0.8182", "0.9000", "0.9000", "0.0", "0.00"]
    assert row.split()[7] == "2.00"
    assert closing.startswith("compared: 1, failed: 0, references without a prediction: 0")


@pytest.mark.parametrize(
    ("there", "status", "reason"),
    [
        ([], 2, "found: no such file or folder"),
        (["found/"], 2, "wanted: no such file or folder"),
        (["found/", "wanted"], 2, "found is a folder, "),
        (["found", "wanted/"], 2, "wanted is a folder, "),
        (["found/", "wanted/"], 3, "no mask has a counterpart: 0 in "),
        (["found", "wanted"], 1, "found: expected a NIfTI image"),
    ],
)
def test_what_cannot_be_compared(there, status, reason, tmp_path, capsys):
    for name in there:
        path = tmp_path / name.rstrip("/")
        path.mkdir() if name.endswith("/") else path.write_bytes(b"text")
    assert run(tmp_path / "found", tmp_path / "wanted") == status
    shown = capsys.readouterr()
    assert reason in shown.err
    assert not shown.out


# Pairing


def test_the_same_path_is_a_pair_compressed_or_not(found, wanted):
    put(found, "sub-2_ses-b_desc-brain_mask.nii")
    put(found, f"sub-1_{BRAIN}")
    for name in (f"sub-1_{BRAIN}", f"sub-2_ses-b_{BRAIN}"):
        put(wanted, name)
    pairing = evaluation.find_pairs(found, wanted)
    assert names(pairing) == [
        (f"sub-1/anat/sub-1_{BRAIN}",) * 2,
        (
            "sub-2/ses-b/anat/sub-2_ses-b_desc-brain_mask.nii",
            f"sub-2/ses-b/anat/sub-2_ses-b_{BRAIN}",
        ),
    ]
    assert (pairing.missing, pairing.extra) == ((), ())


@pytest.mark.parametrize(
    "other",
    [
        "sub-1_run-01_desc-manual_mask.nii.gz",
        "sub-1_run-01_mask.nii.gz",
        "sub-1_run-01_label-brain_mask.nii",
        "sub-1_run-01_space-orig_label-brain_desc-manual_mask.nii.gz",
    ],
)
def test_desc_label_and_space_may_differ(other, found, wanted, caplog):
    put(found, f"sub-1_run-01_{BRAIN}")
    put(found, f"sub-1_run-02_{BRAIN}")
    put(wanted, other)
    pairing = evaluation.find_pairs(found, wanted)
    assert names(pairing) == [
        (f"sub-1/anat/sub-1_run-01_{BRAIN}", f"sub-1/anat/{other}"),
    ]
    assert [m.path.name for m in pairing.extra] == [f"sub-1_run-02_{BRAIN}"]
    assert (
        f"1 pairs differ in desc-, label- or space-; the first is sub-1_run-01_{BRAIN} with "
        in (caplog.text)
    )


@pytest.mark.parametrize("other", [f"sub-1_run-1_{BRAIN}", f"sub-2_run-01_{BRAIN}"])
def test_other_entities_may_not_differ(other, found, wanted):
    put(found, f"sub-1_run-01_{BRAIN}")
    put(wanted, other)
    with pytest.raises(NothingToDo, match=r"1 in .*found end in _mask, 1 in .*wanted in _mask"):
        evaluation.find_pairs(found, wanted)


def test_the_same_path_goes_before_other_names(found, wanted, caplog):
    for name in (BRAIN, "desc-lesion_mask.nii.gz"):
        put(found, f"sub-1_{name}")
    put(wanted, f"sub-1_{BRAIN}")
    pairing = evaluation.find_pairs(found, wanted)
    assert names(pairing) == [(f"sub-1/anat/sub-1_{BRAIN}",) * 2]
    assert len(pairing.extra) == 1
    assert not caplog.text


@pytest.fixture
def ambiguous(found, wanted):
    for name in ("desc-brain_mask", "desc-lesion_mask"):
        put(found, f"sub-1_space-orig_{name}.nii.gz")
        put(wanted, f"sub-1_{name}.nii.gz", shifted(1))
    put(wanted, "sub-1_dseg.nii.gz", shifted(2))
    return found, wanted


def test_names_that_do_not_tell_are_an_error(ambiguous):
    with pytest.raises(
        UsageError,
        match=r"sub-1/anat/sub-1: .*predictions \(sub-1_space-orig_desc-brain_mask.nii.gz, "
        r"sub-1_space-orig_desc-lesion_mask.nii.gz\) .* --mask NAME-ENDING",
    ):
        evaluation.find_pairs(*ambiguous)


@pytest.mark.parametrize("ending", ["desc-brain_mask", "_desc-brain_mask", BRAIN])
def test_mask_chooses_on_both_sides(ending, ambiguous, capsys):
    assert run("--mask", ending, *ambiguous) == 0
    assert "sub-1_desc-brain_mask   0.9000" in capsys.readouterr().out


def test_reference_mask_chooses_among_the_references(ambiguous, capsys):
    words = ["--mask", "desc-brain_mask", "--reference_mask", "dseg"]
    assert run(*words, *ambiguous) == 0
    assert "sub-1_dseg   0.8000" in capsys.readouterr().out


def test_one_mask_twice_is_an_error(found, wanted):
    for name in (BRAIN, "desc-brain_mask.nii"):
        put(found, f"sub-1_{name}")
    put(wanted, f"sub-1_{BRAIN}")
    with pytest.raises(UsageError, match=r"mask\.nii and .*mask\.nii\.gz are one mask twice"):
        evaluation.find_pairs(found, wanted)


def test_only_masks_of_anat_count(found, wanted):
    for root in (found, wanted):
        put(root, f"sub-1_{BRAIN}")
        put(root, "sub-1_dseg.nii.gz")
        (root / f"sub-1/anat/sub-1_{BRAIN}").with_suffix("").with_suffix(".json").write_text("{}")
        for folder in ("sub-1/func", "derivatives/other/sub-1/anat", "sub-1/anat/x"):
            path = root / folder / "sub-1_mask.nii.gz"
            path.parent.mkdir(parents=True)
            path.touch()
    assert len(evaluation.find_pairs(found, wanted).pairs) == 1


# What is left over, and what fails


def test_a_reference_without_a_prediction_is_told_and_counts(found, wanted, capsys, caplog):
    put(found, f"sub-1_{BRAIN}")
    for label in "12":
        put(wanted, f"sub-{label}_{BRAIN}")
    assert run(found, wanted) == 1
    assert f"sub-2_{BRAIN}: a reference without a prediction" in caplog.text
    closing = capsys.readouterr().out.splitlines()[-1]
    assert closing.startswith("compared: 1, failed: 0, references without a prediction: 1")


def test_a_prediction_without_a_reference_is_only_told(found, wanted, capsys, caplog):
    put(wanted, f"sub-1_{BRAIN}")
    for label in "12":
        put(found, f"sub-{label}_{BRAIN}")
    assert run(found, wanted) == 0
    assert f"sub-2_{BRAIN}: a prediction without a reference" in caplog.text
    assert capsys.readouterr().out.endswith(", predictions without a reference: 1\n")


MOVED = AFFINE.copy()
MOVED[0, 3] = 0.002


@pytest.mark.parametrize(
    "image", [mask(shape=(24, 26, 23)), mask(affine=MOVED)], ids=["shape", "affine"]
)
def test_other_grids_are_an_error(image, tmp_path):
    nb.save(image, tmp_path / "found.nii")
    nb.save(mask(), tmp_path / "wanted.nii")
    pairing = evaluation.find_pairs(tmp_path / "found.nii", tmp_path / "wanted.nii")
    with pytest.raises(
        ImageError,
        match=r"found\.nii \(shape \(24, 26, 2\d\), affine \[\[2\.0.*and .*wanted\.nii \(shape "
        r"\(24, 26, 22\), .*are not on one grid; affines may differ by 0\.001 mm\. Resample",
    ):
        evaluation.evaluate(pairing)


def test_affines_may_differ_a_little(tmp_path):
    near = AFFINE.copy()
    near[0, 3] = 0.0009
    nb.save(mask(affine=near), tmp_path / "found.nii")
    nb.save(mask(), tmp_path / "wanted.nii")
    assert run(tmp_path / "found.nii", tmp_path / "wanted.nii") == 0


def test_axes_that_are_not_at_right_angles_are_warned_of(tmp_path, caplog):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.2
    nb.save(mask(affine=sheared), tmp_path / "mask.nii")
    assert run(tmp_path / "mask.nii", tmp_path / "mask.nii") == 0
    assert "mask.nii: the axes are not at right angles" in caplog.text


def test_one_bad_scan_does_not_stop_the_others(found, wanted, tmp_path, capsys, caplog):
    for label in "123":
        put(found, f"sub-{label}_{BRAIN}", mask(affine=MOVED) if label == "1" else None)
        put(wanted, f"sub-{label}_{BRAIN}")
    out = tmp_path / "out.tsv"
    assert run(found, wanted, "--tsv", out, "--json", tmp_path / "all.json") == 1
    assert "are not on one grid" in caplog.text
    assert "compared: 2, failed: 1," in capsys.readouterr().out
    rows = read_tsv(out)
    assert [row["dice"] for row in rows] == ["n/a", "1", "1"]
    assert rows[0]["prediction"] == f"sub-1/anat/sub-1_{BRAIN}"
    content = json.loads((tmp_path / "all.json").read_text())
    assert "not on one grid" in content["Failed"][f"sub-1/anat/sub-1_{BRAIN}"]


def test_if_all_fail_the_first_is_the_error(found, wanted, capsys):
    for label in "12":
        put(found, f"sub-{label}_{BRAIN}", mask(affine=MOVED))
        put(wanted, f"sub-{label}_{BRAIN}")
    assert run(found, wanted) == 1
    shown = capsys.readouterr()
    assert "sub-1_desc-brain_mask.nii.gz (shape" in shown.err
    assert "Other pairs that could not be compared: 1." in shown.err
    assert not shown.out


# Labels


@pytest.fixture
def parcels(tmp_path):
    """Predicted and true labels: 7 is half of the reference's, 8 the same, 9 the prediction's."""
    paths = tmp_path / "found.nii.gz", tmp_path / "wanted.nii.gz"
    for path, sevens in zip(paths, (5, 10), strict=True):
        image = mask(np.s_[:sevens, :10, :10], 7, np.int16)
        data = np.asanyarray(image.dataobj)
        data[12:20, :10, :10] = 8
        data[22, 0, 0] = 9 if sevens == 5 else 0
        nb.save(image, path)
    return paths


@pytest.mark.parametrize(
    ("words", "found", "wanted", "both"),
    [
        ([], 1301, 1800, 1300),
        (["--labels", 7], 500, 1000, 500),
        (["--labels", 8], 800, 800, 800),
        (["--labels", 7, 8], 1300, 1800, 1300),
    ],
)
def test_labels_say_what_counts(words, found, wanted, both, parcels, tmp_path):
    out = tmp_path / "all.json"
    assert run(*parcels, "--json", out, *words) == 0
    content = json.loads(out.read_text())
    (row,) = content["Scans"]
    assert row["sensitivity"] == pytest.approx(both / wanted)
    assert row["precision"] == pytest.approx(both / found)
    assert row["volume_error_ml"] == pytest.approx((found - wanted) * 8 / 1000)
    assert content["Labels"] == (words[1:] or "all but 0")


def test_a_label_that_is_not_there_is_warned_of(parcels, tmp_path, capsys, caplog):
    assert run(*parcels, "--labels", 9) == 0
    assert "wanted.nii.gz: no voxel is one of [9]; found 3 values: [0, 7, 8]" in caplog.text
    assert "found.nii.gz" not in caplog.text
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == ["wanted", *["0.0000"] * 4, "0.0", "n/a", "n/a", "n/a"]


def test_fractions_are_no_labels(tmp_path, capsys):
    nb.save(mask(value=0.4, kind=np.float32), tmp_path / "found.nii")
    nb.save(mask(), tmp_path / "wanted.nii")
    assert run(tmp_path / "found.nii", tmp_path / "wanted.nii") == 1
    assert "found.nii: expected whole numbers as labels" in capsys.readouterr().err


def test_nan_is_background(tmp_path):
    image = mask(kind=np.float32)
    data = np.asanyarray(image.dataobj)
    data[data == 0] = np.nan
    nb.save(image, tmp_path / "found.nii")
    nb.save(mask(), tmp_path / "wanted.nii")
    pairing = evaluation.find_pairs(tmp_path / "found.nii", tmp_path / "wanted.nii")
    assert evaluation.measure(pairing.pairs[0]).dice == 1


# What is shown and written


@pytest.fixture
def seven(found, wanted):
    """Seven scans of Dice 1, 0.9 ... 0.5 and an empty prediction; one reference alone."""
    for n in range(6):
        put(found, f"sub-{n}_{BRAIN}", shifted(n))
    put(found, f"sub-6_{BRAIN}", mask(value=0))
    for n in range(8):
        put(wanted, f"sub-{n}_{BRAIN}")
    return found, wanted


def read_tsv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_table_ends_with_the_summary_and_the_worst(seven, capsys):
    assert run(*seven) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines[:8]}) == 1
    cells = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert {name: cells[name][0] for name in ("median", "mean", "minimum", "maximum")} == {
        "median": "0.7000",
        "mean": f"{4.5 / 7:.4f}",
        "minimum": "0.0000",
        "maximum": "1.0000",
    }
    assert cells["scans"] == ["7", "7", "7", "7", "7", "7", "6", "6"]
    assert cells["sub-6_desc-brain_mask"][-2:] == ["n/a", "n/a"]
    start = lines.index("Lowest Dice:") + 1
    worst = [line.split() for line in lines[start : start + 5]]
    assert worst == [
        [dice, f"sub-{n}_desc-brain_mask"]
        for dice, n in zip(
            ("0.0000", "0.5000", "0.6000", "0.7000", "0.8000"), "65432", strict=True
        )
    ]
    assert lines[start + 5] == ""


def test_the_tsv_has_a_row_for_every_reference_and_a_dictionary(seven, tmp_path):
    out = tmp_path / "new/folder/scores.tsv"
    assert run(*seven, "--tsv", out) == 1
    rows = read_tsv(out)
    assert [row["reference"] for row in rows] == [
        f"sub-{n}/anat/sub-{n}_{BRAIN}" for n in range(8)
    ]
    assert [row["dice"] for row in rows] == ["1", "0.9", "0.8", "0.7", "0.6", "0.5", "0", "n/a"]
    assert [row["prediction"] for row in rows[6:]] == [f"sub-6/anat/sub-6_{BRAIN}", "n/a"]
    assert rows[6]["volume_error_percent"] == "-100"
    assert (rows[6]["volume_error_ml"], rows[6]["hd95_mm"]) == ("-8", "n/a")
    assert all(value != "" for row in rows for value in row.values())
    described = json.loads(out.with_suffix(".json").read_text())
    assert list(described) == list(rows[0])
    for column, entry in described.items():
        assert entry["LongName"]
        assert entry["Description"]
        assert ("Units" in entry) == (column not in ("reference", "prediction"))
        for unit in ("ml", "mm", "percent"):
            if column.endswith(f"_{unit}"):
                assert entry["Units"] == {"ml": "mL", "mm": "mm", "percent": "%"}[unit]


def test_the_json_holds_everything(seven, tmp_path):
    out = tmp_path / "all.json"
    assert run(*seven, "--json", out) == 1

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(out.read_text(), parse_constant=refuse)
    assert (content["Predictions"], content["References"]) == tuple(map(str, seven))
    assert len(content["Scans"]) == 8
    assert content["Scans"][6]["hd95_mm"] is None
    assert content["Scans"][1]["hd95_mm"] == 2
    assert content["Summary"]["dice"]["median"] == pytest.approx(0.7)
    assert content["Summary"]["hd95_mm"]["scans"] == 6
    assert content["LowestDice"][0] == f"sub-6/anat/sub-6_{BRAIN}"
    assert content["ReferencesWithoutPrediction"] == [f"sub-7/anat/sub-7_{BRAIN}"]
    assert content["PredictionsWithoutReference"] == []
    assert content["Failed"] == {}
    assert set(content["Measures"]) == {"reference", "prediction", *evaluation.MEASURES}


def test_a_measure_that_no_scan_has(found, wanted, tmp_path):
    for label in "12":
        put(found, f"sub-{label}_{BRAIN}", mask(value=0))
        put(wanted, f"sub-{label}_{BRAIN}")
    out = tmp_path / "all.json"
    assert run(found, wanted, "--json", out) == 0
    figures = json.loads(out.read_text())["Summary"]["assd_mm"]
    assert figures == {"median": None, "mean": None, "minimum": None, "maximum": None, "scans": 0}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tsv", "a.csv"], r"a.csv: expected a name that ends in .tsv"),
        (["--json", "a.tsv"], r"a.tsv: expected a name that ends in .json"),
        (["--tsv", "a.tsv", "--json", "a.json"], "a.json: describes the columns of a.tsv"),
        (["--tsv", "a.tsv", "--json", "x/../a.json"], "Name another for --json."),
    ],
)
def test_outputs_that_are_refused(words, reason, seven, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(*seven, *words) == 2
    shown = capsys.readouterr()
    assert reason in shown.err
    assert not shown.out
    assert sorted(tmp_path.rglob("*")) == before


def test_every_measure_is_shown():
    assert list(evaluation.MEASURES) == [field.name for field in fields(agreement.Agreement)]


@pytest.mark.slow
def test_two_methods_on_real_heads(shared, tmp_path, capsys):
    """Two programs' masks of 134 heads: their known agreement."""
    folder = shared / "data/heads/derivatives"
    out = tmp_path / "all.json"
    assert run(folder / "deepbet", folder / "dlmuse", "--json", out) == 0
    assert (
        "compared: 134, failed: 0, references without a prediction: 0," in capsys.readouterr().out
    )
    figures = json.loads(out.read_text())["Summary"]
    assert figures["dice"]["median"] == pytest.approx(0.982, abs=5e-4)
    assert figures["dice"]["minimum"] == pytest.approx(0.966, abs=5e-4)
    assert abs(figures["volume_error_percent"]["median"]) < 1
    assert 0 < figures["assd_mm"]["maximum"] < figures["hd95_mm"]["maximum"] < 6
    assert not any(math.isnan(value) for row in figures.values() for value in row.values())
