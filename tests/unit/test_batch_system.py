# SPDX-License-Identifier: Apache-2.0
"""What a batch system is asked for. Its commands are looked for, and not run, here."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from bids_brainmask.errors import UsageError
from bids_brainmask.execution import batch_system
from bids_brainmask.models import registry
from bids_brainmask.plan import Run
from bids_brainmask.settings import Settings

DOCS = ROOT / "docs/clusters.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)

PYTHON = {
    0: sys.executable,
    1: "apptainer exec --cleanenv --bind /data,/scratch /images/bids-brainmask.sif python3",
    2: sys.executable,
}
"""What starts Python in the jobs of each configuration in the documentation."""

WORKER = (
    "{python} -m distributed.cli.dask_worker tls://ADDRESS --name dummy-name "
    "--nthreads {threads} --memory-limit {memory} --nworkers {processes} --nanny "
    "--death-timeout 60 --local-directory /fast --protocol tls:// --tls-ca-file "
    "{out}/logs/jobs/FOLDER/ca_file.pem --tls-cert {out}/logs/jobs/FOLDER/cert.pem "
    "--tls-key {out}/logs/jobs/FOLDER/key.pem"
)

SLURM = """\
#!/usr/bin/env bash

#SBATCH -J bids-brainmask
#SBATCH -e {out}/logs/jobs/bids-brainmask-%J.err
#SBATCH -o {out}/logs/jobs/bids-brainmask-%J.out
#SBATCH -p normal
#SBATCH -A my_account
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=15G
#SBATCH -t 02:00:00
"""

SCRIPTS = {
    ("slurm", 0): SLURM + "\n{worker}\n",
    ("slurm", 1): SLURM + "module load apptainer\n{worker}\n",
    ("pbs", 2): """\
#!/usr/bin/env bash

#PBS -N bids-brainmask
#PBS -q normal
#PBS -A my_account
#PBS -l select=1:ncpus=8:mem=16GB
#PBS -l walltime=02:00:00
#PBS -e {out}/logs/jobs/
#PBS -o {out}/logs/jobs/

{worker}
""",
    ("sge", 2): """\
#!/usr/bin/env bash

#$ -N bids-brainmask
#$ -q all.q
#$ -l h_vmem=2G
#$ -l h_rt=02:00:00
#$ -e {out}/logs/jobs/
#$ -o {out}/logs/jobs/
#$ -cwd
#$ -j y
#$ -pe smp 8

{worker}
""",
    ("lsf", 2): """\
#!/usr/bin/env bash

#BSUB -J bids-brainmask
#BSUB -e {out}/logs/jobs/dummy-name-%J.err
#BSUB -o {out}/logs/jobs/dummy-name-%J.out
#BSUB -q normal
#BSUB -P "my_project"
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -M 16000000
#BSUB -W 02:00

{worker}
""",
    ("htcondor", 2): """\
#!/usr/bin/env condor_submit

MY.DaskWorkerName = "htcondor--$F(MY.JobId)--"
batch_name = dummy-name
RequestCpus = MY.DaskWorkerCores
RequestMemory = floor(MY.DaskWorkerMemory / 1048576)
RequestDisk = floor(MY.DaskWorkerDisk / 1024)
MY.JobId = "$(ClusterId).$(ProcId)"
MY.DaskWorkerCores = 8
MY.DaskWorkerMemory = 16000000000
MY.DaskWorkerDisk = 2000000000
LogDirectory = {out}/logs/jobs
Output = $(LogDirectory)/worker-$F(MY.JobId).out
Error = $(LogDirectory)/worker-$F(MY.JobId).err
Log = $(LogDirectory)/worker-$(ClusterId).log
Stream_Output = True
Stream_Error = True

Arguments = "-c '{worker}'"
Executable = /bin/sh

