# SPDX-License-Identifier: Apache-2.0
"""The command lines."""

import sys
from typing import Any, cast

# OpenVINO imports its converter of other frameworks' models, if that can be imported. No command
# converts a model, and a command's process is its own. None makes the import an ImportError.
cast("dict[str, Any]", sys.modules).setdefault("openvino.tools.ovc", None)
