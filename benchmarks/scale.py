# SPDX-License-Identifier: Apache-2.0
"""What many scans take: a simulated study of tiny images, and real heads.

python benchmarks/scale.py simulate WORK [--scans 20000] [--reports 200] [--processes 2]
    [--picture docs/scale.png]
python benchmarks/scale.py group OUTPUT_DIR WORK [--scans 5000 20000 100000]
python benchmarks/scale.py heads DATA WORK --names NAME NAME [NAME ...]

A simulated study goes all the way that a real one goes: the command line, pybids, dask's scheduler
and workers, derivatives, sidecars, logs, the same command again, the group level. Only its images
are tiny, and its network is one comparison, which the workers load as they are started. The
commands are watched from outside. `group` makes pages of more images from the sidecars of fewer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import document
import nibabel as nb
import numpy as np
import psutil

from bids_brainmask.models import backends
from bids_brainmask.reports import group

QUALITY = group.TABLE.format("brain")

BRAIN = "_desc-brain_mask.json"

ENDED = re.compile(r"\[\d+/\d+\] \S+: done: ")
"""What the app says of a scan as it ends."""

EVERY = 0.5
"""Seconds between two looks at the processes."""

WINDOW = 10.0
"""Seconds over which a rate is taken."""

HEADS = 50
"""Different images of a simulated study, of which each participant has a copy of one."""

PRELOAD = {
    "DASK_DISTRIBUTED__WORKER__PRELOAD": Path(__file__).stem,
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
}
"""Environment in which dask's workers import this module and call its `dask_setup`."""

VARIANTS = {
    "as it is by default": (),
    "without reports": ("--no-reports",),
    "mask only, without reports": ("--no-reports", "--outputs", "mask"),
}
"""Options with which real heads are measured."""


def dask_setup(_worker) -> None:
    """Give a worker a network that is one comparison: dask calls this as a worker starts."""

    def run(block: np.ndarray) -> np.ndarray:
        return (block > 0.5).astype(np.float32)

    backends.load = lambda *_: backends.Network(run, "comparison 1", divisor=1)


def head(number: int) -> bytes:
    """Make a tiny head, gzipped NIfTI: a bright ball in a dim one in air, 16^3 voxels of 3 mm."""
    noise = np.random.default_rng(number)
    radius = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0) * 3
    data = np.where(radius < noise.uniform(14, 17), 100, np.where(radius < 20, 40, 0))
    data = data + noise.integers(0, 4, data.shape)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -22.5
    image = nb.Nifti1Image(data.astype(np.int16), affine)
    image.set_sform(affine, 1)
    return gzip.compress(image.to_bytes(), mtime=0)


def make_study(root: Path, scans: int) -> list[str]:
    """Write a dataset of participants with a T1w image and its sidecar each, and list them."""
    content = [head(number) for number in range(HEADS)]
    labels = [f"{number:06}" for number in range(1, scans + 1)]
    for number, label in enumerate(labels):
        folder = root / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{label}_T1w.nii.gz").write_bytes(content[number % HEADS])
        (folder / f"sub-{label}_T1w.json").write_text('{"EchoTime": 0.002}\n')
    description = {"Name": "Tiny heads", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return labels


@dataclass
class Usage:
    """What one process, or some, were seen to take."""

    cpu: float = 0.0  # s
    memory: float = 0.0  # GB, the most that one of them held


@dataclass
class Watched:
    """A command of the app's, watched from outside."""

    seconds: float = 0.0
    driver: Usage = field(default_factory=Usage)
    workers: Usage = field(default_factory=Usage)
    ended: list[float] = field(default_factory=list)
    """When each scan ended, s from the start of the command."""

    memory: list[tuple[float, float, float]] = field(default_factory=list)
    """Of every look: s, and GB that the driver, and all workers together, held."""


def watch(words: Sequence, messages: Path, *, simulated: bool = True) -> Watched:
    """Run the app, and look at its processes as it goes.

    Parameters
    ----------
    words : sequence
        Arguments of bids-brainmask.
    messages : Path
        Where all that it says is put.
    simulated : bool
        Workers import this module as they start.

    Raises
    ------
    SystemExit
        It ended with another status than 0.
    """
    found, seen, started = Watched(), {}, time.perf_counter()
    command = [sys.executable, "-m", "bids_brainmask", *map(str, words)]
    env = os.environ | (PRELOAD if simulated else {})
    log = messages.open("w", encoding="utf-8")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True, env=env)
    with log, process:

        def listen() -> None:
            for line in process.stderr:
                if ENDED.search(line):
                    found.ended.append(time.perf_counter() - started)
                log.write(line)

        listener = threading.Thread(target=listen)
        listener.start()
        while process.poll() is None:
            look(process.pid, seen, found, time.perf_counter() - started)
            time.sleep(EVERY)
        found.seconds = time.perf_counter() - started
        listener.join()
    found.driver = seen.pop(process.pid)
    found.workers.cpu = sum(usage.cpu for usage in seen.values())
    found.workers.memory = max((usage.memory for usage in seen.values()), default=0.0)
    if process.returncode:
        raise SystemExit(f"{command} ended with status {process.returncode}: see {messages}")
    return found


