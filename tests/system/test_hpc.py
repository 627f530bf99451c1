# SPDX-License-Identifier: Apache-2.0
"""Jobs that sites submit themselves: docs/hpc.md, BABS, nipoppy, and twenty jobs at once."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nb
import pytest
import yaml
from conftest import ROOT, Dataset, missing
from light import Run, Watcher, scale
from other_programs import uv

from bids_brainmask import __version__, app
from bids_brainmask.cli import descriptor, options
from bids_brainmask.reports import participant_page
from bids_brainmask.settings import Settings

PAGE = (ROOT / "docs/hpc.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
NIPOPPY = ROOT / "docs/hpc/nipoppy"

PROGRAMS = Path(sys.executable).parent
APP = PROGRAMS / "bids-brainmask"
PATIENCE = 900
"""Seconds to wait for what takes some on an idle machine, and minutes on a busy one."""


def block(words):
    """The one block of the page that holds some words."""
    (found,) = [text for text in BLOCKS if words in text]
    return found


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def small_dataset(tmp_path, small_head):
    """Make a raw dataset of small heads."""

    def make(*names):
        data = Dataset(tmp_path / "bids")
        for name in names:
            data.add(f"{name}_T1w.nii.gz", small_head)
        return data

    return make


def light():
    """Environment in which a process takes one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_twenty_jobs_at_once_leave_a_valid_dataset(tmp_path, issues):
    names = [(f"sub-{n:02}", f"ses-{s}") for n in range(1, 11) for s in "AB"]
    data, out = Dataset(tmp_path / "bids"), tmp_path / "out"
    for number, (subject, session) in enumerate(names):
        data.add(f"{subject}_{session}_T1w.nii.gz", scale.head(number))
    with Watcher(out) as watcher:
        jobs = [
            Run(
                *(tmp_path, data.root, out, "participant", "--n-cpus", "1"),
                *("--participant-label", subject, "--session-label", session),
            )
            for subject, session in names
        ]
        statuses = [job.wait(PATIENCE) for job in jobs]
    assert statuses == [0] * 20, "\n".join(job.said for job in jobs)
    assert watcher.looks > 20
    assert not watcher.torn
    for subject, session in names:
        start = f"{subject}/{session}/anat/{subject}_{session}"
        for ending in ("desc-brain_mask", "desc-brain_T1w"):
            assert nb.load(out / f"{start}_{ending}.nii.gz").get_fdata().any()
            assert (out / f"{start}_{ending}.json").is_file()
        # Two jobs wrote the page of a participant: the last of them, of both sessions.
        assert f'id="{subject}_{session}"' in (out / f"{subject}.html").read_text()
    hidden = [path.name for path in out.rglob(".*")]
    assert hidden == [".bidsignore"]
    assert not list(out.glob("logs/*/*_crash-*"))
    assert issues(out) == []
    group = Run(tmp_path, data.root, out, "group")
    assert group.wait() == 0, group.said
    assert issues(out) == []


def test_a_page_is_of_all_sessions_that_ended_while_it_was_made(
    small_dataset, tmp_path, monkeypatch
):
    data, out = small_dataset("sub-01_ses-A", "sub-01_ses-B"), tmp_path / "out"
    run(APP, data.root, out, "participant", env=light())
    page, session, aside = out / "sub-01.html", out / "sub-01/ses-B", tmp_path / "ses-B"
    of_both = page.read_text()
    session.rename(aside)
    make = participant_page.participant

    def make_while_another_job_ends(*args, **options):
        made = make(*args, **options)
        if aside.exists():
            aside.rename(session)
            page.write_text(of_both)
        return made

    monkeypatch.setattr(participant_page, "participant", make_while_another_job_ends)
    app.write_report("01", Settings(bids_dir=data.root, output_dir=out, analysis_level="group"))
    assert page.read_text() == of_both


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.split()[0].strip("#!/"))
def test_every_block_is_bash(text):
    run("bash", "-n", "-c", text)


