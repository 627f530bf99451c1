# SPDX-License-Identifier: Apache-2.0
"""Networks: which there are, their files, and what runs them."""
