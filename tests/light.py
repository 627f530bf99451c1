# SPDX-License-Identifier: Apache-2.0
"""Runs of the app that take a fraction of a second, and what looks at their files.

They are forked from one process that has imported everything. Their heads are tiny, and their
network is one comparison, and their clock stands still; all else is as ever: the command line,
pybids, files, signals.
"""

import gzip
import importlib
import io
import json
import multiprocessing
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench import BENCHMARKS, load
from bids_validator import BIDSValidator
from PIL import Image

from bids_brainmask.dataset.storage import BEGUN

_, scale = map(load, ("document", "scale"))
CONTEXT = multiprocessing.get_context("forkserver")

for name in (
    *(f"bids_brainmask.{name}" for name in ("cli.bids_app", "execution.driver", "reports.group")),
    *(f"bids_brainmask.{name}" for name in ("analyses.brain", "analyses.meningioma")),
    *(f"bids_brainmask.{name}" for name in ("cli.messages", "drawing.figures", "drawing.tiles")),
    *("bids.layout", "jinja2", "matplotlib.backends.backend_agg", "tqdm.contrib.logging"),
    *("scipy.ndimage", "scipy.optimize", "scipy.spatial"),
):
    importlib.import_module(name)  # what a run needs, also where that is imported later
Image.init()
BIDSValidator().is_bids("/README")  # its rules are compiled once


def serve() -> None:
    """Start the process that the runs are forked from, unless it is there."""
    places = [Path(__file__).parent, BENCHMARKS, os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, places)))
        patch.setenv("OMP_NUM_THREADS", "1")  # a process of several threads cannot be forked
        CONTEXT.set_forkserver_preload(["pytest", __name__])
        forkserver.ensure_running()


