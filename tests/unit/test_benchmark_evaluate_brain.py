# SPDX-License-Identifier: Apache-2.0
"""The evaluation of brain networks, on phantoms and on networks whose answer is arithmetic."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from bench import load
from test_benchmarks import EMBEDDED, cells, make, network, write

from bids_brainmask.demo import phantom

evaluate_brain = load("evaluate_brain")

BRIGHT = network(lambda block: (block > 0.9 * block.max()).astype(np.float32))
"""Takes the brightest for brain, which in these phantoms it is."""


@pytest.fixture
def data(tmp_path):
    """Sets of one or two heads of one phantom, each with the references that real ones have."""
    case, root = make(), tmp_path / "data"
    brain = case.brain.astype(np.uint8)
    split = {"sub-ixi1": "dev", "sub-ixi2": "train", "sub-other": "dev", "sub-rigs": "train"}
    rows = ["participant_id\tsplit", *("\t".join(pair) for pair in split.items())]
    (root / "heads").mkdir(parents=True)
    (root / "heads/participants.tsv").write_text("\n".join(rows) + "\n")
    for name in split:
        write(root / f"heads/{name}/anat/{name}_T1w.nii.gz", case.image.data, case)
        for reference in ("deepbet", "dlmuse" if "ixi" in name else "hdbet"):
            folder = root / f"heads/derivatives/{reference}/{name}/anat"
            write(folder / f"{name}_desc-brain_mask.nii.gz", brain, case)
    for name, entities in evaluate_brain.CONTRAST_HEADS:
        path = root / f"contrast/{name}/anat/{name}{entities}_T1w.nii.gz"
        write(path, case.image.data, case)
        for reference in ("deepbet", "hdbet") if name != "sub-vs01" else ():
            folder = root / f"contrast/derivatives/{reference}/{name}/anat"
            write(folder / f"{name}{entities}_desc-brain_mask.nii.gz", brain, case)
    write(root / "stripped/sub-9/anat/sub-9_T1w.nii.gz", case.image.data * brain, case)
    write(tmp_path / "colin/ch2.nii.gz", case.image.data, case)
    write(tmp_path / "colin/ch2bet.nii.gz", case.image.data * brain, case)
    for name in ("sub-vs01", "Colin 27"):
        write(tmp_path / f"masks/deepbet/{name}.nii.gz", brain, case)
    return tmp_path


def run(data, monkeypatch, *words):
    monkeypatch.setattr(evaluate_brain.backends, "load", lambda *_: BRIGHT)
    head = phantom.head
    monkeypatch.setattr(phantom, "head", lambda seed, **how: head(seed, spacing=4.0, **how))
    paths = {f"--{name}": str(data / name) for name in ("masks", "colin")}
    command = ["evaluate_brain.py", str(data / "data"), *(w for p in paths.items() for w in p)]
    out = data / "found.md"
    monkeypatch.setattr(sys, "argv", [*command, "--markdown", str(out), *words])
    evaluate_brain.main()
    return cells(out.read_text())


@pytest.mark.slow
def test_every_set_is_measured_with_every_reference(data, monkeypatch):
    rows = run(data, monkeypatch, "--also", "sub-rigs")
    sums = {tuple(row[:2]): row for row in rows if len(row) == 9}
    heads = {pair: row[2] for pair, row in sums.items() if pair[0] != "set"}
    assert heads == {
        ("IXI", "deepbet"): "1",
        ("IXI", "dlmuse"): "1",
        ("other sources", "deepbet"): "1",
        ("other sources", "hdbet"): "1",
        ("named by --also", "deepbet"): "1",
        ("named by --also", "hdbet"): "1",
        ("contrast-enhanced", "deepbet"): "5",
        ("contrast-enhanced", "hdbet"): "4",
        ("stripped", "itself"): "1",
        ("Colin 27", "published"): "1",
        ("Colin 27", "deepbet"): "1",
        ("phantoms", "truth"): "3",
    }
    found = {pair: float(row[3]) for pair, row in sums.items() if pair in heads}
    assert all(dice > 0.97 for pair, dice in found.items() if pair[0] != "phantoms")
    assert sums["IXI", "dlmuse"][-2] == "median 0.98"
    named = [row[1] for row in rows if len(row) == 5 and row[0] == "contrast-enhanced"]
    assert list(dict.fromkeys(named)) == [a + b for a, b in evaluate_brain.CONTRAST_HEADS]


def test_the_quick_choice_has_the_sets_that_a_training_changes(data, monkeypatch):
    monkeypatch.setitem(evaluate_brain.QUICK, "other sources", 0)
    rows = run(data, monkeypatch, "--quick")
    assert {row[0] for row in rows if len(row) == 9} == {"set", "IXI", "contrast-enhanced"}


def test_a_reference_that_is_not_there_is_told(data, monkeypatch, capsys):
    (data / "masks/deepbet/sub-vs01.nii.gz").unlink()
    with pytest.raises(SystemExit):
        run(data, monkeypatch)
    assert "sub-vs01.nii.gz is not there: --peers makes it" in capsys.readouterr().err


@pytest.mark.slow
def test_two_models_of_one_name_have_columns_of_their_own(data, monkeypatch):
    rows = run(data, monkeypatch, "--quick", "--model", "embedded", "embedded")
    assert next(r for r in rows if len(r) == 7)[3:5] == ["embedded", "embedded, volume ratio"]
    assert "embedded 2" in next(r for r in rows if len(r) == 7)


def score(group, reference, dice, ratio=1.0):
    return evaluate_brain.Score(group, "sub-a", reference, dice, ratio)


def test_what_is_wanted_is_reached_or_named():
    others = [score("other sources", "deepbet", d, r) for d, r in ((0.96, 1.05), (0.99, 0.97))]
    others.append(score("other sources", "deepbet", 0.985, 0.98))
    (row,) = cells(evaluate_brain.summary(others))[1:]
    assert row[2:7] == ["3", "0.9850", "0.9783", "0.9600", "1.0000"]
    assert row[7] == "minimum 0.97, median 0.982, volume ratio 0.99 to 1.01"
    assert row[8] == "not minimum"
    (row,) = cells(evaluate_brain.summary([score("IXI", "deepbet", 0.986)]))[1:]
    assert row[8] == "all"
    (row,) = cells(evaluate_brain.summary([score("stripped", "itself", 0.9)]))[1:]
    assert row[7:] == ["", ""]


def test_no_brain_counts_as_nothing_and_a_stripped_one_gets_no_help(data):
    members = list(evaluate_brain.members(data / "data", data / "masks", None, ()))
    (ixi,) = (one for one in members if one.head.name == "sub-ixi1")
    blind = network(np.zeros_like)
    assert {one.dice for one in evaluate_brain.measure(ixi, EMBEDDED, blind)} == {0.0}
    assert {one.ratio for one in evaluate_brain.measure(ixi, EMBEDDED, blind)} == {0.0}
    (bare,) = (one for one in members if one.group == "stripped")
    half = replace(
        BRIGHT, run=lambda block: BRIGHT.run(block) * (np.arange(len(block)) > 60)[:, None, None]
    )
    (found,) = evaluate_brain.measure(bare, EMBEDDED, half)
    assert found.ratio < 0.9
