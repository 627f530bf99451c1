# SPDX-License-Identifier: Apache-2.0
"""The commands on a participant's page that open a mask in editors, and take it back."""

import json
import shlex

import pytest

from bids_brainmask.cli import brainmask
from bids_brainmask.dataset.readback import Result
from bids_brainmask.reports import edit_commands, participant_page

SOURCE = "sub-01/anat/sub-01_ce-gd_T1w.nii.gz"
BRAIN = "sub-01/anat/sub-01_ce-gd_desc-brain_mask.nii.gz"
TUMOR = "sub-01/anat/sub-01_ce-gd_label-tumor_desc-meningioma_mask.nii.gz"


@pytest.fixture
def result():
    record = {"Parameters": {}, "Sources": [f"bids:raw:{SOURCE}"]}
    records = {"brain": record, "meningioma": record}
    return Result("sub-01_ce-gd", "sub-01/anat", records)


def describe(root, links):
    (root / "dataset_description.json").write_text(json.dumps({"DatasetLinks": links}))


def test_image_and_mask_are_opened_by_relative_paths(result, tmp_path):
    describe(tmp_path, {"raw": "../my%20bids"})
    found = edit_commands.commands(tmp_path, result)
    said = {one.title: shlex.split(one.words) for one in found}
    image = f"../my bids/{SOURCE}"
    assert said["Brain mask in ITK-SNAP"] == ["itksnap", "-g", image, "-s", BRAIN]
    assert said["Brain mask in FSLeyes"][:3] == ["fsleyes", image, BRAIN]
    assert said["Meningiomas in freeview"][1:3] == ["-v", image]
    assert said["Meningiomas in freeview"][3].startswith(f"{TUMOR}:")
    assert said["Meningiomas in napari"][-2:] == [image, TUMOR]
    last = ["bids-brainmask", "../my bids", ".", "participant", "--participant-label", "01"]
    assert shlex.split(found[-1].words)[:6] == last
    assert str(tmp_path) not in str(found)


def test_the_result_is_taken_back_by_a_command_that_works(result, tmp_path):
    taken = [
        shlex.split(one.words)
        for one in edit_commands.commands(tmp_path, result)
        if "take a mask" in one.title
    ]
    assert [words[3] for words in taken] == [BRAIN.split("/")[-1], TUMOR.split("/")[-1]]
    args = brainmask.parser().parse_args(taken[0][1:])
    assert (str(args.output_dir), args.editor) == (".", edit_commands.SOMEBODY)


@pytest.mark.parametrize("link", ["/data/bids", "https://x.org", "-rf", "a;b", "", 3, None])
def test_links_that_lead_elsewhere_are_not_followed(result, tmp_path, link):
    describe(tmp_path, {"raw": link})
    assert edit_commands.raw(tmp_path) == "BIDS_DIR"


def test_a_source_that_is_no_path_of_bids_is_not_shown(tmp_path):
    """A page is copied into shells; the sidecar may be somebody else's."""
    evil = "sub-01/$(rm -rf ~);<b>.nii.gz"
    folder = tmp_path / "sub-01/anat"
    folder.mkdir(parents=True)
    record = {"Parameters": {}, "Sources": [f"bids:raw:{evil}"]}
    (folder / "sub-01_desc-brain_mask.json").write_text(json.dumps(record))
    one = Result("sub-01", "sub-01/anat", {"brain": record})
    words = shlex.split(edit_commands.commands(tmp_path, one)[0].words)
    assert words[2] == "BIDS_DIR/sub-01/anat/sub-01_T1w.nii.gz"
    page = participant_page.participant(tmp_path, "01")
    assert "Fix the mask" in page
    assert "itksnap -g BIDS_DIR/sub-01/anat/sub-01_T1w.nii.gz -s sub-01/anat/sub-01_desc" in page
