# SPDX-License-Identifier: Apache-2.0
"""Folders of results that are full, read-only, or not what they should be."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import BENCHMARKS
from conftest import Dataset, missing
from light import Run, Watcher, begun, contents, scale
from processes import Process

PARTICIPANT, GROUP = ("../bids", "out", "participant"), ("../bids", "out", "group")
FULL = "No space left on device"
ENOUGH = 20  # files and folders, for a run of one plain head


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a dataset of a plain and a contrast-enhanced head."""
    folder = tmp_path_factory.mktemp("faults")
    data = Dataset(folder / "bids")
    data.add("sub-01_T1w.nii.gz", scale.head(1))
    data.add("sub-02_ce-gd_T1w.nii.gz", scale.head(2))
    return folder


@pytest.fixture(scope="module")
def usual(data):
    """What both levels leave where nothing disturbs them."""
    (data / "usual").mkdir()
    for words in (PARTICIPANT, GROUP, PARTICIPANT):
        run = Run(data / "usual", *words)
        assert run.wait() == 0, run.said
    return data / "usual/out"


@pytest.fixture
def place(data):
    """A folder to run in, with nothing in it, beside the dataset."""
    folder = data / f"place-{len(list(data.iterdir()))}"
    folder.mkdir()
    return folder


@pytest.fixture
def mounted(place):
    """Mount a file system in memory, with some options, as the folder of results."""
    out, options = place / "out", []
    out.mkdir()

    def mount(words: str):
        again = ["remount", *words.split(",")] if options else words.split(",")
        command = ["mount", "-t", "tmpfs", "-o", ",".join(again), "tmpfs", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"no file system can be mounted: {done.stderr}")
        options.append(words)
        return out

    yield mount
    if options:
        subprocess.run(["umount", str(out)], check=True)


def results(folder) -> dict[str, bytes]:
    """What is in a dataset, but for the records of what failed."""
    return {name: text for name, text in contents(folder).items() if not name.startswith("logs")}


# No room


@pytest.mark.parametrize("room", range(2, ENOUGH + 1))
def test_no_room_for_a_file_whichever_and_then_there_is(room, place, mounted, usual):
    """As with a quota of files; of which the folder itself is one here."""
    out = mounted(f"nr_inodes={room}")
    words = (*PARTICIPANT, "--participant-label", "01")
    with Watcher(out) as watcher:
        run = Run(place, *words)
        status = run.wait()
    assert "\nTraceback" not in run.said
    assert (FULL in run.said) == (room < ENOUGH)
    if status == 2:  # before any work
        assert re.search(r"error: out\S*: .*cannot be written.*: \[Errno", run.said)
        assert " done" not in run.said
    elif status == 1:
        row = re.search(r"^sub-01\S+ +failed +(.*)$", run.said, re.M)[1]
        assert re.match(rf"out/sub-01/\S+: cannot be written: .*{FULL}.*Free disk space", row)
    else:
        assert status == 0
        assert ("the report cannot be written" in run.said) == (room < ENOUGH)
    assert not watcher.torn
    assert not begun(out)
    mounted("nr_inodes=1000")
    again = Run(place, *words)
    assert again.wait() == 0, again.said
    of_others = re.compile(r"sub-02|group_")
    compare(out, {name: c for name, c in results(usual).items() if not of_others.match(name)})


def compare(out, expected: dict[str, bytes]) -> None:
    """Compare results; pages show failures, and whether there is a page of all images."""
    found, label = results(out), re.compile(rb" --participant-label \d\d")
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        if not name.endswith(".html"):
            assert label.sub(b"", found[name]) == content, name


def test_a_disk_that_fills_up_fails_what_does_not_fit(place, mounted, usual):
    """Not even the record of the failure fits: it is said."""
    out = mounted("size=36k")
    with Watcher(out) as watcher:
        run = Run(place, *PARTICIPANT)
        assert run.wait() == 1
    failed = re.findall(r"^sub-\S+ +failed +out/\S+: cannot be written: (.*)\.$", run.said, re.M)
    assert len(failed) == 2
    assert all(FULL in words and "Free disk space" in words for words in failed)
    assert re.search(rf"{FULL}.*the crash record: {{.*\"Traceback\"", run.said)
    assert "\nTraceback" not in run.said
    assert not watcher.torn
    assert not begun(out)
    mounted("size=20m")
    for words in (PARTICIPANT, GROUP):
        again = Run(place, *words)
        assert again.wait() == 0, again.said
    compare(out, results(usual))