def look(driver: int, seen: dict[int, Usage], found: Watched, now: float) -> None:
    """Note what the driver and the processes below it take, of each what it has taken so far."""
    held = Counter()
    with suppress(psutil.Error):
        parent = psutil.Process(driver)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error, OSError, TypeError):
                times, usage = process.cpu_times(), seen.setdefault(process.pid, Usage())
                usage.cpu = times.user + times.system
                status = Path(f"/proc/{process.pid}/status").read_text()
                usage.memory = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e9
                held[process.pid == driver] += process.memory_info().rss / 1e9
    found.memory.append((now, held[True], held[False]))


@dataclass
class Weight:
    """Files of one kind, and what they take on the disk."""

    files: int = 0
    folders: int = 0
    bytes: int = 0
    allocated: int = 0  # bytes, whole blocks


def kind_of(path: Path) -> str:
    """Tell what a file or folder of the derivatives, by its path in there, belongs to."""
    if path.parts[0] == "logs":
        return "logs"
    if "figures" in path.parts or path.suffix in (".html", ".png", ".webp"):
        return "reports"
    if path.suffix == ".gz":
        return path.name.removesuffix(".nii.gz").rpartition("_")[2]  # mask, T1w, probseg
    return "sidecars and folders" if path.parts[0].startswith("sub-") else "of all"


def weigh(root: Path) -> dict[str, Weight]:
    """Count what lies in a folder, by kind."""
    found: dict[str, Weight] = {}
    for path in root.rglob("*"):
        status, weight = path.stat(), found.setdefault(kind_of(path.relative_to(root)), Weight())
        weight.allocated += status.st_blocks * 512
        if path.is_dir():
            weight.folders += 1
        else:
            weight.files += 1
            weight.bytes += status.st_size
    return dict(sorted(found.items()))


def weight_table(weights: dict[str, Weight], scans: int) -> str:
    """One row a kind: what a scan leaves on the disk."""
    total = Weight(*(sum(getattr(w, key) for w in weights.values()) for key in vars(Weight())))
    rows = []
    for name, weight in (weights | {"**all**": total}).items():
        numbers = (weight.files, weight.folders, weight.bytes / 1000, weight.allocated / 1000)
        rows.append([name, *(f"{number / scans:.2f}" for number in numbers)])
    return document.table(["a scan", "files", "folders", "kB", "kB on the disk"], rows)


def usage_row(name: str, scans: int, found: Watched) -> list[str]:
    """One command, as a row of `USAGE`."""
    numbers = (found.seconds, found.driver.cpu, found.workers.cpu)
    return [
        name,
        f"{scans:,}",
        *(f"{number:.1f}" for number in numbers),
        *(f"{number / scans * 1000:.2f}" for number in numbers),
        f"{found.driver.memory:.2f}",
        f"{found.workers.memory:.2f}",
    ]


USAGE = [
    "",
    "scans",
    "s",
    "driver, CPU s",
    "workers, CPU s",
    "ms a scan",
    "driver, CPU ms a scan",
    "workers, CPU ms a scan",
    "driver, GB",
    "a worker, GB",
]


