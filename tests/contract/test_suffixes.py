# SPDX-License-Identifier: Apache-2.0
"""Images of several contrasts of one session: each has its own files, parts of pages and rows."""

import csv
import json
import re

import nibabel as nb
import pytest
from tiny_head import phantom

from bids_brainmask.analyses.rows import SUFFIXES
from bids_brainmask.dataset import query
from bids_brainmask.errors import NothingToDo
from bids_brainmask.settings import Settings

__all__ = ["phantom"]

PREFIX = "sub-01/ses-1/anat/sub-01_ses-1"


@pytest.fixture
def contrasts(dataset, phantom):
    """One session with three contrasts."""
    for suffix in ("T1w", "T2w", "FLAIR"):
        nb.save(phantom, dataset.add(f"sub-01_ses-1_{suffix}.nii.gz"))
    return dataset.root


def test_three_contrasts_give_three_masks_three_names_and_one_page(
    contrasts, tmp_path, run, issues
):
    out = tmp_path / "out"
    words = [
        "--suffix",
        "T1w",
        "T2w",
        "FLAIR",
        "--outputs",
        "mask",
        "brain",
        "probseg",
        "--viewer",
    ]
    status, said = run(contrasts, out, "participant", *words)
    assert (status, "3 done" in said) == (0, True)
    found = {str(path.relative_to(out)) for path in out.glob("sub-01/ses-1/anat/*.nii.gz")}
    assert found == {
        f"{PREFIX}_{name}.nii.gz"
        for name in (
            *("desc-brain_mask", "desc-brainT2w_mask", "desc-brainFLAIR_mask"),
            *("desc-brain_T1w", "desc-brain_T2w", "desc-brain_FLAIR"),
            *("label-brain_probseg", "label-brain_desc-T2w_probseg"),
            "label-brain_desc-FLAIR_probseg",
        )
    }
    for name, suffix in (("desc-brain", "T1w"), ("desc-brainT2w", "T2w")):
        record = json.loads((out / f"{PREFIX}_{name}_mask.json").read_text())
        assert record["Sources"] == [f"bids:raw:{PREFIX}_{suffix}.nii.gz"]
    page = (out / "sub-01.html").read_text(encoding="utf-8")
    anchors = re.findall(r'<section class="card" id="(sub-[^"]*)"', page)
    assert sorted(anchors) == ["sub-01_ses-1", "sub-01_ses-1_FLAIR", "sub-01_ses-1_T2w"]
    assert "3 images (FLAIR, T1w, T2w) of" in page
    assert "3 skipped" in run(contrasts, out, "participant", *words)[1]

    assert run(contrasts, out, "group")[0] == 0
    with (out / "group_desc-brain_qc.tsv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    groups = {row["image"].rpartition("_desc-")[2]: row["group"] for row in table}
    assert groups["brain_mask.nii.gz"].startswith("plain images")
    assert groups["brainT2w_mask.nii.gz"].startswith("plain T2w images")
    content = (out / "group_desc-brain.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', content)[1])
    assert sorted(data["lists"]["names"]) == sorted(anchors)
    assert sorted(link.partition("#")[2] for link in data["lists"]["links"]) == sorted(anchors)
    assert issues(out) == []


def test_a_crash_record_of_one_contrast_outlives_the_others_results(contrasts, tmp_path, run):
    (contrasts / f"{PREFIX}_T2w.nii.gz").write_bytes(b"")
    out = tmp_path / "out"
    status, said = run(contrasts, out, "participant", "--suffix", "T1w", "T2w")
    assert (status, "1 done" in said, "1 failed" in said) == (1, True, True)
    assert "1 image failed" in (out / "sub-01.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [((), ["T1w"]), (("T2w",), ["T2w"]), (("all",), ["FLAIR", "T1w", "T2w"])],
)
def test_only_t1w_images_are_processed_unless_others_are_asked_for(
    contrasts, tmp_path, run, suffix, expected
):
    words = ["--suffix", *suffix] if suffix else []
    _, said = run(contrasts, tmp_path / "out", "participant", "--dry-run", *words)
    rows = [line.split("\t")[0] for line in said.splitlines()[1:]]
    assert [re.search(r"_(\w+)\.nii", row.rpartition("ses-1")[2])[1] for row in rows] == expected


def test_meningiomas_are_searched_for_in_t1w_images_only(dataset, tmp_path, run):
    for suffix in ("T1w", "FLAIR"):
        dataset.add(f"sub-01_ce-gd_{suffix}.nii.gz")
    words = ["--suffix", "T1w", "FLAIR", "--analyses", "brain", "meningioma", "--dry-run"]
    _, said = run(dataset.root, tmp_path / "out", "participant", *words)
    rows = [tuple(line.split("\t")[:2]) for line in said.splitlines()[1:]]
    assert [analysis for name, analysis in rows if name.endswith("T1w.nii.gz")] == [
        *("brain", "meningioma")
    ]
    brain, refusal = (analysis for name, analysis in rows if name.endswith("FLAIR.nii.gz"))
    assert brain == "brain"
    assert refusal.startswith("meningioma: refused, expected a T1w image, found")


def test_the_validator_accepts_every_suffix(dataset, tmp_path, run, issues, phantom):
    for suffix in SUFFIXES:
        nb.save(phantom, dataset.add(f"sub-01_{suffix}.nii.gz"))
    words = ["--suffix", "all", "--outputs", "mask", "brain", "probseg", "--no-reports"]
    status, said = run(dataset.root, tmp_path / "out", "participant", *words)
    assert (status, f"{len(SUFFIXES)} done" in said) == (0, True)
    assert issues(tmp_path / "out") == []


def test_a_filter_file_has_a_key_for_each_suffix(dataset, tmp_path):
    for acquisition in ("a", "b"):
        for suffix in ("T1w", "T2w"):
            dataset.add(f"sub-01_acq-{acquisition}_{suffix}.nii.gz")
    file = tmp_path / "filter.json"
    file.write_text('{"t1w": {"acquisition": "a"}, "t2w": {"acquisition": "b"}}')
    settings = Settings(
        bids_dir=dataset.root,
        output_dir=tmp_path / "out",
        analysis_level="participant",
        suffix=("T1w", "T2w"),
        bids_filter_file=file,
    )
    assert [scan.key for scan in query.find_scans(settings)] == [
        "sub-01_acq-a",
        "sub-01_acq-b_T2w",
    ]


def test_no_image_of_a_suffix(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    settings = Settings(
        bids_dir=dataset.root,
        output_dir=tmp_path / "out",
        analysis_level="participant",
        suffix=("PDw",),
    )
    with pytest.raises(NothingToDo, match=r"no PDw image of 1 participants.*sub-01_PDw\.nii\.gz"):
        query.find_scans(settings)
