# SPDX-License-Identifier: Apache-2.0
"""Networks: the registry, their files, and the backends that run them."""
