# SPDX-License-Identifier: Apache-2.0
"""The documentation's site holds every page, and what is made when it is built."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from bids_brainmask import __all__ as public
from bids_brainmask.analyses import catalog
from bids_brainmask.cli import options
from bids_brainmask.models import registry

sys.path.insert(0, str(ROOT / "scripts"))

import docs_pages

NAV = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]


def test_every_page_is_in_the_navigation_once():
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/*.md")]
    listed = re.findall(r"[\w/-]+\.md", NAV)
    made = [*docs_pages.WHOLE, *docs_pages.PAGES, docs_pages.GALLERY]
    assert sorted(listed) == sorted([*pages, *made])


def test_the_references_hold_every_row():
    page = docs_pages.options_page()
    for action in options.parser()._actions:
        for option in action.option_strings:
            assert option in page
    for command in ("brainmask models get", "brainmask export", "bids-brainmask-container"):
        assert f"## {command}\n" in page
    files = docs_pages.files_page()
    for row in catalog.OUTPUTS:
        assert f"`{row.file('*', 'T1w')}`" in files
    models = docs_pages.models_page()
    for model in registry.models().values():
        assert model.sha256 in models


def test_every_public_name_is_in_the_reference():
    page = docs_pages.api_page()
    for name in set(public) - {"__version__"}:
        assert re.search(rf"^::: bids_brainmask\.[\w.]+\.{name}$", page, re.MULTILINE), name


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("index.md", "docs/usage.md#options", "usage.md#options"),
        ("index.md", "CITATION.cff", f"{docs_pages.CODE_URL}/blob/main/CITATION.cff"),
        ("usage.md", "../README.md", "index.md"),
        ("usage.md", "../scripts/image.sh", f"{docs_pages.CODE_URL}/blob/main/scripts/image.sh"),
        ("usage.md", "https://x.org/a.md", "https://x.org/a.md"),
        ("usage.md", "#part", "#part"),
    ],
)
def test_links_lead_to_the_same_in_the_site(page, link, there):
    assert docs_pages.moved(f"[x]({link})", page) == f"[x]({there})"


def test_the_gallery_shows_each_kind_of_figure_and_report(tmp_path):
    figures = tmp_path / "sub-a" / "figures"
    figures.mkdir(parents=True)
    shown = [row for row in catalog.FIGURES if row.title]
    for row in catalog.FIGURES:
        for desc, ending in row.files.values():
            (figures / f"sub-a_desc-{desc}_{ending.format(suffix='T1w')}").touch()
    (tmp_path / "sub-a.html").touch()
    page = docs_pages.gallery_page(tmp_path)
    assert page.count("![") == len(shown)
    assert all(f"## {row.title}\n" in page for row in shown)
    assert "- [sub-a](gallery/sub-a.html)" in page


@pytest.mark.parametrize(("code", "status"), [("200", 0), ("403", 0), ("404", 1), ("000", 1)])
def test_addresses_of_other_sites_are_asked_for(code, status, tmp_path):
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\ncase "$*" in *semver.org) echo {code};; *) echo 200;; esac\n')
    curl.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "scripts/links.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr == (f"{code}: https://semver.org\n" if status else "")
