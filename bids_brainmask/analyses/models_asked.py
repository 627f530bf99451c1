# SPDX-License-Identifier: Apache-2.0
"""The models and thresholds of a run, by its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bids_brainmask import machine
from bids_brainmask.analyses import catalog
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.models.model import Model
from bids_brainmask.settings import Settings


def choose_models(settings: Settings) -> dict[str, Model]:
    """Find the model of each possible analysis: the named one, or the usual one.

    Raises
    ------
    UsageError, ModelError
        As `named_models`.
    """
    models = named_models(settings)
    for analysis in catalog.with_model():
        if "auto" in settings.analyses or analysis in settings.analyses:
            models.setdefault(analysis, catalog.analysis(analysis).model())
    return models


def named_models(settings: Settings) -> dict[str, Model]:
    """Find the models that the command names, by analysis.

    Raises
    ------
    UsageError
        Two models for one analysis, a model for an analysis that is not requested, or
        ``ANALYSIS=`` with a model for another analysis.
    ModelError
        There is no such model or file.
    """
    known = catalog.with_model()
    possible = known if "auto" in settings.analyses else settings.analyses
    models: dict[str, Model] = {}
    for word in settings.model:
        named, equals, name = word.partition("=")
        if not equals or named not in known:
            named, name = "", word
        if name == "auto":
            continue
        analysis = named or main_analysis(settings)
        model = catalog.analysis(analysis).model(name, allow_unverified=settings.allow_unverified)
        if named and model.task != named:
            raise UsageError(
                f"--model {word}: expected a model for {named}, but {name} is for {model.task}."
            )
        if model.task not in known:
            raise UsageError(
                f"--model {word}: a model for {model.task!r}; expected one for "
                f"{' or '.join(known)}."
            )
        if model.task in models:
            raise UsageError(
                f"--model: {models[model.task].name} and {model.name} are both for {model.task}. "
                "Give one model per analysis; meningioma=FILE states the analysis of a file."
            )
        if model.task not in possible:
            raise UsageError(
                f"--model {word}: this model is for {model.task}, which is not in --analyses."
            )
        models[model.task] = model
    return models


def automatic(settings: Settings) -> set[str]:
    """Analyses for which the command line gives ``--model auto``; without their name, all."""
    if "model" not in settings.typed:
        return set()
    known = catalog.with_model()
    named = {word.partition("=")[0] for word in settings.model if word.endswith("=auto")}
    return set(known) if "auto" in settings.model else named & set(known)


def at_hand(model: Model) -> Model:
    """Find a model's file, and verify it once, before any work."""
    return model if model.path else replace(model, path=registry.find(model.name))


def main_analysis(settings: Settings) -> str:
    """Return the analysis of an option that does not name one."""
    asked = set(settings.analyses) - {"auto"}
    return asked.pop() if len(asked) == 1 else catalog.names()[0]


def thresholds_asked(settings: Settings) -> dict[str, float]:
    """Thresholds that the command names, by analysis."""
    return {analysis or main_analysis(settings): value for analysis, value in settings.threshold}


def choose_thresholds(settings: Settings, models: Mapping[str, Model]) -> dict[str, float]:
    """Threshold of each analysis: the given one, or the model's own."""
    asked = thresholds_asked(settings)
    return {analysis: asked.get(analysis, model.threshold) for analysis, model in models.items()}


def check_memory(mem_gb: float | None, model: Model) -> None:
    """Raise a `UsageError` if the model needs more memory than the run may use."""
    given = machine.memory_gb() if mem_gb is None else mem_gb
    if given < model.memory_gb:
        raise UsageError(
            f"--mem-gb: {given:.1f} GB are available, but {model.name} needs {model.memory_gb:g} "
            "GB for a scan. Give more memory, or choose a smaller model (brainmask models list)."
        )
