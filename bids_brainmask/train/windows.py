# SPDX-License-Identifier: Apache-2.0
"""Windows of 1 mm voxels into label maps, deformed, with positions and distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bids_brainmask.train.label_maps import LabelMap, LabelTable
from bids_brainmask.train.ranges import Synthesis
from bids_brainmask.train.tissues import CODE
from bids_brainmask.train.transforms.geometry import bend, random_matrix

SIGNED = ("falx", "tentorium")
"""Arrays of signed distances to the sheets of dura within the head."""


@dataclass(frozen=True)
class Window:
    """Window into a deformed label map, with the position of its voxels in the head."""

    labels: np.ndarray  # (I, J, K) uint8, positions in the table
    tissue: np.ndarray  # (I, J, K) uint8, positions in `TISSUES`
    depth: np.ndarray  # (I, J, K) float32, mm inside (+) or outside (-) the target's outline
    skin: np.ndarray  # (I, J, K) uint8, mm from the air around the head
    forward: np.ndarray  # (I, J, K) float32, mm towards the face from the target's middle
    upward: np.ndarray  # (I, J, K) float32, mm towards the crown
    sideways: np.ndarray  # (I, J, K) float32, mm towards the right of the head, or mirrored
    falx: np.ndarray  # (I, J, K) float32, mm; see `label_maps.sheets`
    tentorium: np.ndarray  # (I, J, K) float32, mm
    sheet: np.ndarray  # (I, J, K) uint8, whether it is falx or tentorium
    ends: np.ndarray  # (I, J, K) bool, beyond the end of the label map

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.labels.shape


def crop(
    head: LabelMap,
    table: LabelTable,
    synthesis: Synthesis,
    center: np.ndarray,
    shape: Sequence[int],
    rng: np.random.Generator,
) -> Window:
    """Sample a label map in a deformed window: nearest labels, interpolated distances."""
    geometry = synthesis.geometry
    matrix = random_matrix(geometry, rng)
    center = center + rng.uniform(-geometry.shift, geometry.shift, 3)
    offset = center - matrix @ ((np.array(shape) - 1) / 2)
    axes = [
        np.arange(n, dtype=np.float32).reshape(np.roll([n, 1, 1], k)) for k, n in enumerate(shape)
    ]
    if geometry.bend and rng.random() < 0.6:
        axes = bend(shape, rng.uniform(0, geometry.bend), rng)
    matrix, offset = matrix.astype(np.float32), offset.astype(np.float32)
    world = [sum(matrix[row, k] * axes[k] for k in range(3)) + offset[row] for row in range(3)]
    to_voxel = np.linalg.inv(head.affine).astype(np.float32)
    points = [
        sum(to_voxel[row, k] * world[k] for k in range(3)) + to_voxel[row, 3] for row in range(3)
    ]
    arrays = head.arrays()
    place, ends = nearest(points, arrays["labels"].shape)
    labels = arrays["labels"].ravel()[place]
    labels[ends] = np.flatnonzero(table.of("air"))[0]
    if np.linalg.det(matrix) < 0:  # mirrored: left labels become right ones
        labels = table.partner.astype(np.uint8)[labels]
    depth = ndimage.map_coordinates(
        arrays["depth"], points, np.float32, order=1, prefilter=False, mode="nearest"
    )
    depth = np.where(ends, np.minimum(depth, -4.0), depth) / 4
    skin = np.where(ends, np.uint8(0), arrays["skin"].ravel()[place])
    sideways, forward, upward = (
        np.broadcast_to(world[k] - head.middle[k], shape) for k in range(3)
    )
    falx, tentorium = (arrays[name].ravel()[place] / np.float32(4) for name in SIGNED)
    sheet = np.where(ends, np.uint8(0), arrays["sheet"].ravel()[place])
    tissue = tissues_of(table)[labels]
    return Window(
        *(labels, tissue, depth, skin, forward, upward, sideways, falx, tentorium, sheet, ends)
    )


def nearest(points: list[np.ndarray], shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Flat index of the voxel nearest to each point, and whether it is outside the array."""
    flat: np.ndarray = np.zeros((), np.int32)
    ends = np.zeros((), bool)
    for at, size in zip(points, shape, strict=True):
        index = np.rint(at).astype(np.int32)
        ends = ends | (index < 0) | (index >= size)
        flat = flat * np.int32(size) + index.clip(0, size - 1)
    return flat, ends


def tissues_of(table: LabelTable) -> np.ndarray:
    """Position of each label's tissue in `TISSUES`, (N,) uint8; ``soft`` counts as muscle."""
    return np.array([CODE[t if t != "soft" else "muscle"] for t in table.tissues], np.uint8)
