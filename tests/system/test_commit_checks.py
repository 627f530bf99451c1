# SPDX-License-Identifier: Apache-2.0
"""The checks before a commit: they pass what is right, and refuse each kind of fault."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

CONFIG = ".pre-commit-config.yaml"
SOUND = '''\
"""Say how many there are."""


def count(names: list[str]) -> int:
    """Count names."""
    return len(names)
'''

FAULTS = {
    "ruff": ("bids_brainmask/bad.py", "import os\n"),
    "ruff-format": ("bids_brainmask/bad.py", "x = 'single'\n"),
    "mypy": ("bids_brainmask/bad.py", 'number: int = "no number"\n'),
    "codespell": ("docs/bad.md", "A mispelled word.\n"),  # codespell:ignore
    "large-files": ("docs/bad.bin", "0" * 3_100_000),
}


@pytest.fixture
def checkout(tmp_path):
    """A repository with our configuration, our environment, and one sound module."""
    for name in (CONFIG, "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for program in Path(sys.executable).parent.iterdir():
        (tmp_path / ".venv" / "bin" / program.name).symlink_to(program)
    (tmp_path / "bids_brainmask").mkdir()
    (tmp_path / "bids_brainmask" / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "bids_brainmask" / "sound.py").write_text(SOUND)
    (tmp_path / "docs").mkdir()
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", CONFIG, "pyproject.toml", "bids_brainmask")
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", *words], cwd=folder, check=True)


def check(folder):
    """Run the hooks on what is staged."""
    return subprocess.run(
        [Path(sys.executable).with_name("pre-commit"), "run"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PRE_COMMIT_HOME": str(folder / "cache")},
    )


def test_every_hook_has_a_fault_here():
    (repo,) = yaml.safe_load((ROOT / CONFIG).read_text())["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == list(FAULTS)


def test_what_is_right_passes(checkout):
    done = check(checkout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hook", FAULTS)
def test_a_fault_is_refused_by_its_hook(checkout, hook):
    name, content = FAULTS[hook]
    (checkout / name).write_text(content)
    git(checkout, "add", name)
    done = check(checkout)
    assert done.returncode == 1
    assert f"- hook id: {hook}\n" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("place", "status"), [("demo", 0), ("build", 0), ("bids_brainmask/demo", 65)]
)
def test_spelling_is_that_of_the_source_and_not_of_what_it_makes(tmp_path, place, status):
    """`make demo` leaves pages with programs of others in them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "page.html").write_text("A mispelled word.\n")  # codespell:ignore
    spell = Path(sys.executable).with_name("codespell")
    assert subprocess.run([spell], cwd=tmp_path, check=False).returncode == status
