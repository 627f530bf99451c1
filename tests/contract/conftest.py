# SPDX-License-Identifier: Apache-2.0
"""Runs over small phantoms, and the validator."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bids_brainmask.cli import bids_app

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


@pytest.fixture
def run(capsys):
    """Run the command line in this process; its exit status, and what it printed."""

    def call(root, out, level="participant", *words):
        options = ["--executor", "serial", "--threshold", "0.01"] if level == "participant" else []
        status = bids_app.main([*map(str, (root, out)), level, *options, *map(str, words)])
        return status, capsys.readouterr().out

    return call


@pytest.fixture
def issues():
    """Tell what the BIDS validator finds wrong with a dataset; nothing when it is silent."""

    def validate(folder):
        command = [VALIDATOR, folder, "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)["issues"]["issues"]
        return [(one["code"], one.get("location")) for one in found if one["severity"] == "error"]

    return validate
