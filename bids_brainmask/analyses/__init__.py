# SPDX-License-Identifier: Apache-2.0
"""Analyses of a scan: brain, meningiomas, confidence and quality."""
