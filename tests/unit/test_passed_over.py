# SPDX-License-Identifier: Apache-2.0
"""Images that are not processed are told of, with the right name, or with what is there."""

import json
import logging

import pytest

from bids_brainmask.dataset import passed_over, query
from bids_brainmask.errors import NothingToDo
from bids_brainmask.settings import Settings


def find(root, **options):
    options = {"bids_dir": root, "output_dir": root / "derivatives/x"} | options
    return query.find_scans(Settings(analysis_level="participant", **options))


RIGHT = {
    "sub-01/anat/sub-01_T1w.NII.GZ": "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_T1W.nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_acq-a_t1w.Nii": "sub-01/anat/sub-01_acq-a_T1w.nii",
    "sub-01/Anat/sub-01_T1w.nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/ses-1/ANAT/sub-01_ses-1_T1w.nii": "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii",
    "sub-01/anat/sub-01_T1w (1).nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_T1w_copy.nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_T1w - Copy.nii": "sub-01/anat/sub-01_T1w.nii",
    "sub-01/sub-01_T1w.nii.gz": "sub-01/anat/sub-01_T1w.nii.gz",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_a_name_that_is_nearly_right_is_told_with_the_right_one(name, dataset, caplog):
    dataset.add("sub-02_T1w.nii.gz")
    path = dataset.root / name
    path.parent.mkdir(parents=True)
    path.touch()
    with caplog.at_level(logging.WARNING):
        assert [scan.prefix for scan in find(dataset.root)] == ["sub-02"]
    (message,) = caplog.messages
    assert message == f"{name}: ignored, its name is not BIDS; rename it to {RIGHT[name]}"


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-T1w_T2w.nii.gz",
        "sub-01/anat/sub-01_T1wx.nii.gz",
        "sub-01/anat/sub-01_inv-1_MP2RAGE.nii.gz",
        "sub-01/anat/sub-01_desc-T1w_mask.nii.gz",
        "sub-01/anat/T1w.nii.gz",
    ],
)
def test_other_names_are_not_taken_for_it(name):
    assert passed_over.right_name(name, ("T1w",)) == ""


def test_a_copy_beside_its_image_is_told_in_a_line_and_many_are_counted(dataset, caplog):
    image = dataset.add("sub-01_T1w.nii.gz")
    for number in range(1, 24):
        image.with_name(f"sub-01_T1w ({number}).nii.gz").touch()
    with caplog.at_level(logging.WARNING):
        assert len(find(dataset.root, participant_label=("01",))) == 1
    assert len(caplog.messages) == passed_over.TOLD + 1
    assert caplog.messages[0].endswith("not BIDS; sub-01/anat/sub-01_T1w.nii.gz is used")
    assert caplog.messages[-1] == "3 more images are ignored for such names"


NAMES = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz")


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("", ""),
        ("# *\n\n   \n", ""),
        ("*_T1w.nii.gz", "01 02"),
        ("sub-01", "01"),
        ("sub-01/", "01"),
        ("/sub-01/**", "01"),
        ("sub-01/*", "01"),
        ("sub-01_T1w.nii.gz/", ""),
        ("**/sub-01_T1w.nii.gz", "01"),
        ("sub-02/**/*_T1w.*", "02"),
        ("sub-02/*_T1w.nii.gz", ""),
        ("anat/sub-01_T1w.nii.gz", ""),
        ("ses-1", "02"),
        ("sub-0[2-9]", "02"),
        ("sub-0[!1]", "02"),
        ("sub-0?\n!sub-02", "01"),
        ("\ufeffsub-01\r\n", "01"),
        ("sub-0[", ""),
        ("sub-0[z-a]\nsub-01", "01"),
    ],
)
def test_bidsignore_is_heeded(text, ignored, tmp_path):
    (tmp_path / ".bidsignore").write_text(text, encoding="utf-8")
    is_ignored = passed_over.ignored_by(tmp_path)
    assert " ".join(name[4:6] for name in NAMES if is_ignored(name)) == ignored


def test_images_that_bidsignore_names_are_told_and_not_processed(dataset, caplog):
    for label in ("01", "02"):
        dataset.add(f"sub-{label}_T1w.nii.gz")
    (dataset.root / ".bidsignore").write_text("sub-01_*\n")
    with caplog.at_level(logging.WARNING):
        assert [scan.prefix for scan in find(dataset.root)] == ["sub-02"]
    assert caplog.messages == [
        "1 images are ignored by .bidsignore: sub-01/anat/sub-01_T1w.nii.gz"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("value", [False, 0, None, "", [], {}, ["NONE"], [""], [None, "n/a"]])
def test_values_that_name_no_agent_are_no_contrast(value, dataset):
    dataset.add("sub-01_T1w.nii.gz", ContrastBolusIngredient=value)
    assert not find(dataset.root)[0].contrast


@pytest.mark.parametrize("value", ["GADOLINIUM", ["NONE", "Gd"], True])
def test_values_that_name_an_agent_are_contrast(value, dataset):
    path = dataset.add("sub-01_T1w.nii.gz")
    text = json.dumps({"ContrastBolusIngredient": value})
    path.with_name("sub-01_T1w.json").write_text(text, encoding="utf-8-sig")  # as of Windows
    assert find(dataset.root)[0].contrast


def test_a_dataset_without_t1w_says_what_is_there(dataset):
    for label in ("01", "02", "03"):
        dataset.add(f"sub-{label}_UNIT1.nii.gz")
        for inversion in (1, 2):
            dataset.add(f"sub-{label}_inv-{inversion}_part-mag_MP2RAGE.nii.gz")
    with pytest.raises(NothingToDo) as found:
        find(dataset.root)
    assert (
        "found no T1w image of 3 participants. There are 3 UNIT1 (--suffix UNIT1), 6 MP2RAGE. "
        "Expected names such as sub-01/anat/sub-01_T1w.nii.gz." in str(found.value)
    )
    assert len(find(dataset.root, suffix=("UNIT1",))) == 3
