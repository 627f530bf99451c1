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

Run times on two processors without a GPU, and the time of each step. Unless stated otherwise,
whole processes are measured, from the command to their end. "s" is wall-clock time, and "CPU s" is
the time of all processors together. Figures are medians after a warm-up, so files are in the
machine's memory. Compared programs run alternately.
"""

NOTES = {
    "cold": "`--no-reports` saves the time of the report. Rows without `--precision` are those of "
    "`auto`: int8 if the processor has it.",
    "models": "With the report, with `bids-brainmask`.",
    "warm": "A fifth of the difference between a run of six heads and a run of one. The memory is "
    "the peak of the run.",
    "peers": "Each tool with its own defaults, on the same two processors, alternating with ours, "
    "which is `brainmask extract`. Whole process: from the command to the written mask, with "
    "all imports. All loaded: from the image's file to the mask, for the second head of a "
    "process; our time includes writing. BET is brainextractor, FSL's algorithm in Python. HD-BET "
    "is one of its five networks, without mirrored copies of the head. Tools that take much "
    "longer than ours (HD-BET, BET, ROBEX) run once after a run that does not count. Not "
    "measured: FSL itself, and tools without weights on package indexes (SynthStrip, MindGrab).",
    "seed": "Untrained weights with the shapes of the published ones, on noise, so that no block "
    "is constant. Blocks with a single value are computed only once, because the network's "
    "output is the same for all of them; the result does not change, whatever the threshold. "
    "For a conformed head in the center of 256^3, each of the eight blocks contains part of "
    "the head, so this saves time only for small fields of view and with `--overlap`. "
    "In 8-bit integers it is not offered: the time of a block of 96^3 was 0.26 of that in "
    "float32 (AVX-512 VNNI, one thread), but with weights of this architecture that gave soft "
    "probabilities, masks of blocks of a phantom agreed with those in float32 by a Dice of "
    "0.986 only. The intervals of the activations were the percentiles 0.01 and 99.99 in two "
    "blocks of another phantom. With the least and the largest values it was 0.985, with the "
    "image and the last level in float32 0.989; 0.995 was wanted.",
    "precision": "The embedded network on the development heads, in float32, which every "
    "processor supports, and with `--precision bfloat16`, for processors with AMX.",
    "stages": "The steps for one head, in a process that has processed it once before. Only the "
    "last row is part of a report. A new process also needs the time of the first row.",
    "scaling": "`--executor auto` uses several processes if there are at least four scans for "
    "each: while one process reads and writes, another one runs the network. A process takes a "
    "second or two to start, which more heads than eight make up for: 32 heads of 1 mm with "
    "reports took 27.8 s in one process of two threads and 21.9 s in two of one, by hand.",
    "startup": "Datasets of empty images with a sidecar each, `--dry-run`.",
    "memory": "Small images, the embedded network, all outputs. `tests/system/test_memory.py` "
    "fails if memory grows.",
}
"""What is said below the title of each part."""

TITLES = {
    "cold": ("From the command to the written files", USAGE),
    "models": ("Models and backends", USAGE),
    "warm": ("Each additional head in one process", USAGE),
    "peers": (
        "Comparison with other tools",
        [
            "",
            "tool, s",
            "tool, CPU s",
            "ours, s",
            "ours, CPU s",
            "tool / ours",
            "tool, GB",
            "ours, GB",
        ],
    ),
    "seed": (
        "The published architecture, eight blocks of 128^3",
        ["", "s", "CPU s", "over TensorFlow's s"],
    ),
    "precision": ("What bfloat16 changes", ["masks", "heads", "median", "least", "most"]),
    "stages": ("Time of each step", ["step", "s", "CPU s", "how it is made fast"]),
    "scaling": (
        "Several processes on two processors",
        ["eight heads", "head", "s", "scans a minute", "CPU s a scan"],
    ),
    "startup": (
        "Help, and finding images",
        ["command", "s", "CPU s", "peak memory, MB"],
    ),
    "memory": ("Memory over 200 scans in one process", ["after scan", "MB"]),
}
"""Title and columns of each part."""

INSTRUCTIONS = ("avx", "amx", "asimd", "sve")
"""How the names of instructions begin that decide about the network's time."""

