# SPDX-License-Identifier: Apache-2.0
"""Choices: what was asked for single images, remembered with their results.

The sidecar of the main mask of an analysis has the choice under ``Chosen``; the record of the run
under ``logs/`` has it, too, with the path of a model's file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from bids_brainmask.analyses import catalog, models_asked
from bids_brainmask.dataset import storage
from bids_brainmask.errors import ModelError
from bids_brainmask.models import registry
from bids_brainmask.models.model import Model
from bids_brainmask.settings import LARGEST_BORDER, Precision, Settings

log = logging.getLogger(__name__)

KEYS = {
    "model": "Model",
    "threshold": "Threshold",
    "border": "Border",
    "precision": "Precision",
    "time": "Time",
}
"""Keys of an entry ``Chosen``, by their columns in a table."""


@dataclass(frozen=True)
class Choice:
    """What was asked for one analysis of one image; None and empty: not chosen."""

    model: Model | None = None
    threshold: float | None = None
    border: float | None = None
    precision: str = ""
    time: str = ""
    """When it was asked: UTC, ISO 8601."""

    absent: bool = False
    """The file of the model is not known any more; `model` is what the sidecar says of it."""

    back: frozenset[str] = frozenset()
    """What the command gives with its default value: it is not chosen any more."""

    def __bool__(self) -> bool:
        return any(self.asked().values())

    def asked(self) -> dict[str, str]:
        """Give what is chosen as texts, by column; empty for what is not."""
        numbers = {"threshold": self.threshold, "border": self.border}
        return {
            "model": self.model.name if self.model else "",
            **{name: "" if number is None else f"{number:g}" for name, number in numbers.items()},
            "precision": self.precision,
        }

    def updated(self, now: Choice, default: Model | None) -> Choice:
        """Let what is asked now replace what was asked before.

        A threshold belongs to its model: with another model, one from before is dropped; one
        without a model is of `default`.
        """
        if now.back:
            plain = {name: getattr(NOTHING, name) for name in now.back}
            if "model" in plain:
                plain |= {"threshold": None, "absent": False}
            return replace(self, **plain).updated(replace(now, back=frozenset()), default)
        same = not now.model or not self.model or now.model.name == self.model.name
        found = replace(
            self,
            model=now.model or self.model,
            threshold=now.threshold if now.threshold is not None or not same else self.threshold,
            border=self.border if now.border is None else now.border,
            precision=now.precision or self.precision,
            absent=self.absent and not now.model,
        )
        if found.threshold is not None and found.model is None:
            found = replace(found, model=default)
        is_new = found.asked() != self.asked()
        return replace(found, time=now.time if is_new or not self.time else self.time)

    def record(self) -> dict[str, Any]:
        """Entry ``Chosen`` of a sidecar."""
        found = {
            "Time": self.time,
            "Model": self.model.name if self.model else "",
            "Threshold": self.threshold,
            "Border": self.border,
            "Precision": self.precision,
        }
        return {key: value for key, value in found.items() if value not in (None, "")}

    def private(self) -> dict[str, Any]:
        """Do so with the path of the model's file, for ``logs/``."""
        path = self.model.path if self.model else None
        return self.record() | ({"Path": str(path.absolute())} if path else {})

    def words(self, now: Choice, usual: Model | None) -> str:
        """Say what is kept from before: not what is asked now, nor the model that is usual."""
        asked, given = self.asked(), now.asked()
        if self.model and usual and self.model.name == usual.name:
            asked["model"] = ""
        order = ("threshold", "border", "precision", "model")
        kept = [f"{name} {asked[name]}" for name in order if asked[name] and not given[name]]
        return ", ".join(kept)


NOTHING = Choice()


