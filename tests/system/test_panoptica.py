# SPDX-License-Identifier: Apache-2.0
"""Lesions matched by `brainmask evaluate --lesions` and by panoptica, where both define the same.

Both take components that share a face, an edge or a corner, and match them one to one by
intersection over union, the largest first. Panoptica has an environment of its own.
"""

import csv
import json
import subprocess

import nibabel as nb
import numpy as np
import other_programs
import pytest
from conftest import ROOT
from scipy import ndimage

from bids_brainmask.cli import brainmask

pytestmark = pytest.mark.slow

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
CASES = 5


def balls(rng, count, given=()):
    """Make a mask of some balls, those that are given moved by up to a voxel along each axis."""
    shape = (48, 44, 40)
    some = [*given, *((rng.integers(6, 34, 3), rng.integers(3, 6)) for _ in range(count))]
    found = np.zeros(shape, np.uint8)
    for center, radius in some:
        place = center + rng.integers(-1, 2, 3)
        square = sum((x - c) ** 2 for x, c in zip(np.indices(shape), place, strict=True))
        found |= (square <= radius**2).astype(np.uint8)
    return found, some


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folders of predictions and references, and panoptica's numbers by threshold."""
    python = other_programs.python("panoptica", other_programs.PANOPTICA)
    folder, rng = tmp_path_factory.mktemp("panoptica"), np.random.default_rng(7)
    arrays = {}
    for number in range(CASES):
        wanted, given = balls(rng, 6)
        found, _ = balls(rng, 2, given[:-1])
        arrays |= {f"found_{number}": found, f"wanted_{number}": wanted}
        for side in ("found", "wanted"):
            path = folder / side / f"sub-{number}/anat/sub-{number}_label-tumor_mask.nii.gz"
            path.parent.mkdir(parents=True)
            nb.save(nb.Nifti1Image(arrays[f"{side}_{number}"], np.eye(4)), path)
    np.savez(folder / "masks.npz", **arrays)
    script = ROOT / "tests/system/panoptica_reference.py"
    command = [python, script, folder / "masks.npz", *map(str, THRESHOLDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads(done.stdout.splitlines()[-1])
    return folder, arrays, dict(zip(THRESHOLDS, theirs, strict=True))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_pairs_and_their_dice_are_those_of_panoptica(compared, tmp_path, threshold):
    folder, _, theirs = compared
    table = tmp_path / "lesions.tsv"
    words = ["--mask", "label-tumor_mask", "--lesions", "--lesions-tsv", str(table)]
    words += ["--minimum-iou", str(threshold)]
    assert brainmask.main(["evaluate", str(folder / "found"), str(folder / "wanted"), *words]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for number, (matched, false, missed, dices) in enumerate(theirs[threshold]):
        case = [row for row in rows if row["reference"].startswith(f"sub-{number}/")]
        ours = sorted(float(row["dice"]) for row in case if row["dice"] != "n/a")
        assert len(ours) == matched
        assert sum(row["reference_ml"] == "n/a" for row in case) == false
        assert sum(row["prediction_ml"] == "n/a" for row in case) == missed
        np.testing.assert_allclose(ours, dices, atol=1e-4)


def test_the_cases_tell_the_thresholds_apart(compared):
    """There are pairs, false lesions and missed ones, and fewer pairs with each threshold."""
    _, arrays, theirs = compared
    pairs = [sum(case[0] for case in theirs[threshold]) for threshold in THRESHOLDS]
    assert pairs == sorted(set(pairs), reverse=True)
    assert pairs[-1]
    assert all(sum(case[n] for case in theirs[0.1]) for n in (1, 2))
    counts = [ndimage.label(arrays[f"wanted_{n}"])[1] for n in range(CASES)]
    assert max(counts) > 2
