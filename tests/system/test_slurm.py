# SPDX-License-Identifier: Apache-2.0
"""A real SLURM, of one node, started for these tests: what becomes of jobs, and of scans."""

import json
import os
import re
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest
from processes import Process, heads, poison

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs read and write; the same everywhere."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def twelve(folder):
    """Eleven heads, and one that takes more memory than any worker has."""
    data = heads(folder / "bids", 12)
    next(data.root.glob("sub-07/anat/*.gz")).unlink()
    poison(data.root / "sub-07/anat/sub-07_T1w.nii")
    return data.root


def configuration(path: Path, **keys) -> tuple[str, ...]:
    """Write what to ask SLURM for, and give the options that name it."""
    keys = {
        "cores": 2,
        "processes": 2,
        "memory": "4GB",
        "interface": "lo",
        "walltime": '"00:20:00"',
    } | keys
    lines = [f"    {key}: {value}\n" for key, value in keys.items()]
    path.write_text("jobqueue:\n  slurm:\n" + "".join(lines))
    return "--executor", "slurm", "--cluster-config", str(path), "-v"


def jobs(slurm, format_: str = "%A") -> list[str]:
    """Jobs that wait or run."""
    command = ["squeue", "--noheader", f"--format={format_}", "--states=PENDING,RUNNING"]
    done = subprocess.run(command, env={**os.environ, **slurm}, capture_output=True, check=True)
    return done.stdout.decode().split()


def job_of(pid: int) -> str:
    """Job that a process belongs to."""
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(word.split(b"=")[1].decode() for word in words if word.startswith(b"SLURM_JOB_ID"))


def complete(run: Process, labels) -> None:
    """Check that all that belongs to some participants is there, and whole."""
    for label in labels:
        for kind in ("mask", "T1w"):
            stem = run.out / f"sub-{label}/anat/sub-{label}_desc-brain_{kind}"
            assert stem.with_suffix(".nii.gz").is_file()
            assert json.loads(stem.with_suffix(".json").read_text())["BrainVolume"] > 850
        assert (run.out / f"sub-{label}.html").is_file()
        assert " done: " in (run.out / f"logs/sub-{label}/sub-{label}_T1w.log").read_text()


@pytest.fixture(scope="module")
def refused(slurm, twelve, folder):
    """Runs whose jobs come to nothing: in a partition that is not there, and without Python."""
    words = configuration(folder / "partition.yaml", queue="none")
    one = Process(twelve, folder / "partition", *words, **slurm)
    words = configuration(folder / "python.yaml", python="/none/python3")
    other = Process(twelve, folder / "python", *words, "--max-jobs", "3", **slurm)
    yield one, other
    one.kill()
    other.kill()


@pytest.fixture(scope="module")
def resumed(slurm, twelve, folder):
    """A run whose driver is killed, and the next one, whose first job stands still to its end.

    It is left to itself then, since SLURM takes more than a minute to end such a job.
    """
    labels = ("--participant-label", "01", "02", "03", "04", "05", "06", "--max-jobs", "1")
    words = (*configuration(folder / "resumed.yaml"), *labels)
    first = Process(twelve, folder / "resumed", *words, **slurm)
    first.until(lambda: first.done() >= 2)
    job = job_of(first.begun()[0])
    first.kill()
    begun = time.monotonic()
    while job in jobs(slurm):
        time.sleep(0.5)
        assert time.monotonic() - begun < 120
    finished, before = first.done(), set(first.begun())
    second = Process(twelve, folder / "resumed", *words, **slurm)
    stopped = second.until(lambda: len(found := set(second.begun()) - before) == 2 and found)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    command = ["scontrol", "update", f"JobId={job_of(min(stopped))}", "TimeLimit=1"]
    subprocess.run(command, env={**os.environ, **slurm}, check=True)  # one minute
    yield second, finished, stopped
    second.kill()


