# SPDX-License-Identifier: Apache-2.0
"""The commands of the documentation: ours are taken by our parsers, others say who runs them.

The blocks of Python and JSON run (`test_api.py`, `test_docs.py`, `test_workflows.py`), the blocks
of `bash` and YAML too (`tests/system/test_hpc.py`, `test_batch_system.py`).
"""

import re
import shlex

import pytest
from conftest import ROOT

from bids_brainmask.cli import bids_app, brainmask, container, options

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]

NOT_HERE = {
    "fmriprep": "its own code takes the masks in tests/system/test_smriprep.py",
    "recon-all": "no package of FreeSurfer: headers, grids and values are tested",
    "mri_mask": "no package of FreeSurfer",
    "mri_vol2vol": "no package of FreeSurfer",
    **dict.fromkeys(("fslmaths", "fast", "flirt", "epi_reg"), "no package of FSL"),
    **dict.fromkeys(
        ("antsCorticalThickness.sh", "N4BiasFieldCorrection", "antsRegistrationSyN.sh"),
        "no package of ANTs' programs",
    ),
    **dict.fromkeys(
        ("babs", "nipoppy", "bosh"),
        "their own code takes our files in tests/system/test_hpc.py and test_descriptor.py",
    ),
    "datalad": "run by tests/system/test_phantom_path.py, block by block",
    "mike": "run by tests/system/test_site_versions.py, without its server",
    "cosign": "run by the workflow, on the images that it pushes",
    "twine": "`check` is run by tests/system/test_release.py; `upload` by the workflow",
    "docker": "the image is built and run so by tests/container",
    "podman": "the image is built and run so by tests/container",
    "apptainer": "no SIF file can be built here: emulated by tests/container",
    "ssh": "needs another machine",
    "pip": "the environment of the tests is made so",
    "VENV/bin/pip": "installs the programs that benchmarks compare with",
}
"""Programs of others, and who runs them, or why nobody does."""

SHELL = ("export", "anat=", "raw=", "mask=", "brain=")


def commands():
    """Page and words of each command in a block of `sh`."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|", line):
                    words = shlex.split(part, comments=True)
                    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                        words = words[1:]
                    if words:
                        yield page.name, words


COMMANDS = list(commands())


def of(*programs):
    return [
        pytest.param(page, words[1:], id=f"{page}: {shlex.join(words)}"[:90])
        for page, words in COMMANDS
        if words[0] in programs
    ]


@pytest.mark.parametrize(("page", "words"), of("bids-brainmask"))
def test_our_app_takes_them(page, words, monkeypatch):
    taken = []
    monkeypatch.setattr(bids_app, "run", lambda settings: taken.append(settings) or 0)
    assert bids_app.main(words) == 0
    assert taken


@pytest.mark.parametrize(("page", "words"), of("brainmask"))
def test_our_tools_take_them(page, words):
    words = [word for word in words if word not in ("[MASK", "...]")]
    if ">" in words:
        words = words[: words.index(">")]
    assert callable(brainmask.parser().parse_args(options.dashed(words)).command)


@pytest.mark.parametrize(("page", "words"), of("bids-brainmask-container"))
def test_our_launcher_takes_them(page, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BIDS_DIR").mkdir()
    assert container.main(["--engine", "docker", "--dry-run", *words]) == 0
    assert capsys.readouterr().out.startswith("docker run ")


@pytest.mark.parametrize(("page", "words"), of("make", "python"))
def test_our_targets_and_scripts_exist(page, words):
    (name, *_) = words
    if name in ("-m", "BUNDLE/portable_training.py"):
        return  # Python's own module; a copy that `pack` makes
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert name in targets or (ROOT / name).is_file()


def test_others_are_listed():
    ours = ("bids-brainmask", "brainmask", "bids-brainmask-container", "make", "python")
    others = {words[0] for _, words in COMMANDS if not words[0].startswith(SHELL)} - set(ours)
    assert others == set(NOT_HERE)
