# SPDX-License-Identifier: Apache-2.0
"""What the rows of the catalog say: of an analysis, of a kind of file, and of a figure.

Importing this module is quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from bids_brainmask.analyses.measures import Measure
    from bids_brainmask.models.model import Model
    from bids_brainmask.voxels.image import Source

SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "UNIT1")
"""BIDS suffixes of the images that can be processed."""

DEFAULT_SUFFIX = "T1w"
"""Suffix that derivatives of fixed suffix do not name."""


class Image(Protocol):
    """What decides whether an analysis applies to a scan."""

    @property
    def suffix(self) -> str:
        """BIDS suffix of its name."""

    @property
    def contrast(self) -> bool:
        """Whether it is contrast-enhanced."""


class Finding(Protocol):
    """What an analysis found in one scan."""

    @property
    def summary(self) -> str:
        """A few words for the line about the scan."""

    @property
    def remarks(self) -> str:
        """What the line about the scan says beside; empty for nothing."""

    @property
    def warning(self) -> str:
        """What the user must know before the result is used; empty for nothing."""

    def record(self) -> dict[str, Any]:
        """Entries for the sidecars."""


Findings = Mapping[str, Any]
"""The `Finding` of each analysis of one scan, by the analysis's name."""


@dataclass(frozen=True)
class Number:
    """One number of a sidecar that a participant's page shows as a tile."""

    title: str
    key: str
    """Of the sidecar."""

    units_key: str = ""
    """Key of the sidecar that holds the units; empty: `units`."""

    units: str = ""
    factor: float = 1
    is_doubtful: Callable[[float], bool] = lambda value: False  # noqa: ARG005
    """Whether a value is marked."""

    column: str = ""
    """Heading in the page's table of images; empty: not in the table."""

    words: Callable[[Mapping[str, Any]], str] | None = None
    """Says the number in words, from the sidecar; None or empty: it is shown as it is."""


@dataclass(frozen=True)
class Analysis:
    """One thing to find in a scan."""

    name: str
    title: str
    """Heading of its results in reports."""

    find: Callable[[Source, Any, Findings], Finding]
    """Source image, network and options (a `Method`; None without a model), and the findings of
    the analyses that it needs."""

    main: str
    """Name of the `Output` whose sidecar records what was found."""

    default_models: tuple[str, ...] = ()
    """Registered models for it that ``--model auto`` means: the first one whose file has been
    fetched. The last one ships in the package. Empty: no network carries it out."""

    file_defaults: Mapping[str, Any] = field(default_factory=lambda: {"intensities": "robust"})
    """Fields of the model of a user's ``.npz`` file without a table that differ from those of a
    network for brains."""

    has_border: bool = False
    """Whether ``--border`` moves the edge of its mask."""

    refuse: Callable[[Image], str] = lambda scan: ""  # noqa: ARG005
    """Why it is not carried out for a scan; empty: it is."""

    needs: Callable[[Model | None], tuple[str, ...]] = lambda model: ()  # noqa: ARG005
    """Analyses that must be carried out before."""

    parameters: Callable[[Any, Callable[[str], dict]], dict] = (
        lambda model, of_analysis: {}  # noqa: ARG005
    )
    """What decides its result beside the model (a `Model`; None without one), the threshold and
    the options. The second argument gives the parameters of another analysis, by its name."""

    readme: str = "For each image:"
    """Sentence before its files in the derivative's README."""

    methods: str = ""
    """Sentence of the methods text. Those of the brain and of meningiomas are in the template."""

    numbers: tuple[Number, ...] = ()
    measures: Callable[[], tuple[Measure, ...]] = tuple
    """Measures of quality, for the group's table."""

    correctable: bool = False
    """Whether a person's mask may take the place of its main output. Its findings then have
    `corrected(source, mask, findings)`; the automatic mask is kept, see `automatic_mask`."""

    candidates: str = ""
    """Name of an `Output` of the form ``labels`` whose values a person may accept or reject. Its
    findings then have `decided(decisions)`."""

    on_page: bool = False
    """Whether the group's page has its measures as columns beside those of the brain mask, which
    it always has."""

    table: str = ""
    """Name of an `Output` of the form ``table`` that a participant's page shows."""

    @property
    def has_model(self) -> bool:
        """Whether a network carries it out."""
        return bool(self.default_models)

    def model(
        self,
        name_or_path: str | Path = "auto",
        model_dir: Path | None = None,
        *,
        allow_unverified: bool = False,
    ) -> Model:
        """Find its model, as `bids_brainmask.models.registry.resolve` does.

        A registered model that was asked for may be one for another analysis.
        """
        from bids_brainmask.models import registry

        return registry.resolve(
            name_or_path,
            model_dir,
            task=self.name,
            automatic=self.default_models,
            defaults=self.file_defaults,
            allow_unverified=allow_unverified,
        )


