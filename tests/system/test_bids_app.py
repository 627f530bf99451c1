# SPDX-License-Identifier: Apache-2.0
"""The command line: words, refusals, statuses, tables."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import fields
from pathlib import Path

import nibabel as nb
import pytest
from conftest import LITTLE, ROOT, head_phantom

from bids_brainmask import __version__
from bids_brainmask.cli import bids_app, options
from bids_brainmask.errors import BrainMaskError, ImageError, ModelError, NothingToDo, UsageError
from bids_brainmask.models import registry
from bids_brainmask.settings import Settings


def parsed(*words):
    line = options.dashed(["in", "out", "participant", *words])
    (settings,) = options.each_level(options.parser().parse_args(line))
    return settings


def test_defaults_are_those_of_the_settings():
    expected = Settings(bids_dir=Path("in"), output_dir=Path("out"), analysis_level="participant")
    assert parsed() == expected


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--participant-label sub-01 02", "participant_label", ("01", "02")),
        ("--participant_label 01 sub-01", "participant_label", ("01",)),
        ("--session-label ses-A B", "session_label", ("A", "B")),
        ("--run-id 1 02", "run_id", ("1", "02")),
        ("--acquisition acq-x y", "acquisition", ("x", "y")),
        ("--bids-filter-file f.json", "bids_filter_file", Path("f.json")),
        ("--bids_filter_file=my_f.json", "bids_filter_file", Path("my_f.json")),
        ("--skip_bids_validation", "skip_bids_validation", True),
        ("--bids-database-dir d", "bids_database_dir", Path("d")),
        ("--reset-database", "reset_database", True),
        ("-w work", "work_dir", Path("work")),
        ("--work_dir work", "work_dir", Path("work")),
        ("--n_cpus 3", "n_cpus", 3),
        ("--mem-gb 2.5", "mem_gb", 2.5),
        ("--executor slurm", "executor", "slurm"),
        ("--executor tcp://my_host:8786", "executor", "tcp://my_host:8786"),
        ("--executor my-host:8786", "executor", "my-host:8786"),
        ("--cluster_config my_cluster.yaml", "cluster_config", Path("my_cluster.yaml")),
        ("--max-jobs 3", "max_jobs", 3),
        ("--model a_b.h5 ams", "model", ("a_b.h5", "ams")),
        ("--model auto", "model", ("auto",)),
        ("--analyses brain meningioma", "analyses", ("brain", "meningioma")),
        ("--force_contrast", "force_contrast", True),
        ("--overlap", "overlap", True),
        ("--tta", "tta", True),
        ("--engine tensorflow", "engine", "tensorflow"),
        ("--precision bfloat16", "precision", "bfloat16"),
        ("--threshold 0.4", "threshold", (("", 0.4),)),
        ("--threshold brain=.4 meningioma=.3", "threshold", (("brain", 0.4), ("meningioma", 0.3))),
        ("--outputs probseg mask", "outputs", ("probseg", "mask")),
        ("--overwrite", "overwrite", True),
        ("--dry-run", "dry_run", True),
        ("-vv", "verbose", 2),
        ("-q", "quiet", True),
        ("--nthreads 3", "n_cpus", 3),
        ("--nprocs=3", "n_cpus", 3),
        ("--session_id A", "session_label", ("A",)),
    ],
)
def test_every_option(words, field, value):
    assert getattr(parsed(*words.split()), field) == value


def test_every_setting_has_an_option():
    actions = {action.dest for action in options.parser()._actions}
    assert {field.name for field in fields(Settings)} <= actions | {"typed"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--threshold 1", "expected a number between 0 and 1, found 1"),
        ("--executor moon", "expected auto, serial, local, slurm, "),
        ("--executor tcp://host", "or a scheduler's address such as tcp://host:8786"),
        ("--max-jobs 0", "expected a number above 0, found 0"),
        ("--threshold x", "--threshold: expected a number, found 'x'."),
        ("--threshold tumour=0.5", "expected brain=P, meningioma=P or P, found tumour=0.5"),
        ("--analyses glioma", "--analyses: expected auto, brain or meningioma, found 'glioma'."),
        ("--n-cpus 0", "expected a number above 0, found 0"),
        ("--n-cpus 1.5", "--n-cpus: expected a whole number, found '1.5'."),
        ("--mem-gb -1", "expected a number above 0, found -1"),
        ("--mem-gb inf", "expected a number above 0, found inf"),
        ("--participant-label ../x", "expected a label of letters and digits, found '../x'"),
        ("--participant-label sub-", "expected a label of letters and digits"),
        ("--outputs picture", "--outputs: expected mask, brain or probseg, found 'picture'."),
        ("--participant 01", "no such option. Did you mean --participant-label?"),
    ],
)
def test_refusals(words, reason, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(*words.split())
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [(NothingToDo, 3), (UsageError, 2), (ModelError, 2), (ImageError, 1), (BrainMaskError, 1)],
)
def test_exit_status_of_errors(error, status):
    assert bids_app.exit_status(error("x")) == status


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, str(ROOT / "run.py")],
        [sys.executable, "-m", "bids_brainmask"],
        [str(Path(sys.executable).with_name("bids-brainmask"))],
    ],
)
def test_every_entry_point_is_the_same(command):
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bids-brainmask {__version__}\n"


FOR_WORK = {
    *("numpy", "scipy", "nibabel", "nilearn", "openvino", "tensorflow", "keras", "h5py", "jax"),
    *("matplotlib", "PIL", "jinja2", "pandas", "distributed", "dask", "pooch", "requests", "tqdm"),
}
"""What takes longest to import, and is for images, networks, pages, workers and downloads."""

FOR_DISCOVERY = {"bids", "bids_validator", "sqlalchemy", "upath", "fsspec", "asyncio"}
"""What finding images takes."""


def imported(module, *words):
    """Run a command in a process of its own; what it prints, and the names of what it imports."""
    code = (
        f"import sys; from bids_brainmask.cli import {module}\n"
        f"try: {module}.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('IMPORTED', *{name.split('.')[0] for name, it in sys.modules.items() if it})"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said, _, names = done.stdout.rpartition("IMPORTED")
    return said, set(names.split())


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("bids_app", ["--help"], "not a medical device"),
        ("bids_app", ["--version"], __version__),
        ("brainmask", ["--help"], "not a medical device"),
        ("brainmask", ["--version"], __version__),
        ("brainmask", ["extract", "--help"], "images of heads, .nii or .nii.gz"),
        ("brainmask", ["evaluate", "--help"], "the same kind, with the reference masks"),
        ("brainmask", ["train", "--help"], "usage: brainmask train"),
        ("brainmask", ["models", "--help"], "usage: brainmask models"),
    ],
)
def test_help_and_version_import_nothing_heavy(module, words, expected):
    said, names = imported(module, *words)
    assert expected in said
    assert not names & (FOR_WORK | FOR_DISCOVERY)


def test_planning_imports_nothing_for_work(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz", ContrastBolusIngredient="GADOLINIUM")
    said, names = imported("bids_app", dataset.root, tmp_path / "out", "participant", "--dry-run")
    assert "desc-meningioma_mask.nii.gz" in said
    assert "bids" in names
    assert not names & FOR_WORK


def test_help_tells_statuses_and_defaults(capsys):
    with pytest.raises(SystemExit):
        bids_app.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "3 there is nothing to do" in text
    assert "(default: mask brain)" in text
    assert "else the embedded models." in text
    assert "(default: True)" not in text


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        ([], 3, "found no T1w image"),
        (["--participant-label", "99"], 2, "--participant-label: 99 not found in"),
        (["--model", "nonsense"], 2, "nonsense"),
    ],
)
def test_errors_end_the_run_with_one_line(words, status, reason, dataset, tmp_path, capsys):
    name = "sub-01_T2w.nii.gz" if status == 3 else "sub-01_T1w.nii.gz"
    dataset.add(name)
    out = tmp_path / "out"
    assert bids_app.main([str(dataset.root), str(out), "participant", *words]) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("bids-brainmask: error: ")
    assert reason in lines[0]
    assert not out.exists()


def test_dry_run_prints_the_jobs_and_does_nothing(dataset, tmp_path, capsys):
    dataset.add("sub-01_T1w.nii.gz")
    dataset.add("sub-02_ses-1_run-01_T1w.nii")
    out = tmp_path / "out"
    command = [str(dataset.root), str(out), "participant", "--dry-run", "--outputs", "mask"]
    assert bids_app.main(command) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["input", "analysis", "model", "outputs"]
    assert rows[1] == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "brain",
        f"embedded-{registry.models()['embedded'].version}",
        str(out / "sub-01/anat/sub-01_desc-brain_mask.nii.gz"),
    ]
    assert rows[2][0] == "sub-02/ses-1/anat/sub-02_ses-1_run-01_T1w.nii"
    assert len(rows) == 3
    assert not out.exists()


def run_in_process(*words):
    return subprocess.run(
        [sys.executable, "-m", "bids_brainmask", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("verbosity", "expected", "unexpected"),
    [
        ([], "[1/1]", "model: embedded"),
        (["-v"], "model: embedded", "DEBUG"),
        (["-vv"], "DEBUG", "Traceback"),
    ],
)
def test_verbosity_and_progress_without_a_terminal(
    verbosity, expected, unexpected, dataset, tmp_path
):
    dataset.add("sub-01_T1w.nii.gz")
    done = run_in_process(dataset.root, tmp_path / "out", "participant", *verbosity)
    assert done.returncode == 1
    assert expected in done.stderr
    assert unexpected not in done.stderr
    assert "0 done, 0 skipped, 1 failed" in done.stdout.splitlines()


def test_a_terminal_gets_a_bar(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    command = [
        sys.executable,
        "-m",
        "bids_brainmask",
        dataset.root,
        tmp_path / "out",
        "participant",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave) as running:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 4096):
                shown += part
        except OSError:  # the terminal closes with the process
            pass
    os.close(master)
    assert running.returncode == 1
    assert b"1/1" in shown
    assert b"image/s" in shown or b"s/image" in shown


def test_the_process_opens_no_socket(dataset, tmp_path):
    """OpenVINO would, when imported, if it were let."""
    nb.save(head_phantom(**LITTLE), dataset.add("sub-01_T1w.nii.gz"))
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        print('NETWORK', event, args)\n"
        "sys.addaudithook(hook)\n"
        "from bids_brainmask.cli.bids_app import main\n"
        "main([*sys.argv[1:], '--threshold', '0.01'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, dataset.root, tmp_path / "out", "participant"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 done" in done.stdout
    assert "NETWORK" not in done.stdout


def test_settings_of_unknown_names_fail():
    with pytest.raises(TypeError, match="unexpected keyword"):
        Settings(
            bids_dir=Path(),
            output_dir=Path(),
            analysis_level="group",
            treshold=0.5,  # codespell:ignore
        )
    with pytest.raises(AttributeError):
        Settings.from_args(object())


def test_the_record_of_a_crash_names_the_command(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    run_in_process(dataset.root, tmp_path / "out", "participant")
    record = json.loads(next((tmp_path / "out/logs/sub-01").glob("*.json")).read_text())
    assert record["Command"][1:] == [str(dataset.root), str(tmp_path / "out"), "participant"]
    assert record["Version"] == __version__
