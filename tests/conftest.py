# SPDX-License-Identifier: Apache-2.0
"""Phantoms whose answer is arithmetic, datasets built from them, and the way to real heads."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from itertools import permutations, product
from pathlib import Path
from typing import NoReturn

import nibabel as nb
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has programs ignore it, and theirs
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has what runs in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"

AXCODES = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]
"""All 48 orientations of an image."""

SLURM = ("munged", "slurmctld", "slurmd", "sbatch")
"""Programs of a SLURM of one node."""

LONGEST = (
    *("test_any_order", "test_slurm", "test_train", "test_kills", "test_geometry"),
    *("test_container", "test_memory", "test_release", "test_evaluation", "test_second_look"),
    *("test_executors", "test_app", "test_participant_in_browser", "test_hpc", "test_fuzz"),
    *("test_meningioma", "test_faults_outputs", "test_determinism", "test_group_in_browser"),
    *("test_benchmark_scale", "test_dataset", "test_faults_inputs", "test_lesions"),
)
"""Files of tests that take a minute or more."""

NETWORKS = ("test_augment", "test_backends", "test_dataset", "test_losses", "test_weights")
"""Files of quick tests that import TensorFlow."""

KINDS = ("container", "browser", "system", "heads", "contract", "unit")
"""Folders of tests, by how long a file takes."""


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items):
    """Mark each test with its kind, the folder that it lies in; put the longest files first.

    Processes take file after file, so that the tests of one share what its fixtures have made. No
    process is to be left with a long file at the end, when the others have nothing to do.
    """
    ranks = {}
    for item in items:
        if item.path.is_relative_to(TESTS):
            kind, *_ = item.path.relative_to(TESTS).parts
            item.add_marker(kind)
            ranks[item] = KINDS.index(kind)
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(item.path.stem, len(places)), ranks.get(item, 0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give one process all quick tests of networks, so that no other has to import TensorFlow."""
    from xdist.scheduler import LoadFileScheduling

    if config.option.markexpr != "not slow":
        return None  # each file by itself

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "networks" if Path(file).stem in NETWORKS else file

    return Scheduling(config, log)


