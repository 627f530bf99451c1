# SPDX-License-Identifier: Apache-2.0
"""Lesions over sessions: matched and compared on phantoms whose answer is arithmetic."""

import argparse

import numpy as np
import pytest

from bids_brainmask.analyses import repeatability
from bids_brainmask.cli.lesion_options import copies
from bids_brainmask.reports import lesion_changes
from bids_brainmask.reports.lesion_changes import Change, Size, Tracks, kind, match, numbers
from bids_brainmask.voxels import image
from bids_brainmask.voxels.image import Volume


def labels(*boxes):
    found = np.zeros((30, 30, 30), np.int32)
    for index, box in enumerate(boxes, 1):
        found[box] = index
    return found


ONE, TWO, THREE = np.s_[2:8, 2:8, 2:8], np.s_[12:18, 2:8, 2:8], np.s_[2:8, 20:26, 2:8]
BOTH = np.s_[2:18, 2:8, 2:8]
LONG, SHORT = np.s_[2:10, 2:8, 2:8], np.s_[11:18, 2:8, 2:8]
SHORTER, LONGER = np.s_[2:6, 2:8, 2:8], np.s_[7:18, 2:8, 2:8]


@pytest.mark.parametrize(
    ("before", "after", "expected", "kinds"),
    [
        ([ONE], [ONE], [((1,), (1,))], ["stable"]),
        ([ONE], [], [((1,), ())], ["gone"]),
        ([], [ONE], [((), (1,))], ["new"]),
        ([ONE, TWO], [TWO, ONE], [((1,), (2,)), ((2,), (1,))], ["stable", "stable"]),
        ([ONE, TWO], [BOTH], [((1, 2), (1,))], ["merged"]),
        ([BOTH], [ONE, TWO], [((1,), (1, 2))], ["split"]),
        (
            [ONE, THREE],
            [TWO, THREE],
            [((1,), ()), ((2,), (2,)), ((), (1,))],
            ["gone", "stable", "new"],
        ),
        ([LONG, SHORT], [SHORTER, LONGER], [((1, 2), (1, 2))], ["merged and split"]),
        ([], [], [], []),
    ],
)
def test_matching(before, after, expected, kinds):
    one, other = labels(*before), labels(*after)
    found = match(one, other)
    assert found == [Change(*each) for each in expected]
    sizes = [
        {i + 1: Size(int((x == i + 1).sum()) / 1000, 6.0) for i in range(x.max())}
        for x in (one, other)
    ]
    assert [kind(each, *sizes) for each in found] == kinds


@pytest.mark.parametrize("shift", range(7))
def test_a_shifted_lesion_is_the_same_while_a_tenth_overlaps(shift):
    moved = labels(np.s_[2 + shift : 8 + shift, 2:8, 2:8])
    assert len(match(labels(ONE), moved)) == (1 if shift < 6 else 2)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (Size(1.0, 20.0), Size(1.4, 20.0), "grown"),
        (Size(1.0, 20.0), Size(1.399, 20.0), "stable"),
        (Size(1.4, 20.0), Size(1.0, 20.0), "shrunk"),
        (Size(1.0, 20.0), Size(1.0, 30.0), "grown"),
        (Size(1.0, 20.0), Size(1.0, 29.9), "stable"),
        (Size(1.0, 30.0), Size(1.0, 20.0), "shrunk"),
    ],
)
def test_thresholds(old, new, word):
    change = Change((1,), (1,))
    assert kind(change, {1: old}, {1: new}) == word
    assert kind(change, {1: old}, {1: new}, percent=500, mm=50) == "stable"


def test_numbers_are_differences():
    row = numbers(
        Change((1, 3), (2,)),
        {1: Size(1.0, 10.0, 0.03), 3: Size(0.5, 12.0, 0.04)},
        {2: Size(1.8, 14.5, 0.12)},
    )
    assert row == {
        "volume_before_ml": "1.500",
        "volume_after_ml": "1.800",
        "change_ml": "0.300",
        "change_percent": "20.0",
        "change_longest_mm": "2.5",
        "uncertainty_ml": f"{1.96 * 0.13:.3f}",
        "certain": "yes",
    }
    small = numbers(Change((1,), (1,)), {1: Size(1.0, 10.0, 0.1)}, {1: Size(1.1, 10.0, 0.1)})
    assert (small["uncertainty_ml"], small["certain"]) == ("0.277", "within the uncertainty")
    new = numbers(Change((), (1,)), {}, {1: Size(1.1, 10.0)})
    assert (new["change_percent"], new["uncertainty_ml"], new["certain"]) == ("n/a",) * 3
    assert set(row) | {"change"} <= set(lesion_changes.COLUMNS)


def test_lesions_keep_their_numbers():
    size = Size(1.0, 10.0)
    tracks = Tracks()
    first = [Change((1,), (2,)), Change((2,), ()), Change((), (1,))]
    assert tracks.number(first, {1: size, 2: size}) == [1, 2, 3]
    assert tracks.number([Change((1, 2), (1,))], {1: size}) == [1]
    split = [Change((1,), (1, 2)), Change((), (3,))]
    assert tracks.number(split, {1: size, 2: Size(2.0, 10.0), 3: size}) == [1, 4]
    last = [Change((1,), (1,)), Change((2,), (2,)), Change((3,), (3,))]
    assert tracks.number(last, dict.fromkeys((1, 2, 3), size)) == [5, 1, 4]


@pytest.fixture(scope="module")
def ball():
    places = np.indices((40, 40, 40)) - 20.2
    data = np.where((places**2).sum(0) < 64, 1, 0).astype(np.float32)
    return image.Source(Volume(data, np.eye(4)), image.of_volume(Volume(data, np.eye(4))))


def test_a_network_that_sees_the_same_everywhere_varies_little(ball):
    """Over copies of a ball, a threshold of intensity gives nearly the same volume."""
    found = ball.volume.data > 0.5
    (sd,) = repeatability.standard_deviations(
        ball, found.astype(np.int32), lambda copy: copy.volume.data, 0.5, 3
    )
    assert 0 < sd < 0.03 * found.sum() / 1000
    again = repeatability.standard_deviations(
        ball, found.astype(np.int32), lambda copy: copy.volume.data, 0.5, 3
    )
    assert again == [sd]


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("2", 2), ("20", 20)])
def test_numbers_of_copies(text, number):
    assert copies(text) == number


@pytest.mark.parametrize("text", ["1", "21", "-3"])
def test_other_numbers_of_copies_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected 0, or 2 to 20 copies"):
        copies(text)


def test_a_network_that_finds_the_lesion_in_no_copy_varies_by_its_volume(ball):
    found = (ball.volume.data > 0.5).astype(np.int32)
    (sd,) = repeatability.standard_deviations(
        ball, found, lambda copy: np.zeros_like(copy.volume.data), 0.5, 3
    )
    assert sd == pytest.approx(np.std([found.sum() / 1000, 0, 0, 0], ddof=1))
