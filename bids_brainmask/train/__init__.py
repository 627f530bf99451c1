# SPDX-License-Identifier: Apache-2.0
"""Training of the networks. The app never imports it; `pip install bids-brainmask[train]`."""
