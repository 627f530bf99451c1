# SPDX-License-Identifier: Apache-2.0
"""The comparison of number formats: what is measured twice, kept, and written."""

import json

import pytest
from bench import load

NAMES = ("document", "heads", "degrade", "accuracy", "robustness", "evaluate_brain", "precision")
_, heads, *_, evaluate, precision = map(load, NAMES)


def pair(group, head, dice, predicted, between=0.999):
    return precision.Pair(group, head, dice, predicted, predicted, between)


PAIRS = [
    pair("IXI", "sub-1", (0.98, 0.981), (0.971, 0.969)),
    pair("IXI", "sub-2", (0.96, 0.957), (0.94, 0.941), between=0.99),
    pair("noise", "sub-1", (0.90, 0.90), (0.93, 0.93)),
]


def test_a_set_has_medians_and_the_differences_that_are_farthest_apart():
    rows = precision.summary(PAIRS, "int8").splitlines()
    assert rows[2] == "| IXI | 2 | 0.9700 | 0.9690 | -0.0030, 0.0010 | 0.9900 |"


def test_images_on_two_sides_of_a_decision_are_named():
    text = precision.calibration(PAIRS, "int8")
    assert "first look under 0.98: the darker look and the mirror image | 3 | 3 |" in text
    assert "first look under 0.97: other looks | 2 | 3 |" in text
    assert text.rstrip().endswith("steps: sub-1 (IXI): 0.9710, 0.9690.")
    assert "largest -0.0020 (sub-1, IXI)" in text


def test_heads_without_a_reference_mask_are_left_out():
    members = [
        evaluate.Member("IXI", heads.Head(name, None, references))
        for name, references in (("sub-1", {}), ("sub-2", {"deepbet": None}))
    ]
    assert [head for _, head, _ in precision.cases(members, [])] == ["sub-2"]


def test_what_is_in_the_records_is_not_measured_again(tmp_path, monkeypatch):
    calls = []

    def compare(head, *_):
        calls.append(head)
        return {"dice": (0.9, 0.9), "predicted": (0.9, 0.9), "first": (0.9, 0.9), "between": 1.0}

    monkeypatch.setattr(precision, "compare", compare)
    records = tmp_path / "records.jsonl"
    for names in (["sub-1"], ["sub-1", "sub-2"]):
        found = [("IXI", head, lambda head=head: (head,)) for head in names]
        pairs = precision.measure(found, None, None, records)
        assert [one.head for one in pairs] == names
    assert calls == ["sub-1", "sub-2"]
    assert [json.loads(line)["head"] for line in records.read_text().splitlines()] == calls


@pytest.mark.parametrize("words", [["data"], ["data", "--records", "r", "--precision", "int4"]])
def test_what_is_missing_or_unknown_is_refused(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["precision.py", *words])
    with pytest.raises(SystemExit, match="2"):
        precision.main()
    assert "error" in capsys.readouterr().err