class Run:
    """The app at work in a process of its own.

    Parameters
    ----------
    place : Path
        Folder in which it runs, so that its records do not tell one place from another.
    *words : str
        Its arguments, of which the second is the folder of results.
    ends : (int, int), optional
        Change of the disk, by number, just before which it is sent a signal, and the signal.
    said : Path, optional
        Where what it says is added; else in a file of its own in `place`.
    """

    def __init__(self, place: Path, *words, ends=(0, 0), said: Path | None = None):
        serve()
        self.file = said or place / f"said-{time.monotonic_ns()}.txt"
        arguments = (place, list(map(str, words)), ends, self.file)
        self.process = CONTEXT.Process(target=_work, args=arguments, daemon=True)
        self.process.start()

    @property
    def said(self) -> str:
        """Everything that it has printed so far."""
        return self.file.read_text() if self.file.exists() else ""

    def wait(self, seconds: float = 300) -> int:
        """Exit status, when it has ended; where a signal ended it, its negative number."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.said
        return self.process.exitcode

    def end(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


def _work(place: Path, words: list[str], ends, said: Path) -> None:
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(place)
    sys.argv = ["bids-brainmask", *words]
    warnings.simplefilter("error")
    scale.dask_setup(None)
    changes = Changes(words[1], *ends)
    sys.addaudithook(changes)
    from bids_brainmask import app
    from bids_brainmask.cli import bids_app

    # Each scan takes no time: the page of all draws a column of times only where they differ.
    app.time = SimpleNamespace(perf_counter=lambda: 0.0)
    status = bids_app.main(words)
    sys.stdout.write(f"changes of the disk: {changes.count}\n")
    sys.exit(status)


class Changes:
    """Hears of all that Python does to a folder before it is done, and counts it.

    That a file is written to under its own name is told of.
    """

    def __init__(self, folder: str, at: int, number: int):
        self.folder, self.at, self.signal, self.count = f"{folder}{os.sep}", at, number, 0

    def __call__(self, event: str, args: tuple) -> None:
        if event == "open":
            path, _, flags = args
            if not self.inside(path) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
            if not BEGUN.fullmatch(Path(path).name):
                os.write(2, f"written in its place: {path}\n".encode())
        elif event not in ("os.rename", "os.remove", "os.mkdir") or not self.inside(args[0]):
            return
        elif os.path.lexists(args[0]) == (event == "os.mkdir"):
            return  # to make a folder that is there, or to remove a file that is not
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), self.signal)

    def inside(self, path) -> bool:
        """Tell whether a path lies in the folder."""
        return not isinstance(path, int) and os.fspath(path).startswith(self.folder)


def _table(content: bytes) -> None:
    rows = content.decode().splitlines()
    assert len({row.count("\t") for row in rows}) == 1, "rows of one length"
    assert content.endswith(b"\n")


def _nifti(content: bytes) -> None:
    plain = gzip.decompress(content)  # with its checksum
    size = 352 + 16**3 * {2: 1, 4: 2, 16: 4, 512: 2}[int.from_bytes(plain[70:72], "little")]
    assert len(plain) == size, "all voxels"


def _page(content: bytes) -> None:
    assert content.decode().rstrip().endswith("</html>")


WHOLE: dict[str, Callable[[bytes], object]] = {
    ".json": json.loads,
    ".gz": _nifti,
    ".html": _page,
    ".tsv": _table,
    ".png": lambda content: Image.open(io.BytesIO(content)).load(),
    ".webp": lambda content: Image.open(io.BytesIO(content)).load(),
    ".md": lambda content: content.decode()[-4:].index("-->\n"),
}
"""Of each kind of file, what raises where the content is not whole."""


def files(folder: Path) -> dict[str, Path]:
    """Files in a folder by their paths in it, of which some may go at any time."""
    return {name: Path(entry.path) for name, entry in entries(str(folder))}


def entries(folder: str, inside: str = "") -> Iterator[tuple[str, os.DirEntry]]:
    """Files in a folder by their paths in it; `Watcher` asks for them all the time."""
    with suppress(FileNotFoundError), os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from entries(entry.path, f"{inside}{entry.name}{os.sep}")
            else:
                yield inside + entry.name, entry


def begun(folder: Path) -> list[str]:
    """Files that were begun and not finished."""
    return [name for name, path in files(folder).items() if BEGUN.fullmatch(path.name)]


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


class Watcher(threading.Thread):
    """Looks at all files of a folder, over and over, while something is done with it."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.folder, self.done, self.looks = folder, threading.Event(), 0
        self.torn: list[str] = []
        """Files that were not whole."""
        self.gone: set[str] = set()
        """Files that were there, and were not any more at a later look."""
        self.seen: dict[str, tuple] = {}

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.join()
        self.look()

    def run(self) -> None:
        while not self.done.wait(0.005):
            self.look()

    def look(self) -> None:
        """Look at the files that have changed."""
        now = {name: one for name, one in entries(str(self.folder)) if one.name[0] != "."}
        self.gone |= self.seen.keys() - now.keys()
        for name, entry in now.items():
            try:
                if self.seen.get(name) == _state(entry.stat()):
                    continue
                path = Path(entry.path)
                with path.open("rb") as file:
                    state = _state(os.fstat(file.fileno()))
                    content = file.read()
                self.seen[name], self.looks = state, self.looks + 1
                WHOLE[path.suffix](content)
            except FileNotFoundError:
                self.gone.add(name)
            except Exception as error:  # noqa: BLE001 - whatever is not whole
                self.torn.append(f"{name}: {error!r}")


TIMES = re.compile(
    rb'(?<="Seconds": )[\d.]+'  # of a sidecar
    rb'|(?<="Modified": )\d+'  # of each file, in logs/
    rb"|(?<=Seconds</th>\n    <td>)[\d.]+"  # of a participant's page
    rb'|[\d.]+(?=[\t,]"?(plain|contrast-enhanced) images)'  # of the table and page of all images
    rb"|(?<=\t)[\d.]+(?=\n)"  # last in the rows of the table of tumours
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d UTC"  # when the page of all images was made
)
"""What may differ between two runs of one command: how long it took, and when it was."""

RUN = re.compile(rb'(?<="Modified": )\d+|(?<="Source": )".*"|(?<="Command": )\[[^]]*\]')
"""The same of the record in logs/, which also names the folder and the command as typed."""


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file of a dataset, with a mark for each of `TIMES` and `RUN`."""
    return {
        name: (RUN if name.endswith("_run.json") else TIMES).sub(b"MARK", path.read_bytes())
        for name, path in files(folder).items()
    }
