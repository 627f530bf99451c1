# SPDX-License-Identifier: Apache-2.0
"""Run scans in this process, in worker processes of this machine, or on a cluster."""
