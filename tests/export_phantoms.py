# SPDX-License-Identifier: Apache-2.0
"""Datasets with masks to export, made without a network."""

from pathlib import Path

import nibabel as nb
import numpy as np
from conftest import Dataset, head_phantom

from bids_brainmask import hashes
from bids_brainmask.cli import brainmask
from bids_brainmask.dataset import storage
from bids_brainmask.voxels import image


class ExportedDataset:
    """A dataset with masks of the phantom's bright ball, and the command."""

    def __init__(self, folder: Path):
        self.raw = Dataset(folder / "raw & more")
        self.out = folder / "out"
        self.out.mkdir()
        links = {"raw": "../raw%20%26%20more"}
        description = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetLinks": links}
        storage.write_json(self.out / "dataset_description.json", description)

    def add(self, name, file=None, mask=True, **sidecar):
        """Add an image, and its mask in the derivatives."""
        path = self.raw.add(f"{name}_T1w.nii.gz", file or head_phantom(), **sidecar)
        if mask:
            source = image.read(path)
            there = self.out / path.parent.relative_to(self.raw.root)
            made = image.mask_like(source, source.volume.data >= 99)
            content = image.to_bytes(made, compress=True)
            storage.write_bytes(there / f"{name}_desc-brain_mask.nii.gz", content)
            record = {"SourceFile": hashes.fingerprint(path), "Parameters": {}}
            storage.write_json(there / f"{name}_desc-brain_mask.json", record)
        return path

    def export(self, program, dest, *words):
        """Exit status of the command."""
        command = ["export", self.out, dest, "--for", program, *words]
        return brainmask.main(list(map(str, command)))


def turned(codes, tilt=0.0):
    """The phantom with other axes, off the middle, perhaps tilted about x (degrees)."""
    file = head_phantom((40, 44, 48), (4.0, 4.0, 4.0))
    affine = file.affine.copy()
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    affine[:3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3]
    affine[:3, 3] += (7, -3, 11)
    file = nb.Nifti1Image(np.asanyarray(file.dataobj), affine)
    wanted = nb.orientations.axcodes2ornt(codes)
    file = file.as_reoriented(nb.orientations.ornt_transform(nb.io_orientation(affine), wanted))
    file.set_qform(file.affine, 1)
    file.set_sform(file.affine, 1)
    return file


def places(file, value=1):
    """World coordinates of the voxels with a value, sorted."""
    at = np.argwhere(np.asanyarray(file.dataobj) == value)
    where = nb.affines.apply_affine(file.affine, at).round(2) + 0.0
    return where[np.lexsort(where.T)]
