# SPDX-License-Identifier: Apache-2.0
"""Data of the package: the registry of models and the embedded weights."""
