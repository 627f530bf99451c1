# SPDX-License-Identifier: Apache-2.0
"""What the libraries of ANTs and FSL read in exported files; runs in their own environment.

    python readers_reference.py FOLDER

FOLDER has `fsl`, `ants` and the raw `head.nii.gz`. Prints JSON. Coordinates are of RAS.
"""

import json
import sys
from pathlib import Path

import ants
import numpy as np
from fsl.data import constants
from fsl.data.image import Image


def of_fsl(path):
    """How FSL stores and places an image, and the middle of what is not 0."""
    image = Image(str(path))
    middle = np.argwhere(np.asarray(image.data) > 0).mean(0)
    codes = [image.getOrientation(axis, image.voxToWorldMat) for axis in range(3)]
    names = {getattr(constants, name): name for name in dir(constants) if "ORIENT_" in name}
    return {
        "axes": [names[code] for code in codes],
        "radiological": not image.isNeurological(),
        "middle": image.voxToWorldMat.dot([*middle, 1])[:3].tolist(),
    }


def of_ants(path, head):
    """Whether a file lies where the image does, and the middle of what is not 0."""
    mask, image = ants.image_read(str(path)), ants.image_read(str(head))
    middle = np.argwhere(mask.numpy() > 0).mean(0)
    x, y, z = np.array(mask.origin) + mask.direction @ (middle * mask.spacing)  # of LPS
    return {
        "same_space": bool(ants.image_physical_space_consistency(image, mask)),
        "middle": [-x, -y, z],
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {"fsl": {}, "ants": {}}
    for path in sorted(folder.glob("fsl/**/*.nii.gz")):
        found["fsl"][path.name] = of_fsl(path)
    for path in sorted(folder.glob("ants/**/*.nii.gz")):
        found["ants"][path.name] = of_ants(path, folder / "head.nii.gz")
    sys.stdout.write(json.dumps(found) + "\n")
