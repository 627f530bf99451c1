# SPDX-License-Identifier: Apache-2.0
"""The image holds what it should, and runs wherever and as whomever it is run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import missing
from images import BARE_PODMAN, ROOT, TOOLS, USER, Image, build, done

from bids_brainmask import __version__
from bids_brainmask.cli import container
from bids_brainmask.demo import phantom, phantom_dataset
from bids_brainmask.models import registry
from bids_brainmask.voxels import image as pictures
from bids_brainmask.voxels.agreement import dice

SCAN = "sub-phantom01/anat/sub-phantom01_T1w.nii.gz"
MASK = "sub-phantom01/anat/sub-phantom01_desc-brain_mask.nii.gz"
SMALL = "size=64m,mode=1777"
EMBEDDED = ("--model", "embedded")  # whichever others the image holds
ONE = ("participant", "--participant-label", "phantom01", "--analyses", "brain", *EMBEDDED)


@pytest.fixture(scope="session")
def image() -> Image:
    """Give the image, which is built once."""
    if name := os.environ.get("BRAINMASK_IMAGE"):
        return Image(("docker",), name)
    return build()


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """Make the demonstration's dataset, at 2 mm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom, "head", partial(phantom.head, spacing=2.0))
        return phantom_dataset.write_dataset(tmp_path_factory.mktemp("heads") / "bids")