def missing(reason: str) -> NoReturn:
    """Skip for want of something; fail where everything must be at hand."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real heads, layouts and reference models, beside the checkout."""
    if not SHARED.is_dir():
        missing(f"real data not found at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def near_brain(shared):
    """A real head, (R, A, S), within 20 mm of its brain, and its brain by another program."""
    folder = shared / "data/heads"
    path = "sub-pumi/anat/sub-pumi"
    picture = nb.as_closest_canonical(nb.load(folder / f"{path}_T1w.nii.gz"))
    mask = nb.load(folder / f"derivatives/deepbet/{path}_desc-brain_mask.nii.gz")
    brain = np.asanyarray(nb.as_closest_canonical(mask).dataobj) > 0
    reach = np.ceil(20 / np.array(picture.header.get_zooms()[:3])).astype(int)
    places = np.argwhere(brain)
    first = np.maximum(places.min(0) - reach, 0)
    box = tuple(map(slice, first, places.max(0) + reach))
    return picture.slicer[box], brain[box]


@pytest.fixture(scope="session")
def near_brain_file(near_brain, tmp_path_factory):
    """Path of the image of `near_brain`, on which the network takes half of its time."""
    path = tmp_path_factory.mktemp("near") / "T1w.nii.gz"
    nb.save(near_brain[0], path)
    return path


@pytest.fixture(autouse=True)
def _no_models_of_the_user(tmp_path_factory, monkeypatch):
    """Keep the tests from seeing, or filling, the user's own model cache."""
    monkeypatch.setenv("BIDS_BRAINMASK_MODELS", str(tmp_path_factory.getbasetemp() / "models"))


@pytest.fixture
def engines_anew():
    """What can be used is found out once a process; a test with this is as a process."""
    from bids_brainmask.models import backends

    backends.choose.cache_clear()
    backends.gpu_works.cache_clear()
    yield
    backends.choose.cache_clear()
    backends.gpu_works.cache_clear()


def head_phantom(shape=(60, 70, 64), spacing=(3.0, 3.0, 3.0), size=1.0) -> nb.Nifti1Image:
    """Make a bright ball (intensity 100, radius 60 mm) in a dimmer one (40, 80 mm), in air.

    A `size` of 0.5 makes both half as wide. With half the spacing the voxels are the same, and
    what is done at 1 mm takes an eighth of the time.
    """
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    sides = [
        ((np.arange(n) - (n - 1) / 2) * mm) ** 2 for n, mm in zip(shape, spacing, strict=True)
    ]
    square = np.add.outer(np.add.outer(sides[0], sides[1]), sides[2])
    inner, outer = (size * 60) ** 2, (size * 80) ** 2
    data = np.where(square < inner, 100, np.where(square < outer, 40, 0)).astype(np.int16)
    image = nb.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


LITTLE = {"spacing": (1.5, 1.5, 1.5), "size": 0.5}
"""Of `head_phantom`: a brain of an eighth of a liter; 1 mm has an eighth of the voxels."""


@pytest.fixture
def phantom() -> nb.Nifti1Image:
    """A head of two balls."""
    return head_phantom()


@pytest.fixture(scope="module")
def network():
    """The embedded brain network, on OpenVINO with two threads."""
    from bids_brainmask.models import backends, registry

    return backends.load(registry.models()["embedded"], "openvino", 2)


@pytest.fixture(scope="session")
def small_head():
    """A brain of 110 mL, without a head: what takes the network a fraction of a second."""
    from bids_brainmask.demo import phantom

    image, mask = phantom.head(1, spacing=4.0)
    inside = np.argwhere(np.asanyarray(mask.dataobj))
    box = tuple(map(slice, inside.min(0) - 3, inside.max(0) + 4))
    small = nb.Nifti1Image(np.asanyarray(image.dataobj)[box], np.diag([1.4, 1.4, 1.4, 1.0]))
    small.set_qform(small.affine, 1)
    small.header.set_xyzt_units("mm")
    return small


def describe(folder: Path, name: str = "Phantoms") -> None:
    """Write the dataset_description.json of a raw dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw", "Authors": ["Nobody"]}
    (folder / "dataset_description.json").write_text(json.dumps(content))
    (folder / "README").write_text("Phantoms made by the tests of bids_brainmask.\n" * 4)


class Dataset:
    """A raw BIDS dataset in a temporary folder."""

    def __init__(self, root: Path):
        self.root = root
        describe(root)

    def add(self, name: str, image: nb.Nifti1Image | bytes | None = None, **sidecar) -> Path:
        """Put an image (or bytes, or an empty file) where its name says that it belongs."""
        pairs = dict(pair.split("-", 1) for pair in name.split("_") if "-" in pair)
        folder = self.root / f"sub-{pairs['sub']}"
        if "ses" in pairs:
            folder /= f"ses-{pairs['ses']}"
        folder /= "anat"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if image is None:
            path.touch()
        elif isinstance(image, bytes):
            path.write_bytes(image)
        else:
            nb.save(image, path)
        if sidecar:
            path.with_name(name.split(".")[0] + ".json").write_text(json.dumps(sidecar))
        return path


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """An empty raw dataset."""
    return Dataset(tmp_path / "bids")


def labelled_dataset(root: Path, count: int, *, codes="RAS", **phantom) -> Path:
    """Make a dataset of phantoms whose labels are the bright balls.

    Parameters
    ----------
    root : Path
        Of the dataset; its labels are in derivatives/labels.
    count : int
        Participants, from 01.
    codes : str
        Axis codes of the files.
    """
    describe(root)
    picture = head_phantom(**phantom)
    turn = nb.orientations.ornt_transform(
        nb.io_orientation(picture.affine), nb.orientations.axcodes2ornt(codes)
    )
    picture = picture.as_reoriented(turn)
    label = nb.Nifti1Image(
        (np.asanyarray(picture.dataobj) == 100).astype(np.uint8), picture.affine
    )
    labels = root / "derivatives/labels"
    for folder, image, kind in ((root, picture, "T1w"), (labels, label, "desc-brain_mask")):
        content = None  # of all participants
        for number in range(1, count + 1):
            path = folder / f"sub-{number:02}/anat/sub-{number:02}_{kind}.nii.gz"
            path.parent.mkdir(parents=True)
            if content is None:
                nb.save(image, path)
                content = path.read_bytes()
            path.write_bytes(content)
    return root


def train_eagerly(patch: pytest.MonkeyPatch) -> None:
    """Train without a graph: in a training of two steps, most of the time would go into it."""
    from bids_brainmask.train import fit

    compile_for = fit.compile_for

    def eagerly(model, *how):
        compile_for(model, *how)
        model.run_eagerly = True

    patch.setattr(fit, "compile_for", eagerly)


@pytest.fixture
def run(capsys):
    """Run the command line in this process; its exit status, and what it printed."""
    from bids_brainmask.cli import bids_app

    def call(root, out, level="participant", *words):
        options = ["--executor", "serial", "--threshold", "0.01"] if level == "participant" else []
        status = bids_app.main([*map(str, (root, out)), level, *options, *map(str, words)])
        return status, capsys.readouterr().out

    return call


def validate(folder: Path) -> list[tuple]:
    """Tell what the BIDS validator finds wrong with a dataset; nothing when it is silent."""
    program = Path(sys.executable).with_name("bids-validator-deno")
    command = [program, folder, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["issues"]["issues"]
    errors = [one for one in found if one["severity"] == "error"]
    assert bool(done.returncode) == bool(errors), done.stdout
    return [(one["code"], one.get("location")) for one in errors]


@pytest.fixture
def issues():
    """Tell what the BIDS validator finds wrong with a dataset."""
    return validate


def free_ports(*offsets: int) -> int:
    """Find a port from which all ports at some offsets are free on loopback.

    It lies below those that the kernel gives away. A program that an earlier, killed run has left
    behind keeps its own ports, and is in nobody's way.
    """
    for start in random.sample(range(20_000, 32_000, 20), 100):
        with ExitStack() as stack:
            try:
                for offset in offsets:
                    place = stack.enter_context(socket.socket())
                    place.bind(("127.0.0.1", start + offset))
            except OSError:
                continue
            return start
    raise OSError("no free ports on loopback")


@pytest.fixture(scope="session")
def slurm(shared):
    """Environment of a SLURM of one node that is started on loopback."""
    scripts = shared / "tools"
    if os.geteuid():
        missing("SLURM can be started by root only")
    if not all(map(shutil.which, SLURM)) and not shutil.which("apt-get"):
        missing("SLURM is not installed: apt-get install munge slurm-wlm")
    folder = tempfile.mkdtemp(prefix="slurm-")  # pytest's are closed to SLURM's own user
    options = {"DIR": folder, "NODES": "1", "CPUS": "12", "MEM": "24000", "ACCT": "0"}
    # Those of its controller, its accounts, and its node.
    environment = os.environ | options | {"BASE_PORT": str(free_ports(0, 2, 11))}
    up, down = (["bash", scripts / f"slurm_{way}.sh"] for way in ("up", "down"))
    done = subprocess.run(up, env=environment, capture_output=True)
    if not done.returncode:
        yield {"SLURM_CONF": f"{folder}/slurm.conf"}
    subprocess.run(down, env=environment, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        missing(f"SLURM cannot be started: {(done.stdout + done.stderr).decode()}")
