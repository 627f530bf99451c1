# SPDX-License-Identifier: Apache-2.0
"""Brain extraction as an interface of nipype (``pip install '.[workflows]'``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

import bids_brainmask
from bids_brainmask.voxels import stem


class BrainExtractionInputSpec(BaseInterfaceInputSpec):
    """Inputs of `BrainExtraction`."""

    in_file = File(exists=True, mandatory=True, desc="T1-weighted image of a head")
    model = traits.Str("auto", usedefault=True, desc="name or file of a model")
    threshold = traits.Range(
        0.0, 1.0, exclude_low=True, exclude_high=True, desc="lowest probability in the mask"
    )
    border = traits.Float(0.0, usedefault=True, desc="distance to move the mask's edge, mm")
    probability = traits.Bool(usedefault=True, desc="write the probabilities, too")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="processor threads")


class BrainExtractionOutputSpec(TraitedSpec):
    """Outputs of `BrainExtraction`."""

    out_file = File(desc="the image inside the mask, its stored values unchanged")
    mask_file = File(desc="1 in the brain, uint8")
    probability_file = File(desc="probability of brain, float32")
    volume_ml = traits.Float(desc="volume of the mask, mL")
    predicted_dice = traits.Either(None, traits.Float, desc="predicted Dice of the mask")
    warning = traits.Str(desc="what to know before the mask is used; empty for nothing")


class BrainExtraction(SimpleInterface):
    """Extract the brain from an image, as `bids_brainmask.extract` does.

    The files are written to the working folder of the node.

    Examples
    --------
    >>> from bids_brainmask.interfaces.nipype import BrainExtraction  # doctest: +SKIP
    >>> BrainExtraction(in_file="T1w.nii.gz").run().outputs.mask_file  # doctest: +SKIP
    """

    input_spec = BrainExtractionInputSpec
    output_spec = BrainExtractionOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs, folder = self.inputs, Path(runtime.cwd)
        brain = bids_brainmask.extract(
            inputs.in_file,
            model=inputs.model,
            threshold=inputs.threshold if isdefined(inputs.threshold) else None,
            border=inputs.border,
            threads=inputs.num_threads,
        )
        start = stem(Path(inputs.in_file).name)
        files = {
            "mask_file": folder / f"{start}_brain_mask.nii.gz",
            "out_file": folder / f"{start}_brain.nii.gz",
        }
        if inputs.probability:
            files["probability_file"] = folder / f"{start}_brain_probability.nii.gz"
        brain.save(files["mask_file"], files["out_file"], files.get("probability_file"))
        self._results |= {name: str(path) for name, path in files.items()}
        self._results["volume_ml"] = float(brain.volume_ml)
        self._results["predicted_dice"] = brain.predicted_dice
        self._results["warning"] = brain.warning
        return runtime
