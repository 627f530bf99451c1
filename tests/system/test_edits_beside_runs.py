# SPDX-License-Identifier: Apache-2.0
"""A person edits masks while several processes work on the same results."""

import gzip
import json
import os
import threading
import time
from contextlib import suppress

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset
from light import Run, scale

from bids_brainmask.voxels import masks

PROCESSES = int(os.environ.get("PROCESSES", "5"))
"""Runs at once; twenty of them take some 25 s of processor time."""

LABELS = ("01", "02")
EDITS = 4
WORDS = ("../bids", "out", "participant", "--no-reports")


class Person(threading.Thread):
    """Saves mask after mask in the ways that editors do, and watches the sidecars.

    Parameters
    ----------
    out : Path
        Folder of results.
    """

    def __init__(self, out):
        super().__init__(daemon=True)
        self.out = out
        self.saved = {label: [] for label in LABELS}
        """Hashes of the voxels of each mask that was saved, by participant."""
        self.taken = {label: set() for label in LABELS}
        """Hashes of masks that sidecars called manual at any moment."""

    def mask(self, label):
        return self.out / f"sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz"

    def record(self, label):
        path = self.mask(label)
        return json.loads(path.with_name(f"sub-{label}_desc-brain_mask.json").read_text())

    def run(self):
        for number in range(EDITS):
            for label in LABELS:
                self.save(self.mask(label), number, label)
                # Most are waited for until a run has taken them, some are edited again at once.
                self.watch(label, 0.05 if number % 3 == 1 else 10)

    def save(self, path, number, label):
        """Save another mask: in place, in two parts, or by a file that is renamed."""
        affine = np.diag([3.0, 3, 3, 1])
        affine[:3, 3] = -22.5
        mask = np.zeros((16, 16, 16), np.uint8)
        mask[3 : 8 + number % 5, 4:12, 4 : 12 + number // 5 % 4] = 1
        content = gzip.compress(nb.Nifti1Image(mask, affine).to_bytes(), mtime=number)
        self.saved[label].append(masks.digest(mask > 0))
        if number % 2:
            other = path.with_name(f"being-saved-{number}.tmp")
            other.write_bytes(content)
            other.replace(path)
            return
        with path.open("wb") as file:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                file.write(part)
                file.flush()
                time.sleep(0.002)

    def watch(self, label, seconds):
        """Look at the sidecar until the last mask is taken, for some seconds at most."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.saved[label][-1] not in self.taken[label]:
            with suppress(FileNotFoundError):
                record = self.record(label)
                if record.get("Manual"):
                    self.taken[label].add(record["VoxelsSHA256"])
            time.sleep(0.005)


@pytest.mark.slow
def test_no_edit_is_lost_and_none_is_taken_half_written(tmp_path):
    """Several runs begin, one after the other, while masks are saved again and again."""
    data = Dataset(tmp_path / "bids")
    for number, label in enumerate(LABELS):
        data.add(f"sub-{label}_T1w.nii.gz", scale.head(number))
    place = tmp_path / "place"
    place.mkdir()
    assert Run(place, *WORDS).wait() == 0
    person = Person(place / "out")
    person.start()
    runs, at_work = [], []
    while person.is_alive():
        at_work = [run for run in at_work if run.process.is_alive()]
        while len(at_work) < PROCESSES:
            more = ("--overwrite",) if len(runs) % 3 == 2 else ()
            runs.append(Run(place, *WORDS, *more, said=place / f"{len(runs)}.txt"))
            at_work.append(runs[-1])
        person.join(0.05)
    for run in runs:
        status = run.wait()
        assert status == 0 or (status == 1 and "changed while the image" in run.said), run.said
        assert "Traceback" not in run.said, run.said
    last = Run(place, *WORDS)
    assert last.wait() == 0, last.said
    for label in LABELS:
        mask, record = np.asarray(nb.load(person.mask(label)).dataobj) > 0, person.record(label)
        assert masks.digest(mask) == person.saved[label][-1] == record["VoxelsSHA256"]
        assert record["Manual"] is True
        assert person.taken[label]
        assert person.taken[label] <= set(person.saved[label])
