# SPDX-License-Identifier: Apache-2.0
"""Masks that are unlike the others, by arithmetic and by the properties of the method."""

import json
import time
from functools import cache

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from bids_brainmask.analyses import quality
from bids_brainmask.reports import outliers
from bids_brainmask.reports.outliers import EMPTY, FLAGGED, HIGHEST, Verdict
from bids_brainmask.voxels.image import Volume

METRICS = outliers.metrics()
PLAIN = [name for name, metric in METRICS.items() if metric.scale == "plain"]


def judge(rows, *labels, **settings):
    """Judge rows of one group, or of the groups given."""
    return outliers.judge(
        rows, list(zip(*(labels or [["all"] * len(rows)]), strict=True)), **settings
    )


def of(name, values):
    return [{name: value} for value in values]


def scores(rows, *labels, **settings):
    return [verdict.score for verdict in judge(rows, *labels, **settings)]


def normal_rows(count, seed=0):
    """Measures as those of a group of adults, about."""
    random = np.random.default_rng(seed)
    middles = {
        "volume_ml": (1400, 120),
        "predicted_dice": (0.96, 0.006),
        "asymmetry": (0.04, 0.01),
    }
    usual = {name: middles.get(name, (50, 5)) for name in METRICS}
    return [{name: float(random.normal(*usual[name])) for name in METRICS} for _ in range(count)]


def test_a_score_by_arithmetic():
    """Median 50; deviations 0 10 10 20 20 30 30 40 50, of which the median is 20."""
    values = [50, 40, 60, 30, 70, 20, 80, 10, 100]
    found = judge(of("extent_x_mm", values))
    expected = [abs(value - 50) / (1.4826 * 20) for value in values]
    assert [one.score for one in found] == pytest.approx(expected)


def test_a_reason_by_arithmetic():
    """Deviations of 1 on either side, so that the scaled MAD is 1.4826; below the floor of 2."""
    values = [99, 99, 99, 99, 100, 101, 101, 101, 120]
    found = judge(of("extent_z_mm", values))
    assert found[-1].score == pytest.approx((120 - 100) / 2)
    assert found[-1].reasons == (
        "extent foot to head 10.0 MAD above the group (120 mm, median 100 mm)",
    )
    assert not any(one.reasons for one in found[:-1])
    assert {one.group for one in found} == {"all"}


@pytest.mark.parametrize("name", PLAIN)
def test_agrees_with_scipy_and_with_the_published_formula(name):
    values = np.random.default_rng(1).normal(-100, 30, 41)
    signed = (values - np.median(values)) / median_abs_deviation(values, scale="normal")
    plain_mad = np.median(abs(values - np.median(values)))
    published = 0.6745 * (values - np.median(values)) / plain_mad
    sides = {"low": -signed, "high": signed, "both": abs(signed)}
    expected = np.maximum(sides[METRICS[name].side], 0)
    assert scores(of(name, values)) == pytest.approx(expected, rel=1e-4)
    assert signed == pytest.approx(published, rel=1e-4)


@pytest.mark.parametrize("name", METRICS)
def test_only_the_bad_side_counts(name):
    values = np.linspace(0.5, 0.6, 11).tolist()
    low, high = (scores(of(name, [*values, far]))[-1] for far in (1e-9, 0.999))
    assert (low > 0, high > 0) == {
        "low": (True, False),
        "high": (False, True),
        "both": (True, True),
    }[METRICS[name].side]


@pytest.mark.parametrize("name", [name for name in PLAIN if METRICS[name].cap == np.inf])
def test_shifting_and_stretching_all_of_a_group_changes_no_score(name):
    values = np.random.default_rng(2).normal(0, 100, 30)
    expected = scores(of(name, values))
    assert scores(of(name, values + 1e4)) == pytest.approx(expected)
    assert scores(of(name, values * 77)) == pytest.approx(expected)


