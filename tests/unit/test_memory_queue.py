# SPDX-License-Identifier: Apache-2.0
"""Scans in several processes share the memory: a large one waits until it is alone."""

from collections import deque
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest

from bids_brainmask.dataset.choices import Choice
from bids_brainmask.dataset.query import Scan
from bids_brainmask.execution.dask_workers import needed_gb
from bids_brainmask.execution.task import Task, take_fitting
from bids_brainmask.models import registry
from bids_brainmask.plan import Run, ScanPlan
from bids_brainmask.settings import Settings


def simulate(sizes, workers, given):
    """Run tasks of some sizes, GB, one ending at each step; the sets that ran at a time."""
    tasks, running, seen = deque(map(Task, sizes)), [], []
    while tasks or running:
        while len(running) < workers:
            used = sum(task.gb for task in running)
            task = take_fitting(tasks, used, given, lambda task: float(task.what))
            if task is None:
                break
            running.append(task)
        seen.append([task.what for task in running])
        running.pop(0)
    return seen


def test_a_large_scan_is_run_alone_after_the_others():
    seen = simulate([5, 1, 1, 7, 1, 1], workers=3, given=6)
    assert all(sum(sizes) <= 6 or len(sizes) == 1 for sizes in seen)
    assert [7] in seen
    assert seen[0] == [5, 1], "what fits beside the first is not held up"
    assert {size for sizes in seen for size in sizes} == {1, 5, 7}


def test_what_fits_is_run_in_order():
    assert simulate([1, 2, 3], workers=2, given=10) == [[1, 2], [2, 3], [3]]


@pytest.mark.parametrize("given", [0.5, 100])
def test_every_scan_is_run_once(given):
    ended = [sizes[0] for sizes in simulate([3, 2, 1, 4], workers=2, given=given)]
    assert sorted(ended) == [1, 2, 3, 4]


def test_the_memory_of_a_scan_is_predicted_by_the_models_of_its_image(tmp_path):
    known = registry.models()
    small = replace(known["embedded"], memory_gb=2.0)
    large = replace(known["brainy"], memory_gb=7.0)
    tumors = replace(known["embedded-meningioma"], memory_gb=3.0, near_brain=0.0)
    path = tmp_path / "sub-01_T1w.nii"
    nb.save(nb.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), path)
    settings = Settings(bids_dir=tmp_path, output_dir=tmp_path, analysis_level="participant")
    run = Run(settings, {"brain": small, "meningioma": tumors}, {}, [])
    scan = Scan(path, path.name, (("sub", "01"),), contrast=False)

    def needed(*analyses, **choices):
        plan = ScanPlan(scan, analyses, {}, choices=choices)
        return needed_gb(run, Task(plan))

    assert needed("brain") == 2
    assert needed("brain", "meningioma") == 3
    assert needed("brain", brain=Choice(model=large)) == 7
    assert needed("meningioma", brain=Choice(model=large)) == 3, "the brain is not looked for"
    run = replace(run, models=run.models | {"meningioma": replace(tumors, near_brain=5.0)})
    assert needed("meningioma", brain=Choice(model=large)) == 7
    assert needed_gb(run, Task("01")) == 0, "a page"
    huge = nb.Nifti1Header()
    huge.set_data_shape((600, 600, 600))
    huge.set_data_dtype(np.uint8)
    path.write_bytes(huge.binaryblock + bytes(4))
    assert needed("brain") == pytest.approx(2 + (600**3 - 256**3) * 15e-9)
