# SPDX-License-Identifier: Apache-2.0
"""A release is whole: sdist and wheel are built, installed and used without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import bids_brainmask

VERSION = bids_brainmask.__version__


def run(*command, **settings) -> str:
    """Run a command, and give what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **settings
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder of the sdist, and of the wheel that is built from the sdist alone.

    The build runs with the setuptools of this environment, so that it asks no index. The libraries
    of the reports are those that installing this checkout has fetched.
    """
    folder = tmp_path_factory.mktemp("release")
    source, dist = folder / "source", folder / "dist"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bids_brainmask", source / "bids_brainmask", ignore=ignored)
    assemble(source, dist)
    return dist


def assemble(source, dist):
    """Build both with the script, at a fixed time."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "BUILD_HERE": "1"}
    run(sys.executable, ROOT / "scripts/archives.py", dist, source, env=environment)


def test_the_same_source_gives_the_same_bytes(built, tmp_path):
    """In another folder, with other times of the files, by a user with another umask."""
    source = shutil.copytree(built.parent / "source", tmp_path / "elsewhere")
    for name in ("build", "bids_brainmask.egg-info"):
        shutil.rmtree(source / name, ignore_errors=True)
    for path in source.rglob("*"):
        os.utime(path)
        path.chmod(0o700 if path.is_dir() else 0o600)
    assemble(source, tmp_path / "dist")
    for path in built.iterdir():
        assert (tmp_path / "dist" / path.name).read_bytes() == path.read_bytes(), path.name


def test_pypi_would_take_them(built):
    said = run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())
    assert said.count("PASSED") == 2


@pytest.fixture(scope="module")
def programs(built, tmp_path_factory) -> Path:
    """Folder of programs of an environment that holds the wheel.

    The dependencies are those of this environment, by a .pth file. Python reads no .pth files of
    folders that are added so: the editable installation of the checkout is not seen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(dependencies + "\n")
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    run(*pip, "install", "--no-deps", "--no-index", "--ignore-installed", wheel)
    return folder / "bin"


def bare() -> dict[str, str]:
    """Environment variables without those that lead to this checkout or to its models."""
    ours = ("PYTHONPATH", "BIDS_BRAINMASK_MODELS", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours}


def test_both_files_have_the_version_and_all_that_a_user_needs(built):
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    assert sdist.name == f"bids_brainmask-{VERSION}.tar.gz"
    assert wheel.name == f"bids_brainmask-{VERSION}-py3-none-any.whl"
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.py"} <= packed
    with zipfile.ZipFile(wheel) as archive:
        installed = set(archive.namelist())
    for path in (ROOT / "bids_brainmask").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            name = str(path.relative_to(ROOT))
            assert name in packed, name
            assert name in installed, name
    assert "bids_brainmask/data/web/niivue.umd.js" in installed
    assert not [name for name in installed if name.startswith(("tests", "benchmarks"))]


def test_the_wheel_runs_the_demonstration_from_an_empty_folder(programs, tmp_path):
    code = "import bids_brainmask; print(bids_brainmask.__file__, bids_brainmask.__version__)"
    where = run(programs / "python", "-c", code, cwd=tmp_path, env=bare())
    assert where.startswith(str(programs.parent))
    assert where.split()[-1] == VERSION
    said = run(programs / "brainmask", "demo", "out", cwd=tmp_path, env=bare())
    masks = re.findall(r"\S+_mask\.nii\.gz$", said, re.MULTILINE)
    assert len(masks) == 3
    for mask in masks:
        assert (tmp_path / mask).stat().st_size > 1000, mask
