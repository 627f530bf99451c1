# SPDX-License-Identifier: Apache-2.0
"""Rows of the page about all images."""

from bids_brainmask.analyses import quality
from bids_brainmask.reports.page_data import Row

COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session"},
    "image": {"Description": "Mask"},
    "contrast_enhanced": {"Description": "With an agent"},
    **quality.columns(),
    "seconds": {"LongName": "Time", "Description": "Wall clock", "Units": "s"},
    "doubts": {"LongName": "Doubts", "Description": "Why it may be wrong"},
    "group": {"Description": "Like images"},
    "outlier_score": {"LongName": "Outlier score", "Description": "Scaled MADs"},
    "outlier_reasons": {"Description": "In words"},
}


def row(number=1, session=None, **values):
    """A row with a value in every column."""
    prefix = f"sub-{number:04d}" + (f"_{session}" if session else "")
    found = {
        "participant_id": f"sub-{number:04d}",
        "session_id": session,
        "image": f"sub-{number:04d}/anat/{prefix}_desc-brain_mask.nii.gz",
        "contrast_enhanced": False,
        **{name: 0.5 + number * (place + 1) for place, name in enumerate(quality.columns())},
        "seconds": number / 8,
        "doubts": None,
        "group": "1 mm",
        "outlier_score": number % 7 / 2,
        "outlier_reasons": None,
    }
    thumbnail = f"sub-{number:04d}/figures/{prefix}_desc-thumbnail_T1w.webp"
    return Row(prefix, f"sub-{number:04d}.html", thumbnail, found | values)
