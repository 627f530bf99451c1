# SPDX-License-Identifier: Apache-2.0
"""What docs/speed.md says beside its figures, and its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

THREADS = 2
"""Processors that each tool is given."""

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
    "models": "With the report, by `bids-brainmask`.",
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
    "precision": "The embedded network in the precision of every processor and, by `--precision "
    "bfloat16`, in the one of those with AMX, over the development heads.",
    "stages": "Of one head without a report but for the last line, in a process that did it once "
    "before. A cold process takes the first line on top.",
    "scaling": "`--executor auto` takes several processes where there are at least four scans for "
    "each: while one of them reads and writes, the other has the network.",
    "startup": "Datasets of empty images with a sidecar each, `--dry-run`.",
    "memory": "Small images, the embedded network, all outputs. "
    "`tests/test_memory.py` fails where it grows.",
}
"""What is said below the title of each part."""

TITLES = {
    "cold": ("From the command to the written files", USAGE),
    "models": ("Models and backends", USAGE),
    "warm": ("Each further head in one process", USAGE),
    "peers": (
        "Beside other tools",
        ["", "its s", "its CPU s", "ours, s", "ours, CPU s", "times ours", "its GB", "ours, GB"],
    ),
    "seed": (
        "The published architecture, eight blocks of 128^3",
        ["", "s", "CPU s", "over TensorFlow's s"],
    ),
    "precision": ("What bfloat16 changes", ["masks", "heads", "median", "least", "most"]),
    "stages": ("Where the time goes", ["step", "s", "CPU s", "what was done to it"]),
    "scaling": ("Two processors, divided", ["eight heads", "s", "scans a minute", "CPU s a scan"]),
    "startup": (
        "Help, and finding images",
        ["command", "s", "CPU s", "peak memory, MB"],
    ),
    "memory": ("Memory over 200 scans in one process", ["after scan", "MB"]),
}
"""Title and columns of each part."""

ONCE = ("memory", "precision")
"""Parts that are measured once."""

STEPS = {
    "interpreter and imports": "nothing heavy for the options; neither TensorFlow, Keras nor "
    "Matplotlib for a mask, nor what SciPy has beside ndimage; "
    "the OpenVINO graph is built without them",
    "read": "one pass of a fast gzip; scaled and turned to the network's order in memory, plane "
    "by plane",
    "conform": "to a box about the head, which sums of whole lines find, not to 256^3; along "
    "straight axes plane by plane, in the processor's cache",
    "scale": "percentiles of every eighth voxel; float32 throughout",
    "network": "1 mm in and out, most work at 2 mm; OpenVINO, compiled for the processor at hand",
    "network in bfloat16": "in place of the line before, where it is asked for",
    "restore": "as conform, straight onto the scan's voxels",
    "clean": "in the mask's box",
    "confidence and quality": "in the mask's box; rims and boundaries by shifted masks, not by "
    "filters",
    "write the mask": "one pass of a fast gzip, of bytes, not of floats",
    "write the brain": "the file's own numbers, which are not scaled again",
    "figures": "Matplotlib's image writer, no windows; off with --no-reports",
}
"""The steps of a scan, and what was done about the time of each."""

COMPARED = {
    "between": "Dice of the one with the other",
    "share": "voxels in one of them alone, over the mask in float32",
    "float32": "Dice of float32 with deepbet's mask",
    "bfloat16": "Dice of bfloat16 with deepbet's mask",
}


def write_up(head: Path, found: Mapping) -> str:
    """Lay all parts that were measured out as Markdown.

    Parameters
    ----------
    head : Path
        That was measured on.
    found : dict
        By part: ``repeat``, how often it was measured, and ``rows``, its cells.
    """
    import os
    import platform

    import document
    import nibabel as nb

    from bids_brainmask.models import backends, registry

    picture = nb.load(head)
    size = " x ".join(map(str, picture.shape))
    spacing = " x ".join(f"{n:.2g}" for n in picture.header.get_zooms()[:3])
    command = (
        "python benchmarks/speed.py PART WORK ...    (each part by itself; --help lists them)\n"
        "    python benchmarks/speed.py document WORK HEAD"
    )
    network = backends.load(model := registry.resolve("embedded"), "openvino", THREADS)
    parts = [WHAT, document.origin(command, [(model, network)])]
    parts.append(f"- Python {platform.python_version()}, {os.cpu_count()} processors")
    parts.append(f"- the head: {size} voxels of {spacing} mm, {head.name}\n")
    for part, (title, columns) in TITLES.items():
        if part in found:
            table = document.table(columns, found[part]["rows"])
            times = found[part]["repeat"]
            median = "" if part in ONCE else f" Medians of {times}."
            parts.append(f"## {title}\n\n{NOTES[part]}{median}\n\n{table}")
    return "\n".join(parts)
