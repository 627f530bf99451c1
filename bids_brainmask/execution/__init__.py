# SPDX-License-Identifier: Apache-2.0
"""Where the scans of a run are done: this process, its workers, or a cluster's."""
