# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole, what a killed process leaves, and folders that cannot be written to."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brainmask.dataset import storage
from bids_brainmask.errors import OutputError, UsageError

NAME = ".bids_brainmask-" + "0123456789abcdef" * 2


def test_what_a_killed_process_began_is_removed_and_nothing_else(tmp_path):
    kept = [".bidsignore", "sub-01.html", f"{NAME}0", NAME[:-1], f".sub-01.html.{NAME[16:]}"]
    for name in (*kept, NAME):
        (tmp_path / name).touch()
    (tmp_path / NAME.replace("0", "a")).mkdir()  # is no file of ours
    storage.clear(tmp_path, tmp_path / "absent", tmp_path / "sub-01.html")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, NAME.replace("0", "a")}


def test_what_a_process_is_writing_stays_as_long_as_it_lives(tmp_path):
    path = tmp_path / NAME
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'xb'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, path], **pipes) as writer:
        writer.stdout.read(1)
        storage.clear(tmp_path)
        assert path.exists()
        writer.kill()
    storage.clear(tmp_path)
    assert not path.exists()


def test_without_locks_files_are_written_and_none_is_removed(tmp_path, monkeypatch):
    """As on a file system without locks, which is not at hand: the call fails."""

    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(storage.fcntl, "flock", flock)
    (tmp_path / NAME).write_bytes(b"begun")
    storage.write_bytes(tmp_path / "mask", b"content")
    storage.clear(tmp_path)
    assert (tmp_path / "mask").read_bytes() == b"content"
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize("times", [1, storage.TRIES - 1, storage.TRIES])
def test_a_file_that_another_process_took_for_a_dead_ones_is_written_anew(
    times, tmp_path, monkeypatch
):
    """As may be where another machine does not see the locks of this one."""
    replace, taken = os.replace, []

    def take_away(source, target):
        if len(taken) < times:
            taken.append(source)
            source.unlink()
        replace(source, target)

    monkeypatch.setattr(os, "replace", take_away)
    path = tmp_path / "sub-01/sub-01.json"
    if times < storage.TRIES:
        storage.write_json(path, {})
        assert path.read_text() == "{}\n"
    else:
        with pytest.raises(OutputError, match=r"sub-01\.json: cannot be written: .*No such file"):
            storage.write_json(path, {})
    assert len(set(taken)) == times
    assert [one for one in path.parent.iterdir() if one != path] == []


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    storage.write_json(path, {})
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_is_for_whom_the_user_says(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_file_that_stands_as_it_should_is_left_alone_and_another_is_not(tmp_path):
    path = tmp_path / "a"
    storage.write_changed(path, b"1")
    before = path.stat()
    storage.write_changed(path, b"1")
    assert path.stat() == before
    storage.write_changed(path, b"2")
    assert path.read_bytes() == b"2"


def test_a_folder_is_made_and_left_empty(tmp_path):
    storage.prepare(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []


def loop(path):
    path.symlink_to(path)


NO_FOLDERS = {
    "a file": lambda path: path.touch(),
    "a loop of links": loop,
    "a link to nowhere": lambda path: path.symlink_to(path.with_name("nowhere")),
}


@pytest.mark.parametrize("kind", NO_FOLDERS)
@pytest.mark.parametrize("below", ["", "below"])
def test_what_is_no_folder_cannot_be_written_to(kind, below, tmp_path):
    NO_FOLDERS[kind](tmp_path / "out")
    with pytest.raises(UsageError, match=r"out\S*: results cannot be written there: .*Choose a"):
        storage.prepare(tmp_path / "out" / below)


def test_without_locks_files_appear_all_the_same(tmp_path, monkeypatch):
    """As on Windows, where an open file cannot be renamed."""
    monkeypatch.setattr(storage, "fcntl", None)
    renamed = []

    def replace(source, target, real=os.replace):
        opened = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
        renamed.append(os.path.realpath(source) in opened)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    storage.write_bytes(tmp_path / "file.txt", b"all of it")
    assert (tmp_path / "file.txt").read_bytes() == b"all of it"
    assert renamed == [False]
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