@pytest.fixture
def out(tmp_path) -> Path:
    """Make a folder that any user may write to."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def apptainer(image, tmp_path):
    """Give a function that runs the image as Apptainer would, emulated on its file system.

    The user's home (/home/somebody), /tmp, which is small, and /var/tmp of the host are folders in
    ``tmp_path``.
    """
    emulation = TOOLS / "fake_apptainer.py"
    if not emulation.is_file() or image.engine != BARE_PODMAN:
        missing(f"what emulates Apptainer wants {emulation} and an image of Podman's, as root")
    tree = done([*image.engine, "image", "mount", image.name]).stdout.strip()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(image.inspect()["Config"]))
    places = {name: tmp_path / name for name in ("home", "tmp", "vartmp")}
    for folder in places.values():
        folder.mkdir()
        shutil.chown(folder, *map(int, USER.split(":")))
    subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", places["tmp"]], check=True)

    def run(*args, options=(), **environment):
        binds = [f"-B={places['tmp']}:/tmp", f"-B={places['vartmp']}:/var/tmp"]
        command = [sys.executable, "-I", emulation, "run", "--net-none", f"--user={USER}"]
        command += [f"--config={config}", f"--home={places['home']}:/home/somebody", *binds]
        return done([*command, *options, tree, *args], env={**os.environ, **environment}, cwd="/")

    yield run
    subprocess.run(["umount", places["tmp"]], check=True)
    done([*image.engine, "image", "unmount", image.name])


def mounted(heads, out):
    """Options that bind a dataset, to be read, and a folder to write to."""
    return ["-v", f"{heads}:/data:ro", "-v", f"{out}:/out"]


def agreement(heads, mask):
    """Dice of a mask of the first head with the known one."""
    truth = heads / "derivatives" / "truth" / MASK
    return dice(pictures.read_mask(mask), pictures.read_mask(truth))


def files(*folders):
    """Everything that lies in folders."""
    return [path for folder in folders for path in folder.rglob("*")]


def test_what_the_image_says_of_itself(image):
    config = image.inspect()["Config"]
    labels = config["Labels"]
    opencontainers = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in labels.items()
        if name.startswith("org.opencontainers.image.")
    }
    assert opencontainers["version"] == __version__
    assert opencontainers["licenses"] == "Apache-2.0"
    assert opencontainers["source"].startswith("https://")
    assert opencontainers["revision"]
    assert labels["io.github.bids-brainmask.variant"] in ("cpu", "gpu")
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["bids-brainmask"]
    assert not config.get("Healthcheck")


def test_the_image_for_processors_is_small(image):
    if image.inspect()["Config"]["Labels"]["io.github.bids-brainmask.variant"] == "cpu":
        assert image.inspect()["Size"] < 2.5e9


def test_the_image_says_which_models_it_holds(image):
    written = image.said("cat", "/opt/bids_brainmask/models.txt").splitlines()
    listed = image.said("brainmask", "models", "list").splitlines()[1:]
    rows = [line.split("\t") for line in listed]
    assert written == [f"{row[0]} {row[1]}" for row in rows if row[-1].startswith("/opt/")]
    assert {"embedded", "embedded-meningioma"} <= {line.split()[0] for line in written}
    label = image.inspect()["Config"]["Labels"]["io.github.bids-brainmask.models"]
    for name, model in registry.models().items():
        assert not model.url or name not in label or f"{name} {model.version}" in written


def test_nothing_is_missing_but_what_was_left_out(image):
    check = ("-m", "pip", "--no-cache-dir", "--python", "/opt/bids_brainmask/bin/python3", "check")
    found = image.strictly(*check, program="/usr/local/bin/python3").stdout
    missing = set(re.findall(r" requires ([\w-]+), which is not installed", found))
    lines = (ROOT / "requirements/excluded.txt").read_text().splitlines()
    excluded = {line.split()[0] for line in lines if not line.startswith("#")}
    assert missing - {"tensorflow"} <= excluded, found
    assert len(found.splitlines()) == len(re.findall("which is not installed", found)), found


def test_bytecode_is_taken_as_it_is(image):
    code = (
        "import bids_brainmask.app as m, struct, sys; print(open(m.__cached__, 'rb').read(8)[4])"
    )
    assert image.said("python3", "-c", code) == "1\n"  # hash-based, and never checked


def test_the_demonstration_where_nothing_else_can_be_written(image, heads, out, issues):
    options = mounted(heads, out)
    words = ("/data", "/out", "participant", *EMBEDDED, "embedded-meningioma")
    ran = image.strictly(*words, options=options)
    assert ran.returncode == 0, ran.stdout
    assert "3 done" in ran.stdout
    warnings = [line for line in ran.stdout.splitlines() if "WARNING" in line]
    assert all("trained on synthetic tumors only" in line for line in warnings), ran.stdout
    assert agreement(heads, out / MASK) > 0.95
    ran = image.strictly("/data", "/out", "group", options=options)
    assert ran.returncode == 0, ran.stdout
    assert (out / "group_desc-brain.html").is_file()
    assert '"Container"' in (out / "dataset_description.json").read_text()
    assert issues(out) == []


def test_a_user_without_a_home_is_done_with_at_once(image, heads, out):
    words = ("-u", "HOME", "bids-brainmask", "/data", "/out", *ONE, "--dry-run")
    ran = image.strictly(*words, program="env", options=mounted(heads, out))
    assert ran.returncode == 0, ran.stdout
    assert SCAN in ran.stdout
    assert files(out) == []


def test_tensorflow_runs_where_nothing_else_can_be_written(image, heads, out):
    words = ("extract", f"/data/{SCAN}", "-m", "/out/mask.nii.gz", *EMBEDDED)
    words = (*words, "--engine", "tensorflow")
    ran = image.strictly(*words, program="brainmask", options=mounted(heads, out))
    assert ran.returncode == 0, ran.stdout
    assert agreement(heads, out / "mask.nii.gz") > 0.95


def test_several_processes_need_shared_memory_alone(image, heads, out):
    words = ("/data", "/out", "participant", "--participant-label", "phantom02", *EMBEDDED)
    words = (*words, "--analyses", "brain", "--executor", "local", "--n-cpus", "2")
    ran = image.strictly(*words, options=["--ipc=private", *mounted(heads, out)])
    assert ran.returncode == 0, ran.stdout
    assert "2 done" in ran.stdout
    assert not [path for path in out.iterdir() if path.name.startswith(("bids_brainmask", "dask"))]


def test_nothing_else_is_written_where_everything_could_be(image, heads, out):
    """As root, with a home and a file system that take whatever is put there."""
    words = ("extract", f"/data/{SCAN}", "-m", "/tmp/out/mask.nii.gz", *EMBEDDED)
    extract = f"brainmask {' '.join(words)} --engine tensorflow"
    shared = "find /dev/shm /tmp /var/tmp -type f ! -path '/tmp/out/*'"
    script = f"bids-brainmask /data /out {' '.join(ONE)} && {extract} && {shared}"
    script = f"mkdir /tmp/out && {script} | sed 's/^/left: /'"
    options = ["--name", "brainmask-diff", *mounted(heads, out), "--env", "HOME=/root"]
    try:
        ran = image.run("-c", script, program="sh", user="0:0", options=options)
        command = [*image.engine, "diff", "brainmask-diff"]
        changed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run([*image.engine, "rm", "brainmask-diff"], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "left: " not in ran.stdout
    places = {line.split(maxsplit=1)[1] for line in changed.splitlines()}
    ours = {"/data", "/out", "/tmp", "/tmp/out", "/tmp/out/mask.nii.gz"}
    engines = {"/etc", "/run", "/run/.containerenv", "/run/secrets", "/dev", "/.dockerenv"}
    assert places <= ours | engines | {f"/etc/{x}" for x in ("hosts", "hostname", "mtab")}


@pytest.fixture
def intruder(tmp_path):
    """Make a folder of the host's whose packages must never be imported."""
    for place in ("lib/python3.11/site-packages", "."):
        folder = tmp_path / "intruder" / place
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("numpy", "bids_brainmask", "sitecustomize", "usercustomize"):
            (folder / f"{name}.py").write_text("raise SystemExit('a package of the host')\n")
    return tmp_path / "intruder"