@dataclass(frozen=True)
class Output:
    """One kind of file that is written for a scan."""

    name: str
    made_by: tuple[str, ...]
    """Analyses that it is made by."""

    entities: Mapping[str, str]
    """Entities that follow the source's."""

    ending: str
    """Suffix and extension; ``{suffix}`` stands for the source's suffix."""

    form: Literal["mask", "labels", "probability", "brain", "table"]
    value: Callable[[Findings], Any]
    """The array of an image, (I, J, K), or the text of a table. For ``brain``, the mask."""

    readme: str
    option: str = ""
    """Value of ``--outputs`` that asks for it; empty: it is always written."""

    sidecar: Mapping[str, Any] = field(default_factory=dict)
    """What the sidecar always says."""

    columns: Callable[[], Mapping[str, Mapping]] | None = None
    """Data dictionary of a table, which is its sidecar. A table without one has no sidecar: its
    columns are those of BIDS."""

    off_page: tuple[str, ...] = ()
    """Of a table: columns that a participant's page does not show."""

    caption: str = ""
    """Of a table: what a participant's page writes above it."""

    empty: str = "No rows."
    """Of a table: what a participant's page writes for one without rows."""

    automatic: bool = False
    """Written only where a person's mask has taken the place of the found one."""

    in_bids: bool = True
    """Whether BIDS has a name for such files; others are listed in ``.bidsignore``."""

    @property
    def is_table(self) -> bool:
        """Whether it is a table, and no image."""
        return self.form == "table"

    @property
    def has_sidecar(self) -> bool:
        """Whether a JSON file of its own is written beside it."""
        return not self.is_table or self.columns is not None

    def file(self, prefix: str, suffix: str) -> str:
        """Name of the file for a scan."""
        return file_name(prefix, suffix, self.entities, self.ending)


@dataclass(frozen=True)
class Figure:
    """One figure of a participant's page."""

    name: str
    made_by: str
    """Analysis that it shows; empty: drawn after any."""

    files: Mapping[str, tuple[str, str]]
    """Of each file: value of ``desc-``, suffix and extension."""

    draw: Callable[[Source, Findings, str], tuple[bytes, ...]]
    """Bytes of each of `files`; the last argument is the name of the scan."""

    title: str = ""
    """Heading in the page; empty: not shown as a picture of its own."""

    alt: str = ""
    """Alternative text; ``{}`` stands for the name of the scan."""

    caption: str = ""
    viewer: bool = False
    """Drawn only for the viewer."""

    apart: bool = False
    """Shown by the group report alone, one image at a time."""

    def file(self, prefix: str, suffix: str, name: str) -> str:
        """Name one of the files for a scan."""
        desc, ending = self.files[name]
        return file_name(prefix, suffix, {"desc": desc}, ending)


def automatic_mask(main: Output) -> Output:
    """Row of the automatic mask that is kept where a person's mask has taken its place.

    Parameters
    ----------
    main : Output
        Main output of an analysis that is `correctable`.
    """
    return replace(
        main,
        name=f"{main.name}_automatic",
        entities=dict(main.entities) | {"desc": f"{main.entities['desc']}auto"},
        readme="the automatic mask, where a person's mask has taken its place",
        option="",
        sidecar=dict(main.sidecar) | {"Description": "The mask before a person corrected it"},
        automatic=True,
    )


def scan_key(prefix: str, suffix: str) -> str:
    """Name a scan where names must not collide: its prefix, and its suffix unless it is T1w."""
    return prefix if suffix == DEFAULT_SUFFIX else f"{prefix}_{suffix}"


def file_name(prefix: str, suffix: str, entities: Mapping[str, str], ending: str) -> str:
    """Name a derivative of a scan.

    A mask of a T1w image is ``<prefix>_desc-brain_mask``. An ending without the source's suffix
    would be the same for a T2w image of the same entities, so ``desc-`` says the suffix there:
    ``<prefix>_desc-brainT2w_mask``.
    """
    pairs = dict(entities)
    if suffix != DEFAULT_SUFFIX and "{suffix}" not in ending:
        pairs["desc"] = pairs.get("desc", "") + suffix
    named = [f"{key}-{value}" for key, value in pairs.items()]
    return "_".join([prefix, *named, ending.format(suffix=suffix)])