def given(
    settings: Settings, models: Mapping[str, Model], thresholds: Mapping[str, float]
) -> dict[str, Choice]:
    """Give what the command asks, by analysis.

    An option that is not typed asks nothing; one with its default value takes back what was asked
    before.

    Parameters
    ----------
    settings : Settings
    models, thresholds : mapping
        Those that the command names, by analysis.

    Returns
    -------
    dict of str to Choice
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    precision = settings.precision if settings.precision != Settings.precision else ""
    plain = {name for name in settings.typed if getattr(settings, name) == getattr(Settings, name)}
    automatic = models_asked.automatic(settings)
    return {
        name: Choice(
            model=portable(models[name]) if name in models else None,
            threshold=thresholds.get(name),
            border=settings.border or None if catalog.analysis(name).has_border else None,
            precision=precision,
            time=now,
            back=frozenset(plain - {"model"} | ({"model"} if name in automatic else set())),
        )
        for name in catalog.with_model()
    }


def portable(model: Model) -> Model:
    """Leave the path out of a registered model, which each machine finds itself."""
    known = registry.models().get(model.name)
    if known and known.sha256 == model.sha256:
        return replace(model, path=None)
    return replace(model, path=model.path and model.path.absolute())


class Memory:
    """Choices of earlier runs; each model is looked for once."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], Model | None] = {}

    def read(self, analysis: str, sidecar: Path, private: Path) -> Choice:
        """Read what was asked for an analysis of an image; nothing if that is not known.

        Parameters
        ----------
        analysis : str
        sidecar : Path
            Of its main mask.
        private : Path
            Record of the last run under ``logs/``: it decides if the sidecar is absent, as after
            a run that was killed.
        """
        record, run = storage.read_object(sidecar), storage.read_object(private)
        own = run.get("Chosen")
        own = own.get(analysis, {}) if isinstance(own, dict) else {}
        said = record.get("Chosen", {}) if record else own
        if not said:
            return NOTHING
        try:
            return self._choice(analysis, said, own, record.get("Parameters", {}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s: Chosen is ignored, it is damaged: %r", sidecar, error)
            return NOTHING

    def _choice(self, analysis: str, said: Mapping, own: Mapping, parameters: Mapping) -> Choice:
        """Check an entry ``Chosen`` of a sidecar."""
        texts = {
            name: f"{said[key]}" for name, key in KEYS.items() if said.get(key) not in (None, "")
        }
        choice, name = checked(analysis, texts), texts.get("model", "")
        place = own.get("Path") if own.get("Model") == name else None
        if place is None and name in registry.models():
            place = name  # a path in a sidecar, which others may have written, is not followed
        model = self.model(analysis, place) if isinstance(place, str) else None
        absent = bool(name) and model is None
        if absent:
            model = as_recorded(analysis, name, parameters)
        return replace(choice, model=model, absent=absent)

    def model(self, analysis: str, name: str) -> Model | None:
        """Find a model of an earlier run; None if it is not there any more."""
        if (analysis, name) not in self._models:
            found = None
            try:
                found = portable(catalog.analysis(analysis).model(name, allow_unverified=True))
                if found.task != analysis:
                    found = None
            except ModelError as error:
                log.info("%s", error)
            self._models[analysis, name] = found
        return self._models[analysis, name]


def as_recorded(analysis: str, name: str, parameters: Mapping) -> Model:
    """Describe a model whose file is not known any more, by the sidecar of what it made.

    Results of it can be told to be current; none can be made.
    """
    near = parameters.get("NearBrain", {})
    return Model(
        name=name,
        version=str(parameters.get("ModelVersion", "")),
        task=analysis,
        file=name,
        size=0,
        sha256=str(parameters.get("ModelSHA256", "")),
        license="",
        architecture="compact",
        grid="head",
        intensities="brain",
        block=int("Overlap" in parameters),
        threshold=parameters.get("Threshold", 0.5),
        memory_gb=0.0,
        citation="",
        near_brain=near.get("Distance", 0.0) if isinstance(near, Mapping) else 0.0,
        peak=parameters.get("LesionPeak", 0.0),
        flips="TestTimeFlips" in parameters,
    )


def checked(analysis: str, texts: Mapping[str, str]) -> Choice:
    """Make a choice of texts, by column, but for its model.

    Raises
    ------
    ValueError
        It says what was found and what was wanted.
    """
    threshold = _number(texts, "threshold", "a number between 0 and 1")
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold: found {threshold:g}; expected a number between 0 and 1")
    wanted = f"mm between -{LARGEST_BORDER} and {LARGEST_BORDER}"
    border = _number(texts, "border", wanted)
    if border is not None and not abs(border) <= LARGEST_BORDER:
        raise ValueError(f"border: found {border:g}; expected {wanted}")
    if border is not None and not catalog.analysis(analysis).has_border:
        raise ValueError(f"border: found {border:g}; expected n/a for {analysis}")
    precision = texts.get("precision", "")
    if precision and precision not in get_args(Precision):
        known = " or ".join(get_args(Precision))
        raise ValueError(f"precision: found {precision!r}; expected {known}")
    time = texts.get("time", "")
    if time:
        try:
            datetime.fromisoformat(time)
        except ValueError as error:
            raise ValueError(
                f"time: found {time!r}; expected a time such as 2026-01-31T12:00:00+00:00"
            ) from error
    return Choice(None, threshold, border, precision, time)


def _number(texts: Mapping[str, str], name: str, wanted: str) -> float | None:
    text = texts.get(name, "")
    try:
        return float(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name}: found {text!r}; expected {wanted}") from error
