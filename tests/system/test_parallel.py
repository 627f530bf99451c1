# SPDX-License-Identifier: Apache-2.0
"""Twenty processes that write to one folder at once."""

import re
from dataclasses import dataclass

import pytest
from conftest import Dataset
from light import Run, Watcher, begun, contents, scale

LABELS = ("01", "02", "03", "04")
PARTICIPANT, GROUP = ("../bids", "out", "participant"), ("../bids", "out", "group")


@dataclass
class Crowd:
    """What twenty processes left, and what was seen while they ran."""

    participants: list[Run]
    groups: list[Run]
    """Runs of the group level that began while the others ran."""

    watcher: Watcher
    files: dict[str, bytes]
    left: list[str]
    settled: dict[str, bytes]
    """Files after one more run of each level."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a dataset of four heads, two of which have a contrast agent."""
    folder = tmp_path_factory.mktemp("parallel")
    data = Dataset(folder / "bids")
    for number, label in enumerate(LABELS):
        name = f"sub-{label}_ce-gd" if number % 2 else f"sub-{label}_ses-1"
        data.add(f"{name}_T1w.nii.gz", scale.head(number))
    (data.root / "participants.tsv").write_text("participant_id\n" + "sub-01\n")
    return folder


def done(place, *commands) -> None:
    for words in commands:
        run = Run(place, *words)
        assert run.wait() == 0, run.said


@pytest.fixture(scope="module")
def alone(data):
    """What one process after the other leaves."""
    (data / "alone").mkdir()
    done(data / "alone", PARTICIPANT, GROUP, PARTICIPANT)
    return contents(data / "alone/out")


@pytest.fixture(scope="module")
def crowd(data):
    """Fourteen of participants, two of all and three of each, and six of the group level."""
    place = data / "crowd"
    place.mkdir()
    with Watcher(place / "out") as watcher:
        runs = [
            Run(place, *PARTICIPANT, *words, said=place / f"{number}.txt")
            for number, words in enumerate(
                [()] * 2 + [("--participant-label", label) for label in LABELS * 3]
            )
        ]
        groups, at_work = [], []
        while any(run.process.is_alive() for run in runs):
            at_work = [run for run in at_work if run.process.is_alive()]
            while len(at_work) < 6:
                at_work.append(Run(place, *GROUP, said=place / f"group-{len(groups)}.txt"))
                groups.append(at_work[-1])
            at_work[0].process.join(1)
        for run in (*runs, *groups):
            run.wait()
    files, left = contents(place / "out"), begun(place / "out")
    done(place, PARTICIPANT, GROUP, PARTICIPANT)
    return Crowd(runs, groups, watcher, files, left, contents(place / "out"))


@pytest.mark.slow
def test_each_of_them_ends_well(crowd):
    assert len(crowd.participants) == 14
    for run in crowd.participants:
        assert run.wait() == 0, run.said
        assert "Traceback" not in run.said
    for run in crowd.groups:
        early = run.wait() in (2, 3) and "un the participant level first" in run.said
        assert run.wait() == 0 or early, run.said
        assert "Traceback" not in run.said
    assert sum(run.wait() == 0 for run in crowd.groups) >= 6


@pytest.mark.slow
def test_nothing_is_torn_or_left_over(crowd):
    assert not crowd.watcher.torn
    assert not crowd.left
    assert crowd.watcher.looks > len(crowd.files)  # some were seen in several versions
    for run in (*crowd.participants, *crowd.groups):
        assert "written in its place" not in run.said


@pytest.mark.slow
def test_what_is_there_stays(crowd):
    """Only a scan that another process does again is without its sidecars for a moment."""
    assert all(re.search(r"sub-\d+/.*\.json$", name) for name in crowd.watcher.gone)


def any_command(files: dict[str, bytes]) -> dict[str, bytes]:
    """Contents of files, whichever of the commands it was that wrote them."""
    label = re.compile(rb" --participant-label \d\d")
    return {name: label.sub(b"", content) for name, content in files.items()}


@pytest.mark.slow
def test_nothing_is_lost(crowd, alone):
    """Pages, and sums of all, are of what was there when they were made."""
    found, usual = any_command(crowd.files), any_command(alone)
    assert found.keys() == usual.keys()
    for name, content in usual.items():
        if not name.endswith(".html") and not name.startswith("group_"):
            assert found[name] == content, name


@pytest.mark.slow
def test_once_all_have_ended_all_is_as_one_process_leaves_it(crowd, alone):
    found, usual = any_command(crowd.settled), any_command(alone)
    assert found.keys() == usual.keys()
    assert [name for name, content in usual.items() if found[name] != content] == []
