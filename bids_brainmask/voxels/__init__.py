# SPDX-License-Identifier: Apache-2.0
"""Steps on voxels: read a file, resample, run the network, clean the mask, write a file."""

UNCERTAIN = (0.25, 0.75)
"""Probabilities between which a voxel is uncertain."""

NIFTI = (".nii.gz", ".nii")
"""Endings of the names of images."""


def stem(name: str) -> str:
    """Name, or path, of an image without its ending."""
    return name.removesuffix(".gz").removesuffix(".nii")
