# SPDX-License-Identifier: Apache-2.0
"""Fetch published models when the image is built, and write down which ones it holds.

``bake_models.py FILE "NAME ..."`` fetches and verifies the models named, or ends with an error.
``auto`` stands for those whose publishers answer: where there is no network, for none. What the
folder of models holds in the end is written to FILE, a name and version a line.
"""

import sys
import urllib.request
from pathlib import Path

from bids_brainmask.errors import BrainMaskError, ModelError
from bids_brainmask.models import download, registry

SECONDS = 10
"""How long a publisher may take to answer."""


def answers(model: registry.Model) -> bool:
    """Tell whether a model can be downloaded, and say why not."""
    try:
        with urllib.request.urlopen(model.url, timeout=SECONDS):
            return True
    except OSError as error:
        sys.stderr.write(f"{model.name} will not be in the image: {model.url}: {error}\n")
        return False


def held() -> list[registry.Model]:
    """List the models that need no download any more."""
    found = []
    for name, model in registry.models().items():
        try:
            registry.find(name)
        except ModelError:
            continue
        found.append(model)
    return found


def main(file: str, words: str) -> None:
    """Fetch, and write down."""
    names = words.split()
    if names == ["auto"]:
        published = [model for model in registry.models().values() if model.url]
        names = [model.name for model in published if answers(model)]
    for name in names:
        download.get(name)
    lines = [f"{model.name} {model.version}\n" for model in held()]
    Path(file).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BrainMaskError as error:
        sys.exit(f"MODELS: {error}")