def test_volumes_are_compared_by_their_ratios():
    values = np.random.default_rng(3).lognormal(7, 0.1, 30)
    expected = scores(of("volume_ml", values))
    assert scores(of("volume_ml", values * 0.01)) == pytest.approx(expected)
    half, twice = scores(of("volume_ml", [700, 2800, *[1400] * 9]))[:2]
    assert half == pytest.approx(twice) == pytest.approx(np.log(2) / 0.01)


def test_predicted_dice_is_compared_by_its_loss():
    """Of losses of 0.04 and a floor of 0.1: exp(0.35) times 0.045 less 0.005 is where 3.5 is."""
    limit = 1 - (0.045 * np.exp(0.35) - 0.005)
    values = [limit - 1e-4, limit + 1e-4, *[0.96] * 9, 1.0]
    found = judge(of("predicted_dice", values))
    assert [bool(one.reasons) for one in found[:2]] == [True, False]
    assert found[-1].score == 0


def test_margins_count_up_to_a_finger():
    wide = [12, 15, 20, 30, 40, 60, 80, 90]
    found = judge(of("margin_superior_mm", [*wide, 0, 3, 9]))
    assert [one.score for one in found] == [0] * 8 + [5, 3.5, 0.5]
    assert found[8].reasons == (
        "margin on the superior side 5.0 MAD below the group (0 mm, median 20 mm)",
    )


def test_the_order_of_the_rows_does_not_count():
    rows, labels = normal_rows(40), ["a", "b"] * 20
    order = np.random.default_rng(4).permutation(40)
    expected = judge(rows, labels)
    assert judge([rows[i] for i in order], [labels[i] for i in order]) == [
        expected[i] for i in order
    ]


def test_groups_do_not_see_each_other():
    rows, others = normal_rows(20, seed=5), [{"volume_ml": 10.0 * k} for k in range(1, 31)]
    together = judge([*rows, *others], ["a"] * 20 + ["b"] * 30)
    assert [one.score for one in together] == scores(rows) + scores(others)


def test_equal_rows_have_equal_verdicts():
    rows = normal_rows(12)
    found = judge([*rows, *rows])
    assert found[:12] == found[12:]


@pytest.mark.parametrize("name", METRICS)
def test_a_hair_in_a_group_all_alike_is_no_outlier(name):
    values = [0.5] * 20 + [0.5 + 1e-6, 0.5 - 1e-6]
    assert max(scores(of(name, values))) < 0.01


def test_in_a_group_all_alike_the_floor_is_the_measure():
    for name in PLAIN:
        metric = METRICS[name]
        far = 4 * metric.floor * (1 if metric.side == "high" else -1)
        assert scores(of(name, [5.0] * 9 + [5.0 + far]))[-1] == pytest.approx(4)


def test_reasons_come_with_the_farthest_first():
    rows = normal_rows(30)
    rows[7] |= {"volume_ml": 612.0, "asymmetry": 0.5, "removed_ml": 5e4}
    found = judge(rows)[7]
    leading = [reason.split(" MAD ")[0].rsplit(" ", 1) for reason in found.reasons]
    sizes = [float(size) for _, size in leading]
    assert {"volume", "asymmetry", "volume of components removed"} <= {
        words for words, _ in leading
    }
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= FLAGGED
    assert sizes[0] == pytest.approx(found.score, abs=0.05)
    assert any("below the group (612 mL, median 1" in reason for reason in found.reasons)


def test_scores_of_3_5_and_more_have_reasons_and_no_others():
    rows = normal_rows(300)
    for found in judge(rows):
        assert bool(found.reasons) == (found.score >= FLAGGED)


def test_almost_half_may_be_bad():
    good, bad = np.random.default_rng(6).normal([[1400], [300]], 20, (2, 100)).tolist()
    found = scores(of("volume_ml", good[:52] + bad[:48]))
    assert max(found[:52]) < min(found[52:])
    assert min(found[52:]) > FLAGGED


def test_small_groups_are_compared_with_a_wider_one():
    rows = of("volume_ml", [1400.0] * 8 + [1400.0, 700.0])
    narrow, wide = ["many"] * 8 + ["few"] * 2, ["wide"] * 10
    found = judge(rows, narrow, wide)
    assert [one.group for one in found] == ["many"] * 8 + ["wide"] * 2
    assert [one.score for one in found][:9] == [0] * 9
    assert found[-1].score > FLAGGED


