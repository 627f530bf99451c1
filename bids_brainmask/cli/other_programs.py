# SPDX-License-Identifier: Apache-2.0
"""Options of fMRIPrep, MRIQC, HD-BET, BET and SynthStrip: those that work here, and answers.

Underscores are dashes here, as everywhere on the command line.
"""

from __future__ import annotations

APP_SAME = {
    "--nthreads": "--n-cpus",
    "--nprocs": "--n-cpus",
    "--n-procs": "--n-cpus",
    "--session-id": "--session-label",
}
"""Options of fMRIPrep and MRIQC that mean the same as one of ``bids-brainmask``."""

_MEMORY = "write --mem-gb, in GB, such as --mem-gb 8."
_THREADS = "write --n-cpus, the number of threads of the whole run."
_GRID = "every mask is on the grid of its image. Remove this option."
_FREESURFER = "FreeSurfer is not used. Remove this option."
_SENDS_NOTHING = "the program sends no data. Remove this option."
_GPU = "a GPU is used if there is one; --engine tensorflow or openvino chooses the backend."
_FLIPS = (
    "mirrored images are averaged with --tta, and where the network is not sure. Remove this "
    "option."
)
_FILES = "write BIDS_DIR OUTPUT_DIR LEVEL. For single files: brainmask extract IMAGE -o BRAIN."

APP_ANSWERS = {
    "--mem": _MEMORY,
    "--mem-mb": _MEMORY,
    "--omp-nthreads": _THREADS,
    "--ants-nthreads": _THREADS,
    "--low-mem": _MEMORY,
    "--modalities": "write --suffix, such as --suffix T1w T2w.",
    "-m": "write --suffix for other contrasts, such as --suffix T1w T2w.",
    "--use-plugin": "write --executor and --cluster-config.",
    "--output-spaces": _GRID,
    "--skull-strip-template": "no template is used. Remove this option.",
    "--fs-license-file": _FREESURFER,
    "--fs-no-reconall": _FREESURFER,
    "--fs-subjects-dir": _FREESURFER,
    "--anat-only": "only anatomical images are processed. Remove this option.",
    "--task-id": "only anatomical images are processed. Remove this option.",
    "--derivatives": "results of other programs are not read. Remove this option.",
    "-d": "results of other programs are not read. Remove this option.",
    "--notrack": _SENDS_NOTHING,
    "--no-sub": _SENDS_NOTHING,
    "--stop-on-first-crash": "a failed image does not stop the others. Remove this option.",
    "--clean-workdir": "temporary files are removed at the end of a run. Remove this option.",
    "--reports-only": "run the level group, which reads only the results.",
    "--device": _GPU,
    "--gpu": _GPU,
    "--disable-tta": _FLIPS,
    "-i": _FILES,
    "-o": _FILES,
}
"""Answers of ``bids-brainmask`` to options that it does not have."""

EXTRACT_SAME = {
    "--input": "-i",
    "--out": "-o",
    "--output": "-o",
    "--save-bet-mask": "-m",
    "--threads": "--n-cpus",
    "--nthreads": "--n-cpus",
    "-t": "--n-cpus",
    "-b": "--border",
}
"""Options of HD-BET and SynthStrip that mean the same as one of ``brainmask extract``."""

_LEVEL = "write --threshold P, the lowest probability of a brain voxel."
_NO_BRAIN = "give only -m MASK: then no brain image is written."
_NO_FLIPS = "mirrored images are averaged only where the network is not sure. Remove this option."
_NO_STEP = "there is no such step. Remove this option."

EXTRACT_ANSWERS = {
    "-f": _LEVEL,
    "-n": _NO_BRAIN,
    "--no-bet-image": _NO_BRAIN,
    "-R": _NO_STEP,
    "-B": _NO_STEP,
    "-Z": _NO_STEP,
    "-s": "no skull image is made. Remove this option.",
    "-g": _GPU,
    "--gpu": _GPU,
    "-device": _GPU,
    "--device": _GPU,
    "-d": _GPU,
    "--disable-tta": _NO_FLIPS,
    "-tta": _NO_FLIPS,
    "--no-csf": "no network leaves out the CSF. A negative --border moves the mask's edge inward.",
}
"""Answers of ``brainmask extract`` to options that it does not have."""
