# SPDX-License-Identifier: Apache-2.0
"""Names of the losses; here, since the command line offers them and imports nothing heavy."""

from typing import Literal

Loss = Literal[
    "dice",
    "batchdice",
    "jaccard",
    "dice+crossentropy",
    "batchdice+crossentropy",
    "jaccard+crossentropy",
    "crossentropy",
]
