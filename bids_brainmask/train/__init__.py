# SPDX-License-Identifier: Apache-2.0
"""Training of the networks, not part of the app; `pip install '.[train]'`."""
