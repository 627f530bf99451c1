# SPDX-License-Identifier: Apache-2.0
"""A run that is killed at any moment: nothing half done is seen, and the same command goes on."""

import random
import shutil
import signal
import time
from dataclasses import dataclass

import pytest
from conftest import Dataset
from light import Run, Watcher, begun, contents, scale

KILLS = 50
SEED = 20261125

PARTICIPANT, GROUP = ("../bids", "out", "participant"), ("../bids", "out", "group")
WITHOUT_REPORTS = (*PARTICIPANT, "--no-reports")
KINDS = (GROUP, PARTICIPANT, WITHOUT_REPORTS, PARTICIPANT, WITHOUT_REPORTS)


@dataclass
class Undisturbed:
    """What a command leaves where nothing disturbs it."""

    changes: int  # of the disk
    seconds: float
    files: dict[str, bytes]


@dataclass
class Kill:
    """One command that was ended, and the same command again."""

    moment: str
    signal: int
    status: int
    seconds: float  # from the signal to the end
    left: list[str]  # hidden files, after the end
    said: str
    status_again: int
    left_again: list[str]
    differ: set[str]  # files that are not as an undisturbed command leaves them


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with a dataset of a plain and a contrast-enhanced head, and what is made of it.

    In `participant` is what the participant level leaves, in `group` what both do.
    """
    folder = tmp_path_factory.mktemp("kills")
    data = Dataset(folder / "bids")
    data.add("sub-01_T1w.nii.gz", scale.head(1))
    data.add("sub-02_ce-gd_T1w.nii.gz", scale.head(2))
    (data.root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    for place in ("participant", "without", "group"):
        (folder / place).mkdir()
    found = {PARTICIPANT: undisturbed(folder / "participant", PARTICIPANT)}
    found[WITHOUT_REPORTS] = undisturbed(folder / "without", WITHOUT_REPORTS)
    shutil.copytree(folder / "participant/out", folder / "group/out")
    found[GROUP] = undisturbed(folder / "group", GROUP)
    return folder, found


def undisturbed(place, words) -> Undisturbed:
    start = time.monotonic()
    run = Run(place, *words)
    assert run.wait() == 0, run.said
    seconds = time.monotonic() - start
    changes = int(run.said.split()[-1])
    return Undisturbed(changes, seconds, contents(place / "out"))


def kill(study, place, words, number: int, chance: random.Random) -> Kill:
    """End a command at a random change of the disk, or at a random time; give it again."""
    out, usual = place / "out", study[1][words]
    at, wait = 0, chance.uniform(0, usual.seconds)
    moment = f"{wait:.2f} s"
    if chance.random() < 0.8:
        at, wait = chance.randint(1, usual.changes), 60
        moment = f"change {at} of {usual.changes}"
    run = Run(place, *words, ends=(at, number))
    run.process.join(wait)
    told = time.monotonic()
    run.end(number)
    status = run.wait()
    seconds, left = time.monotonic() - told, begun(out)
    again = Run(place, *words)
    status_again = again.wait()
    now = contents(out)
    return Kill(
        f"{' '.join(words)}, {moment}",
        number,
        status,
        seconds,
        left,
        run.said + again.said,
        status_again,
        begun(out),
        {name for name in now | usual.files if now.get(name) != usual.files.get(name)},
    )


@pytest.fixture(scope="module")
def kills(study):
    """All the kills, and what was not whole while they went on."""
    chance, found, torn = random.Random(SEED), [], []
    for number in range(KILLS):
        place = study[0] / f"{number}"
        words = KINDS[number % len(KINDS)]
        place.mkdir()
        if words == GROUP:
            shutil.copytree(study[0] / "participant/out", place / "out")
        with Watcher(place / "out") as watcher:
            one = kill(study, place, words, (signal.SIGKILL, signal.SIGTERM)[number % 2], chance)
        found.append(one)
        torn += watcher.torn
        assert watcher.looks, one
        shutil.rmtree(place)
    return found, torn


@pytest.mark.slow
def test_the_kills_come_in_the_middle(kills):
    """Else the other tests say little."""
    found, _ = kills
    ended = [one for one in found if one.status]
    assert len(ended) > 0.7 * KILLS
    assert sum(bool(one.left) for one in found if one.signal == signal.SIGKILL) >= 5


@pytest.mark.slow
def test_no_half_file_is_seen_at_any_moment(kills):
    found, torn = kills
    assert not torn
    for one in found:
        assert "written in its place" not in one.said, one


@pytest.mark.slow
def test_the_same_command_again_leaves_what_an_undisturbed_one_does(kills):
    for one in kills[0]:
        assert one.status_again == 0, one
        assert not one.differ, one
        assert not one.left_again, one
        assert "Traceback" not in one.said, one


@pytest.mark.slow
def test_a_run_that_is_told_to_end_does_so_and_leaves_no_temporary_file(kills):
    terms = [one for one in kills[0] if one.signal == signal.SIGTERM]
    for one in terms:
        # 0: it had ended; the negative signal: it had not begun yet
        assert one.status in (128 + signal.SIGTERM, 0, -signal.SIGTERM), one
        assert one.seconds < 20, one
        assert not one.left, one
    assert sum(one.status == 128 + signal.SIGTERM for one in terms) > len(terms) / 2
