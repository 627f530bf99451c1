# SPDX-License-Identifier: Apache-2.0
"""The steps of a volume: from its file to a network's grid, through it, and back."""

UNCERTAIN = (0.25, 0.75)
"""Probabilities between which a voxel is uncertain."""