def rates(ended: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scans that ended a second, over windows of `WINDOW` or a twentieth of a short run.

    Returns
    -------
    times, rates : (N,) float arrays
        Middles of the windows, s, and scans a second.
    """
    window = min(WINDOW, (ended[-1] - ended[0]) / 20)
    edges = np.arange(ended[0], ended[-1] + window / 2, window)
    counts, _ = np.histogram(ended, edges)
    return (edges[:-1] + edges[1:]) / 2, counts / window


def draw(found: Watched, path: Path) -> None:
    """Draw scans that are done, their rate, and memory, against time."""
    from matplotlib.figure import Figure  # not in the workers, which import this module

    figure = Figure(figsize=(7, 7), layout="constrained")
    done, rate, memory = figure.subplots(3, sharex=True)
    done.plot(found.ended, np.arange(1, len(found.ended) + 1))
    done.set(ylabel="scans done", ylim=(0, None))
    rate.plot(*rates(found.ended))
    rate.set(ylabel="scans a second", ylim=(0, None))
    times, driver, workers = np.transpose(found.memory)
    memory.plot(times, driver, label="driver, with the scheduler")
    memory.plot(times, workers, label="all workers")
    memory.set(ylabel="memory, GB", xlabel="s since the command was given", ylim=(0, None))
    memory.legend()
    for axes in (done, rate, memory):
        axes.grid(color="0.9")
    figure.savefig(path, dpi=100)


def simulate(work: Path, scans: int, reports: int, processes: int, picture: Path | None) -> str:
    """Do a simulated study from end to end, and give the tables."""
    data, out, shown = (work / name for name in ("bids", "out", "out_reports"))
    labels = make_study(data, scans)
    here = ["--executor", "local", "--n-cpus", processes, "--mem-gb", 10 * processes]
    participant = [data, out, "participant", "--no-reports", *here]
    rows = []

    def step(name: str, number: int, words: Sequence) -> Watched:
        found = watch(words, work / f"{len(rows)}.txt")
        rows.append(usage_row(name, number, found))
        print(*rows[-1], sep="\t", flush=True)
        return found

    step("plan (`--dry-run`)", scans, [*participant, "--dry-run"])
    run = step("participants", scans, participant)
    if len(run.ended) != scans:
        raise SystemExit(f"{len(run.ended)} of {scans} scans are done: see {work}")
    text = f"The first scan ended after {run.ended[0]:.1f} s.\n"
    if picture:
        draw(run, picture)
    step("the same again", scans, participant)
    step("group", scans, [data, out, "group"])
    text += f"The page has {(out / group.PAGE).stat().st_size / 1e6:.2f} MB.\n"
    tables = [weight_table(weigh(out), scans)]
    if reports:
        some = [data, shown, "participant", *here, "--participant-label", *labels[:reports]]
        step("with reports", reports, some)
        tables.append(weight_table(weigh(shown), reports))
    return "\n".join([document.table(USAGE, rows), text, *tables])


def measure_group(out: Path, work: Path, sizes: Sequence[int]) -> str:
    """Measure the group level on some numbers of images, copies of the sidecars of a study."""
    records = [path.read_bytes() for path in sorted(out.glob(f"sub-*/anat/sub-*{BRAIN}"))]
    rows, there = [], 0
    (work / "bids").mkdir(parents=True, exist_ok=True)
    for size in sorted(sizes):
        for number in range(there, size):
            folder = work / "out" / f"sub-{number:06}" / "anat"
            folder.mkdir(parents=True)
            record = records[number % len(records)]
            (folder / f"sub-{number:06}{BRAIN}").write_bytes(record)
        there = size
        found = watch(
            [work / "bids", work / "out", "group"], work / f"{size}.txt", simulated=False
        )
        files = [work / "out" / name for name in (group.PAGE, f"{QUALITY}.tsv")]
        numbers = (found.seconds, found.driver.cpu, found.driver.memory)
        numbers += tuple(path.stat().st_size / 1e6 for path in files)
        rows.append([f"{size:,}", *(f"{number:.2f}" for number in numbers)])
    return document.table(["images", "s", "CPU s", "GB", "page, MB", "table, MB"], rows)


def measure_heads(data: Path, work: Path, names: Sequence[str]) -> str:
    """Measure the app on one real head, and on each further one of the same run, one thread."""
    rows, weights = [], {}
    for variant, options in VARIANTS.items():
        found = []
        for some in (names[:1], names):
            out = work / f"{variant.replace(' ', '-')}-{len(some)}"
            words = [data, out, "participant", "--executor", "serial", "--n-cpus", 1, *options]
            words += ["--participant-label", *some]
            found.append(watch(words, work / f"{out.name}.txt", simulated=False))
        one, more = found
        rows.append(head_row(f"{variant}, one head", [one], 1))
        rows.append(head_row(f"{variant}, each further head", [one, more], len(names) - 1))
        weights[variant] = weight_table(weigh(out), len(names))
    columns = ["", "s", "CPU s", "peak memory, GB"]
    parts = [document.table(columns, rows)]
    return "\n".join([*parts, *(f"{name}:\n\n{table}" for name, table in weights.items())])


def head_row(name: str, found: Sequence[Watched], heads: int) -> list[str]:
    """What the first, or the second less the first, of some commands took for each head."""
    less, most = (Watched(), *found) if len(found) == 1 else found
    seconds, cpu = most.seconds - less.seconds, most.driver.cpu - less.driver.cpu
    numbers = (seconds / heads, cpu / heads, most.driver.memory)
    return [name, *(f"{number:.2f}" for number in numbers)]


def main(words: Iterable[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("simulate", help="a study of tiny heads")
    study.add_argument("--scans", type=int, default=20000)
    study.add_argument("--reports", type=int, default=200, help="scans with reports, or 0")
    study.add_argument("--processes", type=int, default=2)
    study.add_argument("--picture", type=Path)
    sums = commands.add_parser("group", help="the group level alone")
    sums.add_argument("out", type=Path, help="derivatives of a simulated study")
    sums.add_argument("--scans", type=int, nargs="+", default=[5000, 20000, 100000])
    real = commands.add_parser("heads", help="real heads")
    real.add_argument("data", type=Path, help="a BIDS dataset")
    real.add_argument("--names", nargs="+", required=True, help="participants, two or more")
    for command in (study, sums, real):
        command.add_argument("work", type=Path, help="a folder that is not there yet")
    args = parser.parse_args(None if words is None else list(words))
    args.work.mkdir(parents=True)
    if args.command == "heads":
        print(measure_heads(args.data, args.work, args.names))
    elif args.command == "group":
        print(measure_group(args.out, args.work, args.scans))
    else:
        print(simulate(args.work, args.scans, args.reports, args.processes, args.picture))


if __name__ == "__main__":
    main()
