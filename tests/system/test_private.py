# SPDX-License-Identifier: Apache-2.0
"""What tells of persons and machines is under ``logs/`` alone."""

import gzip
import json
import platform
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from conftest import Dataset, describe
from light import scale

from bids_brainmask.cli import bids_app
from bids_brainmask.models import backends, registry
from bids_brainmask.voxels import image

NAME = "Mustermann"

TEXTS = ("descrip", "aux_file", "db_name", "intent_name", "data_type")
"""Fields of a NIfTI-1 header that hold text."""


def signed_head() -> bytes:
    """Make a head with a name in every text of its header, and in two extensions."""
    head = nb.Nifti1Image.from_bytes(gzip.decompress(scale.head(1)))
    for field in TEXTS:
        head.header[field] = NAME.encode()[: head.header[field].dtype.itemsize]
    for code in ("comment", "afni"):
        extension = nb.nifti1.Nifti1Extension(code, f"PatientName: {NAME}".encode())
        head.header.extensions.append(extension)
    content = head.to_bytes()
    assert content.count(NAME.encode()) == len(TEXTS) + 2
    return gzip.compress(content, mtime=0)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Both levels, on a dataset whose texts, path, user and machine have one name."""
    place = tmp_path_factory.mktemp("private") / f"home {NAME}" / NAME.lower()
    data = Dataset(place / "raw" / "bids")
    said = dict.fromkeys(("PatientName", "OperatorsName", "DeviceSerialNumber"), NAME)
    data.add("sub-01_ce-gd_T1w.nii.gz", signed_head(), **said)
    data.add("sub-02_T1w.nii.gz", signed_head()[:2000])
    describe(data.root, "Heads")
    choice = place / "choice.json"
    choice.write_text("{}")
    model = shutil.copy(registry.find("embedded"), place / "mine.npz")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("USER", "LOGNAME", "HOSTNAME", "SLURMD_NODENAME", "SUDO_USER", "EMAIL"):
            patch.setenv(name, NAME)
        (place / "tmp").mkdir()
        for name in ("HOME", "TMPDIR"):
            patch.setenv(name, str(place / "tmp"))
        patch.setenv("APPTAINER_CONTAINER", str(place / "image.sif"))
        patch.setattr(platform, "node", lambda: NAME)
        patch.setattr(backends, "load", None)
        scale.dask_setup(None)
        image._tell_of_extensions.cache_clear()
        words = (str(data.root), str(place / "out" / "masks"))
        patch.setattr("sys.argv", ["bids-brainmask", *words, "participant"])
        options = ("--outputs", "mask", "brain", "probseg", "--bids-filter-file", str(choice))
        options += ("--model", f"brain={model}")
        status = bids_app.main(
            [*words, "participant", *options, "--viewer", "--executor", "serial"]
        )
        assert status == 1
        assert bids_app.main([*words, "group"]) == 0
    return Path(words[1])


def tells(path: Path) -> bool:
    """Tell whether a file or its path has the name, in parts and whatever the case."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return NAME[:8].lower().encode() in content.lower()


def test_a_name_in_header_path_and_environment_is_nowhere_but_in_the_logs(ran):
    found = {path.relative_to(ran) for path in ran.rglob("*") if path.is_file() and tells(path)}
    assert {path.parts[0] for path in found} == {"logs"}
    names = {path.name.partition("T1w_")[2][:5] for path in found}
    assert names == {"run.j", "crash"}  # what was done, and what failed


def test_the_pages_say_what_failed_without_its_place(ran):
    for name in ("sub-02.html", "group_desc-brain.html"):
        page = (ran / name).read_text(encoding="utf-8")
        assert "sub-02/anat/sub-02_T1w.nii.gz" in page
        assert "T1w.nii.gz: not a readable NIfTI image (Compressed" in page


def test_the_logs_are_ignored_by_validators_and_the_link_names_no_folder_above(ran, issues):
    assert "logs" in (ran / ".bidsignore").read_text().splitlines()
    description = json.loads((ran / "dataset_description.json").read_text(encoding="utf-8"))
    assert description["SourceDatasets"] == [{"URL": "bids:raw:"}]
    assert "raw" not in description.get("DatasetLinks", {})  # it would be ../../raw/bids
    assert issues(ran) == []


def test_the_command_in_the_sidecars_has_no_paths(ran):
    path = next(ran.glob("sub-01/anat/*_desc-brain_mask.json"))
    command = json.loads(path.read_text(encoding="utf-8"))["Command"]
    assert command.startswith("bids-brainmask BIDS_DIR OUTPUT_DIR participant --bids-filter-file ")
    assert "--model brain=mine.npz" in command


@pytest.mark.parametrize("kind", [nb.Nifti1Image, nb.Nifti2Image])
def test_results_have_no_text_and_no_extension_of_a_header(kind, caplog):
    head = kind.from_image(nb.Nifti1Image.from_bytes(gzip.decompress(signed_head())))
    image._tell_of_extensions.cache_clear()
    source = image.read(head)
    mask = source.volume.data > 50
    for made in (
        image.mask_like(source, mask),
        image.brain_like(source, mask),
        image.probability_like(source, np.ones(mask.shape)),
    ):
        content = image.to_bytes(made, compress=False)
        assert NAME[:8].encode() not in content
        assert len(content) == kind.header_class.sizeof_hdr + 4 + made.dataobj.nbytes
    assert caplog.text.count("headers have extensions") == 1
