# SPDX-License-Identifier: Apache-2.0
"""The documentation's site of a release lies beside those before, and its pages choose between."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SITE = f"""
INHERIT: {ROOT}/mkdocs.yml
docs_dir: pages
hooks: []
plugins: []
nav: [index.md]
"""
"""The project's configuration, with one page only."""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mike"), reason="mike is of the extra `docs`")
def test_a_release_adds_its_version_to_the_site(tmp_path):
    """With the commands of the workflow, in a repository of its own, without a push."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text("# One page\n")
    (tmp_path / "mkdocs.yml").write_text(SITE)

    programs = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}  # mike starts mkdocs

    def run(*words):
        done = subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def shown(name):
        return run("git", "show", f"gh-pages:{name}")

    run("git", "init", "--quiet")
    run("git", "config", "user.name", "x")
    run("git", "config", "user.email", "x@y.z")
    run("git", "commit", "--quiet", "--allow-empty", "--message", "Begin")
    for version in ("0.2.0", "0.3.0"):
        run("mike", "deploy", "--update-aliases", version, "latest")
    run("mike", "set-default", "latest")
    versions = {each["version"]: each["aliases"] for each in json.loads(shown("versions.json"))}
    assert versions == {"0.3.0": ["latest"], "0.2.0": []}
    assert "latest/" in shown("index.html")
    for version in versions:
        page = shown(f"{version}/index.html")
        assert "One page" in page
        settings = page.split('<script id="__config" type="application/json">')[1]
        assert json.loads(settings.split("</script>")[0])["version"]["provider"] == "mike"