SCHEDULERS = {
    "slurm": {"SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "3"},
    "sge": {"SGE_TASK_ID": "2", "NSLOTS": "3"},
    "pbs": {"PBS_ARRAY_INDEX": "2", "NCPUS": "3"},
    "sge, no array": {"SGE_TASK_ID": "undefined", "NSLOTS": "3"},
    "slurm, no array": {"SLURM_CPUS_PER_TASK": "3"},
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("installed", [True, False])
def test_the_script_runs_its_line_of_the_list(scheduler, installed, tmp_path):
    """Programs that print what they are given stand for the app, and for Apptainer."""
    (tmp_path / "brainmask.sh").write_text(block("trap"))
    (tmp_path / "participants.txt").write_text("sub-01\nsub-02 sub-03\n")
    printer = tmp_path / "bin/apptainer"
    printer.parent.mkdir()
    printer.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    printer.chmod(0o755)
    (tmp_path / "scratch").mkdir()
    places = {"BIDS_DIR": "/a b/bids", "OUTPUT_DIR": "/a b/out", "IMAGE": "/a b/x.sif"}
    env = {"PATH": f"{printer.parent}:{os.environ['PATH']}", **places, **SCHEDULERS[scheduler]}
    env["TMPDIR"] = str(tmp_path / "scratch")
    if installed:
        env["BRAINMASK"] = str(printer)
    words = run("bash", "brainmask.sh", env=env, cwd=tmp_path).splitlines()
    *words, executor, serial, n_cpus, cpus, work_dir, work = words
    assert (executor, serial, n_cpus, cpus) == ("--executor", "serial", "--n-cpus", "3")
    assert work_dir == "--work-dir"
    work = Path(work)
    assert work.parent == tmp_path / "scratch"
    assert not work.exists()
    of_an_array = ["participant", "--participant-label", "sub-02", "sub-03"]
    level = ["group"] if "no array" in scheduler else of_an_array
    command = [places["BIDS_DIR"], places["OUTPUT_DIR"], *level]
    if not installed:
        binds = [f"{places['BIDS_DIR']}:{places['BIDS_DIR']}:ro"]
        binds += [f"{place}:{place}" for place in (places["OUTPUT_DIR"], work)]
        bound = [word for bind in binds for word in ("--bind", bind)]
        command = ["run", "--containall", *bound, places["IMAGE"], *command]
    assert words == command


@pytest.mark.parametrize("asked", [None, "no", "yes"])
@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_nothing_found_is_a_success_of_the_job_only_if_asked(status, asked, tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    env = {"BIDS_DIR": "a", "OUTPUT_DIR": "b", "BRAINMASK": str(program)}
    if asked:
        env["ALLOW_NOTHING_FOUND"] = asked
    done = subprocess.run(
        ["bash", "-c", block("trap")], env=os.environ | env, cwd=tmp_path, check=False
    )
    assert done.returncode == (0 if (status, asked) == (3, "yes") else status)


def jobs_of(env):
    """State of every job of the page's that SLURM remembers, as often as there are such jobs."""
    names = "--name=brainmask,brainmask-group"
    return run(
        "squeue", "--noheader", "--array", "--states=all", names, "--format=%T", env=env
    ).split()


@pytest.mark.slow
def test_the_array_of_the_page_runs_on_slurm(slurm, small_dataset, tmp_path, issues):
    data = small_dataset("sub-01", "sub-02_ses-A", "sub-02_ses-B")
    data.add("sub-03_T2w.nii.gz")  # has nothing for us
    out, place, scratch = tmp_path / "out", tmp_path / "jobs", tmp_path / "scratch"
    for folder in (place, scratch):
        folder.mkdir()
    env = (
        light()
        | slurm
        | {
            "BIDS_DIR": str(data.root),
            "OUTPUT_DIR": str(out),
            "TMPDIR": str(scratch),
            "BRAINMASK": str(APP),
            "ALLOW_NOTHING_FOUND": "yes",
        }
    )
    (place / "brainmask.sh").write_text(block("trap"))
    prepare = block("mkdir -p").splitlines()[-1]
    script = "\n".join([prepare, block("find "), block("sbatch")])
    run("bash", "-e", "-c", script, env=env, cwd=place)
    deadline = time.monotonic() + PATIENCE
    while set(jobs_of(env)) - {"COMPLETED", "FAILED", "CANCELLED"}:
        assert time.monotonic() < deadline, run("squeue", env=env)
        time.sleep(1)
    logs = {path.name: path.read_text() for path in (place / "logs").iterdir()}
    assert set(logs) == {*(f"brainmask-{n}.log" for n in "123"), "brainmask-group.log"}
    assert jobs_of(env) == ["COMPLETED"] * 4, logs
    assert "2 done, 0 skipped, 0 failed" in logs["brainmask-2.log"]
    assert "error: " in logs["brainmask-3.log"]
    assert (out / "sub-02/ses-B/anat/sub-02_ses-B_desc-brain_mask.nii.gz").is_file()
    assert str(out / "group_desc-brain.html") in logs["brainmask-group.log"]
    assert not list(scratch.iterdir())
    assert issues(out) == []


def test_the_list_of_the_table_is_that_of_the_folders(small_dataset, tmp_path):
    data = small_dataset("sub-02", "sub-01_ses-A")
    table = "participant_id\tage\nsub-01\t30\nsub-02\t40\n"
    (data.root / "participants.tsv").write_text(table)
    for words in ("find ", "tail "):
        run(
            "bash", "-c", block(words), env=os.environ | {"BIDS_DIR": str(data.root)}, cwd=tmp_path
        )
        assert (tmp_path / "participants.txt").read_text() == "sub-01\nsub-02\n"


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Folder of an environment for programs that want older packages than we have."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(uv(), "venv", "--quiet", "--python", sys.executable, folder)
    return folder


def install(folder, *words):
    done = subprocess.run(
        [uv(), "pip", "install", "--quiet", "--python", folder, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        missing(f"{words[-1]} cannot be installed: {done.stderr[-500:]}")


@pytest.fixture(scope="session")
def babs(elsewhere):
    """Folder of BABS and what it imports that is not here; the rest is, if newer than it asks."""
    folder = elsewhere / "babs"
    install(elsewhere, "--no-deps", "--target", folder, "filelock", "babs==0.5.4")
    return folder


WRITE_JOB = """
import sys
import warnings
from pathlib import Path
from babs.container import Container
from babs.input_datasets import InputDatasets
from babs.system import System
warnings.simplefilter("error")
config, level, out, name = sys.argv[1:]
container = Container("containers", name, config)
inputs = InputDatasets(level, container.config["input_datasets"])
inputs.update_abs_paths(Path("/analysis"))
container.generate_bash_run_bidsapp(f"{out}/run.sh", inputs, level)
container.generate_bash_participant_job(f"{out}/job.sh", inputs, level, System("slurm"))
"""


@pytest.mark.parametrize("level", ["subject", "session"])
def test_the_job_that_babs_makes(level, babs, tmp_path):
    """Its own code reads our file, without a warning; our parser takes what comes of it."""
    text = (ROOT / "docs/hpc/babs.yaml").read_text()
    if level == "session":
        text = text.replace("# $SESSION", "$SESSION")
    config = tmp_path / "babs.yaml"
    config.write_text(text)
    env = os.environ | {"PYTHONPATH": str(babs)}
    name = f"bids-brainmask-{__version__.replace('.', '-')}"
    run(sys.executable, "-c", WRITE_JOB, config, level, tmp_path, name, env=env)
    job = (tmp_path / "job.sh").read_text()
    assert {"#SBATCH --mem=4G", "#SBATCH --cpus-per-task=2"} <= set(job.splitlines())
    version = __version__.replace(".", "-")
    ending = "_${sesid}" * (level == "session") + f"_bids_brainmask-{version}.zip"
    assert f'-o "${{subid}}{ending}"' in job
    run("bash", "-n", tmp_path / "job.sh")

    program = tmp_path / "bin/singularity"  # which prints what it is given, and ends the script
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\nexit 9\n')
    program.chmod(0o755)
    place = tmp_path / "ds"
    place.mkdir()
    env = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    command = ["bash", tmp_path / "run.sh", "sub-01", "ses-A"]
    assert subprocess.run(command, env=env, cwd=place, check=False).returncode == 9
    words = (tmp_path / "words").read_text().splitlines()
    image = f"containers/.datalad/environments/{name}/image"
    before, after = words[: words.index(image)], words[words.index(image) + 1 :]
    assert before == ["run", "-B", str(place), "--containall"]
    (settings,) = options.each_level(options.parser().parse_args(options.dashed(after)))
    assert settings.bids_dir == place / "inputs/data/BIDS"
    assert settings.output_dir == place / "outputs/bids_brainmask"
    assert settings.work_dir == place / ".git/tmp/wkdir"
    assert settings.participant_label == ("01",)
    assert settings.session_label == (("A",) if level == "session" else ())
    assert (settings.executor, settings.n_cpus) == ("serial", 2)
    resources = yaml.safe_load(text)["cluster_resources"]
    assert resources["number_of_cpus"] == str(settings.n_cpus)


@pytest.fixture(scope="session")
def nipoppy(elsewhere):
    """Environment in which nipoppy is found, and the app."""
    install(elsewhere, "nipoppy==0.4.8")
    (elsewhere / "home").mkdir()
    return light() | {
        "PATH": f"{PROGRAMS}:{elsewhere / 'bin'}:{os.environ['PATH']}",
        "HOME": str(elsewhere / "home"),
    }


def test_nipoppys_descriptor_is_the_one_that_is_printed():
    found = json.loads((NIPOPPY / "descriptor.json").read_text())
    assert found == descriptor.boutiques(f"bids-brainmask:{__version__}"), (
        f"make it anew: brainmask descriptor --container bids-brainmask:{__version__} "
        f"> {NIPOPPY / 'descriptor.json'}"
    )
    assert json.loads((NIPOPPY / "config.json").read_text())["VERSION"] == __version__
    assert f"`bids_brainmask_{__version__}.sif`" in PAGE
    assert f"bids-brainmask-{__version__.replace('.', '-')} " in PAGE


@pytest.mark.slow
def test_nipoppy_validates_runs_and_tracks_the_pipeline(nipoppy, small_dataset, tmp_path, issues):
    run("nipoppy", "pipeline", "validate", NIPOPPY, env=nipoppy)
    data = small_dataset("sub-01_ses-A", "sub-01_ses-B")
    study = tmp_path / "study"
    run("nipoppy", "init", "--study", study, "--bids-source", data.root, env=nipoppy)
    config = study / "global_config.json"
    text = config.read_text()
    assert '"COMMAND": "apptainer"' in text
    config.write_text(text.replace('"COMMAND": "apptainer"', '"COMMAND": null'))
    run("nipoppy", "track-curation", "--study", study, env=nipoppy)
    run(
        *("nipoppy", "pipeline", "install", "--study", study, "--skip-container", NIPOPPY),
        env=nipoppy,
    )
    pipeline = ("--study", study, "--pipeline", "bids_brainmask", "--pipeline-step")
    for command, step in (
        ("process", "participant"),
        ("process", "group"),
        ("track-processing", "participant"),
    ):
        run("nipoppy", command, *pipeline, step, env=nipoppy)
    table = (study / "derivatives/processing_status.tsv").read_text().splitlines()
    assert len(table) == 3
    assert all(line.endswith("SUCCESS") for line in table[1:]), table
    out = study / "derivatives/bids_brainmask" / __version__ / "output"
    assert (out / "group_desc-brain.html").is_file()
    assert issues(out) == []
