# SPDX-License-Identifier: Apache-2.0
"""How fast it is: whole processes, in pairs with other tools.

python benchmarks/speed.py HEAD.nii.gz WORK [--peers VENV/bin/python] [--seed-model unet.h5]
    [--repeat 5] [--parts cold warm peers ...] [--markdown docs/speed.md]

Every figure is a median after a warm-up, and what is compared is run by turns, so that a machine
that is slow for a while is slow for both. WORK is a folder for what is written; results of its own
are kept there, so that --parts can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import document
import nibabel as nb
import numpy as np
from scale import make_study

from bids_brainmask import engine, registry

THREADS = 2
"""Processors that each tool is given."""

PARTS = ("cold", "warm", "peers", "seed", "stages", "scaling", "memory", "startup")

PEERS = (("deepbet", False), ("deepbet", True), ("BET", False))
"""Of benchmarks/peers the fast ones, and whether all is loaded before: slow ones gain nothing."""


@dataclass(frozen=True)
class Usage:
    """What a process took, its children included."""

    wall: float  # s
    cpu: float  # s
    memory: float  # GB, the most that one process held


def run(command: Sequence, **environment: str) -> Usage:
    """Run a command to its end.

    Raises
    ------
    SystemExit
        Its status is not 0; what it said is told.
    """
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        words, env = [str(word) for word in command], os.environ | environment
        process = subprocess.Popen(words, stdout=said, stderr=said, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = status
        if status:
            said.seek(0)
            raise SystemExit(f"{words} ended with status {status}:\n{said.read()[-2000:]}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9)


def by_turns(
    tasks: dict[str, Callable[[], Usage]], repeat: int, *, warm: bool = True
) -> dict[str, Usage]:
    """Do each task once to warm up, then all by turns; give the medians."""
    found: dict[str, list[Usage]] = {name: [] for name in tasks}
    for turn in range(0 if warm else 1, repeat + 1):
        for name, task in tasks.items():
            usage = task()
            print(f"{name}, {turn}: {usage}", file=sys.stderr, flush=True)
            if turn:
                found[name].append(usage)
    return {name: median(usages) for name, usages in found.items()}


def median(usages: Sequence[Usage]) -> Usage:
    """Of each quantity the median."""
    return Usage(*(statistics.median(getattr(u, key) for u in usages) for key in vars(usages[0])))


def study(root: Path, head: Path, count: int) -> Path:
    """Make a dataset of participants who all have the same head."""
    if not root.is_dir():
        for number in range(1, count + 1):
            anat = root / f"sub-{number:03}" / "anat"
            anat.mkdir(parents=True)
            shutil.copy(head, anat / f"sub-{number:03}_T1w.nii.gz")
        description = {"Name": "One head", "BIDSVersion": "1.10.0"}
        (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def app(data: Path, out: Path, *words: str, threads: int = THREADS, model="embedded") -> Usage:
    """Run the app over a dataset, into a folder that is not there yet."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "bids_brainmask", data, out, "participant"]
    return run([*command, "--model", model, "--n-cpus", str(threads), *words])


def extract(head: Path, mask: Path) -> Usage:
    """One file with `brainmask extract`, from the command to the written mask."""
    brainmask = "import sys; from bids_brainmask.tools import main; sys.exit(main())"
    command = [sys.executable, "-c", brainmask, "extract", head, "-m", mask]
    return run([*command, "--model", "embedded", "--n-cpus", str(THREADS)])


def measure_cold(head: Path, work: Path, repeat: int) -> list[list[str]]:
    """Processes that are started for one head."""
    one = study(work / "one", head, 1)
    tasks = {
        "`brainmask extract HEAD -m MASK`": lambda: extract(head, work / "mask.nii.gz"),
        "`bids-brainmask`, mask alone": lambda: app(
            one, work / "out", "--no-reports", "--outputs", "mask"
        ),
        "`bids-brainmask`, mask and brain": lambda: app(one, work / "out", "--no-reports"),
        "`bids-brainmask`, with the report": lambda: app(one, work / "out"),
    }
    return [usage_row(name, usage) for name, usage in by_turns(tasks, repeat).items()]


