# SPDX-License-Identifier: Apache-2.0
"""Take an exported mask as sMRIPrep does, by its own code; run in an environment that has it.

Arguments: the raw dataset, the derivatives, a working folder, and participants, each as LABEL or
LABEL/SESSION. It prints a JSON object: for each, the files found, and what was made of them.
"""

import json
import os
import sys
from pathlib import Path

import nibabel as nb
import SimpleITK
from bids.layout import BIDSLayout
from niworkflows.interfaces.header import ValidateImage
from niworkflows.interfaces.images import Conform, TemplateDimensions
from niworkflows.interfaces.nibabel import ApplyMask
from niworkflows.utils.bids import collect_data
from smriprep.utils.bids import collect_derivatives


def one(raw, derivatives, label, session):
    """Follow the steps of `smriprep.workflows.anatomical.init_anat_fit_wf` for one reference."""
    layout = BIDSLayout(raw, validate=False)
    images = collect_data(layout, label, session_id=session, bids_validate=False)[0]["t1w"]
    cache = collect_derivatives(derivatives, label, [], session_id=session)
    reference = cache.get("t1w_preproc")
    if reference is None:
        if len(images) > 1:
            raise ValueError("the reference is an average, which needs FreeSurfer")
        template = TemplateDimensions(anat_list=images, anat_type="T1w").run().outputs
        # The node before Conform is ANTs' DenoiseImage; of it, what ITK does with the header.
        denoised = str(Path("denoised.nii.gz").absolute())
        SimpleITK.WriteImage(SimpleITK.ReadImage(template.anat_valid_list), denoised)
        zooms, shape = template.target_zooms, template.target_shape
        conform = Conform(in_file=denoised, target_zooms=zooms, target_shape=shape)
        reference = conform.run().outputs.out_file
    validated = ValidateImage(in_file=reference).run().outputs.out_file
    masked = ApplyMask(in_file=validated, in_mask=cache["t1w_mask"]).run().outputs.out_file
    return {
        "images": images,
        "mask": cache["t1w_mask"],
        "preproc": cache.get("t1w_preproc"),
        "masked": masked,
        "codes": nb.aff2axcodes(nb.load(masked).affine),
    }


def main(raw, derivatives, work, *wanted):
    """Do so for all participants; an error is reported as its text."""
    found = {}
    for name in wanted:
        label, _, session = name.partition("/")
        folder = Path(work) / name
        folder.mkdir(parents=True)
        os.chdir(folder)
        try:
            found[name] = one(raw, derivatives, label, session or None)
        except Exception as error:  # noqa: BLE001 - the test compares the text
            found[name] = {"error": repr(error)}
    print("\n" + json.dumps(found))  # noqa: T201


main(*sys.argv[1:])
