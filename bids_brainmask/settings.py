# SPDX-License-Identifier: Apache-2.0
"""What a run was asked for, as one value."""

from __future__ import annotations

import logging
from argparse import Namespace
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

Engine = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["float32", "bfloat16"]

RESEARCH_ONLY = "For research only; not a medical device."
"""On every page, in every sidecar, in help and in the derivatives' README."""

HERE = ("auto", "serial", "local")
"""Executors that do scans on this machine."""

EXECUTORS = (*HERE, "slurm", "pbs", "sge", "lsf", "htcondor")
"""Where scans can be done, beside a running scheduler's address."""

LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""Of the messages, by `Settings.verbose`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option of the BIDS App. The defaults are here and nowhere else."""

    bids_dir: Path
    """The dataset to read. Nothing is ever written into it."""

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
    """fMRIPrep's JSON form; the keys ``t1w``, ``t2w`` and so on hold entities and what they must
    be."""

    skip_bids_validation: bool = False
    """Take the dataset as it is, even without a valid dataset_description.json."""

    bids_database_dir: Path | None = None
    """Where pybids keeps an index of the whole dataset for the next run."""

    work_dir: Path | None = None
    """Where libraries put temporary files; the system's own place when not given."""

    n_cpus: int | None = None
    """Processor threads; None: as many as affinity, control group and SLURM allow."""

    mem_gb: float | None = None
    """Memory the run may take, in GB; None: what the machine or the control group has."""

    executor: str = "auto"
    """One of `EXECUTORS`, or the address of a dask scheduler that runs; ``auto``: processes on
    this machine where several of them pay."""

    cluster_config: Path | None = None
    """dask-jobqueue's YAML; None: what it is configured with already."""

    max_jobs: int = 10
    """Batch jobs that are in the queue or run at once."""

    analyses: tuple[str, ...] = ("auto",)
    """Names of `analyses.catalog.ANALYSES`; ``auto``: all that apply to an image, which is brain
    on every one and meningioma on contrast-enhanced T1w images."""

    force_contrast: bool = False
    """Take every image to be contrast-enhanced."""

    model: tuple[str, ...] = ("auto",)
    """Registry names, files or folders, one an analysis, or ``ANALYSIS=`` and one of them.
    ``auto``: the published one where it is in the cache, else the embedded one."""

    allow_unverified: bool = False
    """Take a model whose registry entry has no hash to compare its file with."""

    engine: Engine = "auto"
    """What runs the network; ``auto`` is TensorFlow on a GPU, else OpenVINO."""

    precision: Precision = "float32"
    """What the network's products are computed in; ``bfloat16`` needs OpenVINO, and a processor
    that has it."""

    threshold: tuple[tuple[str, float], ...] = ()
    """Analysis, and probability from which a voxel is in its mask, in (0, 1); an empty analysis
    stands for brain, or for meningioma where that alone is asked for. Else: the model's own."""

    border: float = 0.0
    """Distance by which the edge of the brain mask is moved, mm; above 0 outward, below inward."""

    overlap: bool = False
    """Let the blocks of models that see blocks overlap by half."""

    tta: bool = False
    """Average what is found with what is found in the mirror image."""

    outputs: tuple[str, ...] = ("mask", "brain")
    """What to write of each image; tables of lesions are always written."""

    reports: bool = True
    """Write a page to look at for each participant, and its figures."""

    viewer: bool = False
    """Put a viewer to scroll through the volume into those pages."""

    overwrite: bool = False
    """Do finished images again."""

    dry_run: bool = False
    """Print the table of jobs and stop."""

    verbose: int = 0
    """0: progress and warnings; 1: every step; 2: everything."""

    @classmethod
    def from_args(cls, args: Namespace) -> Settings:
        """Take every field from a parsed command line; a missing one is an AttributeError."""
        return cls(**{field.name: getattr(args, field.name) for field in fields(cls)})