def measure_warm(head: Path, work: Path, repeat: int, more: int = 5) -> list[list[str]]:
    """What each further head takes in a process: of six heads less of one, over five."""
    one, many = study(work / "one", head, 1), study(work / "many", head, 1 + more)
    rows = []
    for name, words in {
        "mask alone": ("--no-reports", "--outputs", "mask"),
        "mask and brain": ("--no-reports",),
        "with the report": (),
    }.items():
        words = (*words, "--executor", "serial")
        tasks = {
            "one": lambda words=words: app(one, work / "out", *words),
            "many": lambda words=words: app(many, work / "out", *words),
        }
        found = by_turns(tasks, repeat)
        further = Usage(
            (found["many"].wall - found["one"].wall) / more,
            (found["many"].cpu - found["one"].cpu) / more,
            found["many"].memory,
        )
        rows.append(usage_row(name, further))
    return rows


def loaded(head: Path, mask: Path) -> Usage:
    """One head with libraries and weights loaded, the second time: as peers/run.py --again."""
    return timed([sys.executable, __file__, "child", "loaded", head, mask])


def peer(python: Path, tool: str, head: Path, mask: Path, *, again: bool) -> Usage:
    """Another tool: a whole process, or, `again`, one head with all loaded."""
    command = [python, Path(__file__).parent / "peers" / "run.py", tool, head, mask]
    whole = run([*command, "--threads", str(THREADS), *(["--again"] if again else [])])
    if not again:
        return whole
    record = json.loads(mask.with_name(mask.name.removesuffix(".nii.gz") + ".json").read_text())
    return Usage(record["seconds"], record["processor_seconds"], whole.memory)


def timed(command: Sequence) -> Usage:
    """Run a child of this script that prints its own clock."""
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return Usage(*json.loads(done.stdout.splitlines()[-1]))


def measure_peers(head: Path, work: Path, repeat: int, python: Path) -> list[list[str]]:
    """Other tools, each by turns with ours: whole processes, and heads with all loaded."""
    rows = []
    for tool, again in PEERS:
        mask, our_mask = work / f"{tool}.nii.gz", work / "ours.nii.gz"
        tasks = {
            "ours": partial(loaded if again else extract, head, our_mask),
            tool: partial(peer, python, tool, head, mask, again=again),
        }
        found = by_turns(tasks, repeat)
        ours, theirs = found["ours"], found[tool]
        seconds = (theirs.wall, theirs.cpu, ours.wall, ours.cpu, theirs.wall / ours.wall)
        memory = (theirs.memory, ours.memory)
        name = f"{tool}, {'all loaded' if again else 'whole process'}"
        rows.append([name, *(f"{n:.1f}" for n in seconds), *(f"{n:.2f}" for n in memory)])
    return rows


def measure_seed(repeat: int, model: Path) -> list[list[str]]:
    """Eight blocks of 128^3 through the published architecture, in both engines by turns."""
    tasks = {
        engine: lambda engine=engine: timed([sys.executable, __file__, "child", engine, model])
        for engine in ("openvino", "tensorflow")
    }
    found = by_turns(tasks, repeat, warm=False)  # each process warms up by itself
    share = found["openvino"].wall / found["tensorflow"].wall
    return [[name, f"{u.wall:.1f}", f"{u.cpu:.1f}"] for name, u in found.items()] + [
        ["OpenVINO over TensorFlow", f"{share:.2f}", ""]
    ]


def measure_scaling(head: Path, work: Path, repeat: int, count: int = 8) -> list[list[str]]:
    """Scans a minute, with two processors divided in two ways, and with one."""
    data = study(work / "scaling", head, count)
    serial, local = ("--executor", "serial"), ("--executor", "local")
    tasks = {
        "1 process of 1 thread": lambda: app(data, work / "out", *serial, threads=1),
        "1 process of 2 threads": lambda: app(data, work / "out", *serial),
        "2 processes of 1 thread": lambda: app(data, work / "out", *local),
    }
    found = by_turns(tasks, repeat)
    return [
        [name, f"{u.wall:.1f}", f"{60 * count / u.wall:.1f}", f"{u.cpu / count:.1f}"]
        for name, u in found.items()
    ]


