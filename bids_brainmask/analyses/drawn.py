# SPDX-License-Identifier: Apache-2.0
"""The figures, one row each, and the functions that draw the files of their rows.

Importing this module is quick: what needs NumPy is imported when a function is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_brainmask.analyses.rows import Figure
from bids_brainmask.voxels import UNCERTAIN

if TYPE_CHECKING:
    from bids_brainmask.analyses.lesions import Lesion
    from bids_brainmask.analyses.rows import Findings
    from bids_brainmask.voxels.image import Source


def brain(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices with the outline of the brain mask."""
    from bids_brainmask.drawing import figures

    return (figures.mosaic(source.volume, findings["brain"].mask, title=name),)


def uncertainty(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices with the uncertain regions."""
    from bids_brainmask.drawing import figures

    brain = findings["brain"]
    return (figures.uncertainty(source.volume, brain.mask, brain.probability, title=name),)


def thumbnail(source: Source, findings: Findings, name: str) -> tuple[bytes]:  # noqa: ARG001
    """Draw the thumbnail of the group report."""
    from bids_brainmask.drawing import figures

    return (figures.thumbnail(source.volume, findings["brain"].mask),)


def tiles(source: Source, findings: Findings, name: str) -> tuple[bytes, bytes]:  # noqa: ARG001
    """Draw the slices of the group report's view of one image, and what is shown over them."""
    from bids_brainmask.drawing import tiles

    brain = findings["brain"]
    return tiles.pictures(source.volume, brain.mask, brain.probability)


def meningiomas(source: Source, findings: Findings, name: str) -> tuple[bytes]:
    """Draw slices through the candidate lesions, those that count first."""
    from bids_brainmask.analyses import lesion_table
    from bids_brainmask.drawing import figures

    lesions, brain = findings["meningioma"].lesions, findings.get("brain")
    shown = [each for each in lesions.candidates if each.is_counted]
    shown += [each for each in lesions.candidates if not each.is_counted]
    places = [
        (_middle(each), f"{each.index}, {lesion_table.words(each)}: {each.volume_ml:.2f} mL")
        for each in shown
    ]
    lines = [(each.longest_ends_mm, each.perpendicular_ends_mm) for each in shown]
    outlines = (lesions.labels > 0, brain and brain.mask)
    return (figures.tumors(source.volume, *outlines, places, diameters=lines, title=name),)


def lesions(source: Source, findings: Findings, name: str) -> tuple[bytes, bytes]:  # noqa: ARG001
    """Draw the candidate lesions of the group report: its thumbnail, and what is over slices."""
    import numpy as np

    from bids_brainmask.drawing import figures, tiles

    found, brain = findings["meningioma"].lesions, findings.get("brain")
    mask = brain.mask if brain else np.zeros(source.volume.data.shape, bool)
    first = next((each for each in found.candidates if each.is_counted), None)
    first = first or next(iter(found.candidates), None)
    place = _middle(first) if first else None
    masks = (found.mask, (found.labels > 0) & ~found.mask)
    return (
        figures.lesion_thumbnail(source.volume, mask, *masks, place),
        tiles.lesion_overlays(source.volume, mask, *masks),
    )


def _middle(lesion: Lesion) -> list[float]:
    """Middle of the longest axial diameter, which is in the section that is measured."""
    one, other = lesion.longest_ends_mm
    return [(a + b) / 2 for a, b in zip(one, other, strict=True)]


def viewer(source: Source, findings: Findings, name: str) -> tuple[bytes, ...]:  # noqa: ARG001
    """Make the volumes of the viewer: the image, and the labels of both masks."""
    import numpy as np

    from bids_brainmask.drawing import figures
    from bids_brainmask.voxels import image

    brain, tumors = findings.get("brain"), findings.get("meningioma")
    mask = brain.mask if brain else np.zeros(source.volume.data.shape, bool)
    parts = figures.viewer(source.volume, mask, tumors and tumors.lesions.mask)
    return tuple(image.to_bytes(image.of_volume(part), compress=True) for part in parts)


VIEWED = (("image", "{suffix}"), ("labels", "dseg"))
OF_LESIONS = (("lesionthumbnail", "webp"), ("lesionoverlays", "png"))
FIGURES: tuple[Figure, ...] = (
    Figure(
        name="brain",
        made_by="brain",
        files={"brain": ("brain", "{suffix}.webp")},
        draw=brain,
        title="Brain mask",
        alt="Slices of {} with the outline of the brain mask",
        caption="Slices with the outline of the mask.",
    ),
    Figure(
        name="uncertainty",
        made_by="brain",
        files={"uncertainty": ("uncertainty", "{suffix}.webp")},
        draw=uncertainty,
        title="Uncertainty",
        alt="Slices of {} with the uncertain regions",
        caption=f"Uncertain regions: probability from {UNCERTAIN[0]:g} to {UNCERTAIN[1]:g}.",
    ),
    Figure("thumbnail", "brain", {"thumbnail": ("thumbnail", "{suffix}.webp")}, thumbnail),
    Figure(
        "tiles",
        "brain",
        {"slices": ("slices", "{suffix}.webp"), "overlays": ("overlays", "{suffix}.png")},
        tiles,
        apart=True,
    ),
    Figure(
        name="meningioma",
        made_by="meningioma",
        files={"meningioma": ("meningioma", "{suffix}.webp")},
        draw=meningiomas,
        title="Meningiomas",
        alt="Slices of {} with the outlines of the candidate lesions",
        caption="Three slices through each candidate lesion, with the axial diameters; those that "
        "count come first.",
    ),
    Figure(
        "lesions",
        "meningioma",
        {name: (name, f"{{suffix}}.{end}") for name, end in OF_LESIONS},
        lesions,
        apart=True,
    ),
    Figure(
        "viewer",
        "",
        {f"viewer_{kind}": ("viewer", f"{end}.nii.gz") for kind, end in VIEWED},
        viewer,
        viewer=True,
    ),
)
"""In the order of a participant's report."""
