# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/speed.py measures of whole processes, by turns with what they are compared with.

Every figure is a median after a warm-up, and what is compared is run by turns, so that a machine
that is slow for a while is slow for both.
"""

from __future__ import annotations

import json
import os
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

from speed_text import COMPARED, IMPORTS, STEPS, THREADS

PROGRAM = Path(__file__).with_name("speed.py")

PEERS = (
    ("deepbet", False),
    ("deepbet", True),
    ("HD-BET", False),
    ("HD-BET", True),
    ("BET", False),
    ("ROBEX", False),
)
"""Tools of benchmarks/peers, and whether all is loaded before: BET and ROBEX gain nothing."""

LONG = ("HD-BET", "BET", "ROBEX")
"""Tools that take much longer than ours: a few times are enough."""


def precisions() -> tuple[str, ...]:
    """Number formats that the embedded network has on this processor, that of ``auto`` first."""
    from bids_brainmask import machine

    bfloat16 = ("bfloat16",) * bool(machine.instructions() & {"avx512_bf16", "amx_bf16"})
    return (*("int8",) * machine.multiplies_int8(), "float32", *bfloat16)


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
        process.returncode = status = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise SystemExit(f"{words} ended with status {status}:\n{said.read()[-2000:]}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9)


def by_turns(
    tasks: dict[str, Callable[[], Usage]], repeat: int, *, warm: bool = True
) -> dict[str, Usage]:
    """Do each task once to warm up, then all by turns; give the medians.

    Every other turn is in reverse order: a process may be slower after another one's, which has
    left the machine's memory in another state.
    """
    found: dict[str, list[Usage]] = {name: [] for name in tasks}
    for turn in range(0 if warm else 1, repeat + 1):
        order = list(tasks.items())[:: -1 if turn % 2 else 1]
        for name, task in order:
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


def app(
    data: Path, out: Path, *words: str, threads: int = THREADS, model: str = "embedded"
) -> Usage:
    """Run the app over a dataset, into a folder that is not there yet."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "bids_brainmask", data, out, "participant"]
    return run([*command, "--model", model, "--n-cpus", str(threads), *words])


def extract(head: Path, mask: Path, precision: str = "auto") -> Usage:
    """One file with `brainmask extract`, from the command to the written mask."""
    brainmask = "import sys; from bids_brainmask.cli.brainmask import main; sys.exit(main())"
    command = [sys.executable, "-c", brainmask, "extract", head, "-m", mask]
    return run(
        [*command, "--model", "embedded", "--n-cpus", str(THREADS), "--precision", precision]
    )


def measure_cold(head: Path, work: Path, repeat: int) -> list[list[str]]:
    """Processes that are started for one head."""
    one = study(work / "one", head, 1)
    tasks = {
        "`brainmask extract HEAD -m MASK`": lambda: extract(head, work / "mask.nii.gz"),
        **{
            f"the same, `--precision {one}`": partial(extract, head, work / "mask.nii.gz", one)
            for one in precisions()[1:]
        },
        "`bids-brainmask`, mask alone": lambda: app(
            one, work / "out", "--no-reports", "--outputs", "mask"
        ),
        "`bids-brainmask`, mask and brain": lambda: app(one, work / "out", "--no-reports"),
        "`bids-brainmask`, with the report": lambda: app(one, work / "out"),
    }
    return [usage_row(name, usage) for name, usage in by_turns(tasks, repeat).items()]


def measure_models(
    head: Path, work: Path, repeat: int, models: Sequence[str], engines: Sequence[str]
) -> list[list[str]]:
    """One head with each model and backend, from the command to the exit, with the report."""
    one = study(work / "one", head, 1)
    tasks = {
        f"{Path(model).name}, {engine}": partial(
            app, one, work / "out", "--engine", engine, model=model
        )
        for model in models
        for engine in engines
    }
    return [usage_row(name, usage) for name, usage in by_turns(tasks, repeat).items()]


def measure_warm(head: Path, work: Path, repeat: int, more: int = 5) -> list[list[str]]:
    """What each further head takes in a process: of six heads less of one, over five."""
    one, many = study(work / "one", head, 1), study(work / "many", head, 1 + more)
    rows = []
    alone = ("--no-reports", "--outputs", "mask")
    kinds: dict[str, tuple[str, ...]] = {"mask alone": alone}
    for name in precisions()[1:]:
        kinds[f"mask alone, `--precision {name}`"] = (*alone, "--precision", name)
    kinds |= {"mask and brain": ("--no-reports",), "with the report": ()}
    for name, words in kinds.items():
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


def inside(kind: str, *words: object):
    """Measure within a process of its own, by speed_inside.py; what it gives."""
    command = [sys.executable, PROGRAM, "inside", kind, *words]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def loaded(head: Path, mask: Path, precision: str) -> Usage:
    """One head with libraries and weights loaded, the second time: as peers/run.py --again."""
    return Usage(*inside("loaded", head, mask, precision))


def peer(python: Path, tool: str, head: Path, mask: Path, *, again: bool) -> Usage:
    """Another tool: a whole process, or, `again`, one head with all loaded."""
    command = [python, Path(__file__).parent / "peers" / "run.py", tool, head, mask]
    whole = run([*command, "--threads", str(THREADS), *(["--again"] if again else [])])
    if not again:
        return whole
    record = json.loads(mask.with_name(mask.name.removesuffix(".nii.gz") + ".json").read_text())
    return Usage(record["seconds"], record["processor_seconds"], whole.memory)


