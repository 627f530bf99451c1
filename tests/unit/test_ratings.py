# SPDX-License-Identifier: Apache-2.0
"""Ratings of several persons: merged without loss, compared, and what they decide."""

import csv
import json

import pytest
from sklearn.metrics import cohen_kappa_score
from test_group_tables import record, settings
from test_readback import put

from bids_brainmask.analyses import quality
from bids_brainmask.dataset import readback
from bids_brainmask.errors import UsageError
from bids_brainmask.reports import group, ratings

MASK = "sub-01/anat/sub-01_desc-brain_mask.nii.gz"

HEADER = "image\trater\trating\treasons\tseconds\tcomment\ttime\tmask_sha256\n"


@pytest.fixture
def root(tmp_path):
    """Twelve images, the last of twice the volume."""
    out = tmp_path / "out"
    for number in range(1, 13):
        measured = dict.fromkeys(quality.columns(), 1.0)
        measured["volume_ml"] = 1400.0 + number if number < 12 else 2800.0
        content = record(measured, VoxelsSHA256=f"hash{number}")
        put(out, f"sub-{number:02}", content=content)
    return out


def read(root, *tables):
    paths = []
    for number, text in enumerate(tables):
        paths.append(root.parent / f"rater{number}.tsv")
        paths[-1].write_text(text, encoding="utf-8")
    return ratings.read(paths, readback.read(root))


def line(image, rater, verdict, time="2026-01-01T00:00:00Z", mask="", reasons="n/a"):
    return f"{image}\t{rater}\t{verdict}\t{reasons}\t4.5\tn/a\t{time}\t{mask}\n"


def test_three_raters_are_merged_without_loss(root):
    found = read(
        root,
        HEADER + line("sub-01", "Ada", "accept") + line("sub-02", "Ada", "exclude"),
        HEADER
        + line(
            "sub-01/anat/sub-01_desc-brain_mask.nii.gz", "Bo", "exclude", reasons="motion; bias"
        )
        + line("sub-02", "Bo", "exclude"),
        "subject_id,rater_1\n01,-1.0\n02,0\n",
    )
    assert [(one.image, one.rater, one.verdict) for one in found] == [
        ("sub-01", "Ada", "accept"),
        ("sub-01", "Bo", "exclude"),
        ("sub-01", "rater2", "exclude"),  # the file's name
        ("sub-02", "Ada", "exclude"),
        ("sub-02", "Bo", "exclude"),
        ("sub-02", "rater2", "unsure"),
    ]
    assert (found[1].reasons, found[1].seconds) == (("motion", "bias"), 4.5)
    assert ratings.decide(found) == {"sub-01": "conflict", "sub-02": "conflict"}
    assert ratings.excluded(found) == {"sub-02"}
    assert list(ratings.agreement(found)["Conflicts"]["sub-01"]) == ["Ada", "Bo", "rater2"]


def test_tables_of_qoala_t_are_read(root):
    found = read(root, "participant_id\tRating\nsub-01\tExclude\nsub-02\tInclude\n")
    assert [(one.image, one.verdict) for one in found] == [
        ("sub-01", "exclude"),
        ("sub-02", "accept"),
    ]


def test_the_newer_rating_of_one_rater_counts(root):
    old, new = line("sub-01", "Ada", "accept"), line("sub-01", "Ada", "exclude", "2026-02-01")
    for tables in ((HEADER + old, HEADER + new), (HEADER + new, HEADER + old)):
        (one,) = read(root, *tables)
        assert one.verdict == "exclude"


def test_a_rating_of_another_mask_is_stale_and_decides_nothing(root):
    found = read(
        root,
        HEADER + line("sub-01", "Ada", "exclude", mask="hash1"),
        HEADER + line("sub-02", "Ada", "exclude", mask="of before"),
    )
    assert [one.stale for one in found] == [False, True]
    assert ratings.excluded(found) == {"sub-01"}
    assert ratings.agreement(found)["Stale"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image\tother\n1\t2\n", "found no column `rating` or `rater_1`; expected a table that"),
        (
            HEADER + line("sub-01", "Ada", "fine"),
            "found the rating 'fine' of sub-01; expected",
        ),
        (HEADER + f'sub-01\t"{"x" * 200_000}', "cannot be read: field larger than"),
    ],
)
def test_what_is_no_table_of_ratings_is_refused(root, text, said):
    with pytest.raises(UsageError, match=said):
        read(root, text)


def test_an_absent_table_is_refused_and_unknown_images_are_named(root, caplog):
    with pytest.raises(UsageError, match=r"--ratings: .*absent\.tsv cannot be read"):
        ratings.read([root / "absent.tsv"], [])
    assert read(root, HEADER + line("sub-99", "Ada", "accept")) == []
    assert "no result, or several, of sub-99; ignored" in caplog.text


def test_kappa_of_two_is_that_of_scikit_learn():
    first = "aabbcabcabccbaacb"
    second = "abbbcabcaaccbbacc"
    pairs = list(zip(first, second, strict=True))
    expected = cohen_kappa_score(list(first), list(second))
    assert ratings.cohen(pairs) == pytest.approx(expected, abs=1e-4)
    assert ratings.cohen([("a", "a")]) is None
    assert ratings.cohen([]) is None


def test_kappa_of_many_is_that_of_a_worked_example():
    """Ten subjects, fourteen raters, five categories, whose kappa is 0.210."""
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    table = [[str(c) for c, n in enumerate(row) for _ in range(n)] for row in counts]
    assert ratings.fleiss(table) == pytest.approx(0.210, abs=5e-4)
    assert ratings.fleiss([]) is None


def test_the_group_level_reads_any_number_of_tables(root):
    paths = [root.parent / "a.tsv", root.parent / "b.tsv"]
    paths[0].write_text(
        HEADER + line("sub-12", "Ada", "exclude") + line("sub-01", "Ada", "accept")
    )
    said = line("sub-12", "Bo", "exclude").replace("n/a\t2026", '"""odd"" rim"\t2026')
    paths[1].write_text(HEADER + said + line("sub-01", "Bo", "exclude"))
    written = group.write(settings(root, ratings=tuple(paths)))
    assert {path.name for path in written} >= {
        f"group_desc-ratings{end}"
        for end in (".json", "_merged.tsv", "_merged.json", "_included.tsv", "_included.json")
    }
    found = json.loads((root / "group_desc-ratings.json").read_text())
    assert found["Raters"] == {"Ada": 2, "Bo": 2}
    assert found["CohenKappa"] == [{"Raters": ["Ada", "Bo"], "Images": 2, "Kappa": 0.0}]
    assert found["Verdicts"] == {
        **{"accept": 0, "unsure": 0, "exclude": 1},
        **{"conflict": 1, "unrated": 10},
    }
    assert (found["All"]["Images"], found["Included"]["Images"]) == (12, 11)
    assert found["All"]["Outliers"] == ["sub-12"]
    assert found["Included"]["Outliers"] == []
    assert found["Included"]["MeanVolume"] == pytest.approx(1406)
    with (root / "group_desc-ratings_included.tsv").open(newline="") as file:
        rows = {row["participant_id"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert {label for label, row in rows.items() if row["included"] == "false"} == {"sub-12"}
    assert (rows["sub-01"]["rating"], rows["sub-01"]["raters"]) == ("conflict", "2")
    assert '"""odd"" rim"' in (root / "group_desc-ratings_merged.tsv").read_text()
    again = ratings.read([root / "group_desc-ratings_merged.tsv"], readback.read(root))
    assert again == ratings.read(paths, readback.read(root))  # what is written is read as it was
