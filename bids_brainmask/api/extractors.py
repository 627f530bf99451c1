# SPDX-License-Identifier: Apache-2.0
"""Networks that are loaded once, and what they find in an image."""

from __future__ import annotations

import math
import os
from functools import cached_property
from typing import ClassVar, TypedDict, Unpack, get_args

from bids_brainmask.analyses import catalog
from bids_brainmask.analyses.brain import extract as extract_brain
from bids_brainmask.analyses.meningioma import find_meningiomas as find_tumors
from bids_brainmask.api.findings import Brain, Meningiomas, PathLike
from bids_brainmask.errors import UsageError
from bids_brainmask.models import backends
from bids_brainmask.settings import EXPECTED_ML, Engine, Precision
from bids_brainmask.voxels import image as images
from bids_brainmask.voxels import nifti
from bids_brainmask.voxels.inference import Options
from bids_brainmask.voxels.nifti import ImageLike


class NetworkOptions(TypedDict, total=False):
    """Parameters of `MeningiomaFinder`, for those who hand them on."""

    model: PathLike
    threshold: float | None
    threads: int | None
    engine: Engine
    precision: Precision
    overlap: bool
    flips: bool
    allow_unverified: bool


class BrainOptions(NetworkOptions, total=False):
    """Parameters of `Extractor`, for those who hand them on."""

    border: float
    expected_ml: tuple[float, float]


class _Analysis:
    """A network that is loaded, and how it is used."""

    task: ClassVar[str]

    def __init__(
        self,
        model: PathLike = "auto",
        *,
        threshold: float | None = None,
        threads: int | None = None,
        engine: Engine = "auto",
        precision: Precision = "auto",
        overlap: bool = False,
        flips: bool = False,
        allow_unverified: bool = False,
    ) -> None:
        if threshold is not None and not 0 < threshold < 1:
            raise UsageError(f"threshold {threshold}: expected a number between 0 and 1.")
        if threads is not None and threads < 1:
            raise UsageError(f"threads {threads}: expected 1 or more.")
        for name, value, known in (
            ("engine", engine, Engine),
            ("precision", precision, Precision),
        ):
            if value not in get_args(known):
                raise UsageError(
                    f"{name} {value!r}: expected one of {', '.join(get_args(known))}."
                )
        found = catalog.analysis(self.task).model(
            os.fspath(model), allow_unverified=allow_unverified
        )
        if found.task != self.task:
            raise UsageError(f"{model}: a model for {found.task}; expected one for {self.task}.")
        self.model = found
        """The model, with its `name`, `version`, `sha256` and `citation`."""

        self.threshold = found.threshold if threshold is None else threshold
        """Probability from which a voxel is in the mask, in (0, 1)."""

        self._network = backends.start(found, engine, threads, precision)
        self._inference = Options(overlap=overlap, flips=flips)
        self._options: NetworkOptions = {
            "threads": threads,
            "engine": engine,
            "precision": precision,
            "overlap": overlap,
            "flips": flips,
        }

    @property
    def engine(self) -> str:
        """What runs the network, with its version, such as ``OpenVINO 2026.4.1``."""
        return self._network.engine

    @property
    def precision(self) -> str:
        """What the network computes in: ``float32``, ``bfloat16`` or ``int8``."""
        return self._network.precision

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.model.name} {self.model.version} on {self.engine}>"


class Extractor(_Analysis):
    """Extracts brains; the network is loaded once, for any number of images.

    Parameters
    ----------
    model : str or path
        A name that ``brainmask models list`` shows, a folder that a training left, or a ``.npz``,
        ``.h5`` or ``.keras`` file. ``auto``: brainy where it has been downloaded, else embedded.
    threshold : float, optional
        Probability from which a voxel is brain, in (0, 1). The model's own if None.
    threads : int, optional
        Processor threads. As many as affinity, control group and SLURM allow if None.
    engine : {"auto", "openvino", "tensorflow"}
        What runs the network; ``auto`` is TensorFlow on a GPU, else OpenVINO.
    border : float
        Distance by which the edge of the mask is moved, mm; above 0 outward, below 0 inward.
    expected_ml : tuple of 2 float
        Volumes between which a brain is expected to lie, mL; beyond them the mask is doubtful.
    precision : {"auto", "float32", "bfloat16", "int8"}
        What the network computes in. ``bfloat16`` is faster on processors with AMX, ``int8`` on
        those with VNNI; only `embedded` has the latter. ``auto`` is int8 where model and processor
        have it, else float32: give float32 for the same network on every processor.
    overlap : bool
        Let the blocks of models that see blocks overlap by half.
    flips : bool
        Average with what is found in the mirror image: twice the network's time.
    allow_unverified : bool
        Take a training's folder whose table has no hash of the model.

    Raises
    ------
    UsageError
        A parameter is out of its range, or the model is for something else.
    ModelError
        The model is unknown, absent, not the registered file, or unreadable.

    Notes
    -----
    An extractor is for one thread at a time. Give each process its own.

    Examples
    --------
    >>> import bids_brainmask
    >>> from bids_brainmask.demo import phantom
    >>> extractor = bids_brainmask.Extractor(model="embedded", threads=2)
    >>> for seed in range(1):  # or paths
    ...     head, truth = phantom.head(seed, spacing=4)
    ...     brain = extractor(head)
    ...     print(brain.mask.shape, round(brain.volume_ml) > 1500)
    (52, 64, 64) True
    """

    task = "brain"

    def __init__(
        self,
        model: PathLike = "auto",
        *,
        threshold: float | None = None,
        border: float = 0.0,
        expected_ml: tuple[float, float] = EXPECTED_ML,
        threads: int | None = None,
        engine: Engine = "auto",
        precision: Precision = "auto",
        overlap: bool = False,
        flips: bool = False,
        allow_unverified: bool = False,
    ) -> None:
        if not math.isfinite(border):
            raise UsageError(f"border {border}: expected a distance in mm.")
        low, high = expected_ml
        if not 0 <= low < high:
            raise UsageError(f"expected_ml {low} {high}: expected two volumes, the lower first.")
        super().__init__(
            model,
            threshold=threshold,
            threads=threads,
            engine=engine,
            precision=precision,
            overlap=overlap,
            flips=flips,
            allow_unverified=allow_unverified,
        )
        self.border = border
        """Distance by which the edge of the mask is moved, mm."""
        self.expected_ml = (low, high)
        """Volumes between which a brain is expected to lie, mL."""

    def __call__(self, image: ImageLike) -> Brain:
        """Extract the brain from an image; parameters and errors as in `extract`."""
        return self.of_source(nifti.name(image), images.read(image))

    def of_source(self, name: str, source: images.Source) -> Brain:
        """Extract the brain from an image that `voxels.image.read` has read.

        Parameters
        ----------
        name : str
            Of the image, for errors.
        source : Source
        """
        how = (self.model, self._network, self.threshold, self._inference)
        found = extract_brain(source, *how, border=self.border, expected_ml=self.expected_ml)
        return Brain(name, source, found)


