# SPDX-License-Identifier: Apache-2.0
"""Phantom heads whose masks are known, and a dataset of them."""
