# SPDX-License-Identifier: Apache-2.0
"""What is found in a scan: the brain, meningiomas, and how far they can be trusted."""
