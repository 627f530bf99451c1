# SPDX-License-Identifier: Apache-2.0
"""Several processes: how many, what they do, and what happens when they end."""

import gc
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from itertools import pairwise
from pathlib import Path

import dask.config
import numpy as np
import psutil
import pytest
from conftest import missing
from distributed import Client
from processes import Process, heads

from bids_brainmask import app, machine
from bids_brainmask import plan as planning
from bids_brainmask.errors import UsageError, WorkerError
from bids_brainmask.execution import dask_tasks, dask_workers, driver
from bids_brainmask.models import backends
from bids_brainmask.settings import Settings

OFFLINE = ("unshare", "--map-root-user", "--net")
LOOPBACK = (  # what `ip link set lo up` does
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x49))"
)


def settings(root, out, **options):
    return Settings(bids_dir=root, output_dir=out, analysis_level="participant", **options)


@pytest.fixture
def plan(dataset, tmp_path):
    """Make a run of one image, with some settings."""
    dataset.add("sub-01_T1w.nii.gz")

    def prepare(**options):
        return planning.prepare(settings(dataset.root, tmp_path / "out", **options))

    return prepare


# How many, and where


@pytest.mark.parametrize(
    ("options", "scans", "expected"),
    [
        ({"n_cpus": 4, "mem_gb": 64}, 100, 4),
        ({"n_cpus": 4, "mem_gb": 64}, 15, 3),  # four scans for each
        ({"n_cpus": 4, "mem_gb": 64}, 7, 1),
        ({"n_cpus": 4, "mem_gb": 5.0}, 100, 2),  # 2 GB for each
        ({"n_cpus": 1, "mem_gb": 64}, 100, 1),
        ({"n_cpus": 4, "mem_gb": 64, "executor": "local"}, 3, 3),
        ({"n_cpus": 4, "mem_gb": 64, "executor": "local"}, 0, 1),
        ({"n_cpus": 4, "mem_gb": 2.0, "executor": "local"}, 9, 1),
    ],
)
def test_as_many_processes_as_fit_and_pay(plan, options, scans, expected):
    assert driver.processes(plan(**options), scans) == expected


@pytest.mark.parametrize(("chosen", "expected"), [("auto", 1), ("openvino", 4)])
def test_a_gpu_is_left_to_one_process(plan, monkeypatch, chosen, expected):
    monkeypatch.setattr(backends, "gpu_present", lambda: True)
    assert driver.processes(plan(n_cpus=4, mem_gb=64, engine=chosen), 100) == expected
    assert driver.processes(plan(n_cpus=4, mem_gb=64, engine=chosen, executor="local"), 100) == 4


def test_without_need_dask_is_not_even_imported(dataset, tmp_path):
    dataset.add("sub-01_T1w.nii.gz")
    code = (
        "import sys; from bids_brainmask.cli import bids_app; "
        "status = bids_app.main(sys.argv[1:]); "
        "sys.exit(99 if {'dask', 'distributed'} & set(sys.modules) else status)"
    )
    words = [dataset.root, tmp_path / "out", "participant"]
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 1


def test_processors_and_memory_here_do_not_matter_to_a_batch_system(plan):
    with pytest.raises(UsageError, match=r"0\.1 GB are available"):
        plan(mem_gb=0.1)
    assert plan(mem_gb=0.1, executor="slurm")


def test_a_configuration_of_jobs_is_for_batch_systems(plan):
    with pytest.raises(UsageError, match=r"--cluster-config: is for slurm, .*--executor is local"):
        list(driver.process(plan(executor="local", cluster_config=Path("c.yaml"))))


