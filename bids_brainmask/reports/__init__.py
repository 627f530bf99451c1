# SPDX-License-Identifier: Apache-2.0
"""The pages and tables for quality control."""