Queue
""",
}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Make a run in jobs; of their commands there are files that do nothing."""
    for name in ("sbatch", "qsub", "bsub", "condor_submit"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def prepare(text=None, system="slurm", **options):
        if text is not None:
            (tmp_path / "cluster.yaml").write_text(text)
            options["cluster_config"] = tmp_path / "cluster.yaml"
        settings = Settings(
            bids_dir=tmp_path,
            output_dir=tmp_path / "out",
            analysis_level="participant",
            executor=system,
            **options,
        )
        return Run(settings, {"brain": registry.models()["embedded"]}, {"brain": 0.5}, [])

    return prepare


def jobs(**keys) -> str:
    """Write a configuration for SLURM."""
    keys = {"cores": 2, "memory": "4GB", "interface": "lo"} | keys
    lines = [f"    {key}: {value}" for key, value in keys.items() if value is not None]
    return "\n".join(["jobqueue:", "  slurm:", *lines])


@pytest.mark.parametrize(("system", "block"), SCRIPTS)
def test_the_script_of_a_job(plan, tmp_path, system, block):
    """Of the configurations that the documentation gives."""
    asked = batch_system.Jobs(plan(BLOCKS[block], system, work_dir=Path("/fast")))
    try:
        script = asked.cluster.job_script()
    finally:
        asked.close()
    script = re.sub(r"tls://[\d.]+:\d+", "tls://ADDRESS", script)
    script = re.sub(r"\.certificates-\w+", "FOLDER", script)
    processes = {"slurm": 4}.get(system, 8)
    expected = WORKER.format(
        python=PYTHON[block],
        threads=8 // processes,
        memory={4: "3.73GiB", 8: "1.86GiB"}[processes],
        processes=processes,
        out=tmp_path / "out",
    )
    expected = SCRIPTS[system, block].format(out=tmp_path / "out", worker=expected)
    assert script.strip() == expected.strip()


def test_nothing_is_left_when_the_jobs_are_closed(plan, tmp_path):
    """Certificates are there while there may be workers; dask-jobqueue's defaults never are."""
    asked = batch_system.Jobs(plan(jobs()))
    (folder,) = (tmp_path / "out/logs/jobs").iterdir()
    assert len(list(folder.iterdir())) == 3
    assert folder.stat().st_mode & 0o077 == 0  # for nobody else
    asked.close()
    assert not list((tmp_path / "out/logs/jobs").iterdir())
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "cannot be read as YAML"),
        ("", r"expected `jobqueue:`, below it `slurm:`"),
        ("jobqueue: 3", r"expected `jobqueue:`, below it `slurm:`"),
        ("jobqueue:\n  pbs:\n    cores: 2", r"expected `jobqueue:`, below it `slurm:`"),
        (jobs(cpus=3), r"jobqueue\.slurm: unknown key cpus; expected among account, cores, "),
        (jobs(cores=None), "expected `cores`, `memory` such as 8GB"),
        (jobs(memory=None), "expected `cores`, `memory` such as 8GB"),
        (jobs(memory="much"), "found 2, much and None"),
        (jobs(processes="two"), "found 2, 4GB and two"),
        (jobs(processes=4), r"4\.0 GB for 4 processes, but embedded needs 2 GB in each"),
        (jobs(interface="none0"), "dask-jobqueue cannot use it: .*none0"),
        (jobs(scheduler_options="[1]"), "dask-jobqueue cannot use it"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(plan, text, reason):
    with pytest.raises(UsageError, match=reason):
        batch_system.Jobs(plan(text))


def test_a_configuration_that_is_not_there_is_refused(plan, tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read as YAML: .*No such file"):
        batch_system.Jobs(plan(cluster_config=tmp_path / "none.yaml"))


def test_without_a_file_dasks_own_configuration_counts(plan, tmp_path):
    with pytest.raises(UsageError, match="expected `cores`"):
        batch_system.Jobs(plan())
    (tmp_path / "own.yaml").write_text(jobs(job_script_prologue="[echo here]"))
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/unit']; "
        "from test_batch_system import *; "
        "run = Run(Settings(bids_dir=Path(), output_dir=Path(sys.argv[1]), "
        "analysis_level='participant', executor='slurm'), {'brain': registry.models()['embedded']}"
        ", {'brain': 0.5}, []); print(batch_system.Jobs(run).cluster.job_script())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"],
        env={"DASK_CONFIG": str(tmp_path / "own.yaml"), "PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "\necho here\n" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("keys", "processes"),
    [
        ({"cores": 8, "memory": "16GB"}, 8),
        ({"cores": 8, "memory": "5GB"}, 2),
        ({"cores": 1, "memory": "64 GB"}, 1),
        ({"cores": 8, "memory": "16GB", "processes": 3}, 3),
        ({"cores": 8, "memory": 4000000000}, 2),
    ],
)
def test_a_job_has_as_many_workers_as_it_has_memory_for(plan, keys, processes):
    run = plan(jobs(**keys))
    assert batch_system.processes(batch_system.read_config(run.settings), run) == processes


def test_where_jobs_cannot_be_submitted_the_run_is_refused(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="the command sbatch is not found"):
        batch_system.Jobs(plan(jobs()))


def test_where_the_queue_does_not_answer_jobs_are_taken_to_be_there(monkeypatch):
    for command, left in ((["false"], {"1", "2"}), (["absent-command"], {"1", "2"})):
        monkeypatch.setitem(batch_system.QUEUED, "slurm", command)
        assert batch_system.queued("slurm", ["1", "2"]) == left
    monkeypatch.setitem(batch_system.QUEUED, "slurm", ("echo",))
    assert batch_system.queued("slurm", ["1"]) == {"1"}


def test_no_log_has_no_last_lines(tmp_path):
    assert batch_system.tail(tmp_path / "none") == []
    (tmp_path / "log").write_text("one\ntwo\nthree\nfour\n")
    assert batch_system.tail(tmp_path / "log") == ["two", "three", "four"]


@pytest.mark.parametrize(("verbose", "level"), [(0, 50), (1, 30), (2, 20), (3, 20)])
def test_little_is_heard_of_dask(plan, verbose, level):
    assert batch_system.noise(plan(verbose=verbose).settings) == level
    assert logging.getLevelName(level) in ("CRITICAL", "WARNING", "INFO")


def test_on_windows_there_is_no_batch_system(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "win32")
    settings = Settings(
        bids_dir=tmp_path, output_dir=tmp_path, analysis_level="participant", executor="slurm"
    )
    with pytest.raises(UsageError, match="batch systems cannot be used on Windows"):
        batch_system.check(settings)
