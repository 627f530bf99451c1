# SPDX-License-Identifier: Apache-2.0
"""Lesions against references: cases whose answer is arithmetic."""

import csv
import json
import math

import nibabel as nb
import numpy as np
import pytest
from test_evaluation import put

import bids_brainmask
from bids_brainmask import lesion_evaluation
from bids_brainmask.cli import brainmask
from bids_brainmask.errors import ImageError
from bids_brainmask.voxels import lesion_agreement
from bids_brainmask.voxels.lesion_agreement import LesionAgreement, LesionPair

SHAPE = (40, 40, 40)
ONE = np.ones(3)

BIG, SMALL, STRAY = np.s_[2:12, 2:12, 2:12], np.s_[20:24, 4:8, 4:8], np.s_[30:35, 20:25, 20:25]
"""1 mL, 64 mm3 and 125 mm3 in voxels of 1 mm."""


def mask(*places):
    found = np.zeros(SHAPE, bool)
    for place in places:
        found[place] = True
    return found


def compare(prediction, reference, spacing=ONE, **options):
    return lesion_agreement.lesion_agreement(prediction, reference, spacing, **options)


def test_one_found_one_missed_and_one_false():
    shifted = np.s_[4:14, 2:12, 2:12]  # shares 800 of 1000 voxels
    found = compare(mask(shifted, STRAY), mask(BIG, SMALL))
    first, missed, false = found.lesions
    assert (first.reference_ml, first.prediction_ml) == (1.0, 1.0)
    assert first.dice == 0.8
    assert first.iou == pytest.approx(800 / 1200)
    assert first.hd95_mm == 2
    assert missed.reference_ml == pytest.approx(0.064)
    assert math.isnan(missed.prediction_ml)
    assert false.prediction_ml == pytest.approx(0.125)
    assert not missed.is_matched
    assert not false.is_matched
    assert (found.sensitivity, found.precision, found.f1) == (0.5, 0.5, 0.5)
    assert found.brats_dice == pytest.approx(0.8 / 3)
    assert found.brats_hd95_mm == pytest.approx((2 + 374 + 374) / 3)


def test_small_components_are_ignored_by_the_rule_of_brats_alone():
    tiny = np.s_[20:23, 20:24, 20:24]  # 48 mm3
    for prediction, reference in ((mask(BIG, tiny), mask(BIG)), (mask(BIG), mask(BIG, tiny))):
        found = compare(prediction, reference)
        assert (found.brats_dice, found.brats_hd95_mm) == (1.0, 0.0)
        assert len(found.lesions) == 2
        assert found.f1 == pytest.approx(2 / 3)
    same = compare(mask(BIG, tiny), mask(BIG), np.array([1, 1, 1.1]))  # 52.8 mm3
    assert same.brats_dice == 0.5


def test_parts_that_one_dilation_joins_are_one_lesion_of_brats():
    other = np.s_[14:24, 2:12, 2:12]  # two voxels from the first
    reference = mask(BIG, other)
    found = compare(mask(BIG), reference)
    assert found.sensitivity == 0.5
    assert found.brats_dice == pytest.approx(2 / 3)  # of both parts together
    far = compare(mask(BIG), mask(BIG, np.s_[16:26, 2:12, 2:12]))
    assert far.brats_dice == 0.5


def test_two_predicted_parts_of_one_lesion_are_compared_together_by_brats():
    halves = np.s_[2:6, 2:12, 2:12], np.s_[8:12, 2:12, 2:12]
    found = compare(mask(*halves), mask(BIG))
    assert found.brats_dice == pytest.approx(1600 / 1800)
    assert (found.sensitivity, found.precision) == (1, 0.5)  # one to one


def test_what_only_touches_the_dilation_is_missed():
    beside = np.s_[12:20, 2:12, 2:12]
    found = compare(mask(beside), mask(BIG))
    assert (found.brats_dice, found.brats_hd95_mm) == (0, 374)


def test_empty_masks():
    assert compare(mask(), mask()) == LesionAgreement((), 1.0, 0.0)
    assert math.isnan(compare(mask(), mask()).f1)
    assert compare(mask(BIG), mask()).brats_dice == 0
    missed = compare(mask(), mask(BIG))
    assert (missed.sensitivity, missed.brats_hd95_mm) == (0, 374)
    assert math.isnan(missed.precision)


