#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run bids-brainmask in a container: find what runs containers, map the folders, start it.

This file needs nothing but Python 3.8 or newer. It can be copied alone to a machine::

    python3 container.py BIDS_DIR OUTPUT_DIR participant

Folders have the same path in the container as outside, so that messages and the links between
datasets hold for both.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys

ENGINES = ("docker", "podman", "apptainer", "singularity")
"""Programs that run containers, in the order in which they are looked for."""

IMAGES = {"docker": "bids-brainmask", "podman": "bids-brainmask"}
"""Default image; ``bids-brainmask.sif`` for the others."""

READ, WRITTEN = False, True

PATHS = {
    "--bids-filter-file": READ,
    "--choices": READ,
    "--cluster-config": READ,
    "--from-ratings": READ,
    "--model": READ,
    "--ratings": READ,
    "--bids-database-dir": WRITTEN,
    "--work-dir": WRITTEN,
    "-w": WRITTEN,
}
"""Options of bids-brainmask with paths, and whether the program writes there."""

OF_THE_IMAGE = re.compile(
    r"/|/(bin|boot|dev|etc|lib|lib64|opt|opt/bids_brainmask|proc|root|run|sbin|sys|tmp|usr|var)"
)
"""Folders that cannot be mapped to their own path: they would hide the program, or the system."""


class Refused(Exception):  # noqa: N818 - its text is the message
    """The command cannot be carried out as given."""


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    found = argparse.ArgumentParser(
        prog="bids-brainmask-container",
        usage="%(prog)s [options of the container] BIDS_DIR OUTPUT_DIR {participant,group} "
        "[options of bids-brainmask]",
        description="Run bids-brainmask in a container: the dataset is mapped read-only, the "
        "output folder writable; as your own user, without a network.",
        epilog="What follows BIDS_DIR is a command line of bids-brainmask.",
        allow_abbrev=False,
    )
    found.add_argument(
        "--engine", choices=ENGINES, help="what runs the container; the first that is installed"
    )
    found.add_argument(
        "--image",
        default=os.environ.get("BIDS_BRAINMASK_CONTAINER"),
        help="image to run, or a .sif file; by default the variable BIDS_BRAINMASK_CONTAINER, "
        "else bids-brainmask or bids-brainmask.sif",
    )
    found.add_argument("--gpu", action="store_true", help="use NVIDIA GPUs, with a GPU image")
    found.add_argument("--network", action="store_true", help="allow network connections")
    found.add_argument(
        "--dry-run",
        action="store_true",
        help="print the command, and stop. Behind BIDS_DIR, this is an option of bids-brainmask",
    )
    found.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return found


def inside(path: str) -> str:
    r"""Path in the container of an absolute path; on Windows, ``C:\data`` is ``/c/data``."""
    drive = re.match(r"([A-Za-z]):[\\/]", path)
    return f"/{drive[1].lower()}/{path[3:]}".replace("\\", "/") if drive else path


class Mapping:
    """The paths that a command line names, as the container will see them."""

    def __init__(self) -> None:
        self.folders: dict[str, bool] = {}

    def add(self, path: str, written: bool) -> str:  # noqa: FBT001
        """Map a path, and give its name in the container."""
        path = os.path.abspath(path)  # noqa: PTH100 - a link keeps the name that was given
        if OF_THE_IMAGE.fullmatch(inside(path)):
            raise Refused(f"{path}: a folder of the system; choose a folder in it.")
        if re.search(r'[,:"\n]', inside(path)):
            raise Refused(f"{path}: commas, colons and quotes in a path cannot be mapped.")
        self.folders[path] = self.folders.get(path, READ) or written
        return inside(path)


def translate(words: list[str], mapping: Mapping) -> list[str]:
    """Replace the paths in the command line of bids-brainmask."""
    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        raise Refused("expected BIDS_DIR OUTPUT_DIR {participant,group} [options].")
    bids_dir, output_dir, *rest = words
    if not os.path.isdir(bids_dir):  # noqa: PTH112
        raise Refused(f"{bids_dir}: no such folder; expected a BIDS dataset.")
    found = [mapping.add(bids_dir, READ), mapping.add(output_dir, WRITTEN)]
    option = ""
    for word in rest:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            option = name if name == "-w" else name.replace("_", "-")
            start, value = (f"{name}=", value) if equals else (word, "")
        else:
            start, value = "", word
        if value and option in PATHS:
            value = _value(option, value, mapping)
        found.append(start + value)
    return found


def _value(option: str, value: str, mapping: Mapping) -> str:
    """Map the path in a value, which is ``[ANALYSIS=]PATH``, or a name, for ``--model``."""
    start = ""
    if option == "--model":
        analysis, equals, path = value.rpartition("=")
        start, value = analysis + equals, path
    there = os.path.exists(value)  # noqa: PTH110
    if there or PATHS[option] is WRITTEN:
        value = mapping.add(value, PATHS[option])
    elif option != "--model":
        raise Refused(f"{option}: {value}: no such file.")
    return start + value


def start(engine: str, mapping: Mapping, *, gpu: bool, network: bool) -> list[str]:
    """Make the command that starts a container, up to the image's name.

    Parameters
    ----------
    engine : str
        One of `ENGINES`.
    mapping : Mapping
    gpu, network : bool
        Whether the container may use them.
    """
    folders = sorted(mapping.folders.items())  # a folder before those in it
    user = f"{os.getuid()}:{os.getgid()}" if hasattr(os, "getuid") else ""
    if engine in IMAGES:
        found = [engine, "run", "--rm", "--read-only", "--cap-drop=ALL"]
        found += ["--security-opt=no-new-privileges"]
        if user and engine == "podman" and not user.startswith("0:"):
            found.append("--userns=keep-id")
        found += [f"--user={user}"] if user else []
        found += [] if network else ["--network=none"]
        found += [{"docker": "--gpus=all", "podman": "--device=nvidia.com/gpu=all"}[engine]] * gpu
        for path, written in folders:
            where = f"type=bind,source={path},target={inside(path)}"
            found.append(f"--mount={where}{'' if written else ',readonly'}")
    else:
        found = [engine, "run", "--cleanenv", "--containall"]
        found += [] if network else ["--net", "--network=none"]
        found += ["--nv"] if gpu else []
        for path, written in folders:
            found.append(f"--bind={path}:{inside(path)}:{'rw' if written else 'ro'}")
    return found


def find_engine() -> str:
    """Find the first program that is installed."""
    for engine in ENGINES:
        if shutil.which(engine):
            return engine
    raise Refused(
        f"none of {', '.join(ENGINES)} is installed. Install one, or name its folder in PATH."
    )


def main(argv: list[str] | None = None) -> int:
    """Run the container, and return its exit status; 2 if it cannot be run."""
    args = parser().parse_args(argv)
    try:
        engine = args.engine or find_engine()
        image = args.image or IMAGES.get(engine, "bids-brainmask.sif")
        mapping = Mapping()
        words = translate(args.words, mapping)
        found = [*start(engine, mapping, gpu=args.gpu, network=args.network), image, *words]
        if args.dry_run:
            print(shlex.join(found))
            return 0
        if not shutil.which(engine):
            raise Refused(f"{engine} is not installed.")
        for path, written in mapping.folders.items():
            if written:
                os.makedirs(path, exist_ok=True)  # noqa: PTH103 - as the user, not as the engine
    except (Refused, OSError) as error:
        print(f"bids-brainmask-container: error: {error}", file=sys.stderr)
        return 2
    return subprocess.run(found, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
