# SPDX-License-Identifier: Apache-2.0
"""The main path on phantoms, as the command line goes it: nothing is needed beside the checkout.

A dataset, masks and brains that agree with the truth, tumors looked for, pages, the group level.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np
import other_programs
import pytest
from conftest import ROOT, missing

from bids_brainmask.cli import bids_app
from bids_brainmask.demo import phantom, phantom_dataset
from bids_brainmask.voxels import agreement, image

SCANS = ("sub-phantom01", "sub-phantom02_ses-1", "sub-phantom02_ses-1_ce-gadolinium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a raw dataset of three phantoms at 2 mm, `bids`, and of its results, `out`."""
    folder = tmp_path_factory.mktemp("phantoms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIDS_BRAINMASK_MODELS", str(folder / "models"))
        patch.setattr(phantom, "head", partial(phantom.head, spacing=2.0))
        phantom_dataset.write_dataset(folder / "bids")
        places = [str(folder / "bids"), str(folder / "out")]
        assert bids_app.main([*places, "participant", "--executor", "serial"]) == 0
        assert bids_app.main([*places, "group"]) == 0
    return folder


def anat(scan: str) -> Path:
    """Folder of a scan in a dataset."""
    return Path(*[part for part in scan.split("_") if not part.startswith("ce-")], "anat")


@pytest.mark.parametrize("scan", SCANS)
def test_masks_are_the_true_ones_and_brains_lie_in_them(folder, scan):
    name = f"{scan}_desc-brain_mask.nii.gz"
    mask = image.read_mask(folder / "out" / anat(scan) / name)
    truth = image.read_mask(folder / "bids/derivatives/truth" / anat(scan) / name)
    assert agreement.dice(mask, truth) > 0.95
    raw = nb.load(folder / "bids" / anat(scan) / f"{scan}_T1w.nii.gz")
    brain = nb.load(folder / "out" / anat(scan) / f"{scan}_desc-brain_T1w.nii.gz")
    np.testing.assert_array_equal(brain.affine, raw.affine)
    np.testing.assert_array_equal(
        np.asanyarray(brain.dataobj)[mask], np.asanyarray(raw.dataobj)[mask]
    )


@pytest.mark.parametrize("scan", SCANS)
def test_meningiomas_are_looked_for_where_there_is_contrast(folder, scan):
    found = list((folder / "out" / anat(scan)).glob(f"{scan}_label-tumor_*mask.json"))
    assert len(found) == ("ce-" in scan)
    for sidecar in found:
        assert json.loads(sidecar.read_text())["LesionCount"] >= 0


def test_everyone_has_a_page_and_all_have_one(folder):
    pages = {path.name for path in (folder / "out").glob("*.html")}
    assert pages == {"sub-phantom01.html", "sub-phantom02.html", "group_desc-brain.html"}
    rows = (folder / "out/group_desc-brain_qc.tsv").read_text().splitlines()
    assert len(rows) == 1 + len(SCANS)


def test_the_validator_is_silent(folder, issues):
    assert issues(folder / "out") == []


def sidecars(out):
    """Content of the sidecar of every image in the derivatives, by its relative path."""
    found = {}
    for path in sorted(out.glob("sub-*/**/anat/*.nii.gz")):
        record = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        found[path.relative_to(out).as_posix()] = json.loads(record.read_text())
    return found


def test_pybids_finds_every_entity_and_field(folder):
    from bids import BIDSLayout

    layout = BIDSLayout(folder / "out", validate=False, config=["bids", "derivatives"])
    expected = sidecars(folder / "out")
    assert len(expected) >= 2 * len(SCANS)
    names = {"sub": "subject", "ses": "session", "ce": "ceagent"}
    for relative, record in expected.items():
        file = layout.get_file(folder / "out" / relative)
        *pairs, suffix = Path(relative).name.split(".")[0].split("_")
        entities = {names.get(k, k): v for k, v in (pair.split("-") for pair in pairs)}
        assert entities | {"suffix": suffix, "datatype": "anat"} | {"extension": ".nii.gz"} == (
            file.get_entities()
        )
        # A plain image's sidecar applies to a contrast-enhanced one too, where that has no value.
        metadata = file.get_metadata()
        assert {key: metadata.get(key) for key in record} == record
    masks = layout.get(suffix="mask", desc="brain", extension=".nii.gz")
    assert len(masks) == len(SCANS)


