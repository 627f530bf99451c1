# SPDX-License-Identifier: Apache-2.0
"""How fast it is: whole processes, steps within one, and other tools beside.

python benchmarks/speed.py cold WORK HEAD            one head, from the command to its exit
python benchmarks/speed.py models WORK HEAD [--model NAME ...] [--engine NAME ...]
python benchmarks/speed.py warm WORK HEAD            each further head in one process
python benchmarks/speed.py peers WORK HEAD VENV/bin/python
python benchmarks/speed.py seed WORK unet.h5         the published architecture, in both backends
python benchmarks/speed.py precision WORK HEADS      what bfloat16 changes, over a dataset
python benchmarks/speed.py stages WORK HEAD          where the time of one head goes
python benchmarks/speed.py scaling WORK HEAD         processes and threads
python benchmarks/speed.py memory WORK               over 200 scans in one process
python benchmarks/speed.py startup WORK [--participants 10000]
python benchmarks/speed.py document WORK HEAD [--markdown docs/speed.md]
python benchmarks/speed.py all WORK HEAD --python VENV/bin/python [--small HEAD]
    [--network unet.h5] [--heads HEADS] [--markdown docs/speed.md]

WORK is a folder for what is written. Each part prints its table and keeps it there, and `document`
lays out all that are kept. `all` measures every part whose arguments are given, and writes the
document; HEAD of `--small` is that of `scaling`. This file imports little, for `startup`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ARGUMENTS = {
    "head": "a T1-weighted image",
    "python": "Python that has benchmarks/peers/requirements.txt",
    "network": "a file of the published architecture",
    "heads": "a dataset of heads, with masks by deepbet",
}
"""What parts are told beside the folder."""

PARTS = {
    "cold": ("head",),
    "models": ("head",),
    "warm": ("head",),
    "peers": ("head", "python"),
    "seed": ("network",),
    "precision": ("heads",),
    "stages": ("head",),
    "scaling": ("head",),
    "memory": (),
    "startup": (),
}
"""What is measured, and the arguments of each."""


def parser() -> argparse.ArgumentParser:
    """Make the parser: a subcommand for each part, `document`, and `inside`."""
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = top.add_subparsers(dest="part", required=True, metavar="PART")
    for part, names in PARTS.items():
        command = commands.add_parser(part)
        command.add_argument("work", type=Path, help="folder for what is written")
        for name in names:
            command.add_argument(name, type=Path, help=ARGUMENTS[name])
        command.add_argument("--repeat", type=int, default=5, help="times, after one more")
        if part == "models":
            command.add_argument("--model", nargs="+", default=["embedded"])
            command.add_argument("--engine", nargs="+", default=["openvino"])
        if part == "startup":
            command.add_argument("--participants", type=int, default=10_000)
    command = commands.add_parser("document", help="write all parts that were measured")
    command.add_argument("work", type=Path)
    command.add_argument("head", type=Path, help="that was measured on")
    command.add_argument("--markdown", type=Path, help="file to write")
    command = commands.add_parser("all", help="measure every part, and write all")
    command.add_argument("work", type=Path)
    for name, what in ARGUMENTS.items():
        given = [name] if name == "head" else [f"--{name}"]
        command.add_argument(*given, type=Path, help=what)
    command.add_argument("--small", type=Path, help="head for `scaling`, such as one of 2 mm")
    command.add_argument("--repeat", type=int, default=5, help="times, after one more")
    command.add_argument("--markdown", type=Path, help="file to write")
    command = commands.add_parser("inside", help="measure within this process; for the others")
    command.add_argument("kind")
    command.add_argument("words", nargs="*")
    return top


def measure(args: argparse.Namespace) -> list[list[str]]:
    """Measure one part; the rows of its table."""
    if args.part == "startup":
        import speed_startup

        return speed_startup.measure_startup(args.work, args.repeat, args.participants)
    import speed_processes as processes

    match args.part:
        case "cold":
            return processes.measure_cold(args.head, args.work, args.repeat)
        case "models":
            return processes.measure_models(
                args.head, args.work, args.repeat, args.model, args.engine
            )
        case "warm":
            return processes.measure_warm(args.head, args.work, args.repeat)
        case "peers":
            return processes.measure_peers(args.head, args.work, args.repeat, args.python)
        case "seed":
            return processes.measure_seed(args.repeat, args.network)
        case "precision":
            return processes.measure_precision(args.heads)
        case "stages":
            return processes.measure_stages(args.head, args.repeat)
        case "scaling":
            return processes.measure_scaling(args.head, args.work, args.repeat)
        case _:
            return processes.measure_memory(args.work)


def every_part(args: argparse.Namespace) -> list[list[str]]:
    """Write the arguments of each part that `all` measures, and of the document."""
    commands = []
    for part, names in PARTS.items():
        given = {name: getattr(args, name) for name in names}
        if part == "scaling":
            given["head"] = args.small or args.head
        if part != "models" and all(given.values()):
            words = [part, args.work, *given.values(), "--repeat", args.repeat]
            commands.append([str(word) for word in words])
    last = ["document", str(args.work), str(args.head)]
    return [*commands, last + (["--markdown", str(args.markdown)] if args.markdown else [])]


def main(words: Sequence[str] | None = None) -> None:
    """Measure a part, keep it and print it; or write what was kept."""
    args = parser().parse_args(words)
    if args.part == "inside":
        import speed_inside

        speed_inside.main(args.kind, args.words)
        return
    if args.part == "all":
        for command in every_part(args):  # in processes of their own, for `startup`
            subprocess.run([sys.executable, __file__, *command], check=True)
        return
    import speed_text

    args.work.mkdir(parents=True, exist_ok=True)
    record = args.work / "speed.json"
    found = json.loads(record.read_text()) if record.is_file() else {}
    if args.part == "document":
        text = speed_text.write_up(args.head, found)
        print(text)
        if args.markdown:
            args.markdown.write_text(text)
        return
    found[args.part] = {"repeat": args.repeat, "rows": measure(args)}
    record.write_text(json.dumps(found, indent=1))
    columns = speed_text.TITLES[args.part][1]
    for row in (columns, ["---"] * len(columns), *found[args.part]["rows"]):
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    sys.exit(main())