def test_a_full_disk_and_the_group_level(place, mounted, usual):
    out = mounted("size=20m")
    shutil.copytree(usual, out, dirs_exist_ok=True)
    before, taken = contents(out), subprocess.run(["du", "-sk", out], capture_output=True).stdout
    room = int(taken.split()[0]) + 8
    for path in out.glob("group_*.html"):
        path.unlink()
    with (out / "filler").open("wb") as file:
        mounted(f"size={room}k")
        file.write(bytes(100_000))
    run = Run(place, *GROUP)
    assert run.wait() == 1
    assert re.search(
        rf"error: out/group_\S+: cannot be written: .*{FULL}.*Free disk space", run.said
    )
    assert "\nTraceback" not in run.said
    assert not begun(out)
    (out / "filler").unlink()
    mounted("size=20m")
    assert Run(place, *GROUP).wait() == 0
    assert contents(out) == before


def test_a_quota_that_is_met_while_a_sidecar_is_written(place, usual):
    """Network disks tell of it as late as that. The twelfth file is the first sidecar."""
    if not shutil.which("strace"):
        missing("strace, which has the system refuse a write, is not installed")
    words = (*PARTICIPANT, "--participant-label", "01")
    refuse = ("-f", "-q", "-o", "trace.txt", "-e", "trace=fsync")
    run = cold(place, words, "strace", *refuse, "-e", "inject=fsync:error=EDQUOT:when=12")
    if "PTRACE" in run.stdout:
        missing(f"no process can be traced here: {run.stdout}")
    assert run.returncode == 1, run.stdout
    row = re.search(r"^sub-01\S+ +failed +(.*)$", run.stdout, re.M)[1]
    assert re.match(r"out/sub-01/anat/sub-01_desc-brain_mask.json: .*Disk quota exceeded", row)
    assert not list((place / "out").glob("sub-*/anat/*.json"))
    assert not begun(place / "out")
    record = json.loads(next((place / "out").glob("logs/sub-01/*_crash-*.json")).read_text())
    assert record["Error"] == "OutputError"
    again = Run(place, *PARTICIPANT)
    assert again.wait() == 0, again.said
    assert Run(place, *GROUP).wait() == 0
    compare(place / "out", results(usual))


