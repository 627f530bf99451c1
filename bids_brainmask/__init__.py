# SPDX-License-Identifier: Apache-2.0
"""Brain extraction and meningioma segmentation in T1-weighted MRI.

A BIDS App (``bids-brainmask``), a command line for single files (``brainmask``), and for Python:

- `extract` and `Extractor`, `find_meningiomas` and `MeningiomaFinder`, `evaluate`;
- what they give: `Brain`, `Meningiomas` with their `Lesion` rows, `Agreement`.

Errors are in `bids_brainmask.errors`. Importing the package loads nothing else; the first use of a
name above loads nibabel, NumPy and SciPy, and the first network what runs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_brainmask.api import (
        Agreement,
        Brain,
        Extractor,
        Lesion,
        LesionAgreement,
        MeningiomaFinder,
        Meningiomas,
        evaluate,
        evaluate_lesions,
        extract,
        find_meningiomas,
    )

__version__ = "0.3.0"

CODE_URL = "https://github.com/bids-brainmask/bids_brainmask"

__all__ = [
    "Agreement",
    "Brain",
    "Extractor",
    "Lesion",
    "LesionAgreement",
    "MeningiomaFinder",
    "Meningiomas",
    "__version__",
    "evaluate",
    "evaluate_lesions",
    "extract",
    "find_meningiomas",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bids_brainmask import api

    globals()[name] = value = getattr(api, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
