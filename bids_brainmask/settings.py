# SPDX-License-Identifier: Apache-2.0
"""All options of a run, as one value."""

from __future__ import annotations

import logging
from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

Engine = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "float32", "bfloat16", "int8"]

RESEARCH_ONLY = "For research only; not a medical device."
"""On every page, in every sidecar, in help and in the derivatives' README."""

HERE = ("auto", "serial", "local")
"""Executors on this machine."""

EXECUTORS = (*HERE, "slurm", "pbs", "sge", "lsf", "htcondor")
"""All executors, except the address of a running scheduler."""

EXPECTED_ML = (600.0, 2200.0)
"""Volumes between which brain masks of adults, and of children from a year on, lie, mL."""

LARGEST_BORDER = 100
"""Largest distance by which the edge of a mask can be moved, mm."""

SWITCHES = {"reports": "--no-reports", "viewer": "--no-viewer"}
"""Options that say no, by their fields."""

REMEMBERED = frozenset({"model", "threshold", "border", "precision"})
"""Options that are remembered for each image, by their fields."""

VERDICTS = ("accept", "unsure", "exclude")
"""Verdicts of ratings."""

LEVELS = ("participant", "group")
"""Levels of the app, in the order in which they run."""

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""Log levels, by `Settings.verbose`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option of the BIDS App. The defaults are here and nowhere else."""

    bids_dir: Path
    """The dataset to read. The program never writes to it."""

    output_dir: Path
    """The derivative dataset to write."""

    analysis_level: Literal["participant", "group"]

    participant_label: tuple[str, ...] = ()
    """Participants to process, without ``sub-``; empty: all."""

    session_label: tuple[str, ...] = ()
    """Sessions to process, without ``ses-``; empty: all."""

    run_id: tuple[str, ...] = ()
    """Runs to process; 1 and 01 are the same run. Empty: all."""

    acquisition: tuple[str, ...] = ()
    """Values of ``acq-`` to process; empty: all, and images without one."""

    suffix: tuple[str, ...] = ("T1w",)
    """BIDS suffixes of the images to process; ``all``: every one of `rows.SUFFIXES`."""

    bids_filter_file: Path | None = None
    """JSON in the format of fMRIPrep; the keys ``t1w``, ``t2w`` and so on have entities with their
    required values."""

    skip_bids_validation: bool = False
    """Do not check dataset_description.json and file names."""

    bids_database_dir: Path | None = None
    """Folder of pybids' index of the whole dataset, for this run and later ones."""

    reset_database: bool = False
    """Make that index anew."""

    work_dir: Path | None = None
    """Folder for temporary files of libraries; None: the system's folder."""

    n_cpus: int | None = None
    """Processor threads; None: the number that affinity, control group and SLURM allow."""

    mem_gb: float | None = None
    """Memory that the run may use, in GB; None: that of the machine or the control group."""

    executor: str = "auto"
    """One of `EXECUTORS`, or the address of a running dask scheduler. ``auto``: several processes
    on this machine if they are faster."""

    cluster_config: Path | None = None
    """YAML file of dask-jobqueue; None: dask's own configuration."""

    max_jobs: int = 10
    """Largest number of batch jobs at a time, waiting or running."""

    analyses: tuple[str, ...] = ("auto",)
    """Names of `analyses.catalog.ANALYSES`; ``auto``: all that apply to an image, which is brain
    on every one and meningioma on contrast-enhanced T1w images."""

    force_contrast: bool = False
    """Treat every image as contrast-enhanced."""

    model: tuple[str, ...] = ("auto",)
    """Registry names, files or folders, one per analysis, each optionally with ``ANALYSIS=``.
    ``auto``: the published model if it is installed, else the embedded one."""

    allow_unverified: bool = False
    """Accept a model whose registry entry has no hash."""

    engine: Engine = "auto"
    """Backend that runs the network; ``auto``: TensorFlow on a GPU, else OpenVINO."""

    precision: Precision = "auto"
    """Number format of the network's products; ``bfloat16`` and ``int8`` need OpenVINO and a
    processor that supports them. Models without ranges for ``int8`` run in ``float32``."""

    threshold: tuple[tuple[str, float], ...] = ()
    """Pairs of an analysis and the lowest probability of a voxel in its mask, in (0, 1). An empty
    analysis is brain, or meningioma if it is the only one. Without a pair: the model's own."""

    border: float = 0.0
    """Distance by which the edge of the brain mask is moved, mm; above 0 outward, below inward."""

    typed: tuple[str, ...] = ()
    """Those of `REMEMBERED` that the command line gives, also with the default value: that takes
    back what earlier runs were asked for single images."""

    choices: Path | None = None
    """Table of choices for single images, as `dataset.choices_table`."""

    reset_choices: bool = False
    """Forget what earlier runs were asked for single images."""

    from_ratings: tuple[Path, ...] = ()
    """Tables of ratings: only images with a verdict of `only` are processed."""

    only: tuple[str, ...] = ("exclude", "unsure")
    """Verdicts for `from_ratings`."""

    min_brain_volume: float = EXPECTED_ML[0]
    """A brain mask with a smaller volume is doubtful, mL."""

    max_brain_volume: float = EXPECTED_ML[1]
    """A brain mask with a larger volume is doubtful, mL."""

    overlap: bool = False
    """For models that process blocks: blocks overlap by half."""

    lesion_copies: int = 0
    """Shifted and rotated copies of an image with candidate lesions that the network sees too, for
    the uncertainty of their volumes."""

    tta: bool = False
    """Average the probabilities with those of the mirrored image."""

    outputs: tuple[str, ...] = ("mask", "brain")
    """Which images to write; tables of lesions are always written."""

    reports: bool = True
    """Write a report for each participant, and its figures."""

    viewer: bool | None = None
    """Add an interactive viewer to these reports, or remove it; None: it stays as it is."""

    single_file: bool = False
    """Put the thumbnails into the group report, so that it is complete without other files."""

    growth_percent: float = 40.0
    """Growth of a lesion's volume between sessions from which it has grown, %."""

    growth_mm: float = 10.0
    """Growth of its longest axial diameter from which it has grown, mm."""

    ratings: tuple[Path, ...] = ()
    """Tables of ratings for the group level."""

    overwrite: bool = False
    """Process finished images again."""

    overwrite_manual: bool = False
    """Replace also the masks that a person corrected."""

    editor: str = ""
    """Name of the person who corrected the masks that this run finds changed."""

    verify: bool = False
    """Compare every result with its hash, not only with its size and modification time."""

    remove_orphans: bool = False
    """Remove the results of images that are not in the dataset any more."""

    dry_run: bool = False
    """Print the planned work, and stop."""

    verbose: int = 0
    """0: progress and warnings; 1: every step; 2: everything."""

    quiet: bool = False
    """Print only warnings, errors, and the images that failed or are doubtful."""

    def command(self) -> list[str]:
        """Write the command line with its options for records: typed ones, and others.

        It tells nothing of persons and machines: paths and addresses are replaced by words in
        capitals, and of a model's file only the name is kept.
        """
        words = ["bids-brainmask", "BIDS_DIR", "OUTPUT_DIR", self.analysis_level]
        for field in fields(self):
            value, name = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if field.name in ("bids_dir", "output_dir", "typed"):
                continue
            if value == field.default and field.name not in self.typed:
                continue
            if field.name in SWITCHES and value is False:
                words.append(SWITCHES[field.name])
            elif isinstance(value, bool):
                words.append(name)
            elif isinstance(value, Path):
                words += [name, field.name.upper()]
            elif field.name == "executor":
                words += [name, value if value in EXECUTORS else "SCHEDULER:8786"]
            elif field.name == "model":
                words += [name, *map(_without_folder, value)]
            elif field.name == "threshold":
                words += [name, *("=".join(filter(None, (a, f"{p:g}"))) for a, p in value)]
            elif isinstance(value, tuple):
                words += [name, *(_word(each, field.name) for each in value)]
            elif field.name not in ("analysis_level", "verbose"):
                words += [name, f"{value}"]
        return words + ["-v"] * self.verbose

    @classmethod
    def from_args(cls, args: Namespace) -> Settings:
        """Make settings from a parsed command line; a missing field is an AttributeError."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})


def _word(value: object, field: str) -> str:
    """Write one of several values of an option for records; a path is a word in capitals."""
    if isinstance(value, Path):
        return field.upper()
    return value if isinstance(value, str) else f"{value:g}"


def _without_folder(model: str) -> str:
    """Drop the folders of a model's file; keep the name of an analysis before it."""
    analysis, equals, path = model.rpartition("=")
    return f"{analysis}{equals}{Path(path).name}" if "/" not in analysis else Path(model).name