@pytest.fixture(scope="module")
def disturbed(slurm, twelve, folder, resumed, refused):
    """Twelve scans in 2 jobs of 2 workers: a job cancelled, a worker killed, a scan that kills."""
    words = configuration(folder / "cluster.yaml")
    run = Process(twelve, folder / "out", *words, "--max-jobs", "2", **slurm)
    workers = run.until(lambda: len(found := set(run.begun())) == 4 and found)
    of_job = defaultdict(list)
    for pid in workers:
        of_job[job_of(pid)].append(pid)
    one, other = of_job
    os.kill(of_job[one][0], signal.SIGKILL)
    subprocess.run(["scancel", other], env={**os.environ, **slurm}, check=True)
    yield run, run.wait(), of_job
    run.kill()


def test_twelve_scans_in_two_jobs_of_two_workers(disturbed):
    assert [len(pids) for pids in disturbed[2].values()] == [2, 2]


def test_a_job_cancelled_and_a_worker_killed_cost_no_scan(disturbed):
    run, status, _ = disturbed
    good = [f"{n:02}" for n in range(1, 13) if n != 7]
    assert {label: run.status[label] for label in good} == dict.fromkeys(good, "done")
    complete(run, good)
    again = [label for label in good if len(run.begun(label)) > 1]
    assert again  # those of the cancelled job, and of the killed worker
    assert status == 1


def test_a_scan_that_takes_too_much_memory_fails_alone(disturbed):
    run, _, _ = disturbed
    assert run.status["07"] == "failed"
    assert len(run.begun("07")) == 2
    record = json.loads(next(run.out.glob("logs/sub-07/*_crash-*.json")).read_text())
    assert "2 workers ended while they processed it" in record["Message"]
    assert "set more memory or time in --cluster-config" in record["Message"]
    assert not (run.out / "sub-07").exists()
    assert "11 done, 0 skipped, 1 failed" in run.said.splitlines()


def test_no_job_and_no_certificate_is_left_behind(disturbed, slurm):
    run, _, of_job = disturbed
    submitted = set(re.findall(r"submitted batch job (\d+)", run.said))
    assert set(of_job) <= submitted
    assert not submitted & set(jobs(slurm))
    assert not list(run.out.glob("logs/jobs/.*"))
    for number in of_job:
        assert (run.out / f"logs/jobs/bids-brainmask-{number}.err").is_file()


def test_the_validator_finds_no_error(disturbed, issues):
    assert issues(disturbed[0].out) == []


def test_what_slurm_refuses_ends_the_run_with_what_it_said(refused):
    assert refused[0].wait() == 2
    assert "--executor slurm: no job can be submitted: " in refused[0].said
    assert "invalid partition specified: none" in refused[0].said


def test_jobs_that_end_before_their_workers_come_end_the_run(refused):
    assert refused[1].wait() == 2
    assert "ended before it had a worker: " in refused[1].said
    assert "/none/python3: No such file" in refused[1].said


def test_a_driver_that_is_told_to_end_cancels_its_jobs(slurm, twelve, folder):
    words = configuration(folder / "asleep.yaml", **{"job-script-prologue": "[sleep 600]"})
    run = Process(twelve, folder / "asleep", *words, "--max-jobs", "1", **slurm)
    pattern = r"submitted batch job (\d+)"
    (job,) = run.until(lambda: re.findall(pattern, run.said))
    assert job in jobs(slurm)
    run.popen.terminate()
    assert run.wait(60) == 128 + signal.SIGTERM
    assert job not in jobs(slurm)


def test_a_killed_driver_and_a_job_at_its_walltime_lose_no_finished_scan(resumed, slurm):
    run, finished, stopped = resumed
    assert run.wait() == 0
    labels = [f"{n:02}" for n in range(1, 7)]
    assert sorted(run.status) == labels
    assert list(run.status.values()).count("skipped") == finished
    complete(run, labels)
    last = [label for label in labels if set(run.begun(label)) & stopped]
    assert len(last) == 2  # they were in a job that SLURM ended, and are done
    for label in last:
        assert run.begun(label)[-1] not in stopped
    assert "batch jobs that have ended" in run.said