@pytest.mark.slow
def test_bids2table_finds_every_entity_and_field(folder):
    script = """
import json, sys
import bids2table
table = bids2table.index_dataset(sys.argv[1]).to_pylist()
images = [f"{row['root']}/{row['path']}" for row in table if row["ext"] == ".nii.gz"]
sidecars = {path: bids2table.load_bids_metadata(path, inherit=False) for path in images}
print(json.dumps([table, sidecars], default=str))
"""
    done = subprocess.run(
        [other_programs.python("smriprep", other_programs.SMRIPREP), "-c", script, folder / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table, found = json.loads(done.stdout)
    rows = {row["path"]: row for row in table}
    for relative, record in sidecars(folder / "out").items():
        *pairs, suffix = Path(relative).name.split(".")[0].split("_")
        entities = dict(pair.split("-") for pair in pairs) | {"suffix": suffix, "datatype": "anat"}
        row = rows[relative]
        assert {key: row[key] for key in entities} == entities
        # In bids2table 2.3, the sidecar of a plain image hides that of a contrast-enhanced one.
        plain = relative.replace("_ce-gadolinium", "")
        if plain == relative or plain not in rows:
            assert found[f"{folder / 'out'}/{relative}"] == record


APPTAINER = """\
#!/bin/sh
# `apptainer run [options] IMAGE words`: show the options, and run what the image would run
while [ "${1##*/}" != image ]; do echo "$1" >>"$HOME/options"; shift; done
cmp "$1" "$HOME/bids-brainmask.sif" && shift && exec bids-brainmask "$@" --executor serial
"""


@pytest.fixture
def datalad(tmp_path):
    """A DataLad dataset `study` without content, and a function that runs a command in it."""
    if not shutil.which("git-annex"):
        missing("git-annex is not installed: apt-get install git-annex")
    home, programs = tmp_path / "home", tmp_path / "bin"
    for folder in (home, programs):
        folder.mkdir()
    (programs / "apptainer").write_text(APPTAINER)
    (programs / "apptainer").chmod(0o755)
    (home / "bids-brainmask.sif").write_text("an image")
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME",)}
    who |= {name.replace("NAME", "EMAIL"): "x@y.z" for name in who}
    environment = os.environ | who | {"HOME": str(home), "PATH": path}
    root = tmp_path / "study"

    def call(*words, cwd=root):
        done = subprocess.run(
            words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call("datalad", "create", root, cwd=tmp_path)
    return root, call


@pytest.mark.slow
def test_datalad_runs_it_and_runs_it_again(folder, datalad, small_head):
    """The commands of the page, with and without a container; rerun gives the same images.

    The program `apptainer` is a script that runs the app outside of a container.
    """
    root, call = datalad
    page = (ROOT / "docs/use-elsewhere.md").read_text().split("## Indexes and DataLad")[1]
    run, container = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    add, containers_run = container.split("datalad containers-run")
    anat = root / "raw/sub-01/anat"
    anat.mkdir(parents=True)
    nb.save(small_head, anat / "sub-01_T1w.nii.gz")
    shutil.copy(folder / "bids/dataset_description.json", root / "raw")
    call("datalad", "save", "-m", "Add the data")
    call("sh", "-e", "-c", add.replace("/path/to", '"$HOME"'))
    keys = []
    for command in (run, f"datalad containers-run{containers_run}"):
        few = 'participant --analyses brain --no-reports"'
        assert 'participant"' in command
        call("sh", "-e", "-c", command.replace('participant"', few))
        message = call("git", "log", "-1", "--format=%B")
        assert str(root.parent) not in message
        for again in (False, True):
            if again:
                call("datalad", "rerun", "HEAD~1")
            images = sorted(root.glob("masks/sub-*/anat/*.nii.gz"))
            assert len(images) == 2
            keys.append([call("git-annex", "lookupkey", path) for path in images])
            call("git", "rm", "-r", "-q", "masks")
            call("git", "commit", "-q", "-m", "Remove the masks")
    assert keys == keys[:1] * 4
    options = (root.parent / "home/options").read_text().splitlines()
    assert options[: len(options) // 2] * 2 == options
    assert {"run", "--containall", str(root)} <= set(options)