def measure_startup(work: Path, repeat: int) -> list[list[str]]:
    """Commands that do no work, by benchmarks/startup.py, which must be small itself."""
    script = Path(__file__).with_name("startup.py")
    command = [sys.executable, script, work / "startup", "--runs", str(repeat)]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def measure_memory(work: Path, scans: int = 200) -> list[list[str]]:
    """Memory of one process that does 200 small scans, as it goes."""
    data = work / "small"
    if not data.is_dir():
        make_study(data, scans)
    out = work / "small-out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, __file__, "child", "memory", data, out]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    held = json.loads(done.stdout.splitlines()[-1])
    return [[str(at), f"{held[at - 1] / 1e6:.0f}"] for at in (1, 10, 50, 100, 150, len(held))]


def child(kind: str, *words: str) -> None:
    """Be one of the processes that are timed from within; print seconds, CPU seconds, and GB."""
    children = {"loaded": child_loaded, "memory": child_memory, "stages": child_stages}
    if kind in children:
        print(json.dumps(children[kind](*map(Path, words))))
    else:
        print(json.dumps(child_seed(kind, Path(words[0]))))


def clock(task: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds, CPU seconds, and GB of a task."""
    from bids_brainmask import resources

    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return (
        round(time.perf_counter() - wall, 4),
        round(time.process_time() - cpu, 4),
        resources.peak_memory_gb(),
    )


def child_loaded(head: Path, mask: Path) -> tuple[float, float, float]:
    """From the image's file to the written mask."""
    from bids_brainmask import app, contents, engine, image, registry

    model = registry.resolve("embedded")
    network = engine.load(model, "openvino", THREADS)

    def task() -> None:
        source = image.read(head)
        brain = app.extract(source, model, network, model.threshold)
        mask.write_bytes(contents.render("mask", source, brain, None))

    task()
    return clock(task)


def child_seed(name: str, path: Path) -> tuple[float, float, float]:
    """Eight blocks of noise, none of which is blank; one block before, to warm up."""
    from bids_brainmask import engine, predict, registry

    model = registry.resolve(str(path))
    network = engine.load(model, name, THREADS)
    data = np.random.default_rng(0).normal(size=(256, 256, 256)).astype(np.float32)
    predict.run(data[:128, :128, :128], network.run, 128)
    return clock(lambda: predict.run(data, network.run, 128))


def child_memory(data: Path, out: Path) -> list[int]:
    """Bytes that the process holds after each scan.

    The embedded network runs on each; the mask is a comparison's, for the heads are two balls.
    """
    import psutil

    from bids_brainmask import app, engine, options, planning

    load = engine.load

    def both(*args) -> engine.Network:
        network = load(*args)

        def run(block: np.ndarray) -> np.ndarray:
            network.run(block)
            return (block > 0.5).astype(np.float32)

        return engine.Network(run, network.engine, network.divisor)

    engine.load = both
    words = [str(data), str(out), "participant", "--model", "embedded", "--no-reports"]
    settings = options.settings_of(options.parser().parse_args([*words, "--n-cpus", "2"]))
    own = psutil.Process()
    outcomes = app.process(planning.prepare(settings))
    return [own.memory_info().rss for outcome in outcomes if outcome.status == "done"]


def usage_row(name: str, usage: Usage) -> list[str]:
    """Lay a process out as a row."""
    return [name, f"{usage.wall:.2f}", f"{usage.cpu:.2f}", f"{usage.memory:.2f}"]


STEPS = {
    "interpreter and imports": "nothing heavy for the options; neither TensorFlow, Keras nor "
    "Matplotlib for a mask; the OpenVINO graph is built without them",
    "read": "one pass of a fast gzip; only the header, then all voxels, as float32",
    "conform": "to a box about the head, not to 256^3; along straight axes plane by plane, in the "
    "processor's cache",
    "scale": "percentiles of every eighth voxel; float32 throughout",
    "network": "1 mm in and out, most work at 2 mm; OpenVINO, compiled for the processor at hand",
    "restore": "as conform, straight onto the scan's voxels",
    "clean": "in the mask's box",
    "confidence and quality": "in the mask's box; the borders of the volume without copies",
    "write the mask": "one pass of a fast gzip, of bytes, not of floats",
    "write the brain": "the file's own numbers, which are not scaled again",
    "figures": "Matplotlib's image writer, no windows; off with --no-reports",
}
"""The steps of a scan, and what was done about the time of each."""


def child_stages(head: Path) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of each step, the second time that it is done."""
    from bids_brainmask import (
        clean,
        confidence,
        engine,
        figures,
        grid,
        image,
        predict,
        quality,
        registry,
    )

    model = registry.resolve("embedded")
    network = engine.load(model, "openvino", THREADS)
    found: dict[str, tuple[float, float]] = {}

    def step(name: str, task: Callable):
        task()
        wall, cpu = time.perf_counter(), time.process_time()
        result = task()
        found[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        return result

    def conform():
        target, air = grid.head(volume, network.divisor), grid.air(volume)
        data = grid.resample(volume, target, outside=air)
        return target, np.maximum(data, np.float32(air))

    def judge():
        trust = confidence.of(cleaned.mask, probability, volume.spacing, cleaned.removed)
        clean.stripped_before(volume.data, cleaned.mask)
        counts = {"pieces_removed": 0, "removed": 0, "holes_filled": 0, "filled": 0}
        quality.measure(volume, cleaned.mask, probability, predicted_dice=1.0, **counts)
        return trust

    def draw() -> None:
        figures.mosaic(volume, cleaned.mask, title="")
        figures.uncertainty(volume, cleaned.mask, probability, title="")
        figures.thumbnail(volume, cleaned.mask)

    def write(make: Callable, mask: np.ndarray) -> bytes:
        return image.to_bytes(make(source, mask), compress=True)

    source = step("read", lambda: image.read(head))
    volume = source.volume
    target, conformed = step("conform", conform)
    scaled = step("scale", lambda: predict.scale_robustly(conformed))
    answer = step("network", lambda: predict.run(scaled, network.run, 0))
    probability = step("restore", lambda: grid.restore(answer, target, volume))
    cleaned = step("clean", lambda: clean.brain(probability >= model.threshold))
    step("confidence and quality", judge)
    step("write the mask", lambda: write(image.mask_like, cleaned.mask))
    step("write the brain", lambda: write(image.brain_like, cleaned.mask))
    step("figures", draw)
    return found


def measure_stages(head: Path, repeat: int) -> list[list[str]]:
    """Where the time of one head goes, in a process that has done one."""
    nothing = "import bids_brainmask.app, openvino"
    imports = [run([sys.executable, "-c", nothing]) for _ in range(repeat + 1)][1:]
    runs = []
    for _ in range(repeat):
        command = [sys.executable, __file__, "child", "stages", str(head)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for name, what in STEPS.items():
        if name in runs[0]:
            wall, cpu = (statistics.median(found[name][i] for found in runs) for i in (0, 1))
        else:
            wall, cpu = median(imports).wall, median(imports).cpu
        rows.append([name, f"{wall:.2f}", f"{cpu:.2f}", what])
    return rows


USAGE = ["", "s", "CPU s", "peak memory, GB"]

WHAT = """\
# Speed

How long it takes, on two processors without a GPU, and where the time goes. Whole processes are
measured, from the command to their end, but where it says otherwise; s are of the wall clock,
CPU s of all processors together. Figures are medians after a warm-up, so files are in the
machine's memory. What is compared is run by turns.
"""

NOTES = {
    "cold": "`--no-reports` leaves out what the report takes.",
    "warm": "Of a run of six heads less a run of one, a fifth. The memory is the run's peak.",
    "peers": "Each tool with its own defaults, on the same two processors, by turns with ours, "
    "which is `brainmask extract`. Whole process: from the command to the written mask, with all "
    "imports. All loaded: from the image's file to the mask, the second time in a process; "
    "ours is written as well. BET is brainextractor, FSL's algorithm in Python: FSL itself was "
    "not measured, nor was ROBEX, which takes minutes, nor tools without weights on package "
    "indexes (SynthStrip, HD-BET, MindGrab).",
    "seed": "Weights that nobody trained, of the shape of the published ones; noise, so that no "
    "block is blank. Blocks that hold one value throughout are asked about once: the network's "
    "answer to one is its answer to all, so that nothing changes, whatever the threshold. Around "
    "a head in the middle of 256^3, as conforming puts it, each of the eight blocks holds some of "
    "the head, so that it is small fields of view and `--overlap` which gain.",
    "stages": "Of one head without a report but for the last line, in a process that did it once "
    "before. A cold process takes the first line on top.",
    "scaling": "`--executor auto` takes several processes where there are at least four scans for "
    "each: while one of them reads and writes, the other has the network.",
    "startup": "Datasets of empty images with a sidecar each, `--dry-run`, by "
    "`benchmarks/startup.py`.",
    "memory": "Small images, the embedded network, all outputs. "
    "`tests/test_memory.py` fails where it grows.",
}
"""What is said below the title of each part."""

TITLES = {
    "cold": ("From the command to the written files", USAGE),
    "warm": ("Each further head in one process", USAGE),
    "peers": (
        "Beside other tools",
        ["", "its s", "its CPU s", "ours, s", "ours, CPU s", "times ours", "its GB", "ours, GB"],
    ),
    "seed": ("The published architecture, eight blocks of 128^3", ["", "s", "CPU s"]),
    "stages": ("Where the time goes", ["step", "s", "CPU s", "what was done to it"]),
    "scaling": ("Two processors, divided", ["eight heads", "s", "scans a minute", "CPU s a scan"]),
    "startup": (
        "Help, and finding images",
        ["command", "s", "CPU s", "peak memory, MB"],
    ),
    "memory": ("Memory over 200 scans in one process", ["after scan", "MB"]),
}
"""Title and columns of each part."""


def write_up(head: Path, found: dict) -> str:
    """Lay all parts that were measured out as Markdown."""
    picture = nb.load(head)
    size = " x ".join(map(str, picture.shape))
    spacing = " x ".join(f"{n:.2g}" for n in picture.header.get_zooms()[:3])
    command = "python benchmarks/speed.py HEAD WORK --peers PYTHON --seed-model FILE"
    network = engine.load(model := registry.resolve("embedded"), "openvino", THREADS)
    parts = [WHAT, document.origin(command, [(model, network)])]
    parts.append(f"- Python {platform.python_version()}, {os.cpu_count()} processors")
    parts.append(f"- the head: {size} voxels of {spacing} mm, {head.name}\n")
    for part, (title, columns) in TITLES.items():
        if part in found:
            table = document.table(columns, found[part]["rows"])
            times = found[part]["repeat"]
            median = "" if part == "memory" else f" Medians of {times}."
            parts.append(f"## {title}\n\n{NOTES[part]}{median}\n\n{table}")
    return "\n".join(parts)


def main() -> None:
    """Measure, keep, and write."""
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("head", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--peers", type=Path, help="Python with benchmarks/peers/requirements.txt")
    parser.add_argument("--seed-model", type=Path, help="a file of the published architecture")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    record = args.work / "speed.json"
    found = json.loads(record.read_text()) if record.is_file() else {}
    measures = {
        "cold": lambda: measure_cold(args.head, args.work, args.repeat),
        "warm": lambda: measure_warm(args.head, args.work, args.repeat),
        "peers": lambda: measure_peers(args.head, args.work, args.repeat, args.peers),
        "seed": lambda: measure_seed(args.repeat, args.seed_model),
        "stages": lambda: measure_stages(args.head, args.repeat),
        "scaling": lambda: measure_scaling(args.head, args.work, args.repeat),
        "memory": lambda: measure_memory(args.work),
        "startup": lambda: measure_startup(args.work, args.repeat),
    }
    needs = {"peers": args.peers, "seed": args.seed_model}
    for part in args.parts:
        if part in needs and not needs[part]:
            print(f"{part}: not measured, for want of its option", file=sys.stderr)
            continue
        found[part] = {"repeat": args.repeat, "rows": measures[part]()}
        record.write_text(json.dumps(found, indent=1))
    text = write_up(args.head, found)
    print(text)
    if args.markdown:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
