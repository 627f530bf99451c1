# SPDX-License-Identifier: Apache-2.0
"""Figures of a volume and its masks."""