def measure_peers(head: Path, work: Path, repeat: int, python: Path) -> list[list[str]]:
    """Other tools, each by turns with ours: whole processes, and heads with all loaded.

    A tool of `LONG` runs once to warm up and once more.
    """
    rows = []
    for tool, again in PEERS:
        mask, our_mask = work / f"{tool}.nii.gz", work / "ours.nii.gz"
        own = loaded if again else extract
        tasks = {p: partial(own, head, our_mask, p) for p in precisions()}
        tasks[tool] = partial(peer, python, tool, head, mask, again=again)
        found = by_turns(tasks, 1 if tool in LONG else repeat)
        theirs = found.pop(tool)
        for precision, ours in found.items():
            seconds = (theirs.wall, theirs.cpu, ours.wall, ours.cpu)
            memory = (theirs.memory, ours.memory)
            name = f"{tool}, {'all loaded' if again else 'whole process'}; ours in {precision}"
            numbers = [*(f"{n:.2f}" for n in seconds), f"{theirs.wall / ours.wall:.1f}"]
            rows.append([name, *numbers, *(f"{n:.2f}" for n in memory)])
    return rows


def measure_seed(repeat: int, model: Path) -> list[list[str]]:
    """Eight blocks of 128^3 through the published architecture, in both engines by turns."""
    reference = "TensorFlow, float32"
    tasks = {
        name: lambda words=words: Usage(*inside("seed", model, *words))
        for name, words in {
            "OpenVINO, float32": ("openvino", "float32"),
            "OpenVINO, bfloat16": ("openvino", "bfloat16"),
            reference: ("tensorflow", "float32"),
        }.items()
    }
    found = by_turns(tasks, repeat, warm=False)  # each process warms up by itself
    longest = found[reference].wall
    return [
        [name, f"{u.wall:.1f}", f"{u.cpu:.1f}", f"{u.wall / longest:.2f}"]
        for name, u in found.items()
    ]


def measure_precision(root: Path) -> list[list[str]]:
    """What bfloat16 changes, over the development heads."""
    rows = []
    for name, values in inside("precision", root.resolve()).items():
        places = 6 if name == "share" else 4
        spread = (statistics.median(values), min(values), max(values))
        rows.append([COMPARED[name], str(len(values)), *(f"{n:.{places}f}" for n in spread)])
    return rows


def measure_scaling(head: Path, work: Path, repeat: int, count: int = 8) -> list[list[str]]:
    """Scans a minute, with two processors divided in two ways, and with one."""
    name = head.name.split(".")[0]
    data = study(work / f"scaling-{name}", head, count)
    serial, local = ("--executor", "serial"), ("--executor", "local")
    alone = ("--no-reports", "--outputs", "mask")
    tasks = {
        "1 process of 1 thread": lambda: app(data, work / "out", *serial, threads=1),
        "1 process of 2 threads": lambda: app(data, work / "out", *serial),
        "2 processes of 1 thread": lambda: app(data, work / "out", *local),
        "2 processes of 1 thread, mask alone": lambda: app(data, work / "out", *local, *alone),
    }
    if precisions()[0] != "float32":
        tasks["2 processes of 1 thread, mask alone, `--precision float32`"] = lambda: app(
            data, work / "out", *local, *alone, "--precision", "float32"
        )
    found = by_turns(tasks, repeat)
    return [
        [how, name, f"{u.wall:.1f}", f"{60 * count / u.wall:.1f}", f"{u.cpu / count:.1f}"]
        for how, u in found.items()
    ]


def measure_memory(work: Path, scans: int = 200) -> list[list[str]]:
    """Memory of one process that does 200 small scans, as it goes."""
    data = work / "small"
    if not data.is_dir():
        from scale import make_study

        make_study(data, scans)
    out = work / "small-out"
    shutil.rmtree(out, ignore_errors=True)
    held = inside("memory", data, out)
    return [[str(at), f"{held[at - 1] / 1e6:.0f}"] for at in (1, 10, 50, 100, 150, len(held))]


def usage_row(name: str, usage: Usage) -> list[str]:
    """Lay a process out as a row."""
    return [name, f"{usage.wall:.2f}", f"{usage.cpu:.2f}", f"{usage.memory:.2f}"]


def measure_stages(head: Path, repeat: int) -> list[list[str]]:
    """Where the time of one head goes, in a process that has done one."""
    nothing = (
        "from bids_brainmask import machine; machine.tune_python(); "
        "import bids_brainmask.app, openvino"
    )
    imports = [run([sys.executable, "-c", nothing]) for _ in range(repeat + 1)][1:]
    runs = [inside("stages", head) for _ in range(repeat)]
    rows = []
    for name, what in STEPS.items():
        if name == IMPORTS:
            wall, cpu = median(imports).wall, median(imports).cpu
        elif name in runs[0]:
            wall, cpu = (statistics.median(found[name][i] for found in runs) for i in (0, 1))
        else:  # a number format that this processor lacks
            continue
        rows.append([name, f"{wall:.2f}", f"{cpu:.2f}", what])
    return rows
