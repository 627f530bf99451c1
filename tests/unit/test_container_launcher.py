# SPDX-License-Identifier: Apache-2.0
"""The launcher of containers: the commands it makes, and what it refuses."""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brainmask.cli import container, options

USER = f"{os.getuid()}:{os.getgid()}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIDS_BRAINMASK_CONTAINER", raising=False)
    for name in ("data", "my models", "scratch"):
        (tmp_path / name).mkdir()
    (tmp_path / "filter.json").write_text("{}")
    return tmp_path


def dry(capsys, *words):
    """Words of the printed command."""
    assert container.main(["--dry-run", *map(str, words)]) == 0
    return shlex.split(capsys.readouterr().out)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_docker_and_podman(folder, engine, capsys):
    words = ["data", "data/derivatives/masks", "participant", "--participant_label", "01"]
    words += ["--model", "brain=my models", "brainy", "--bids-filter-file=filter.json"]
    found = dry(capsys, "--engine", engine, *words, "-w", "scratch/new")
    assert found[: found.index("bids-brainmask")] == [
        *(engine, "run", "--rm", "--read-only", "--cap-drop=ALL"),
        "--security-opt=no-new-privileges",
        *(["--userns=keep-id"] if engine == "podman" and os.getuid() else []),
        f"--user={USER}",
        "--network=none",
        *(
            f"--mount=type=bind,source={folder / path},target={folder / path}{access}"
            for path, access in (
                ("data", ",readonly"),
                ("data/derivatives/masks", ""),
                ("filter.json", ",readonly"),
                ("my models", ",readonly"),
                ("scratch/new", ""),
            )
        ),
    ]
    assert found[found.index("bids-brainmask") + 1 :] == [
        *(f"{folder}/data", f"{folder}/data/derivatives/masks", "participant"),
        *("--participant_label", "01", "--model", f"brain={folder}/my models", "brainy"),
        *(f"--bids-filter-file={folder}/filter.json", "-w", f"{folder}/scratch/new"),
    ]
    assert not (folder / "data/derivatives").exists()  # a dry run makes nothing


@pytest.mark.parametrize("engine", ["apptainer", "singularity"])
def test_apptainer_and_singularity(folder, engine, capsys):
    found = dry(capsys, "--engine", engine, "--image", "x.sif", "data", "out", "group")
    binds = [f"--bind={folder}/data:{folder}/data:ro", f"--bind={folder}/out:{folder}/out:rw"]
    assert found == [
        *(engine, "run", "--cleanenv", "--containall", "--net", "--network=none", *binds),
        *("x.sif", f"{folder}/data", f"{folder}/out", "group"),
    ]


@pytest.mark.parametrize(
    ("engine", "option"),
    [
        ("docker", "--gpus=all"),
        ("podman", "--device=nvidia.com/gpu=all"),
        ("apptainer", "--nv"),
    ],
)
def test_gpu_and_network(folder, engine, option, capsys):
    plain = dry(capsys, "--engine", engine, "data", "out", "participant")
    other = dry(capsys, "--gpu", "--network", "--engine", engine, "data", "out", "participant")
    assert set(other) - set(plain) == {option}
    assert {"--network=none"} <= set(plain) - set(other) <= {"--network=none", "--net"}


def test_the_first_engine_that_is_installed(folder, monkeypatch, capsys):
    programs = folder / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert container.main(["data", "out", "participant"]) == 2
    assert "none of docker, podman" in capsys.readouterr().err
    for engine in ("singularity", "podman"):
        program = programs / engine
        program.write_text('#!/bin/sh\n[ -d "$PWD/out" ] || exit 9\nexit 3\n')
        program.chmod(0o755)
        assert dry(capsys, "data", "out", "participant")[0] == engine
    assert container.main(["data", "out", "participant"]) == 3  # the container's status
    assert (folder / "out").is_dir()
    assert container.main(["--engine", "docker", "data", "out", "participant"]) == 2
    assert "docker is not installed" in capsys.readouterr().err


def test_the_option_of_the_app_is_left_to_the_app(folder, monkeypatch, capsys):
    monkeypatch.setenv("BIDS_BRAINMASK_CONTAINER", "registry/x:1")
    found = dry(capsys, "--engine", "docker", "data", "out", "participant", "--dry-run")
    assert found[-1] == "--dry-run"
    assert "registry/x:1" in found


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "expected BIDS_DIR"),
        (["data", "--version"], "expected BIDS_DIR"),
        (["nowhere", "out", "participant"], "no such folder"),
        (["data", "/opt", "participant"], "a folder of the system"),
        (["data", "a,b", "participant"], "commas"),
        (["data", "out", "participant", "--bids-filter-file", "x.json"], "no such file"),
    ],
)
def test_what_it_refuses(folder, words, reason, capsys):
    assert container.main(["--engine", "docker", "--dry-run", *words]) == 2
    assert reason in capsys.readouterr().err


def test_paths_of_windows():
    assert container.inside("C:\\Users\\me\\data") == "/c/Users/me/data"
    assert container.inside("/data/x") == "/data/x"


def test_every_option_with_a_path_is_mapped():
    """A new option of the app with a path must be in the launcher's table."""
    paths = {
        name
        for action in options.parser()._actions
        if action.option_strings and action.type is Path
        for name in action.option_strings
    }
    assert paths
    assert paths <= set(container.PATHS)
    known = {name for action in options.parser()._actions for name in action.option_strings}
    assert set(container.PATHS) <= known


def test_it_needs_python_alone(folder):
    source = Path(container.__file__).read_text()
    names = [
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert set(names) <= sys.stdlib_module_names
    command = [sys.executable, "-I", "-S", container.__file__, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "BIDS_DIR OUTPUT_DIR" in done.stdout