GPU = """\
## On a GPU

On an H200, in Keras on PyTorch, the embedded network takes 0.08 s a volume and the published U-Net
0.37 to 0.50 s: [networks on a GPU](gpu.md).
"""

TRIED = """\
## What was tried and is not used

- The box of the brain instead of that of the head. If the brain's box were known beforehand, the
  network would have 0.74 of the voxels with a margin of 8 mm, and 0.80 with 16 mm (17 of the
  development heads, int8). Masks stay as they are: the median Dice with deepbet is the same to
  0.0001, and the Dice with the mask of the whole head is at least 0.998. So a first pass that
  finds the box would save less than a quarter of the network's time, and would need time itself.
- A faster import of SciPy's `ndimage`. More than half of its time is for all modules of NumPy,
  `numpy.f2py` and `numpy.testing` among them, which are not needed. SciPy has no option to leave
  them out.
- One compilation of the network for heads of any size. It takes the same time, but OpenVINO
  2026.4 gives an answer that it has not computed, and no error, if it does not get memory then.
- Loading the network before anything else is imported, so that it is compiled earlier; resampling
  one half of the planes in each of two threads; huge pages for the allocator of the C library:
  no difference, or less than the machine varies by.
"""

ONCE = ("memory", "precision")
"""Parts that are measured once."""

IMPORTS = "interpreter and imports"
"""The step before all others."""

STEPS = {
    IMPORTS: "only light modules for the options; a mask needs neither TensorFlow, Keras nor "
    "Matplotlib, and of SciPy only ndimage, which is imported while the network is loaded; the "
    "OpenVINO graph is built without them; the search for cyclic garbage is rare",
    "read": "one pass with a fast gzip library, while the network is loaded; scaled and reordered "
    "to the network's axis order some planes at a time",
    "conform": "to the bounding box of the head, found from sums along lines, not to 256^3; for "
    "aligned axes plane by plane, in the processor's cache",
    "scale": "percentiles of every eighth voxel; float32 throughout; only what the network sees",
    "network": "the upper 224 mm; input and output at 1 mm, most layers at 2 mm; OpenVINO, "
    "compiled for the processor while the image is resampled, and once for all heads of a size",
    "network in bfloat16": "instead of the network in float32, if requested",
    "network in int8": "instead of the network in float32, on processors with VNNI or AMX",
    "restore": "as conform, directly to the scan's voxels",
    "clean": "in the mask's bounding box",
    "confidence and quality": "in the mask's bounding box; rims and boundaries with shifted "
    "masks, not with filters",
    "plausibility": "in blocks of 3 mm; beside confidence and quality, on another processor",
    "write the mask": "one pass with a fast gzip library, of bytes, not of floats",
    "write the brain": "the stored values, which are not scaled again",
    "figures": "arrays and Pillow; not with --no-reports",
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

    from bids_brainmask import machine
    from bids_brainmask.models import backends, registry

    picture = nb.load(head)
    size = " x ".join(map(str, picture.shape))
    spacing = " x ".join(f"{n:.2g}" for n in picture.header.get_zooms()[:3])
    command = (
        "python benchmarks/speed.py all WORK HEAD --python PEERS/bin/python ...    (--help lists "
        "the parts, which can be measured by themselves)\n"
        "    python benchmarks/speed.py document WORK HEAD"
    )
    network = backends.load(model := registry.resolve("embedded"), "openvino", THREADS)
    parts = [WHAT, document.origin(command, [(model, network)])]
    known = sorted(name for name in machine.instructions() if name.startswith(INSTRUCTIONS))
    parts.append(f"- Python {platform.python_version()}, {os.cpu_count()} processors")
    parts.append(f"- processor: {machine.processor() or 'not known'}; {', '.join(known)}")
    parts.append(f"- the head: {size} voxels of {spacing} mm, {head.name}\n")
    for part, (title, columns) in TITLES.items():
        if part in found:
            table = document.table(columns, found[part]["rows"])
            times = found[part]["repeat"]
            median = "" if part in ONCE else f" Medians of {times}."
            parts.append(f"## {title}\n\n{NOTES[part]}{median}\n\n{table}")
    parts += [GPU, TRIED]
    return "\n".join(parts)
