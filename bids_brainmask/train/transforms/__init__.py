# SPDX-License-Identifier: Apache-2.0
"""Random changes to the heads that a network learns from."""
