# SPDX-License-Identifier: Apache-2.0
"""Ranges of the parameters of synthetic images, as parts of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, field

from bids_brainmask.train.tissues import TISSUES
from bids_brainmask.train.transforms.geometry import Geometry

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(ge=0)]
if TYPE_CHECKING:
    Tissue = str
else:  # the names stand once, in TISSUES
    Tissue = Literal[TISSUES]
Site = Literal["convexity", "parasagittal", "falx", "tentorium", "base", "posterior fossa"]
Core = Literal["calcified", "cystic", "necrotic"]
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


class Enhancement(Part):
    """Intensity of something with contrast agent."""

    chance: Share
    level: Range
    """Relative to white matter."""


class Distractors(Part):
    """What enhances and is no meningioma; the label stays background.

    Each value without a unit is the chance of it in an image with contrast agent.
    """

    veins: Share = 0.7
    """Veins over the convexity."""

    vein_width: Range = (1.0, 3.0)
    """mm."""

    dura: Share = 0.4
    """Dura, falx and tentorium that are thick in places."""

    dura_thickness: Range = (0.5, 2.5)
    """Growth of that dura towards the brain, mm."""

    pituitary: Share = 0.8
    pituitary_radius: Range = (3.0, 8.0)
    """mm."""

    schwannoma: Share = 0.08
    schwannoma_radius: Range = (3.0, 15.0)
    """mm."""

    metastases: Share = 0.2
    """One to four, in the brain."""

    metastasis_radius: Range = (2.0, 14.0)
    """mm; small ones are more frequent."""

    room: Range = (1.0, 1.0)
    """Least distance of the middle of metastases and gliomas from the inner table, in radii; 2 mm
    are added. Below 1, some lie under the surface of the brain, which cuts them off."""

    glioma: Share = 0.12
    """A rim around a necrotic core, in the brain."""

    glioma_radius: Range = (8.0, 26.0)
    """mm."""

    rim: Range = (1.5, 6.0)
    """Thickness of the rim, mm."""

    cavity: Share = 0.1
    """A resection cavity on the inner table, with an enhancing wall and dura around it."""

    cavity_radius: Range = (6.0, 22.0)
    """mm."""

    packing: Share = 0.05
    """Fat that was packed against the inner table."""

    packing_radius: Range = (4.0, 14.0)
    """mm."""

    level: Range = (1.05, 2.0)
    """Intensity of the enhancing parts, relative to white matter."""


SITES: dict[Site, Share] = {
    "convexity": 0.3,
    "parasagittal": 0.15,
    "falx": 0.15,
    "tentorium": 0.1,
    "base": 0.2,
    "posterior fossa": 0.1,
}
"""Shares of the sites, about those of clinical series."""

CORES: dict[Core, Enhancement] = {
    "calcified": Enhancement(chance=0.12, level=(0.05, 0.4)),
    "cystic": Enhancement(chance=0.1, level=(0.2, 0.6)),
    "necrotic": Enhancement(chance=0.12, level=(0.5, 0.9)),
}
"""Cores of tumors."""

ENHANCED: dict[Tissue, Enhancement] = {
    "vein": Enhancement(chance=0.9, level=(1.1, 2.5)),
    "artery": Enhancement(chance=0.6, level=(1.0, 2.5)),
    "dura": Enhancement(chance=0.7, level=(1.0, 2.2)),
    "choroid": Enhancement(chance=0.8, level=(1.0, 2.2)),
    "mucosa": Enhancement(chance=0.8, level=(0.9, 2.5)),
    "muscle": Enhancement(chance=0.2, level=(0.8, 1.4)),
    "marrow": Enhancement(chance=0.2, level=(0.9, 1.8)),
    "lesion": Enhancement(chance=0.1, level=(1.0, 1.8)),
}
"""Tissues that take up contrast agent."""


class Tumors(Part):
    """Meningiomas that are grown in label maps. The label of an image is then that of its tumors.

    The signs are those of Watts et al. 2014, https://doi.org/10.1007/s13244-013-0302-4.
    """

    contrasts: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Contrasts with contrast agent. In images of the others nothing is grown or enhanced."""

    count: tuple[Share, ...] = (0.3, 0.5, 0.15, 0.05)
    """Chances of no tumor, of one, of two, and so on; they sum to 1."""

    volume: Range = (0.1, 60.0)
    """mL; the logarithm is uniform."""

    sites: dict[Site, Share] = field(default_factory=lambda: dict(SITES))
    """Shares of the sites. Where a window lacks one, another is taken."""

    plaque: Share = 0.2
    """Chance of growth as a sheet along the dura, in tumors under 25 mL."""

    plaque_aspect: Range = (0.12, 0.4)
    """Height over half of the width, of sheets."""

    aspect: Range = (0.65, 1.1)
    """Height over half of the width, of the others."""

    base: Range = (0.2, 0.75)
    """Distance of the middle from the dura, as a share of the height."""

    lumps: Range = (0.03, 0.3)
    """Relative change of the radius by lobulation."""

    through_bone: Share = 0.12
    """Chance of growth through bone, into sinuses of the nose, the orbit or under the scalp."""

    bone_depth: Range = (2.0, 14.0)
    """How far outside of the dura such a tumor grows, mm."""

    into_sinus: Share = 0.3
    """Chance of growth into dural sinuses and veins."""

    crosses: Share = 0.25
    """Chance that a tumor of falx or tentorium grows on both sides."""

    mass_effect: Share = 0.85
    yielded: Range = (0.3, 0.95)
    """Share of the tumor's volume by which the brain is displaced; the rest is lost fluid."""

    dose: Range = (0.5, 1.0)
    """Factor on all that enhancement adds to white matter's level."""

    level: Range = (1.25, 2.3)
    """Intensity of tumors, relative to white matter."""

    texture: Range = (0.01, 0.1)
    """Smooth relative change within a tumor."""

    cores: dict[Core, Enhancement] = field(default_factory=lambda: dict(CORES))
    """Cores of tumors over 2 mL. They belong to the label."""

    tail: Share = 0.6
    """Chance of a tail of the dura, which does not belong to the label."""

    tail_length: Range = (5.0, 25.0)
    tail_thickness: Range = (1.0, 2.5)
    """mm."""

    oedema: Share = 0.5
    oedema_reach: Range = (3.0, 25.0)
    """mm."""

    oedema_loss: Range = (0.1, 0.4)
    """Relative loss of intensity in it."""

    cleft: Share = 0.5
    """Chance of a layer of fluid between tumor and brain."""

    hyperostosis: Share = 0.25
    """Chance that bone beside a tumor is thick and without marrow."""

    hyperostosis_reach: Range = (3.0, 12.0)
    """mm."""

    enhance: dict[Tissue, Enhancement] = field(default_factory=lambda: dict(ENHANCED))
    """Tissues that take up contrast agent, each by itself."""

    distractors: Distractors = Distractors()

    def __post_init__(self) -> None:
        for name in ("count", "sites"):
            values = getattr(self, name)
            shares = values.values() if isinstance(values, dict) else values
            if abs((total := sum(shares)) - 1) > 1e-6:
                raise ValueError(f"{name}: the shares sum to {total:g}, expected 1")
        if not 0 < self.volume[0] <= self.volume[1]:
            raise ValueError(f"volume: found {self.volume}, expected two volumes above 0 in order")
        if (total := sum(core.chance for core in self.cores.values())) > 1:
            raise ValueError(f"cores: the chances sum to {total:g}, expected up to 1")


class Synthesis(Part):
    """All ranges from which images are made from label maps."""

    contrasts: dict[str, Contrast]
    geometry: Geometry = Geometry()
    anatomy: Anatomy = Anatomy()
    field_of_view: FieldOfView = FieldOfView()
    acquisition: Acquisition = Acquisition()
    tumors: Tumors | None = None
    """Tumors to grow; the target of the network is then the tumors."""

    gain: Amount = 0.1
    """Standard deviation of the logarithm of a factor on all scaled intensities."""

    def __post_init__(self) -> None:
        if abs((total := sum(c.share for c in self.contrasts.values())) - 1) > 1e-6:
            raise ValueError(f"contrasts: the shares sum to {total:g}, expected 1")
        if not self.tumors:
            return
        if unknown := sorted(set(self.tumors.contrasts) - set(self.contrasts)):
            raise ValueError(
                f"tumors.contrasts: unknown {unknown}; expected among {[*self.contrasts]}"
            )
        if self.anatomy.lesion:
            raise ValueError(
                "anatomy.lesion: expected 0 where tumors are grown; a bright region beside the "
                "brain without a label would be one that the network is to ignore"
            )
