# SPDX-License-Identifier: Apache-2.0
"""``python -m bids_brainmask``; the same as ``bids-brainmask``."""

from bids_brainmask.cli.bids_app import main

if __name__ == "__main__":  # not where a worker process imports it
    raise SystemExit(main())