class MeningiomaFinder(_Analysis):
    """Finds meningiomas; the network is loaded once, for any number of images.

    Parameters and errors are those of `Extractor`, for a model of meningioma: ``auto`` is ams
    where it has been downloaded, else embedded-meningioma.
    """

    task = "meningioma"

    @cached_property
    def _extractor(self) -> Extractor:
        """For images that come without their brain."""
        return Extractor(**self._options)

    def __call__(self, image: ImageLike, brain: Brain | None = None) -> Meningiomas:
        """Find meningiomas in an image; parameters and errors as in `find_meningiomas`."""
        source, name = images.read(image), nifti.name(image)
        if brain is None and self.model.near_brain:
            brain = self._extractor(image)
        if brain is not None:
            names = (name, f"the brain of {brain._name}")
            images.check_same_grid(names, (source.volume, brain._source.volume))
        found = find_tumors(
            source,
            self.model,
            self._network,
            self.threshold,
            None if brain is None else brain._found,
            self._inference,
        )
        return Meningiomas(name, source, found)


def extract(image: ImageLike, **options: Unpack[BrainOptions]) -> Brain:
    """Extract the brain from a T1-weighted image of a head.

    For more than one image, an `Extractor` loads the network once.

    Parameters
    ----------
    image : path or nibabel image
        3D: a ``.nii`` or ``.nii.gz`` file, or a NIfTI or MGH image in memory, of any orientation,
        real data type, scaling and byte order. A fourth axis of one frame is dropped. Voxel sizes
        are taken to be in mm.
    **options
        Parameters of `Extractor`: ``model``, ``threshold``, ``threads``, ``engine``,
        ``precision``, ``border``, ``expected_ml``, ``overlap``, ``flips``, ``allow_unverified``.

    Returns
    -------
    Brain

    Raises
    ------
    ImageError
        The image cannot be read, is not 3D, is empty or constant, has no place in the world or no
        room for a head, or no brain is found in it.
    UsageError, ModelError
        As `Extractor`.

    Examples
    --------
    A phantom of a head, in memory; a path is taken as well.

    >>> import bids_brainmask
    >>> from bids_brainmask.demo import phantom
    >>> head, truth = phantom.head(1, spacing=4)
    >>> brain = bids_brainmask.extract(head, model="embedded")
    >>> brain.mask.shape == head.shape
    True
    >>> 1900 < brain.volume_ml < 2300
    True
    >>> brain.predicted_dice > 0.9
    True
    >>> brain.warning
    ''
    >>> bids_brainmask.evaluate(brain.mask, truth).dice > 0.93
    True
    """
    return Extractor(**options)(image)


def find_meningiomas(
    image: ImageLike, brain: Brain | None = None, **options: Unpack[NetworkOptions]
) -> Meningiomas:
    """Find the meningiomas in a contrast-enhanced T1-weighted image of a whole head.

    None is an answer, too. Without contrast, and in images that were stripped before, what is
    found means little. For more than one image, a `MeningiomaFinder` loads the network once.

    Parameters
    ----------
    image : path or nibabel image
        As for `extract`.
    brain : Brain, optional
        What `extract` found in the same image, to tell where lesions lie, and to drop those that
        are far from the brain. If None, it is extracted here where the model needs it, by the
        model ``auto``.
    **options
        Parameters of `MeningiomaFinder`, which are those of `Extractor`.

    Returns
    -------
    Meningiomas

    Raises
    ------
    ImageError
        As `extract`; or the brain is on another grid.
    UsageError, ModelError
        As `MeningiomaFinder`.

    Examples
    --------
    >>> import bids_brainmask
    >>> from bids_brainmask.demo import phantom
    >>> head, _ = phantom.head(2, spacing=4, contrast=True)
    >>> head = head.slicer[:, :, 24:]  # without the neck, so that the example is quick
    >>> brain = bids_brainmask.extract(head, model="embedded")
    >>> found = bids_brainmask.find_meningiomas(head, brain, model="embedded-meningioma")
    >>> found.mask.shape == head.shape
    True
    >>> found.volume_ml == sum(lesion.volume_ml for lesion in found.lesions)
    True
    """
    return MeningiomaFinder(**options)(image, brain)
