# SPDX-License-Identifier: Apache-2.0
"""Ranges of the parameters of synthetic images, as parts of a configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bids_brainmask.train.transforms.geometry import Geometry

TISSUES = (
    *("air", "white", "cortex", "deep", "csf", "stem", "cerebellum", "choroid", "lesion"),
    *("artery", "vein", "dura", "eye", "nerve", "mucosa", "skin", "muscle", "fat", "cord"),
    *("bone", "marrow"),
)
"""Tissues that have an intensity. In a table, ``soft`` stands for muscle and fat together."""

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
Range = tuple[float, float]
"""Lowest and highest value, drawn uniformly."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration. An unknown key is an error."""


class Contrast(Part):
    """Intensities of one kind of image."""

    share: Share
    """Share of the images with this contrast. The shares of all contrasts sum to 1."""

    tissues: dict[str, Range] = {}
    """Mean of each tissue, relative to that of white matter. Empty: each label has its
    own mean, in [0, 1], and its partner the same. Otherwise all tissues but ``white`` are
    required."""

    spread: Range = (0.0, 0.08)
    """Standard deviation within a tissue, relative to white matter."""

    voids: Share = 0.0
    """Chance that the signal is lost beside air and mucosa, as in T2*-weighted images."""

    noisy_air: Share = 0.0
    """Chance of noise of full range where there is no signal, as in MP2RAGE's UNIT1."""

    def __post_init__(self) -> None:
        wanted = set(TISSUES) - {"white"}
        if self.tissues and set(self.tissues) != wanted:
            raise ValueError(
                f"tissues: missing {sorted(wanted - set(self.tissues))}, unknown "
                f"{sorted(set(self.tissues) - wanted)}"
            )


class Anatomy(Part):
    """Anatomy that varies between people and is not in the label maps."""

    fat: Range = (-1.0, 1.0)
    """Threshold of a smooth field, of unit variance, over which soft tissue is fat."""

    subcutaneous: Range = (0.0, 3.0)
    """Added to that field at the skin; decays over 6 mm."""

    thin_table: Share = 0.4
    """Chance that cortical bone is marrow in places, from `table` mm outside of the target."""

    table: Range = (0.7, 3.0)
    """Thickness of the inner table there, mm."""

    thick_skull: Share = 0.0
    """Chance that the vault of the skull is thick and full of marrow, as in many adults: soft
    tissue over it becomes marrow, and an outer table."""

    skull: Range = (5.0, 14.0)
    """Thickness of that skull, mm; 2 mm of tissue are left under the skin."""

    dura: Share = 0.5
    """Chance that the dura shows in places, as a layer outside of the target."""

    dura_thickness: Range = (0.5, 2.0)
    """mm."""

    texture: Range = (0.0, 0.08)
    """Standard deviation of a smooth change within tissues, relative to white matter."""

    lesion: Share = 0.15
    """Chance of a region of other intensity in or beside the target."""


class FieldOfView(Part):
    """Ends of the field of view, and removal of parts of the head."""

    ends: Share = 0.35
    """Chance that the field of view ends at a plane within the window; another follows with the
    same chance, up to three."""

    deface: Share = 0.25
    """Chance that the face is removed: in front of planes, or down to a depth under the skin."""

    strip: Share = 0.15
    """Chance that all but the target is removed."""

    border: Range = (-4.0, 8.0)
    """Margin around the target that stripping keeps, mm. Below 0, part of the target is lost."""

    zero_air: Share = 0.5
    """Chance that the air around the head is exactly 0."""


class Acquisition(Part):
    """How an image is acquired and stored."""

    bias: Range = (0.0, 0.5)
    """Standard deviation of the logarithm of the bias field."""

    gamma: Amount = 0.2
    """Standard deviation of the logarithm of an exponent of the intensities."""

    blur: Range = (0.3, 0.9)
    """Standard deviation of the point spread, mm."""

    thick: Share = 0.4
    """Chance of slices that are thicker than their voxels are wide."""

    slices: Range = (1.5, 7.0)
    """Distance of those slices, mm."""

    across: tuple[Amount, Amount, Amount] = (1.0, 1.0, 1.0)
    """How often those slices lie across each axis of the head: left-right, posterior-anterior,
    inferior-superior; relative to each other."""

    gap: Range = (0.0, 0.3)
    """Gap between slices, as a share of their distance."""

    in_plane: Range = (0.7, 1.6)
    """Voxel size along each other axis, mm; below 1 it is 1."""

    noise: Share = 0.8
    """Chance of noise."""

    noise_level: Range = (0.0, 0.3)
    """Standard deviation of the noise relative to white matter; small ones are more frequent."""

    motion: Share = 0.1
    """Chance that the head moves once or twice during the acquisition."""

    moves: Range = (0.5, 4.0)
    """Movement along the phase-encoding axis, mm."""

    ghost: Share = 0.08
    """Chance of a shifted copy."""

    clip: Share = 0.2
    """Chance that intensities are clipped, between the 97th percentile and the maximum."""

    eight_bit: Share = 0.15
    """Chance that the image has 256 levels."""

    def __post_init__(self) -> None:
        if not sum(self.across):
            raise ValueError("across: found 0 for all axes; expected one of them over 0")


class Synthesis(Part):
    """All ranges from which images are made from label maps."""

    contrasts: dict[str, Contrast]
    geometry: Geometry = Geometry()
    anatomy: Anatomy = Anatomy()
    field_of_view: FieldOfView = FieldOfView()
    acquisition: Acquisition = Acquisition()
    gain: Amount = 0.1
    """Standard deviation of the logarithm of a factor on all scaled intensities."""

    def __post_init__(self) -> None:
        if abs((total := sum(c.share for c in self.contrasts.values())) - 1) > 1e-6:
            raise ValueError(f"contrasts: the shares sum to {total:g}, expected 1")
