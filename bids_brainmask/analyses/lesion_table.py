# SPDX-License-Identifier: Apache-2.0
"""The table of candidate lesions, its data dictionary, and the table of the index image."""

from __future__ import annotations

import json
from collections.abc import Iterable

from bids_brainmask.analyses import candidates, diameters, lesion_place, lesions
from bids_brainmask.analyses.diameters import Ends
from bids_brainmask.analyses.lesions import Lesion
from bids_brainmask.analyses.surroundings import ON_SURFACE_MM, SIDE_SHARE, UNSURE_MM
from bids_brainmask.tables import tsv

ENDS = "End points {}, in world coordinates (RAS+), mm: [[x, y, z], [x, y, z]], the leftmost first"

COLUMNS: dict[str, dict] = {
    "index": {
        "LongName": "Index",
        "Description": (
            "Number of the candidate lesion, and its value in the file *_dseg.nii.gz; the largest "
            "is 1. Voxels that share a face, an edge or a corner belong to one lesion. Lesions of "
            f"less than the smallest volume, {lesions.SMALLEST_ML:g} mL by default, are removed"
        ),
    },
    "candidate": {
        "LongName": "Candidate",
        "Description": "Whether a rule speaks against the lesion; `reasons` names the rules",
        "Levels": {"likely": "No rule does", "unlikely": "A rule does"},
    },
    "reasons": {
        "LongName": "Reasons",
        "Description": "Why the lesion is unlikely, separated by semicolons; n/a for a likely one",
        "Levels": candidates.RULES,
    },
    "decision": {
        "LongName": "Decision",
        "Description": "What a person decided; n/a: nobody did. It goes before the rules",
        "Levels": {"accepted": "It is a lesion", "rejected": "It is not"},
    },
    "counted": {
        "LongName": "Counted",
        "Description": (
            "Whether the lesion is in the masks, in totals and in volumes over sessions: it is if "
            "it is accepted, or likely and not rejected"
        ),
        "Levels": {"yes": "It is", "no": "It is not"},
    },
    "volume_ml": {
        "LongName": "Volume",
        "Description": "Number of voxels times the voxel volume",
        "Units": "mL",
    },
    "volume_sd_ml": {
        "LongName": "Standard deviation of the volume",
        "Description": "Over the image and shifted and rotated copies of it that the network saw "
        "too; n/a if there were none (--lesion-copies)",
        "Units": "mL",
    },
    "longest_3d_mm": {
        "LongName": "Longest diameter in 3D",
        "Description": "Largest distance between the centers of two boundary faces",
        "Units": "mm",
    },
    "longest_mm": {
        "LongName": "Longest axial diameter",
        "Description": (
            "Largest distance between two points of the lesion's outline in one slice, over all "
            "slices across the image axis nearest to inferior-superior. The outline joins the "
            "centers of the voxels' boundary faces; the diameter may cross gaps in the lesion"
        ),
        "Units": "mm",
    },
    "perpendicular_mm": {
        "LongName": "Perpendicular diameter",
        "Description": (
            "In the slice of the longest axial diameter, the largest distance between the first "
            "and the last crossing of the outline with a line perpendicular to that diameter. If "
            f"several longest diameters are equal within {diameters.TIE:g} mm, the largest value "
            "of this"
        ),
        "Units": "mm",
    },
    "product_mm2": {
        "LongName": "Product of the diameters",
        "Description": "The longest axial diameter times the perpendicular one",
        "Units": "mm^2",
    },
    "slice": {
        "LongName": "Slice",
        "Description": "Number, from 0, of the slice of the longest axial diameter in the image",
    },
    "longest_ends_mm": {
        "LongName": "Ends of the longest axial diameter",
        "Description": ENDS.format("of the longest axial diameter"),
        "Units": "mm",
    },
    "perpendicular_ends_mm": {
        "LongName": "Ends of the perpendicular diameter",
        "Description": ENDS.format("of the perpendicular diameter"),
        "Units": "mm",
    },
    **{
        f"centroid_{axis}_mm": {
            "LongName": f"Centroid, {axis}",
            "Description": (
                f"Mean {axis} of the voxel centers in world coordinates (the image's affine times "
                f"the voxel indices), which increase towards the subject's {towards}"
            ),
            "Units": "mm",
        }
        for axis, towards in (("x", "right"), ("y", "front"), ("z", "top"))
    },
    "side": {
        "LongName": "Side",
        "Description": "Side of the plane, along the world's axes, through the middle of the "
        f"brain mask. Within {UNSURE_MM:g} mm of it a side is not told, for heads are "
        "tilted; n/a where it is not clear, and without a brain mask",
        "Levels": {
            "left": f"At least {SIDE_SHARE:.0%} of its voxels lie to the left of that",
            "right": f"At least {SIDE_SHARE:.0%} of its voxels lie to the right of that",
            "midline": f"At least {1 - SIDE_SHARE:.0%} lie on either side",
        },
    },
    "place": {
        "LongName": "Place",
        "Description": "Part of the dura that has the largest share of the lesion's surface "
        f"within {lesion_place.NEAR_MM:g} mm of it. The falx is the plane of symmetry of the "
        "brain mask; the tentorium is a surface that was fitted to other heads; n/a where less "
        f"than {lesion_place.LEAST_SHARE:.0%} of the surface lies on any part, where the "
        f"certainty is under {lesion_place.LEAST_CERTAINTY:g}, where the field of view ends "
        "within the brain, for a lesion away from it, and without a brain mask",
        "Levels": {
            "convexity": "Outline of the cerebrum, to the side, in front, behind, or above",
            "parasagittal": "Upper outline of the cerebrum, up to "
            f"{lesion_place.BESIDE_MM:g} mm from the falx",
            "falx": "Between the hemispheres",
            "tentorium": "Between cerebrum and cerebellum",
            "skull base": "Lower outline of the cerebrum",
            "posterior fossa": "Outline of the cerebellum and the brainstem",
        },
    },
    "place_certainty": {
        "LongName": "Certainty of the place",
        "Description": "Share of some changes of the head's axes, by "
        f"{lesion_place.TURNS_DEG:g} degrees or {lesion_place.SHIFTS_MM:g} mm, and of the "
        "distance up to which a lesion lies on the dura, that give this place, in [0, 1]; of the "
        "most frequent answer where the place is n/a",
    },
    "thickness_mm": {
        "LongName": "Thickness",
        "Description": "Diameter of the largest sphere that lies in the lesion",
        "Units": "mm",
    },
    "surface_mm2": {
        "LongName": "Surface area",
        "Description": (
            "Sum over the voxels' boundary faces of the area times the absolute cosine of the "
            "angle between the normals of the face and of the surface. The latter is the "
            "gradient, at the face's center, of the lesion mask smoothed with a Gaussian of "
            f"standard deviation {diameters.SMOOTHING:g} voxels along each axis: along the axis "
            "across the face, the difference of its two voxels; along the others, the mean of "
            "their central differences"
        ),
        "Units": "mm^2",
    },
    "skull_distance_mm": {
        "LongName": "Distance to the skull",
        "Description": (
            "Smallest distance between the lesion and the inner surface of the skull. The latter "
            "is approximated by the outline of the brain mask and all lesions together; n/a "
            "without a brain mask, and for a lesion that does not touch it"
        ),
        "Units": "mm",
    },
    "skull_contact_mm2": {
        "LongName": "Contact with the skull",
        "Description": (
            "Part of the surface area whose faces are on that outline; n/a as for the distance"
        ),
        "Units": "mm^2",
    },
    "dura_distance_mm": {
        "LongName": "Distance to the dura",
        "Description": (
            "Smallest of the distances between the lesion and that outline, the falx and the "
            "tentorium, as they are approximated for its place; n/a as for the distance to the "
            "skull, and where no place is told for want of a head's axes"
        ),
        "Units": "mm",
    },
    "brain_distance_mm": {
        "LongName": "Distance to the brain",
        "Description": "Smallest distance between the lesion and the brain mask; 0 if it touches "
        "it or lies in it; n/a without a brain mask",
        "Units": "mm",
    },
    "share_in_brain": {
        "LongName": "Share within the brain mask",
        "Description": "Share of the lesion's voxels that are in the brain mask, in [0, 1]; n/a "
        "without a brain mask",
    },
    "share_facing_brain": {
        "LongName": "Share of the surface that faces the brain",
        "Description": (
            "Share of the surface area whose faces border on the brain mask or on other lesions "
            "on it, in [0, 1]; of a lesion that does not touch the brain mask, whose faces are "
            f"up to {ON_SURFACE_MM:g} mm from it; n/a without a brain mask"
        ),
    },
    "mean_probability": {
        "LongName": "Mean probability",
        "Description": "Mean probability of lesion over the lesion's voxels, in [0, 1]",
    },
    "peak_probability": {
        "LongName": "Peak probability",
        "Description": "Highest probability of lesion in the lesion's voxels, in [0, 1]",
    },
}
"""Data dictionary of `table`, in BIDS form."""


