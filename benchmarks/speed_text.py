# SPDX-License-Identifier: Apache-2.0
"""What docs/speed.md says beside its figures."""

from __future__ import annotations

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
    "precision": "The embedded network in the precision of every processor and, by `--precision "
    "bfloat16`, in the one of those with AMX, over the development heads.",
    "stages": "Of one head without a report but for the last line, in a process that did it once "
    "before. A cold process takes the first line on top.",
    "scaling": "`--executor auto` takes several processes where there are at least four scans for "
    "each: while one of them reads and writes, the other has the network.",
    "startup": "Datasets of empty images with a sidecar each, `--dry-run`, by "
    "`benchmarks/startup.py`.",
    "memory": "Small images, the embedded network, all outputs. "
    "`tests/system/test_memory.py` fails where it grows.",
}
"""What is said below the title of each part."""

TITLES = {
    "cold": ("From the command to the written files", USAGE),
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