def cold(place, words, *prefix) -> subprocess.CompletedProcess:
    """Run the app with the network of one comparison in a process that is started anew."""
    code = (
        "import sys, scale; from bids_brainmask.cli import bids_app; scale.dask_setup(None); "
        "sys.argv[0] = 'bids-brainmask'; sys.exit(bids_app.main())"
    )
    return subprocess.run(
        [*prefix, sys.executable, "-c", code, *words],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_log_that_does_not_fit_costs_no_scan(place, mounted):
    """The workers of an executor write logs of scans."""
    out = mounted("size=20m")
    with (out / "filler").open("wb") as file:
        mounted("size=160k")
        file.write(bytes(140_000))
    words = ("--executor", "local", "--n-cpus", "1", "--outputs", "mask", "--no-reports", "-v")
    run = Process(place.parent / "bids", out, *words, **scale.PRELOAD)
    assert run.wait() == 1
    assert set(run.status.values()) == {"failed"}
    assert len(re.findall(rf"^sub-\S+ +failed .*{FULL}", run.said, re.M)) == 2
    assert "Traceback" not in run.said
    assert 0 in [path.stat().st_size for path in out.glob("logs/sub-*/*.log")]


def test_what_is_said_may_have_no_room_either(place, usual):
    run = Run(place, *PARTICIPANT, said=Path("/dev/full"))
    assert run.wait() != 0  # nobody can have read that all is well
    compare(place / "out", {n: c for n, c in results(usual).items() if "group_" not in n})


# Read-only


@pytest.mark.parametrize("words", [PARTICIPANT, GROUP], ids=["participant", "group"])
@pytest.mark.parametrize("full", [True, False], ids=["finished", "empty"])
def test_a_read_only_folder_ends_the_run_before_any_work(words, full, place, mounted, usual):
    out = mounted("size=20m")
    if full:
        shutil.copytree(usual, out, dirs_exist_ok=True)
    before = contents(out)
    mounted("ro")
    run = Run(place, *words, "--overwrite")
    assert run.wait() == 2, run.said
    assert "error: out: results cannot be written there: [Errno 30] Read-only" in run.said
    assert "sub-0" not in run.said
    assert contents(out) == before


def test_without_the_right_to_write_nothing_is_done(place):
    if not shutil.which("setpriv"):
        missing("setpriv, which starts a program as somebody else, is not installed")
    (place / "out").mkdir(mode=0o555)
    rights = [f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps")]
    run = cold(place, PARTICIPANT, "setpriv", "--reuid=65534", "--clear-groups", *rights)
    if "setpriv: " in run.stdout:
        missing(f"nobody else can be made of this user: {run.stdout}")
    assert run.returncode == 2, run.stdout
    assert "error: out: results cannot be written there: [Errno 13] Permission" in run.stdout
    assert list((place / "out").iterdir()) == []


# Something else in its place


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


def loop(path):
    path.symlink_to(path)


FOR_ALL = {
    "the folder is a file": ("out", touch),
    "it is a loop of links": ("out", loop),
    "the description is a folder": ("out/dataset_description.json/x", touch),
}


@pytest.mark.parametrize("kind", FOR_ALL)
def test_what_is_in_the_way_of_all_ends_the_run_before_any_work(kind, place):
    name, make = FOR_ALL[kind]
    make(place / name)
    run = Run(place, *PARTICIPANT)
    assert run.wait() == 2, run.said
    assert re.search(r"error: out\S*: .*(cannot be written|is not readable)", run.said)
    assert " done" not in run.said
    group = Run(place, *GROUP)
    assert group.wait() in (2, 3), group.said
    assert "Traceback" not in run.said + group.said


FOR_ONE = (
    "sub-01",
    "sub-01/anat",
    "sub-01/figures",
    "sub-01/anat/sub-01_desc-brain_mask.nii.gz/x",
    "sub-01/anat/sub-01_desc-brain_mask.json/x",
    "sub-01/figures/sub-01_desc-thumbnail_T1w.webp/x",
)


@pytest.mark.parametrize("name", FOR_ONE)
def test_what_is_in_the_way_of_one_scan_fails_it_alone(name, place, usual):
    touch(place / "out" / name)
    touch(place / "out/logs")  # and no record can be kept
    run = Run(place, *PARTICIPANT)
    assert run.wait() == 1, run.said
    row = re.search(r"^sub-01\S+ +failed +(.*)$", run.said, re.M)[1]
    assert re.match(r"out/sub-01/\S+: cannot be written: ", row)
    assert re.search(r"^sub-02\S+ +done ", run.said, re.M)
    assert "the crash record: {" in run.said
    assert not begun(place / "out")
    for path in ("logs", name.removesuffix("/x")):
        remove(place / "out" / path)
    again = Run(place, *PARTICIPANT)
    assert again.wait() == 0, again.said
    assert Run(place, *GROUP).wait() == 0
    compare(place / "out", results(usual))


def remove(path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    "name", ["group_desc-brain_qc.tsv", "group_desc-brain.html", "group_desc-brain_qc.json"]
)
def test_what_is_in_the_way_of_the_group_level_ends_it(name, place, usual):
    out = shutil.copytree(usual, place / "out")
    (out / name).unlink()
    touch(out / name / "x")
    run = Run(place, *GROUP)
    assert run.wait() == 1, run.said
    assert f"error: out/{name}: cannot be written: " in run.said
    assert "Traceback" not in run.said
    assert not begun(out)
