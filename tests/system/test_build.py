# SPDX-License-Identifier: Apache-2.0
"""A package is built with the libraries that its lock names, or not at all."""

import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ROOT


class Other(BaseHTTPRequestHandler):
    """A registry whose every package is another than the one that was published."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"something else")

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def registry():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def build(folder, registry):
    """Build a wheel of what the repository holds, and give what was said."""
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("web", "__pycache__")
    shutil.copytree(ROOT / "bids_brainmask", source / "bids_brainmask", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(folder), str(source)]
    environment = os.environ | {"NPM_CONFIG_REGISTRY": registry}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode != 0
    assert list(folder.glob("*.whl")) == []
    return done.stdout + done.stderr


def test_another_package_than_the_one_locked_ends_the_build(tmp_path, registry):
    assert "its SHA-512 is " in build(tmp_path, registry)


def test_a_registry_that_does_not_answer_ends_the_build(tmp_path, registry):
    said = build(tmp_path, registry.rpartition(":")[0] + ":9")
    assert "cannot be fetched" in said
    assert "NPM_CONFIG_REGISTRY names another one" in said
