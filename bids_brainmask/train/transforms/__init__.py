# SPDX-License-Identifier: Apache-2.0
"""Random augmentation of the heads that a network is trained on."""
