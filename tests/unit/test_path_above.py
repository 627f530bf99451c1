# SPDX-License-Identifier: Apache-2.0
"""The path above a dataset does not decide what is found in it."""

from pathlib import Path

import pytest
from conftest import Dataset

from bids_brainmask.dataset import query
from bids_brainmask.settings import Settings

pytestmark = pytest.mark.slow

PLACES = (
    *("ds", "my data/ds", "sub-09/ds", "x/sub-01", "ses-1/ds", "ses-9", "sub-02/ses-2/anat/ds"),
    *("func/ds", "fmap", "dwi/ds", "eeg/ds", "motion/x", "perf/ds", "pet", "anat/ds", "anat"),
    *("ds_part-phase", "x_part-mag/ds", "ds_acq-a", "ds_acq-b/x", "run-1/ds", "x_run-2"),
    *("ce-gd_x/ds", "inv-1/echo-2_flip-1_mt-on/ds", "a.b+c(d)[e]^$/ds", "T1w.nii/ds"),
)
"""Paths of a dataset, relative to a folder."""

NAMES = (
    *("sub-01_ses-1_T1w", "sub-01_ses-1_acq-a_run-1_T1w", "sub-01_ses-2_acq-a_run-1_T1w"),
    *("sub-01_ses-2_run-2_T1w", "sub-01_ses-2_part-mag_T1w", "sub-01_ses-2_part-phase_T1w"),
    "sub-02_T1w",
)

SELECTIONS = (
    ({}, [0, 1, 2, 4, 3, 6]),
    ({"session_label": ("1",), "participant_label": ("01",)}, [0, 1]),
    ({"session_label": ("2",), "acquisition": ("a",), "run_id": ("1",)}, [2]),
)
"""Options, and the places of the images in `NAMES`, in the order in which they are found."""


def test_there_are_26_places():
    assert len(set(PLACES)) == 26


@pytest.mark.parametrize("place", PLACES)
def test_the_same_images_are_found_wherever_the_dataset_is(place, tmp_path):
    dataset = Dataset(tmp_path / place)
    for name in NAMES:
        dataset.add(f"{name}.nii.gz")
    options = {"bids_dir": dataset.root, "output_dir": tmp_path / "out"}
    for selection, expected in SELECTIONS:
        chosen = Settings(analysis_level="participant", **options, **selection)
        found = [scan.path.name for scan in query.find_scans(chosen)]
        assert found == [f"{NAMES[index]}.nii.gz" for index in expected], selection


def test_a_path_with_dots_and_links(tmp_path, monkeypatch):
    dataset = Dataset(tmp_path / "func/ds")
    dataset.add("sub-01_T1w.nii.gz")
    (tmp_path / "ses-2").symlink_to(dataset.root)
    (tmp_path / "eeg").mkdir()
    monkeypatch.chdir(tmp_path / "eeg")
    for place in ("../func/ds", "../ses-2"):
        chosen = Settings(
            bids_dir=Path(place),
            output_dir=tmp_path / "out",
            analysis_level="participant",
        )
        assert [scan.prefix for scan in query.find_scans(chosen)] == ["sub-01"]