@pytest.mark.parametrize("options", [("--cleanenv",), ("--containall",), ("--no-home",), ()])
def test_apptainer(options, apptainer, heads, out, tmp_path, intruder):
    """With Python settings of the host that make no sense, unless the environment is cleaned."""
    python = {"PYTHONPATH": "/intruder", "PYTHONUSERBASE": "/intruder"}
    environment = {**python, "PYTHONHOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    shutil.copytree(intruder / "lib", tmp_path / "home/.local/lib")
    before = files(tmp_path / "home")
    binds = [f"-B={heads}:/data:ro", f"-B={out}:/out", f"-B={intruder}:/intruder:ro"]
    ran = apptainer("/data", "/out", *ONE, options=[*options, *binds], **environment)
    assert ran.returncode == 0, ran.stdout
    assert agreement(heads, out / MASK) > 0.95
    assert files(tmp_path / "home") == before
    assert files(tmp_path / "tmp", tmp_path / "vartmp") == []


def test_the_launcher_runs_the_image(image, heads, tmp_path):
    """The dataset at the same path inside, read-only; files of the caller's in the output."""
    programs = tmp_path / "bin"
    programs.mkdir()
    engine = Path(image.engine[0]).name
    limits = "--ulimit=nofile=1024:4096 --ulimit=nproc=4096:4096" if engine == "podman" else ""
    program = programs / engine
    real = shlex.join([shutil.which(image.engine[0]), *image.engine[1:]])
    program.write_text(f'#!/bin/sh\n[ "$1" = run ] && shift\nexec {real} run {limits} "$@"\n')
    program.chmod(0o755)
    out = tmp_path / "derivatives" / "masks"
    command = [sys.executable, container.__file__, "--engine", engine, "--image", image.name]
    path = f"{programs}:{os.environ['PATH']}"
    ran = done([*command, heads, out, *ONE], env={**os.environ, "PATH": path}, cwd="/")
    assert ran.returncode == 0, ran.stdout
    assert agreement(heads, out / MASK) > 0.9
    assert (out / MASK).stat().st_uid == os.getuid()
    assert str(heads) not in (out / "dataset_description.json").read_text()
