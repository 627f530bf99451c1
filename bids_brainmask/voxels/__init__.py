# SPDX-License-Identifier: Apache-2.0
"""Steps on voxels: read a file, resample, run the network, clean the mask, write a file."""

UNCERTAIN = (0.25, 0.75)
"""Probabilities between which a voxel is uncertain."""
