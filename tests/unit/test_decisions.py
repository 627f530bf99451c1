# SPDX-License-Identifier: Apache-2.0
"""Tables of decisions about candidate lesions: what is understood, and what is refused."""

import json

import numpy as np
import pytest

from bids_brainmask.dataset import decisions, readback
from bids_brainmask.dataset.readback import Result
from bids_brainmask.errors import UsageError
from bids_brainmask.hashes import fingerprint
from bids_brainmask.reports import page_candidates
from bids_brainmask.results import lesion_decisions

HEADER = "index\tdecision\tcandidates_sha256\n"


def put(tmp_path, text):
    path = tmp_path / "x_decisions.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_comes_back_as_it_was_written(tmp_path):
    rows = [
        decisions.Row(1, "accepted", "a", "A. B.", "2026-01-01T00:00:00+00:00"),
        decisions.Row(3, "rejected", "b"),
    ]
    assert decisions.read(put(tmp_path, decisions.text(rows))) == rows
    assert decisions.of(rows, "b") == {3: "rejected"}
    assert decisions.of(rows, None) == {}


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "1\tn/a\ta\n", HEADER + "1\t\ta\n"])
def test_no_decision(tmp_path, text):
    if text:
        assert decisions.read(put(tmp_path, text)) == []
    else:
        assert decisions.read(tmp_path / "none.tsv") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected the columns index, decision, candidates_sha256"),
        ("index\tdecision\n1\taccepted\n", "candidates_sha256 is missing"),
        (HEADER + "1\tyes\ta\n", "line 2: expected the decision accepted, rejected or n/a"),
        (HEADER + "0\taccepted\ta\n", "expected an index from 1 on, found '0'"),
        (HEADER + "1.0\taccepted\ta\n", "expected an index"),
        (HEADER + "-1\taccepted\ta\n", "expected an index"),
        (HEADER + "\u0661\taccepted\ta\n", "expected an index"),
        (HEADER + "1" * 5000 + "\taccepted\ta\n", "expected an index"),
        (HEADER + "1\taccepted\n", "more or fewer cells"),
        (HEADER + "1\taccepted\ta\tb\n", "more or fewer cells"),
        (HEADER + "1\taccepted\ta\n1\trejected\ta\n", "accepted and rejected"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        decisions.read(put(tmp_path, text))


@pytest.fixture
def results(tmp_path):
    """The records and the index image of one scan with two candidates."""
    folder = tmp_path / "out/sub-01/anat"
    folder.mkdir(parents=True)
    stem = folder / "sub-01_ce-gd_desc-meningioma_dseg"
    labels = stem.with_suffix(".nii.gz")
    labels.write_bytes(b"two candidates")
    record = {"Parameters": {}, "CandidateCount": 2, "VoxelsSHA256": "abc"}
    main = folder / "sub-01_ce-gd_label-tumor_desc-meningioma_mask.json"
    main.write_text(json.dumps(record))
    files = {labels.name: {k: v for k, v in fingerprint(labels).items() if k != "Modified"}}
    stem.with_suffix(".json").write_text(json.dumps(record | {"Files": files}))
    return tmp_path / "out"


def adopt(results, *lines):
    file = results.parent / "file.tsv"
    file.write_text("\n".join(["image\tindex\tdecision", *lines]) + "\n")
    return lesion_decisions.adopt(results, file, editor="A")


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_ce-gd_T1w",
        "sub-01_ce-gd_T1w.nii.gz",
        "sub-01/anat/sub-01_ce-gd_desc-meningioma_lesions.tsv",
        "sub-01_ce-gd_desc-meningioma_dseg.nii.gz",
    ],
)
def test_decisions_are_added_changed_and_taken_back(results, name):
    (path,) = adopt(results, f"{name}\t1\trejected", f"{name}\t2\taccepted")
    assert decisions.of(decisions.read(path), "abc") == {1: "rejected", 2: "accepted"}
    assert {row.by for row in decisions.read(path)} == {"A"}
    adopt(results, f"{name}\t2\tn/a", f"{name}\t1\taccepted")
    assert decisions.of(decisions.read(path), "abc") == {1: "accepted"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["sub-02_T1w\t1\taccepted"], "no candidate lesions of 'sub-02_T1w'"),
        (["\t1\taccepted"], "no candidate lesions of ''"),
        (["sub-01_ce-gd_T1w\t3\taccepted"], "no candidate 3; .* has 2"),
        (["sub-01_ce-gd_T1w\t1\tmaybe"], "expected the decision"),
        (["sub-01_ce-gd_T1w\t1\taccepted", "sub-01_ce-gd_T1w\t1\tn/a"], "has two decisions"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_as_a_whole(results, lines, said):
    with pytest.raises(UsageError, match=said):
        adopt(results, "sub-01_ce-gd_T1w\t2\taccepted", *lines)
    assert not list(results.rglob("*_decisions.tsv"))


def test_an_index_image_that_was_changed_is_refused(results):
    (labels,) = results.rglob("*_dseg.nii.gz")
    labels.write_bytes(np.random.default_rng(0).bytes(20))
    with pytest.raises(UsageError, match="has been changed since the last run"):
        adopt(results, "sub-01_ce-gd_T1w\t1\taccepted")


def test_decisions_of_the_page_keep_who_and_when_and_are_of_its_candidates(results):
    image = "sub-01/anat/sub-01_ce-gd_desc-meningioma_dseg.nii.gz"
    given = {"image": image, "index": "2", "decision": "rejected", "candidates_sha256": "abc"}
    who = {"by": "Ada", "time": "2026-01-01T00:00:00Z"}
    (path,) = lesion_decisions.put(results, [("here", given | who)])
    assert decisions.read(path) == [decisions.Row(2, "rejected", "abc", *who.values())]
    assert lesion_decisions.given(results) == [given | who]
    with pytest.raises(UsageError, match=r"here: .* has other candidates than those"):
        lesion_decisions.put(results, [("here", given | {"candidates_sha256": "old"})])
    for outside in ("../out/" + image, str(results / image)):
        with pytest.raises(UsageError, match="no candidate lesions of"):
            lesion_decisions.put(
                results.parent / "out/sub-01", [("here", given | {"image": outside})]
            )
    assert lesion_decisions.given(results) == [given | who]


def test_the_page_gets_the_candidates_that_can_be_decided_about(results, caplog):
    (one,) = readback.read(results)
    header = "index\tvolume_ml\tlongest_mm\tside\tcandidate\treasons\tdecision\n"
    table = results / one.output("lesions")
    table.write_text(f"{header}1\t4.11\t22.5\tleft\tlikely\tn/a\tn/a\n")
    assert page_candidates.read(results, one) == {
        "image": "sub-01/anat/sub-01_ce-gd_desc-meningioma_dseg.nii.gz",
        "sha256": "abc",
        "found": [[1, 4.11, 22.5, "left", "likely", None, None]],
    }
    table.write_text(f"{header}1\tmany\t22.5\tleft\tlikely\tn/a\tn/a\n")
    assert page_candidates.read(results, one) is None
    assert "candidate lesions not shown" in caplog.text
    table.write_text(header)
    assert page_candidates.read(results, one) is None
    drawn = Result(one.prefix, one.folder, {"meningioma": {"Manual": True}})
    assert page_candidates.read(results, drawn) is None


def test_no_folder_and_no_file(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        lesion_decisions.adopt(tmp_path / "none", tmp_path / "file.tsv")
    with pytest.raises(UsageError, match="no such file"):
        lesion_decisions.adopt(tmp_path, tmp_path / "file.tsv")