def table(found: Iterable[Lesion]) -> str:
    """Write lesions as tab-separated values, one a line under the names of `COLUMNS`."""
    rows = (row(lesion) for lesion in found)
    return tsv([COLUMNS, *([each[name] for name in COLUMNS] for each in rows)])


def indices(found: Iterable[Lesion]) -> str:
    """Write the table of the index image, as BIDS has it: index and name."""
    rows = ((each.index, f"candidate lesion {each.index}, {words(each)}") for each in found)
    return tsv([("index", "name"), *rows])


def words(lesion: Lesion) -> str:
    """Say what a lesion is taken for: by a person, else by the rules."""
    return lesion.decision or ("likely" if lesion.is_likely else "unlikely")


def row(lesion: Lesion) -> dict[str, str]:
    """Write one lesion's measures by the names of `COLUMNS`; z: no negative zero."""
    x, y, z = (f"{middle:z.1f}" for middle in lesion.centroid_mm)
    return {
        "index": str(lesion.index),
        "candidate": "likely" if lesion.is_likely else "unlikely",
        "reasons": "; ".join(lesion.reasons) or "n/a",
        "decision": lesion.decision or "n/a",
        "counted": "yes" if lesion.is_counted else "no",
        "volume_ml": f"{lesion.volume_ml:.3f}",
        "volume_sd_ml": _known(lesion.volume_sd_ml, 3),
        "longest_3d_mm": f"{lesion.longest_3d_mm:.1f}",
        "longest_mm": f"{lesion.longest_mm:.1f}",
        "perpendicular_mm": f"{lesion.perpendicular_mm:.1f}",
        "product_mm2": f"{lesion.product_mm2:.0f}",
        "slice": str(lesion.slice_index),
        "longest_ends_mm": _ends(lesion.longest_ends_mm),
        "perpendicular_ends_mm": _ends(lesion.perpendicular_ends_mm),
        "centroid_x_mm": x,
        "centroid_y_mm": y,
        "centroid_z_mm": z,
        "side": lesion.side or "n/a",
        "place": lesion.place or "n/a",
        "place_certainty": _known(lesion.place_certainty, 2),
        "thickness_mm": f"{lesion.thickness_mm:.1f}",
        "surface_mm2": f"{lesion.surface_mm2:.0f}",
        "skull_distance_mm": _known(lesion.skull_distance_mm, 1),
        "skull_contact_mm2": _known(lesion.skull_contact_mm2, 0),
        "dura_distance_mm": _known(lesion.dura_distance_mm, 1),
        "brain_distance_mm": _known(lesion.brain_distance_mm, 1),
        "share_in_brain": _known(lesion.share_in_brain, 3),
        "share_facing_brain": _known(lesion.share_facing_brain, 3),
        "mean_probability": f"{lesion.mean_probability:.3f}",
        "peak_probability": f"{lesion.peak_probability:.3f}",
    }


def _known(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _ends(ends: Ends) -> str:
    return json.dumps([[round(value, 1) + 0.0 for value in end] for end in ends])