def test_a_pair_needs_the_overlap_that_is_asked_for():
    shifted = mask(np.s_[8:18, 2:12, 2:12])  # 400 of 1600 voxels
    assert compare(shifted, mask(BIG), minimum_iou=0.25).sensitivity == 1
    assert compare(shifted, mask(BIG), minimum_iou=0.26).sensitivity == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="masks of shapes"):
        compare(mask(), np.zeros((3, 3, 3), bool))
    with pytest.raises(ValueError, match="minimum_iou: found 0"):
        compare(mask(), mask(), minimum_iou=0)
    images = [nb.Nifti1Image(mask(BIG).astype(np.uint8), np.diag([s, 1, 1, 1])) for s in (1, 2)]
    with pytest.raises(ImageError):
        bids_brainmask.evaluate_lesions(*images)


def case(*volumes):
    """Pairs of (reference, prediction) mL; None: no counterpart."""
    nan = math.nan
    return LesionAgreement(
        tuple(
            LesionPair(a or nan, b or nan, *((1.0, 1.0, 0.0) if a and b else (nan,) * 3))
            for a, b in volumes
        ),
        *(1.0, 0.0),
    )


def test_rates_of_a_volume_class_go_by_each_sides_own_volume():
    cases = [case((0.5, 2.0), (2.0, None)), case((None, 0.4), (3.0, 3.0))]
    found = lesion_agreement.rates(cases, 1.0, 5.0)
    assert (found["reference"], found["prediction"]) == (2, 2)
    assert (found["sensitivity"], found["precision"], found["f1"]) == (0.5, 1.0, 0.75)
    assert math.isnan(lesion_agreement.rates(cases, 20.0)["f1"])


def test_the_bootstrap_is_seeded_and_has_the_width_of_a_proportion():
    cases = [case((2.0, 2.0)) if n % 2 else case((2.0, None)) for n in range(100)]

    def measure(some):
        return lesion_agreement.rates(some)["sensitivity"]

    low, high = lesion_agreement.interval(cases, measure)
    assert (low, high) == lesion_agreement.interval(cases, measure)
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.02)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.02)
    assert all(map(math.isnan, lesion_agreement.interval([case()], measure)))


@pytest.fixture
def folders(tmp_path):
    name = "sub-{}_desc-tumor_mask.nii.gz"
    for number, (found, wanted) in enumerate([((BIG, STRAY), (BIG,)), ((), (BIG,))], 1):
        for side, places in (("found", found), ("wanted", wanted)):
            image = nb.Nifti1Image(mask(*places).astype(np.uint8), np.eye(4))
            put(tmp_path / side, name.format(number), image)
    return [str(tmp_path / side) for side in ("found", "wanted")]


def test_the_command_writes_every_lesion_and_the_pooled_rates(folders, tmp_path, capsys):
    out = [tmp_path / "lesions.tsv", tmp_path / "all.json"]
    words = ["--lesions", "--lesions-tsv", str(out[0]), "--json", str(out[1])]
    assert brainmask.main(["evaluate", *folders, *words]) == 0
    printed = capsys.readouterr().out
    assert "BraTS's rule, mean over 2 cases: Dice 0.250" in printed
    with out[0].open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["lesion"], row["dice"] == "n/a") for row in rows] == [
        *(("1", False), ("2", True), ("1", True))
    ]
    assert set(json.loads(out[0].with_suffix(".json").read_text())) == set(rows[0])
    found = json.loads(out[1].read_text())["LesionWise"]
    assert found["Pooled"]["all"]["sensitivity"]["value"] == 0.5
    assert found["Pooled"]["1 to 5 mL"]["precision"]["value"] == 1
    assert found["Pooled"]["20 mL and more"]["f1"]["value"] is None
    assert [row["brats_dice"] for row in found["Cases"]] == [0.5, 0.0]


def test_without_the_option_nothing_is_said_of_lesions(folders, capsys):
    assert brainmask.main(["evaluate", *folders]) == 0
    assert "BraTS" not in capsys.readouterr().out


def test_the_least_overlap_is_an_option(folders, capsys):
    assert brainmask.main(["evaluate", *folders, "--lesions", "--minimum-iou", "0.9"]) == 0
    assert "0.500 [" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        brainmask.main(["evaluate", *folders, "--lesions", "--minimum-iou", "0"])
    assert "--minimum-iou" in capsys.readouterr().err


def test_one_file_for_two_tables_is_refused(folders, tmp_path, capsys):
    path = str(tmp_path / "a.tsv")
    assert brainmask.main(["evaluate", *folders, "--tsv", path, "--lesions-tsv", path]) == 2
    assert "Name two files" in capsys.readouterr().err


def test_volume_classes_have_names():
    names = [lesion_evaluation._class(*pair) for pair in ((0, 0.3), (1, 5), (20, math.inf))]
    assert names == ["under 0.3 mL", "1 to 5 mL", "20 mL and more"]
