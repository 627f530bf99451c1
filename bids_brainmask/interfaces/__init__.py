# SPDX-License-Identifier: Apache-2.0
"""Brain extraction as a step of other programs' workflows: nipype and Pydra."""
