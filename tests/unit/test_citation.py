# SPDX-License-Identifier: Apache-2.0
"""The files that describe the software for those who cite it agree."""

import json
import re
import tomllib

import pytest
import yaml
from conftest import ROOT

from bids_brainmask import CODE_URL, __version__
from bids_brainmask.cli import bids_app, brainmask, citation

CFF = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
CODEMETA = json.loads((ROOT / "codemeta.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_title_license_and_address():
    assert {CFF["version"], ZENODO["version"], CODEMETA["version"]} == {__version__}
    assert {CFF["title"], ZENODO["title"], CODEMETA["name"]} == {citation.TITLE}
    licenses = {CFF["license"], ZENODO["license"], CODEMETA["license"].rpartition("/")[2]}
    assert licenses == {PROJECT["license"]}
    (related,) = ZENODO["related_identifiers"]
    addresses = {CFF["repository-code"], CODEMETA["codeRepository"], related["identifier"]}
    assert addresses == {CODE_URL, PROJECT["urls"]["Source"]}


def test_dates_are_that_of_the_changes():
    changes = (ROOT / "CHANGES.md").read_text()
    (version, date), *_ = re.findall(r"^## (\S+), (\S+)$", changes, re.MULTILINE)
    assert version == __version__
    dates = {str(CFF["date-released"]), ZENODO["publication_date"], CODEMETA["dateModified"]}
    assert dates == {date}


def test_authors_and_keywords():
    names = {person["name"] for person in PROJECT["authors"]}
    for people in (CFF["authors"], ZENODO["creators"], CODEMETA["author"]):
        assert {person["name"] for person in people} == names
    assert ZENODO["keywords"] == CODEMETA["keywords"] == PROJECT["keywords"]
    assert ZENODO["description"] == CODEMETA["description"]
    assert CODEMETA["identifier"] == PROJECT["name"]
    assert PROJECT["requires-python"] == f">={CODEMETA['runtimePlatform'].split()[1]}"


def test_the_readme_has_the_entry():
    assert f"```bibtex\n{citation.BIBTEX}\n```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("main", [bids_app.main, brainmask.main])
def test_the_version_says_how_to_cite(main, capsys):
    for words, has_entry in ((["--version"], False), (["--version", "-v"], True)):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        assert (citation.BIBTEX in capsys.readouterr().out) == has_entry
