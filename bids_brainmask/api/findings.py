# SPDX-License-Identifier: Apache-2.0
"""What the Python API gives: the brain or the meningiomas of one image, as nibabel images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from nibabel import Nifti1Image

from bids_brainmask.analyses.brain import Extraction
from bids_brainmask.analyses.lesions import Lesion
from bids_brainmask.analyses.meningioma import Tumors
from bids_brainmask.dataset import ownership, storage
from bids_brainmask.errors import UsageError
from bids_brainmask.voxels import NIFTI
from bids_brainmask.voxels import image as images

PathLike = str | os.PathLike[str]


class Brain:
    """The brain of one image, as `extract` found it.

    The images have the grid of the input: its shape without a fourth axis of one frame, both
    affines with their codes, and its units. They are made when they are first asked for.
    """

    def __init__(self, name: str, source: images.Source, found: Extraction) -> None:
        self._name, self._source, self._found = name, source, found

    def __repr__(self) -> str:
        dice = self.predicted_dice
        predicted = "" if dice is None else f", predicted Dice {dice:.2f}"
        return f"<Brain of {self._name}: {self.volume_ml:.0f} mL{predicted}>"

    @cached_property
    def mask(self) -> Nifti1Image:
        """1 in the brain, 0 elsewhere; (I, J, K) uint8. One component, without holes."""
        return images.mask_like(self._source, self._found.mask)

    @cached_property
    def brain(self) -> Nifti1Image:
        """The input inside the mask, with its data type and scaling; 0 outside, (I, J, K).

        nibabel may choose another scaling when it saves integers that have one; `save` keeps every
        stored value.
        """
        file = images.brain_like(self._source, self._found.mask)
        return type(file).from_bytes(images.to_bytes(file, compress=False))  # reads it scaled

    @cached_property
    def probability(self) -> Nifti1Image:
        """Probability of brain, in [0, 1]; (I, J, K) float32. 0 where the network saw nothing."""
        return images.probability_like(self._source, self._found.probability)

    @property
    def volume_ml(self) -> float:
        """Volume of the mask, mL."""
        return self._found.volume_ml

    @property
    def predicted_dice(self) -> float | None:
        """Dice coefficient that the mask is expected to have with a reference, in [0, 1].

        None for a model that has not been calibrated. See ``docs/confidence.md``.
        """
        return self._found.predicted_dice

    @property
    def warning(self) -> str:
        """What to know before the mask is used; empty where nothing is doubtful."""
        return self._found.warning

    @property
    def remarks(self) -> str:
        """The warning, and that the image was stripped before; empty for nothing."""
        return self._found.remarks

    @property
    def stripped(self) -> bool:
        """Whether the image held a brain and nothing else; the mask then is all that it holds."""
        return self._found.stripped

    @property
    def quality(self) -> Mapping[str, float | None]:
        """Measures of quality, by name; see ``docs/outputs.md``.

        Volumes, ``_ml``, are in mL, and lengths, ``_mm``, in mm.
        """
        return dict(self._found.quality or {})

    def save(
        self,
        mask: PathLike | None = None,
        brain: PathLike | None = None,
        probability: PathLike | None = None,
    ) -> list[Path]:
        """Write images as the command line and the BIDS App do: the same bytes.

        A file appears whole or not at all, and folders are made.

        Parameters
        ----------
        mask, brain, probability : path, optional
            Where to write each, ``.nii`` or ``.nii.gz``. What is None is not written.

        Returns
        -------
        list of Path
            What was written, in the order of the parameters.

        Raises
        ------
        UsageError
            No path, one that ends otherwise, or the input's own. Nothing was written then.
        OutputError
            A file cannot be written.
        """
        places = check_places(self._name, mask, brain, probability)
        makers = (
            lambda: self.mask,
            lambda: images.brain_like(self._source, self._found.mask),
            lambda: self.probability,
        )
        for path, make in zip(places, makers, strict=True):
            if path:
                content = images.to_bytes(make(), compress=path.name.endswith(".gz"))
                storage.write_bytes(path, content)
        return [path for path in places if path]


def check_places(name: str, *places: PathLike | None) -> list[Path | None]:
    """Raise a UsageError unless images can be written to some paths: see `Brain.save`.

    Parameters
    ----------
    name : str
        Path of the input.
    *places : path or None
    """
    paths = [None if place is None else Path(place) for place in places]
    if not any(paths):
        raise UsageError("nothing to write: give a path for the mask, brain or probability.")
    for path in filter(None, paths):
        if not path.name.endswith(NIFTI):
            raise UsageError(f"{path}: expected a name that ends in .nii or .nii.gz.")
        if path.resolve() == Path(name).resolve():
            raise UsageError(f"{path}: is the input, which is never overwritten.")
        ownership.check_file(path)
    return paths


class Meningiomas:
    """The meningiomas of one image, as `find_meningiomas` found them.

    The images have the grid of the input, as those of `Brain` have.
    """

    def __init__(self, name: str, source: images.Source, found: Tumors) -> None:
        self._name, self._source, self._found = name, source, found

    def __repr__(self) -> str:
        return f"<Meningiomas of {self._name}: {self._found.summary}>"

    @cached_property
    def mask(self) -> Nifti1Image:
        """1 in a candidate lesion that counts, 0 elsewhere; (I, J, K) uint8."""
        return images.mask_like(self._source, self._found.lesions.mask)

    @cached_property
    def indices(self) -> Nifti1Image:
        """Index of each candidate lesion, 0 elsewhere; (I, J, K) uint16."""
        return images.labels_like(self._source, self._found.lesions.labels)

    @cached_property
    def probability(self) -> Nifti1Image:
        """Probability of meningioma, in [0, 1]; (I, J, K) float32."""
        return images.probability_like(self._source, self._found.probability)

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """A row for each candidate, the largest first: volume in mL, diameters in mm.

        `is_counted` says whether it is in the mask, and `reasons` why it is not.

        ``pandas.DataFrame(found.lesions)`` makes a table of them.
        """
        return self._found.lesions.candidates

    @property
    def volume_ml(self) -> float:
        """Volume of those that count, mL."""
        return self._found.lesions.volume_ml

    @property
    def warning(self) -> str:
        """What to know before the mask is used; empty for nothing."""
        return self._found.remarks