def test_a_group_is_narrow_or_wide_whatever_its_label():
    """The same word for a narrow and a wide group names two groups."""
    rows = of("volume_ml", [1400.0] * 9 + [700.0] * 9)
    found = judge(rows, ["a"] * 9 + ["b"] * 9, ["b"] * 9 + ["a"] * 9)
    assert {one.score for one in found} == {0}


def test_seven_alike_and_one_alone_cannot_be_judged():
    rows = of("volume_ml", [1400.0] * 7 + [700.0])
    found = judge(rows, ["seven"] * 7 + ["one"])
    assert found[0] == Verdict(None, ("fewer than 8 similar images",), "seven")
    assert found[7] == Verdict(None, ("fewer than 8 similar images",), "one")
    assert judge([]) == []


def test_how_many_are_enough_can_be_said():
    rows = of("volume_ml", [1400.0, 1400.0, 700.0])
    assert scores(rows, least=3)[2] > FLAGGED
    assert scores(rows[:1], least=1) == [0]
    assert judge(rows, least=4)[0].reasons == ("fewer than 4 similar images",)


def test_empty_masks_are_above_all_and_leave_the_others_as_they_were():
    rows = [*normal_rows(8), {"volume_ml": 1e-30, "extent_x_mm": 1e200}]
    empty = {"volume_ml": 0.0, "removed_ml": 0.0, "roughness": None}
    found = judge([*rows, *[empty] * 20])
    assert found[:9] == judge(rows)
    assert set(found[9:]) == {Verdict(EMPTY, ("the mask is empty",), "all")}
    assert found[8].score == HIGHEST < EMPTY < np.inf
    assert judge([empty]) == [found[-1]]


def test_empty_masks_do_not_make_a_group_large_enough():
    rows = of("volume_ml", [1400.0] * 7 + [0.0] * 5)
    assert scores(rows) == [None] * 7 + [EMPTY] * 5


HOSTILE = [None, np.nan, np.inf, -np.inf, "n/a", "12", [], 10**400, 1e301]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:5])
@pytest.mark.parametrize("name", ["volume_ml", "removed_ml", "predicted_dice", "extent_x_mm"])
def test_what_is_no_finite_number_is_unknown(name, value):
    rows = normal_rows(20)
    without = [{k: v for k, v in row.items() if k != name or i > 3} for i, row in enumerate(rows)]
    hostile = [row | {name: value} if i <= 3 else row for i, row in enumerate(rows)]
    assert judge(hostile) == judge(without)


@pytest.mark.slow
@pytest.mark.parametrize("value", [1e299, -1e299, -1.0, 0.0])
@pytest.mark.parametrize("name", METRICS)
def test_numbers_however_odd_have_scores(name, value):
    rows = normal_rows(20)
    rows[3][name] = value
    for odd in (rows, [*rows, *[rows[3]] * 30]):
        for found in judge(odd):
            assert 0 <= found.score <= EMPTY
            json.dumps([found.score, found.reasons], allow_nan=False)
            assert not set("\t\n") & set("".join(found.reasons))


def test_nothing_measured_is_no_outlier_and_no_company():
    rows = [*of("volume_ml", [1400.0] * 7 + [None]), {}, {"seconds": 3.0}]
    found = judge(rows)
    assert found[0].reasons == ("fewer than 8 similar images",)
    assert set(found[7:]) == {Verdict(None, ("not measured",), "all")}


def test_a_metric_that_few_images_have_is_left_out():
    rows = of("volume_ml", [1400.0] * 20)
    for row, dice in zip(rows, [0.1] + [0.96] * 6, strict=False):
        row["predicted_dice"] = dice
    assert scores(rows) == [0] * 20
    rows[-1]["predicted_dice"] = 0.96
    assert scores(rows)[0] > FLAGGED
    alone = [*rows[:-1], {"asymmetry": 0.9}]
    assert judge(alone)[-1].reasons == ("fewer than 8 similar images",)


