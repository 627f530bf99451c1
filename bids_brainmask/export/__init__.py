# SPDX-License-Identifier: Apache-2.0
"""Hand brain masks over to other programs: the names, grids and formats that they take."""