def test_a_missing_package_is_named_with_the_command_that_installs_it(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(UsageError, match=r"pip install '.\[cluster\]'"):
        list(driver.process(plan(executor="slurm")))


# Processes of this machine


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """A run in two processes: one dies over sub-02, two over sub-04; sub-06 has no good image."""
    folder = tmp_path_factory.mktemp("disturbed")
    data = heads(folder / "bids", 5)
    data.add("sub-06_T1w.nii")
    data.add("sub-06_T1w.nii.gz")  # would be written to the same files
    elsewhere = {name: folder / name for name in ("HOME", "TMPDIR", "MPLCONFIGDIR")}
    for path in elsewhere.values():
        path.mkdir()
    words = ("--executor", "local", "--n-cpus", "2", "--outputs", "mask", "brain", "-v")
    run = Process(data.root, folder / "out", *words, python=("-W", "error"), **elsewhere)
    for label, nth in (("02", 0), ("04", 0), ("04", 1)):
        run.kill_worker(label, nth)
    run.wait()
    return run, data


def test_a_scan_whose_process_dies_is_done_by_another(disturbed):
    run, _ = disturbed
    first, second = run.begun("02")
    assert first != second
    assert run.status["02"] == "done"


def test_a_scan_that_two_processes_die_over_has_failed_and_the_others_go_on(disturbed):
    run, _ = disturbed
    assert len(run.begun("04")) == driver.TRIES == 2
    assert run.status | {"01": "done"} == {
        "01": "done",
        "02": "done",
        "03": "done",
        "04": "failed",
        "05": "done",
        "06": "failed",
    }
    assert run.wait() == 1
    record = json.loads(next(run.out.glob("logs/sub-04/*_crash-*.json")).read_text())
    assert record["Error"] == "WorkerError"
    assert "2 workers ended while they processed it" in record["Message"]
    assert "--executor serial" in record["Message"]
    assert record["Command"][-1] == "-v"
    assert "the file is empty" in run.said
    assert "would have the same names" in run.said


def test_the_table_has_failures_first_and_then_the_order_of_the_images(disturbed):
    rows = re.findall(r"^(sub-\S+) +(\S+)", disturbed[0].said, re.MULTILINE)
    assert rows == sorted(rows, key=lambda row: (row[1] != "failed", row[0]))
    assert len(rows) == 7
    assert "4 done, 0 skipped, 3 failed" in disturbed[0].said.splitlines()


def test_a_process_does_one_scan_at_a_time(disturbed):
    """The log of a scan tells which process had it and when; one that died had no other after."""
    spans = defaultdict(list)
    for path in disturbed[0].out.glob("logs/sub-*/*_T1w.log"):
        for begun in re.split(r"^(?=.* INFO started)", path.read_text(), flags=re.MULTILINE)[1:]:
            first, *_, last = begun.splitlines()[:1] + begun.splitlines()
            end = last[:23] if re.search("(INFO done|ERROR failed): ", last) else "never"
            spans[first.split()[-1]].append((first[:23], end))
    for times in spans.values():
        for (_, end), (start, _) in pairwise(sorted(times)):
            assert end <= start  # "never" is later than any
    assert len(spans) >= 4  # three of them died


def test_each_scan_has_a_log(disturbed):
    run, _ = disturbed
    log = (run.out / "logs/sub-03/sub-03_T1w.log").read_text()
    assert re.search(r"INFO started on \S+, process \d+\n", log)
    assert re.search(r"INFO done: \d+ mL in", log)
    assert "started again" in (run.out / "logs/sub-02/sub-02_T1w.log").read_text()
    failed = (run.out / "logs/sub-06/sub-06_T1w.log").read_text()
    assert "ERROR failed: the file is empty" in failed
    logs = "".join(path.read_text() for path in run.out.glob("logs/sub-*/*.log"))
    assert re.search(r"INFO embedded \S+ on OpenVINO \S+ in \w+, 1 threads", logs)


def test_each_participant_has_a_page(disturbed):
    pages = {path.name for path in disturbed[0].out.glob("*.html")}
    assert pages == {f"sub-0{n}.html" for n in range(1, 7)}


def test_nothing_is_written_anywhere_else(disturbed):
    run, _ = disturbed
    for name in ("HOME", "TMPDIR"):
        assert not list(run.out.with_name(name).iterdir())
    assert {path.name for path in run.out.iterdir() if path.is_dir()} == {
        "logs",
        *(f"sub-0{n}" for n in (1, 2, 3, 5)),
    }
    assert not [path for path in run.out.rglob(".*") if path.name != ".bidsignore"]


def test_the_logs_are_no_matter_to_the_validator(disturbed, issues):
    assert issues(disturbed[0].out) == []


def test_what_is_done_is_what_one_process_does(disturbed, tmp_path):
    run, data = disturbed
    options = {"participant_label": ("05",), "executor": "serial"}
    outcome = next(app.process(planning.prepare(settings(data.root, tmp_path / "out", **options))))
    for path in outcome.plan.files.values():
        other = run.out / path.relative_to(tmp_path / "out")
        assert other.read_bytes() == path.read_bytes()
    record = json.loads(next(run.out.glob("sub-05/anat/*_mask.json")).read_text())
    assert record["Command"].startswith("bids-brainmask BIDS_DIR OUTPUT_DIR participant ")


def test_the_same_command_does_what_is_missing(disturbed, tmp_path):
    run, data = disturbed
    out = shutil.copytree(run.out, tmp_path / "out")
    again = Process(data.root, out, "--executor", "local", "--participant-label", "04", "05")
    assert again.wait() == 0
    assert again.status == {"04": "done", "05": "skipped"}
    assert "distributed" not in again.said  # nothing of dask's is heard


def test_a_scan_that_a_lost_worker_had_finished_is_not_done_again(disturbed, tmp_path):
    run, data = disturbed
    out = shutil.copytree(run.out, tmp_path / "out")
    plan = planning.prepare(settings(data.root, out, participant_label=("05",), executor="local"))
    before = (out / "sub-05/anat/sub-05_desc-brain_mask.nii.gz").stat().st_mtime_ns
    tasks, found = deque([dask_workers.Task(plan.plans[0], ends=1)]), []
    others = {*psutil.Process().children(recursive=True)}  # such as another test's browser
    with dask_workers.start(plan, 1, 1) as workers:
        while not found:
            workers.give(tasks)
            found += workers.results()
            for process in {*psutil.Process().children(recursive=True)} - others:
                for socket in process.net_connections("inet"):
                    assert socket.laddr.ip == "127.0.0.1"  # and nobody else is listened to
    assert found[0][1] == ("done", dask_tasks.AGAIN)
    assert (out / "sub-05/anat/sub-05_desc-brain_mask.nii.gz").stat().st_mtime_ns == before


def test_dask_is_silenced_in_all_its_loggers():
    """One of them has a level of its own, which dask sets when it is imported."""
    client, root = logging.getLogger("distributed.client"), logging.getLogger()
    before, levels = root.level, {one: one.level for one in (client, client.parent)}
    dask_workers.show_from(logging.CRITICAL)
    try:
        assert not client.isEnabledFor(logging.ERROR)
        assert root.level == before
    finally:
        for one, level in levels.items():
            one.setLevel(level)


def python_of_a_worker():
    """How often it collects garbage, and the new pages of memory for each array of 1 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(2**17)
    pages = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 100
    return gc.get_threshold()[0], pages


def test_workers_are_tuned(tmp_path):
    data = heads(tmp_path / "bids", 1)
    plan = planning.prepare(settings(data.root, tmp_path / "out", executor="local"))
    with dask_workers.start(plan, 1, 1) as workers:
        workers.client.wait_for_workers(1)
        (found,) = workers.client.run(python_of_a_worker).values()
    assert found[0] == machine.BETWEEN_COLLECTIONS
    if sys.platform == "linux":
        assert found[1] < 20  # of 256


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_driver_that_is_told_to_end_ends_its_processes(tmp_path, number):
    """Even while they start."""
    data = heads(tmp_path / "bids", 4)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    run = Process(
        *(data.root, tmp_path / "out", "--executor", "local", "--n-cpus", "2"),
        TMPDIR=str(temporary),
    )
    starting = number == signal.SIGTERM
    run.until(lambda: run.family()[1:] if starting else run.begun())
    family = run.family()
    run.popen.send_signal(number)
    assert run.wait(60) == 128 + number
    _, alive = psutil.wait_procs(family, 10)
    assert not alive
    assert not list(temporary.iterdir())


SIGNALLED = """
import os, signal, sys, threading, time
from bids_brainmask.cli.bids_app import main

def watch():
    while not any("IO loop" in one.name for one in threading.enumerate()):
        time.sleep(0.0002)
    time.sleep(float(sys.argv.pop()))
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=watch, daemon=True).start()
sys.exit(main(sys.argv[1:-1]))
"""


@pytest.mark.parametrize("seconds", [0, 0.002, 0.005, 0.02])
def test_a_signal_while_the_scheduler_starts_leaves_nothing(dataset, tmp_path, seconds):
    """Its thread goes on for some milliseconds, and would make its folder again."""
    dataset.add("sub-01_T1w.nii.gz")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    words = (dataset.root, tmp_path / "out", "participant", "--executor", "local", "--n-cpus", "2")
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, *words, str(seconds)],
        env={**os.environ, "TMPDIR": str(temporary)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in done.stderr
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("seconds", [0.02, 0.3, 1, 2])
def test_a_signal_in_the_first_seconds_leaves_nothing(dataset, tmp_path, seconds):
    """Before Python hears signals, they just end it."""
    dataset.add("sub-01_T1w.nii.gz")
    temporary, out = tmp_path / "temporary", tmp_path / "out"
    temporary.mkdir()
    words = ("--executor", "local", "--n-cpus", "2")
    run = Process(dataset.root, out, *words, TMPDIR=str(temporary))
    time.sleep(seconds)
    run.popen.send_signal(signal.SIGTERM)
    assert run.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in run.said
    assert not list(temporary.iterdir())
    assert not list(out.rglob(".bids_brainmask-*"))


def test_without_shared_memory_the_reason_is_told():
    mount = f"mount -t tmpfs -o ro tmpfs {dask_workers.SHARED_MEMORY}"
    apart = ("unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh")
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        missing("no file system can be mounted here")
    code = f"from {dask_workers.__name__} import check_shared_memory as c; c()"
    done = subprocess.run(
        [*apart, sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert "WorkerError: no processes can be started on this machine: /dev/shm" in done.stderr
    assert "Read-only file system" in done.stderr
    assert "--executor serial" in done.stderr


def test_processes_end_with_a_driver_that_is_killed_and_the_next_one_goes_on(tmp_path):
    data = heads(tmp_path / "bids", 3)
    words = ("--executor", "local", "--n-cpus", "2")
    run = Process(data.root, tmp_path / "out", *words)
    run.until(lambda: run.done() >= 1)
    family = run.family()
    run.kill()
    _, alive = psutil.wait_procs(family, 30)
    assert not alive
    again = Process(data.root, tmp_path / "out", *words)
    assert again.wait() == 0
    assert set(again.status.values()) == {"done", "skipped"}
    assert len(again.status) == again.done() == 3


def test_control_c_is_no_crash(tmp_path):
    data = heads(tmp_path / "bids", 3)
    heeded = ("env", "--default-signal=INT")  # which a shell's background jobs do not heed
    options = ("--executor", "local", "--n-cpus", "2")
    run = Process(data.root, tmp_path / "out", *options, prefix=heeded)
    run.until(run.begun)
    os.killpg(run.popen.pid, signal.SIGINT)  # as a terminal does
    assert run.wait(60) == 130
    assert "interrupted. Run the same command again to resume." in run.said
    assert "Traceback" not in run.said


def offline(code: str) -> tuple[str, ...]:
    """Words that start a command without a network, after some Python."""
    program = f"{code}; import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    command = (*OFFLINE, sys.executable, "-c", program)
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        missing("no namespace without a network can be made here")
    return command


def test_no_network_is_needed(dataset, tmp_path):
    """And what is to be known of a model is said once, not by each process."""
    for label in ("01", "02"):
        dataset.add(f"sub-{label}_ce-gad_T1w.nii.gz")
    words = ("--executor", "local", "--n-cpus", "2")
    run = Process(dataset.root, tmp_path / "out", *words, prefix=offline(LOOPBACK))
    assert run.wait() == 1
    assert set(run.status.values()) == {"failed"}
    assert "the file is empty" in run.said
    assert run.said.count("trained on synthetic tumors only") == 1


@pytest.mark.parametrize("executor", ["local", "auto"])
def test_where_processes_cannot_be_started_auto_does_without(dataset, tmp_path, executor):
    """Without even a loopback interface."""
    for number in range(8):
        dataset.add(f"sub-{number}_T1w.nii.gz")
    words = ("--executor", executor, "--n-cpus", "2")
    sooner = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}
    run = Process(dataset.root, tmp_path / "out", *words, prefix=offline("pass"), **sooner)
    assert run.wait() == 1
    assert "no processes can be started on this machine" in run.said
    assert len(run.status) == (8 if executor == "auto" else 0)


def test_a_page_that_cannot_be_made_is_told_of(tmp_path):
    data = heads(tmp_path / "bids", 1)
    (tmp_path / "out/sub-01.html").mkdir(parents=True)
    (tmp_path / "out/logs").write_text("in the way of the log")
    run = Process(data.root, tmp_path / "out", "--executor", "local")
    assert run.wait() == 0
    assert run.status == {"01": "done"}
    assert "sub-01.html: the report cannot be written" in run.said


def test_files_of_dask_lie_where_files_can_be_put(plan, monkeypatch, tmp_path):
    options = plan().settings
    options.output_dir.mkdir()
    places = [tmp_path / "temporary", tmp_path / "shared", options.output_dir]
    monkeypatch.setattr(tempfile, "tempdir", str(places[0]))
    monkeypatch.setattr(dask_workers, "SHARED_MEMORY", places[1])
    places[0].mkdir()
    places[1].mkdir()
    for place in places:
        with dask_workers.scratch(options) as folder:
            assert folder.parent == place
        place.rmdir()  # and it is empty
    with pytest.raises(WorkerError, match=r"no folder can be made in .*: free disk space"):
        dask_workers.scratch(options).__enter__()


@pytest.mark.parametrize("before", ["", "/nonexistent"])
def test_where_no_temporary_file_can_be_put_processes_are_given_a_place(
    before, plan, monkeypatch, tmp_path
):
    def nowhere():
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(dask_workers, "SHARED_MEMORY", tmp_path)
    monkeypatch.setenv("TMPDIR", before)
    with dask_workers.scratch(plan().settings) as folder:
        assert os.environ["TMPDIR"] == tempfile.tempdir == str(folder)
    assert os.environ["TMPDIR"] == before
    assert tempfile.tempdir is None


@pytest.mark.parametrize(
    ("executor", "help_"),
    [("auto", "--n-cpus"), ("slurm", "--cluster-config"), ("tcp://h:1", "start workers with")],
)
def test_what_may_help_a_scan_that_workers_end_over(plan, executor, help_):
    task = dask_workers.Task("01", ends=2, last="tcp://h:2")
    words = str(driver.lost(task, plan(executor=executor).settings))
    assert "2 workers ended" in words
    assert help_ in words


# A scheduler that runs


@pytest.fixture
def scheduler(tmp_path):
    """Start a dask scheduler on this machine, and give its address and a starter of workers."""
    started = []

    def start(kind, *words, code=""):
        program = f"{code}\nfrom distributed.cli.dask_{kind} import main; main()"
        with (tmp_path / f"{kind}-{len(started)}.txt").open("w") as log:
            command = [sys.executable, "-c", program, *words]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    file = tmp_path / "scheduler.json"
    start(
        "scheduler",
        "--host=127.0.0.1",
        "--port=0",
        "--no-dashboard",
        "--dashboard-address=:0",
        "--scheduler-file",
        str(file),
    )
    end = time.monotonic() + 60
    while not file.exists() or not file.read_text().endswith("}"):
        assert time.monotonic() < end
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    worker = ("worker", address, "--no-nanny", "--nthreads=2", f"--local-directory={tmp_path}")
    yield address, lambda code="": start(*worker, code=code), started[0]
    for process in reversed(started):
        process.terminate()
        process.wait(30)


def test_the_workers_of_a_scheduler_that_runs_do_scans_and_stay(scheduler, tmp_path):
    address, start, _ = scheduler
    workers = [start(), start()]
    data = heads(tmp_path / "bids", 2)
    run = Process(data.root, tmp_path / "out", "--executor", address, "-v")
    assert run.wait() == 0
    assert set(run.begun()) <= {process.pid for process in workers}
    logs = "".join(path.read_text() for path in run.out.glob("logs/sub-*/*.log"))
    assert re.search(r"on OpenVINO \S+ in \w+, 2 threads", logs)
    assert all(process.poll() is None for process in workers)
    again = Process(data.root, tmp_path / "out", "--executor", address, "--overwrite")
    again.until(lambda: len(again.begun()) > 2)
    workers[0].kill()
    assert again.wait() == 0
    assert set(again.status.values()) == {"done"}


def test_a_scheduler_that_is_gone_ends_the_run(scheduler, tmp_path):
    address, start, process = scheduler
    start()
    data = heads(tmp_path / "bids", 1)
    sooner = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
    run = Process(data.root, tmp_path / "out", "--executor", address, **sooner)
    run.until(run.begun)
    process.kill()
    assert run.wait(120) == 1
    assert "the scheduler does not answer" in run.said
    assert "Traceback" not in run.said


def test_workers_without_the_package_end_the_run(scheduler, plan):
    address, start, _ = scheduler
    start("import sys; sys.modules['bids_brainmask'] = None")
    with pytest.raises(WorkerError, match=r"cannot process scans: .*bids_brainmask.*Install bids"):
        list(driver.process(plan(executor=address)))


def test_workers_with_another_version_end_the_run(scheduler, plan):
    address, start, _ = scheduler
    start("import bids_brainmask; bids_brainmask.__version__ = '0.0.1'")
    with pytest.raises(WorkerError, match=r"is 0\.0\.1 on .*expected .*Install the same version"):
        list(driver.process(plan(executor=address)))


def test_a_scheduler_without_workers_ends_the_run(scheduler, plan, monkeypatch):
    monkeypatch.setattr(dask_workers, "PATIENCE", 3.0)
    with pytest.raises(WorkerError, match="there has been no worker for 3 s"):
        list(driver.process(plan(executor=scheduler[0])))
    with Client(scheduler[0], set_as_default=False) as client:
        workers = dask_workers.Workers(client, "", print, patience=0.0)
        with pytest.raises(WorkerError, match="there has been no worker for 0 s"):
            workers.update()
    workers.there = {"tcp://127.0.0.1:9"}  # the client has closed
    for ask in (workers.update, lambda: workers.give(deque([dask_workers.Task("01")]))):
        with pytest.raises(WorkerError, match="the scheduler does not answer"):
            ask()


def test_an_address_that_nobody_answers_at_ends_the_run(plan):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9: the scheduler does not answer"),
    ):
        list(driver.process(plan(executor="tcp://127.0.0.1:9")))