def test_rows_and_labels_must_fit():
    rows = normal_rows(3)
    with pytest.raises(ValueError, match="found 3 rows, 2 sets"):
        outliers.judge(rows, [("a",)] * 2)
    with pytest.raises(ValueError, match="the same number of labels"):
        outliers.judge(rows, [("a",), ("a", "b"), ("a",)])
    with pytest.raises(ValueError, match="at least one"):
        outliers.judge(rows, [()] * 3)
    with pytest.raises(ValueError, match="least: expected at least 1"):
        outliers.judge(rows, [("a",)] * 3, least=0)


def test_metrics_are_columns_and_the_dictionary_says_how_each_is_compared():
    assert set(METRICS) - {"boundary_uncertainty"} <= set(quality.columns())
    assert list(outliers.columns()) == ["group", "outlier_score", "outlier_reasons"]
    told = outliers.columns()["outlier_score"]["Description"]
    rules = dict(rule.split(": ") for rule in told.split("By metric: ")[1].split("; "))
    assert list(rules) == list(METRICS)
    for name, metric in METRICS.items():
        assert rules[name].endswith(f"at least {metric.floor:g}")
        assert ("ln(" in rules[name]) == (metric.scale != "plain")


@pytest.mark.slow
def test_thousands_of_rows_take_less_than_a_second():
    rows = normal_rows(100) * 50
    labels = [f"group {k % 600}" for k in range(5000)], ["all"] * 5000
    started = time.process_time()
    judge(rows, *labels)
    assert time.process_time() - started < 1


@cache
def phantom():
    """A head, and the places of its voxels from the brain's middle, mm."""
    shape = (64, 72, 68)
    where = 3.0 * (np.indices(shape) - np.reshape([32, 38, 42], (3, 1, 1, 1)))
    head = ((where / np.reshape([82, 100, 105], (3, 1, 1, 1))) ** 2).sum(0) < 1
    return where, head


def row_of(radii, spoil=lambda mask, head, where: mask):
    """Measures of an ellipsoid in a head, whose mask may be spoilt."""
    where, head = phantom()
    brain = ((where / np.reshape(radii, (3, 1, 1, 1))) ** 2).sum(0) < 1
    mask = spoil(brain.copy(), head, where)
    data = np.where(brain, 100, np.where(head, 50, 0)).astype(np.float32)
    found = quality.measure(
        Volume(data, np.diag([3.0, 3, 3, 1])),
        mask,
        np.where(mask, 0.8, 0.1).astype(np.float32),
        **dict.fromkeys(["pieces_removed", "removed", "holes_filled", "filled"], 0),
        predicted_dice=None,
    )
    return found | {"boundary_uncertainty": 0.3}


def neck(mask, head, where):
    return mask | ((np.hypot(where[0], where[1]) < 28) & (where[2] < 0))


def half_of_the_head(mask, head, where):
    return head & (where[1] > 0)


def one_hemisphere(mask, head, where):
    return mask & (where[0] > 6)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [neck, half_of_the_head, one_hemisphere])
def test_the_bad_the_empty_and_the_tiny_come_out_on_top_of_thirty_good_ones(spoil):
    random = np.random.default_rng(8)
    radii = (
        np.array([66, 82, 60]) * random.normal(1, 0.03, (33, 1)) * random.normal(1, 0.015, (33, 3))
    )
    rows = [row_of(one) for one in radii[:30]]
    rows += [
        row_of(radii[30], spoil),
        row_of(radii[31], lambda mask, head, where: np.zeros_like(mask)),
        row_of(radii[32], lambda mask, head, where: np.linalg.norm(where, axis=0) < 12),
    ]
    found = judge(rows)
    order = sorted(range(33), key=lambda row: -found[row].score)
    assert order[0] == 31
    assert set(order[:3]) == {30, 31, 32}
    assert all(found[row].reasons for row in order[:3])
    assert np.mean([bool(one.reasons) for one in found[:30]]) < 0.1
