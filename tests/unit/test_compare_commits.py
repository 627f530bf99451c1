# SPDX-License-Identifier: Apache-2.0
"""The comparison of what two commits write: it tells what differs, and nothing that may differ."""

import gzip
import json

import pytest
from bench import load

compare_commits = load("compare_commits")

FILES = {
    "mask.nii.gz": gzip.compress(b"voxels", mtime=0),
    "mask.json": json.dumps({"Seconds": 1.5, "Modified": 1, "Threshold": 0.5}).encode(),
    "group_qc.tsv": b"image\tvolume_ml\tseconds\nsub-01\t1500\t1.5\n",
    "sub-01.html": b"<p>Made 2026-11-26 10:11 UTC by bids_brainmask 0.1.0</p><p>fine</p>",
    "figure.webp": b"picture",
}

FREE = {
    "mask.json": json.dumps({"Seconds": 9.0, "Modified": 2, "Threshold": 0.5}).encode(),
    "group_qc.tsv": b"image\tvolume_ml\tseconds\nsub-01\t1500\t9.5\n",
    "sub-01.html": b"<p>Made 2027-01-01 09:09 UTC by bids_brainmask 0.2.0</p><p>fine</p>",
}

DIFFERENT = {
    "mask.nii.gz": gzip.compress(b"other voxels", mtime=0),
    "mask.json": json.dumps({"Seconds": 1.5, "Modified": 1, "Threshold": 0.6}).encode(),
    "group_qc.tsv": b"image\tvolume_ml\tseconds\nsub-01\t1501\t1.5\n",
    "sub-01.html": b"<p>Made 2026-11-26 10:11 UTC by bids_brainmask 0.1.0</p><p>failed</p>",
    "figure.webp": b"other picture",
}


@pytest.fixture
def compared(tmp_path):
    def compare(**changes):
        for folder, files in (("before", FILES), ("after", FILES | changes)):
            (tmp_path / folder).mkdir()
            for name, content in files.items():
                (tmp_path / folder / name).write_bytes(content)
        return list(compare_commits.compare(tmp_path / "before", tmp_path / "after", lines=5))

    return compare


def test_versions_and_times_are_no_difference(compared):
    assert compared(**FREE) == ["the same: 1 .html, 1 .json, 1 .nii.gz, 1 .tsv, 1 .webp"]


@pytest.mark.parametrize("name", DIFFERENT)
def test_each_kind_of_file_is_compared(compared, name):
    first, *lines, same = compared(**{name: DIFFERENT[name]})
    assert first.startswith(f"{name}: ")
    assert lines
    assert same.count("1 .") == 4


def test_a_file_of_one_folder_alone_is_told(compared):
    assert compared(**{"new.tsv": b"x\n"})[0] == "new.tsv: only after"


def test_the_same_voxels_in_other_bytes_are_told(compared):
    packed = gzip.compress(b"voxels", compresslevel=1, mtime=1)
    assert "the same when unpacked" in compared(**{"mask.nii.gz": packed})[1]


def test_data_without_the_heads_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no such file"):
        compare_commits.make_dataset(tmp_path, tmp_path / "bids", ["sub-vs01_ce-gadolinium_T1w"])
