# SPDX-License-Identifier: Apache-2.0
"""The BIDS dataset that is read, and the derivative dataset that is written."""
