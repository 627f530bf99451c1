# SPDX-License-Identifier: Apache-2.0
"""The benchmark of many scans: a small study goes the whole way, and what is counted is there."""

import json
import re

import numpy as np
import pytest
from bench import load
from conftest import LITTLE, labelled_dataset

document, scale = map(load, ("document", "scale"))


def cells(text):
    """Rows of the Markdown tables in a text, by the first cell of each."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of twelve, two of them with reports, and the tables that it ended with."""
    work = tmp_path_factory.mktemp("scale") / "work"
    return work, scale.simulate(work, 12, 2, 2, work / "curve.png")


def test_a_simulated_study_goes_the_whole_way(study):
    work, _ = study
    said = {number: (work / f"{number}.txt").read_text() for number in range(5)}
    assert said[0].count("\tbrain\tembedded-") == 12
    assert said[1].rstrip().count("12 done, 0 skipped, 0 failed") == 1
    assert said[2].rstrip().count("0 done, 12 skipped, 0 failed") == 1
    assert "group_desc-brain.html" in said[3]
    assert said[4].rstrip().count("2 done, 0 skipped, 0 failed") == 1
    assert len({*re.findall(r"process (\d+)", logs(work / "out"))}) == 2  # both workers had scans
    assert (work / "curve.png").read_bytes().startswith(b"\x89PNG")


def logs(out):
    return "".join(path.read_text() for path in out.glob("logs/sub-*/*.log"))


def test_its_masks_are_made_by_a_comparison_and_are_right(study):
    work, _ = study
    for number in range(1, 13):
        name = f"sub-{number:06}"
        record = json.loads((work / f"out/{name}/anat/{name}_desc-brain_mask.json").read_text())
        assert record["Software"]["comparison"] == "1"
        inner = 14 <= (record["BrainVolume"] * 1000 * 3 / 4 / np.pi) ** (1 / 3) <= 17
        assert inner, record["BrainVolume"]


def test_what_it_leaves_is_counted(study):
    work, text = study
    rows = cells(text)
    assert [rows[name][0] for name in ("participants", "the same again", "group")] == ["12"] * 3
    found = scale.weigh(work / "out")
    assert (found["mask"].files, found["T1w"].files, found["logs"].files) == (12, 12, 24)
    assert found["sidecars and folders"].files == found["sidecars and folders"].folders == 24
    assert found["mask"].bytes == sum(
        path.stat().st_size for path in (work / "out").glob("sub-*/anat/*_mask.nii.gz")
    )
    with_reports = scale.weigh(work / "out_reports")["reports"]
    assert (with_reports.files, with_reports.folders) == (12, 2)  # five figures and a page each
    assert sum(weight.files for weight in found.values()) == len(
        [path for path in (work / "out").rglob("*") if path.is_file()]
    )


def test_processes_are_told_apart(study):
    rows = cells(study[1])
    _, seconds, driver, workers, *_, memory, worker = map(float, ["0", *rows["participants"][1:]])
    assert 0 < driver < seconds * 2
    assert workers > 0.5  # two interpreters have been started
    assert 0.05 < worker < 1
    assert 0.05 < memory < 1
    assert [float(rows["group"][index]) for index in (3, 6, 8)] == [0, 0, 0]  # has no workers


def test_the_group_level_of_more_images_than_there_are(study, tmp_path, capsys):
    work, _ = study
    words = ["group", str(work / "out"), str(tmp_path / "more"), "--scans", "30", "20"]
    scale.main(words)
    rows = cells(capsys.readouterr().out)
    assert {"20", "30"} < rows.keys()
    assert float(rows["30"][3]) > 0.5  # MB, most of them the page's libraries
    table = (tmp_path / "more/out/group_desc-brain_qc.tsv").read_text()
    assert len(table.splitlines()) == 31


def test_real_heads_are_measured_one_and_each_further(tmp_path, monkeypatch, capsys):
    names = [f"{number:02}" for number in range(1, 25)]  # 2 s: more than starting varies by
    data = labelled_dataset(tmp_path / "bids", len(names), **LITTLE)
    monkeypatch.setattr(scale, "VARIANTS", {"mask only": ("--no-reports", "--outputs", "mask")})
    scale.main(["heads", str(data), str(tmp_path / "work"), "--names", *names])
    text = capsys.readouterr().out
    first, further = (
        cells(text)[f"mask only, {which}"] for which in ("one head", "each further head")
    )
    assert float(first[1]) > float(further[1]) > 0  # starting is a part of the first
    assert cells(text)["mask"][0] == "1.00"
    assert "T1w" not in cells(text)


def test_a_command_that_fails_ends_the_benchmark(tmp_path):
    with pytest.raises(SystemExit, match="ended with status 2"):
        scale.watch([tmp_path / "nowhere", tmp_path, "participant"], tmp_path / "said.txt")
    assert "no such folder" in (tmp_path / "said.txt").read_text()


def test_a_rate_is_of_the_scans_that_ended():
    ended = np.arange(1, 201) / 4  # four a second, for 50 s
    times, rates = scale.rates(ended)
    assert len(times) == len(rates) == 20
    np.testing.assert_allclose(rates[:-1], 4, atol=0.5)
    assert times[0] > ended[0]
