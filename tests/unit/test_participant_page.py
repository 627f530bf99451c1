# SPDX-License-Identifier: Apache-2.0
"""The participants' pages: whole, self-contained, right, and safe whatever the records hold."""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from bids_brainmask import app
from bids_brainmask.analyses import lesion_table, quality
from bids_brainmask.dataset.readback import Result
from bids_brainmask.drawing import figures
from bids_brainmask.errors import UsageError
from bids_brainmask.models import registry
from bids_brainmask.reports import (
    cohort,
    group,
    methods,
    outliers,
    page_data,
    participant_data,
    participant_page,
    refreshed,
    templates,
)
from bids_brainmask.settings import Settings

SPECIAL = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onload='x",
    "{{ 7 * 7 }}{% raw %}{# no #}</pre></style></title><!--",
    "[x](javascript:alert(1)) *a* _b_ `c` <b> @d $e$",
    "日本語 \u202e é",
    "n" * 200,
    "half of a pair: \ud800",
]

SIDECAR = {
    "Sources": ["bids:raw:sub-01/anat/sub-01%20a_T1w.nii.gz"],
    "SourceFile": {"Bytes": 12345678, "SHA256": "ab" * 32},
    "Parameters": {
        "Model": "embedded",
        "ModelVersion": "0.3.0",
        "ModelSHA256": "cd" * 32,
        "Threshold": 0.5,
    },
    "ContrastEnhanced": True,
    "Warning": "doubtful: look at the mask",
    "ModelCitation": "Somebody 2020",
    "ModelNotice": "learnt from little",
    "Software": {"bids_brainmask": "0.1.0", "OpenVINO": "2026.4.1"},
    "Seconds": 4.31,
    "IntendedUse": "For research only; not a medical device.",
    "Command": "bids-brainmask in out participant",
}
BRAIN = SIDECAR | {
    "BrainVolume": 1432.567,
    "BrainVolumeUnits": "mL",
    "BoundaryUncertainty": 0.1834,
    "PredictedDice": 0.871,
    "AlreadyStripped": True,
    "Quality": dict.fromkeys(quality.columns(), 1.5),
}
TUMOR = SIDECAR | {
    "Parameters": SIDECAR["Parameters"]
    | {
        "SmallestLesion": 0.05,
        "LesionPeak": 0.9,
        "NearBrain": {"Distance": 5.0, "Model": "brains", "ModelVersion": "7"},
    },
    "LesionCount": 1,
    "LesionVolume": 5.588,
    "LesionVolumeUnits": "mL",
}

VIEWER = "templates/report.css"
"""Stands for NiiVue's script."""


class Derivatives:
    """A folder of results."""

    def __init__(self, root):
        self.root = root

    def add(self, prefix="sub-01", brain=BRAIN, tumor=None, pictures=("brain", "thumbnail")):
        """Write the records of an image, and pictures of a few bytes."""
        result = Result(prefix, f"{prefix.split('_')[0]}/anat")
        for record, mask in ((brain, result.main("brain")), (tumor, result.main("meningioma"))):
            if record is not None:
                self.write(mask.replace(".nii.gz", ".json"), json.dumps(record).encode())
        for kind in pictures:
            self.write(result.figures[kind], f"bytes of {kind}".encode())
        return result

    def write(self, path, content):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def table(self, rows):
        """Write the group level's table: mappings of some of its columns."""
        columns = list(rows[0])
        lines = [columns, *([str(row[name]) for name in columns] for row in rows)]
        text = "".join("\t".join(line) + "\n" for line in lines)
        self.write(cohort.TABLE, text.encode())

    def page(self, *, viewer=False):
        return Page(participant_page.participant(self.root, "01", viewer=viewer))


VOID = {"meta", "link", "img", "input", "line", "rect", "circle"}
"""Elements that have no end, of those that pages have."""


class Page(HTMLParser):
    """What a browser would make of a page: elements, and the text of each."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.elements[self.open[-1]][0] == tag, f"{tag} closes another element"
            self.open.pop()

    def handle_data(self, data):
        for index in self.open:
            self.texts[index] += data

    def find(self, tag, **attributes):
        """Texts of the elements that have some attributes."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            " ".join(text.split())
            for (name, found), text in zip(self.elements, self.texts, strict=True)
            if name == tag and wanted.items() <= found.items()
        ]

    def attributes(self, name):
        """Values of an attribute, wherever it is."""
        return [found[name] for _, found in self.elements if name in found]

    def by_id(self, name):
        (text,) = (
            text
            for (_, found), text in zip(self.elements, self.texts, strict=True)
            if found.get("id") == name
        )
        return text

    def row(self, name):
        """Cells of the one row whose heading begins with a name."""
        rows = [text for text in self.find("tr") if text.startswith(name)]
        (row,) = rows
        return row

    @property
    def shape(self):
        """Elements and the names of their attributes, without what they say."""
        return [(tag, sorted(found)) for tag, found in self.elements]


@pytest.fixture
def folder(tmp_path):
    return Derivatives(tmp_path)


def everything(folder, brain=BRAIN, tumor=TUMOR):
    """Put one of all that a page shows into a folder."""
    shown = ("brain", "uncertainty", "meningioma", "thumbnail", "viewer_image", "viewer_labels")
    result = folder.add("sub-01_ses-1_ce-gad", brain, tumor, shown)
    rows = [list(lesion_table.COLUMNS), [f"of {name}" for name in lesion_table.COLUMNS]]
    text = "".join("\t".join(row) + "\n" for row in rows)
    folder.write(f"{result.folder}/{result.prefix}_desc-meningioma_lesions.tsv", text.encode())
    return result


def fail(folder, **changes):
    """Put the record of an image that failed into a folder."""
    record = {"Time": "2026-11-24", "Source": "sub-01/anat/x_T1w.nii.gz", "Message": "no head"}
    folder.write(
        "logs/sub-01/sub-01_T1w_crash-1-1.json", json.dumps({**record, **changes}).encode()
    )


# What a page may do


@pytest.mark.parametrize("viewer", [False, True])
def test_a_page_asks_nothing_of_any_host(folder, viewer, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", "templates/report.js")
    everything(folder)
    fail(folder)
    page = folder.page(viewer=viewer)
    for address in [*page.attributes("src"), *page.attributes("href")]:
        assert re.match(r"data:|#|sub-01/|logs/", address), address[:80]
    assert not re.search(r"url\(|@import", page.find("style")[0])
    assert not {"iframe", "object", "embed", "form"} & {tag for tag, _ in page.elements}
    (policy,) = (
        found["content"]
        for tag, found in page.elements
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_the_policy_allows_the_pages_scripts_and_no_other(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", VIEWER)
    everything(folder)
    page = folder.page(viewer=True)
    policy = page.attributes("content")[0]
    scripts = [
        text
        for (tag, found), text in zip(page.elements, page.texts, strict=True)
        if tag == "script" and "type" not in found
    ]
    allowed = [*(script.encode() for script in scripts), participant_page.viewer_library()]
    hashes = [base64.b64encode(hashlib.sha256(one).digest()).decode() for one in allowed]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert len(scripts) == 2


@pytest.mark.parametrize("name", ["report.js", "viewer.js", "report.css"])
def test_what_is_put_into_a_page_does_not_end_its_element(name):
    assert "</" not in templates.packaged(f"templates/{name}")
    assert "<!--" not in templates.packaged(f"templates/{name}")


# Hostile values


def spoilt(value, text):
    """Put a text wherever a record holds text, also as a key of mappings of any key."""
    if isinstance(value, dict):
        return {key: spoilt(part, text) for key, part in value.items()}
    if isinstance(value, list):
        return [spoilt(part, text) for part in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("text", SPECIAL, ids=range(len(SPECIAL)))
def test_text_of_a_record_is_shown_and_changes_nothing_else(folder, tmp_path, text):
    """The elements and attributes of the page are those that a harmless text gives."""
    pages = []
    for name, put in (("harmless", "word"), ("hostile", text)):
        other = Derivatives(tmp_path / name)
        brain, tumour = spoilt(BRAIN, put), spoilt(TUMOR, put)
        brain["Software"] = tumour["Software"] = {put: put}
        brain["Parameters"][put] = put
        everything(other, brain, tumour)
        fail(other, Time=put, Source=put, Message=put)
        pages.append(other.page())
    harmless, hostile = pages
    assert hostile.shape == harmless.shape
    assert hostile.html.count("<script>") == 1
    # The page's own words hold "word" nowhere, so every place of it is one of the text.
    (*_, before), (*_, after) = (page.find("section") for page in pages)
    assert after.count(printed(methods.markdown(text))) == before.count("word") > 5
    before, after = ("\n".join(page.find("section")[:-1]) for page in pages)
    assert after.count(printed(text)) == before.count("word") > 30


def printed(text):
    """Write text as `Page.find` gives it."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


@pytest.mark.parametrize("text", ["<b>\"'&", "é日", "a:b?c#d%25", "n" * 150])
def test_any_name_of_a_file_leads_to_it(folder, text):
    result = folder.add(f"sub-01_acq-{text}")
    page = folder.page()
    assert page.by_id(result.prefix)
    assert sum(result.prefix in alternative for alternative in page.attributes("alt")) == 1
    assert f"#{result.prefix}" in [unquote(address) for address in page.attributes("href")]
    masks = [address for address in page.attributes("href") if address.endswith("mask.nii.gz")]
    assert [unquote(address) for address in masks] == [result.main("brain")]
    assert not re.search(r"[:?#]", masks[0])


@pytest.mark.parametrize("text", SPECIAL, ids=range(len(SPECIAL)))
def test_markdown_shows_text_as_it_is(text):
    escaped = methods.markdown(text)
    assert re.sub(r"\\(.)", r"\1", escaped) == " ".join(text.split())
    assert not re.search(r"(?<!\\)[*_\[\]<>&@$`]", re.sub(r"\\\\", "", escaped))


WRONG = [
    None,
    "",
    "x",
    3,
    -0.5,
    True,
    float("nan"),
    float("inf"),
    10**400,
    [],
    [None],
    {},
    {"a": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_no_value_of_any_type_breaks_a_page(folder, value):
    for name in {**BRAIN, **TUMOR}:
        everything(folder, BRAIN | {name: value}, TUMOR | {name: value})
        assert folder.page().find("h1") == ["sub-01"]
    for name in ("SourceFile", "Parameters", "Quality"):
        everything(folder, BRAIN | {name: dict.fromkeys(BRAIN[name], value)})
        assert folder.page().find("h1") == ["sub-01"]
    fail(folder, Time=value, Message=value)
    assert folder.page().find("h1") == ["sub-01"]


def test_a_record_of_an_older_version_makes_a_page(folder):
    folder.add(brain={"Parameters": {}}, tumor={"Parameters": {}}, pictures=())
    page = folder.page()
    text = " ".join(page.html.split())
    assert "The sidecar has no quality measures." in text
    assert "The command was not recorded." in text
    assert "No candidate lesion was found." in text
    assert page.find("span", class_="badge ok") == ["no remarks"]


# What a page shows


def test_all_that_is_known_of_an_image_is_shown(folder):
    result = everything(folder)
    fail(folder)
    page = folder.page()
    text = " ".join(page.html.split())
    assert page.find("h2") == [
        "1 image failed",
        "Images",
        result.prefix,
        "For the methods section",
    ]
    assert page.find("h3") == ["Brain mask", "Uncertainty", "Meningiomas", "Markdown"]
    failed = page.find("div", class_="notice bad")[0]
    assert "sub-01/anat/x_T1w.nii.gz" in failed
    assert "no head" in failed
    assert "logs/sub-01/sub-01_T1w_crash-1-1.json" in page.attributes("href")
    assert page.find("p", class_="notice warn") == [
        "Brain mask: doubtful: look at the mask",
        "Model embedded: learnt from little",
        "Meningiomas: doubtful: look at the mask",
        "Model embedded: learnt from little",
    ]
    assert "Already skull-stripped:" in text
    tiles = [*page.find("div", class_="tile "), *page.find("div", class_="tile warn")]
    assert sorted(tiles) == [
        "Brain volume 1433 mL",
        "Candidate lesions 1",
        "Predicted Dice 0.871",
        "Uncertain boundary 18.34 %",
        "Volume of candidate lesions 5.588 mL",
    ]
    hidden = ("longest_ends_mm", "perpendicular_ends_mm")
    assert page.row(" ".join(f"of {name}" for name in lesion_table.COLUMNS if name not in hidden))
    assert page.row(f"{result.prefix} yes 1433 0.871 1 5.588")
    assert page.find("pre", id="image-1-command-1") == ["bids-brainmask in out participant"]
    for fact in (
        "Source sub-01/anat/sub-01 a_T1w.nii.gz",
        "Source size, bytes 12345678",
        f"Source SHA-256 {'ab' * 32}",
        f"Model SHA-256 {'cd' * 32}",
        "Threshold 0.5",
        "Software bids_brainmask 0.1.0, OpenVINO 2026.4.1",
        "Seconds 4.31",
    ):
        assert page.find("tr").count(fact) == 2, fact  # of the brain, and of the meningiomas
    assert text.count("For research only; not a medical device.") == 2 + 2


def test_what_is_not_there_is_not_shown(folder):
    folder.add()
    page = folder.page()
    assert page.find("h3") == ["Brain mask", "Uncertainty", "Markdown"]
    assert "Meningiomas" not in page.by_id("methods-text")
    assert not page.find("section", id="failed")
    assert not page.find("div", class_="viewer")
    assert not [found for tag, found in page.elements if found.get("type") == "text/plain"]


def test_an_image_with_tumours_alone(folder):
    folder.add(brain=None, tumor=TUMOR, pictures=())
    page = folder.page()
    assert page.find("h3") == ["Meningiomas", "Markdown"]
    assert page.row("sub-01 yes n/a n/a 1 5.588")
    assert "Brain extraction" not in page.by_id("methods-text")


def test_a_participant_without_results(folder):
    fail(folder)
    page = folder.page()
    assert page.find("h2") == ["1 image failed", "Images"]
    assert "No image has results." in page.html


def test_pictures_are_the_files_and_missing_ones_are_told_of(folder):
    result = everything(folder)
    (folder.root / result.figures["uncertainty"]).unlink()
    page = folder.page()
    sources = [base64.b64decode(one.split(",")[1]).decode() for one in page.attributes("src")]
    assert sources == ["bytes of thumbnail", "bytes of brain", "bytes of meningioma"]
    assert page.find("p", class_="notice") == [
        f"The figure {result.figures['uncertainty']} is missing."
    ]


def test_two_images_are_within_three_megabytes(folder):
    sizes = {
        "brain": figures.MOSAIC_BYTES,
        "uncertainty": figures.UNCERTAINTY_BYTES,
        "meningioma": figures.TUMORS_BYTES,
        "thumbnail": figures.THUMBNAIL_BYTES,
    }
    for prefix in ("sub-01_ses-1", "sub-01_ses-2"):
        result = folder.add(prefix, BRAIN, TUMOR, ())
        for kind, size in sizes.items():
            folder.write(result.figures[kind], bytes(size))
    folder.table([row(f"sub-01/anat/sub-01_ses-1{MASK}", 1.0)] * 30)
    assert len(folder.page().html.encode()) < 3e6


def test_ids_are_unique_and_what_points_to_them_finds_them(folder):
    everything(folder)
    folder.add("sub-01_ses-2")
    fail(folder)
    page = folder.page()
    ids = page.attributes("id")
    assert max(Counter(ids).values()) == 1
    targets = [address[1:] for address in page.attributes("href") if address.startswith("#")]
    wanted = [*targets, *page.attributes("aria-labelledby"), *page.attributes("data-copy")]
    assert set(wanted) <= set(ids)
    assert {"sub-01_ses-1_ce-gad", "sub-01_ses-2"} <= set(targets)


def test_pictures_and_tables_are_told_to_those_who_do_not_see_them(folder):
    everything(folder)
    page = folder.page()
    pictures = [found for tag, found in page.elements if tag == "img"]
    assert all("alt" in found for found in pictures)
    assert all(page.find("caption"))
    assert len(page.find("caption")) == len(page.find("table"))
    assert page.attributes("lang") == ["en"]


def test_the_same_files_give_the_same_page(folder):
    everything(folder)
    assert folder.page().html == folder.page().html


def test_the_page_about_all_is_linked_once_it_is_there(folder):
    folder.add()
    assert group.PAGE not in folder.page().attributes("href")
    folder.write(group.PAGE, b"")
    assert group.PAGE in folder.page().attributes("href")


# Comparison with other images

MASK = "_desc-brain_mask.nii.gz"
COLUMNS = {row.name: row.column for row in quality.MEASURES}


def row(image, volume, group="one"):
    """Make a row of the group level's table."""
    return {
        "image": image,
        "volume_ml": volume,
        "group": group,
        "outlier_score": "0.1",
        "outlier_reasons": "n/a",
    }


@pytest.mark.parametrize(("value", "place"), [(0.5, "low"), (10, "usual"), (19.5, "high")])
def test_a_measure_is_compared_with_its_group(folder, value, place):
    """Of 0, 1, ..., 20, the 5th, 50th and 95th percentiles are 1, 10 and 19."""
    folder.add(brain=BRAIN | {"Quality": {"volume_ml": value}})
    rows = [row(f"sub-{index}", index) for index in range(20)]
    rows += [row(f"sub-01/anat/sub-01{MASK}", 20), row("sub-x", 999, "another")]
    folder.table([*rows, row("sub-y", "n/a"), row("sub-z", "nan")])
    page = folder.page()
    found = page.row(f"Volume {COLUMNS['volume_ml']['Description']}")
    assert found.endswith(f"{value} mL 1 10 19 {place}")
    assert "23 images of its group, one," in " ".join(page.html.split())


def test_the_scale_has_the_usual_values_in_its_middle_half():
    peers = cohort.Peers("", [{"volume_ml": str(index)} for index in range(21)], ())
    for value, place in ((1, 37.5), (10, 75), (19, 112.5), (-100, 6), (100, 144)):
        measure = cohort.measures({"Quality": {"volume_ml": value}}, peers)[0]
        assert measure.spread.drawn == (37.5, 75, 112.5, place)


def test_doubts_are_no_measure_of_the_page_which_has_them_as_a_warning():
    shown = cohort.measures({"Quality": {"volume_ml": 1}, "Doubts": ["shape too long"]}, None)
    assert [one.key for one in shown] == [row.name for row in quality.MEASURES if not row.is_doubt]


def test_the_scale_of_a_group_of_equal_values():
    peers = cohort.Peers("", [{"volume_ml": "3"}] * 9, ())
    for value, place, words in ((2, 6, "low"), (3, 75, "usual"), (4, 144, "high")):
        measure = cohort.measures({"Quality": {"volume_ml": value}}, peers)[0]
        assert (measure.spread.drawn[3], measure.place) == (place, words)


def test_outliers_are_marked_by_the_reasons_of_the_group_level(folder):
    values = [{"volume_ml": 1400.0 + index, "removed_ml": 0.1} for index in range(20)]
    values[0] = {"volume_ml": 700.0, "removed_ml": 0.1}
    verdicts = outliers.judge(values, [["one"]] * 20)
    names = [f"sub-01/anat/sub-01{MASK}", *(f"sub-{index}" for index in range(19))]
    folder.table(
        [
            row(name, value["volume_ml"], verdict.group)
            | {"outlier_score": verdict.score, "outlier_reasons": "; ".join(verdict.reasons)}
            for name, value, verdict in zip(names, values, verdicts, strict=True)
        ]
    )
    folder.add(brain=BRAIN | {"Quality": values[0], "Warning": ""})
    page = folder.page()
    marked = page.find("tr", class_="warn")
    assert len(marked) == 1
    assert marked[0].startswith("Volume Number of voxels")
    assert marked[0].endswith("outlier")
    assert any(verdicts[0].reasons[0] in text for text in page.find("p", class_="notice warn"))


def test_every_measure_that_can_be_an_outlier_is_found_by_its_reason():
    assert set(outliers.metrics()) <= set(COLUMNS)
    for key in outliers.metrics():
        rows = [dict.fromkeys(outliers.metrics(), 0.5 + index / 1000) for index in range(20)]
        rows.append(rows[9] | {key: -1e6 if outliers.metrics()[key].side == "low" else 1e6})
        verdict = outliers.judge(rows, [["one"]] * 21)[-1]
        peers = cohort.Peers("one", (), verdict.reasons)
        assert [name for name in COLUMNS if peers.is_reason(name)] == [key]


@pytest.mark.parametrize(
    "changes", [{"group": "n/a"}, {"group": ""}, {"image": "sub-02"}], ids=["n/a", "none", "other"]
)
def test_an_image_without_a_group_is_not_compared(folder, changes):
    folder.add()
    folder.table([row(f"sub-01/anat/sub-01{MASK}", 1) | changes] * 20)
    page = folder.page()
    assert "Not compared yet. Run the group level" in " ".join(page.html.split())
    assert "Median" not in page.find("th")


def test_a_small_group_is_no_range(folder):
    folder.add()
    rows = [row(f"sub-{index}", index) for index in range(outliers.LEAST - 2)]
    folder.table([row(f"sub-01/anat/sub-01{MASK}", 1), *rows])
    volume = COLUMNS["volume_ml"]["Description"]
    page = folder.page()
    assert page.row(f"Volume {volume}").endswith(" mL")
    assert "Not compared: its group, " in (text := " ".join(page.html.split()))
    assert "has only 7 images." in text
    assert "not compared" not in text


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"image\tgroup\nonly\n", b"a\0b\n\0"])
def test_a_table_that_is_not_whole_is_passed_over(folder, content):
    folder.add()
    folder.write(cohort.TABLE, content)
    assert folder.page().find("h1") == ["sub-01"]


# The methods section


@pytest.mark.parametrize(
    ("name", "cited"),
    [
        ("embedded", {"cicek2016"}),
        ("embedded-meningioma", {"cicek2016"}),
        ("brainy", {"cicek2016", "nobrainer"}),
        ("ams", {"cicek2016", "nobrainer", "boaro2022"}),
    ],
)
def test_models_are_cited(folder, name, cited):
    model = registry.models()[name]
    parameters = {
        "Model": name,
        "ModelVersion": model.version,
        "ModelSHA256": model.sha256,
        "Threshold": model.threshold,
    }
    record = SIDECAR | {"Parameters": parameters, "ModelCitation": model.citation}
    part = "brain" if model.task == "brain" else "tumor"
    folder.add(**{"brain": None, part: record})
    page = folder.page()
    text, references = page.by_id("methods-text"), page.by_id("methods-references")
    keys = set(re.findall(r"@(\w+)", text))
    assert keys == {*methods.ALWAYS, *cited}
    assert set(re.findall(r"^@\w+\{(\w+),$", references, re.MULTILINE)) == keys
    assert f"version {model.version} (SHA-256 {model.sha256})" in text
    assert f"at least {model.threshold:g} were kept" in text
    assert ("which is part of" in text) == (name.startswith("embedded"))


def test_a_model_of_the_users_is_named_with_its_own_citation(folder):
    folder.add()
    text = folder.page().by_id("methods-text")
    assert f"(SHA-256 {'cd' * 32}; Somebody 2020)" in text
    assert "U-Net" not in text
    assert "cicek2016" not in text


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"LesionCount": 0, "CandidateCount": 4}, "0 likely, 4 unlikely"),
        ({"LesionCount": 2, "CandidateCount": 2, "Decisions": {}}, "2 likely"),
        ({"LesionCount": 0, "CandidateCount": 0}, "0 likely"),
        (
            {
                "LesionCount": 2,
                "CandidateCount": 5,
                "Decisions": {"1": "accepted", "2": "rejected"},
            },
            "1 likely, 2 unlikely, 1 accepted, 1 rejected",
        ),
        ({"LesionCount": 1}, "1"),
        ({}, "n/a"),
    ],
)
def test_candidate_lesions_are_counted_by_kind(record, said):
    (number,) = (n for _, n in participant_data.summary_columns() if n.key == "LesionCount")
    assert participant_data.shown(number, record) == said


def test_images_that_were_made_in_other_ways_are_told_apart(folder):
    folder.add("sub-01_ses-1")
    folder.add("sub-01_ses-2", BRAIN | {"AlreadyStripped": False})
    other = BRAIN["Parameters"] | {"Threshold": 0.7, "Overlap": True, "TestTimeFlips": True}
    changed = {"Parameters": other, "Precision": "bfloat16", "AlreadyStripped": False}
    folder.add("sub-01_ses-3", BRAIN | changed)
    text = folder.page().by_id("methods-text")
    assert text.startswith("3 T1-weighted images of sub-01 were processed")
    first, second = (part for part in text.split("\n") if part.startswith("**Brain"))
    assert "segmented in 2 images" in first
    assert "at least 0.5 were kept" in first
    assert "1 of the images was already skull-stripped and was kept whole" in first
    assert "segmented in 1 image by" in second
    assert "at least 0.7 were kept" in second
    assert "overlapping blocks, both original and mirrored, in bfloat16, and" in second


def test_lesions_and_notices_are_in_the_text(folder):
    everything(folder)
    text = folder.page().by_id("methods-text")
    assert "less than 0.05 mL were removed, as were lesions without a voxel of" in text
    assert "probability 0.9, as were lesions more than" in text
    assert "more than 5 mm from the brain mask of brains, version 7. Note on the network" in text


def test_references_are_bibtex():
    library = methods.bibliography()
    assert set(methods.ALWAYS) <= set(library)
    for entry in library.values():
        assert entry.count("{") == entry.count("}")
        assert re.search(r"^  title = \{.+\},$", entry, re.MULTILINE)
        assert re.search(r"^  author = \{.+\},$", entry, re.MULTILINE)
        assert re.search(r"^  (doi|url) = \{.+\},$", entry, re.MULTILINE)
    assert "".join(library.values()).count("@") == templates.packaged(
        "templates/references.bib"
    ).count("@")


# The viewer


def blocks(page):
    """What lies in the page as text, by id."""
    return {
        found["id"]: text
        for (tag, found), text in zip(page.elements, page.texts, strict=True)
        if tag == "script" and found.get("type") == "text/plain"
    }


def test_the_viewer_and_its_volumes_lie_in_the_page(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", VIEWER)
    result = everything(folder)
    page = folder.page(viewer=True)
    found = blocks(page)
    assert list(found) == ["image-1-volume", "image-1-labels", "viewer-library"]
    for name, kind in (("image-1-volume", "viewer_image"), ("image-1-labels", "viewer_labels")):
        content = (folder.root / result.figures[kind]).read_bytes()
        assert base64.b64decode(found[name], validate=True) == content
    packed = base64.b64decode(found["viewer-library"], validate=True)
    assert gzip.decompress(packed) == participant_page.viewer_library()
    assert page.attributes("data-image") == ["image-1-volume"]
    assert page.attributes("data-labels") == ["image-1-labels"]


def test_the_viewers_size_is_that_of_its_blocks(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", VIEWER)
    result = everything(folder)
    folder.write(result.figures["viewer_image"], bytes(2_000_000))
    page = folder.page(viewer=True)
    size = sum(len(text) for text in blocks(page).values()) / 1e6
    assert size > 2.6
    assert f"Load the viewer ({size:.1f} MB)" in page.find("button")


def test_volumes_that_are_missing_are_told_of(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", VIEWER)
    result = folder.add()
    page = folder.page(viewer=True)
    assert list(blocks(page)) == ["viewer-library"]
    assert f"The images for the viewer are missing: {result.figures['viewer_image']}" in " ".join(
        page.find("p", class_="notice")
    )


def test_an_installation_without_the_viewer_says_so_where_it_is_asked_for(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", "web/absent.js")
    folder.add()
    assert folder.page().find("h1") == ["sub-01"]
    with pytest.raises(UsageError, match=r"--viewer: this installation has no viewer: .*absent"):
        folder.page(viewer=True)


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        ("", "n/a"),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        (123456789, "123456789"),
        (1432.567, "1433"),
        (1432.0, "1432"),
        (98765.4, "98765"),
        (0.123456, "0.1235"),
        (-0.5, "-0.5"),
        (float("nan"), "n/a"),
        (float("inf"), "n/a"),
        (["a", 1], '["a", 1]'),
        ("a", "a"),
    ],
)
def test_values_in_words(value, text):
    assert participant_data.words(value) == text


@pytest.mark.parametrize("value", [None, True, "n/a", "x", "", [], float("nan"), 10**400])
def test_what_is_no_number(value):
    assert cohort.finite_number(value) is None


@pytest.mark.parametrize(("value", "found"), [(1, 1.0), ("2.5", 2.5), (-0.5, -0.5)])
def test_what_is_a_number(value, found):
    assert cohort.finite_number(value) == found


def test_a_viewer_stays_while_its_images_are_there(folder, monkeypatch):
    monkeypatch.setattr(participant_page, "VIEWER", VIEWER)
    result = folder.add()
    assert "viewer-library" not in participant_page.participant(folder.root, "01")
    for kind in ("viewer_image", "viewer_labels"):
        folder.write(result.figures[kind], b"volume")
    assert "viewer-library" in participant_page.participant(folder.root, "01")
    settings = Settings(
        bids_dir=folder.root,
        output_dir=folder.root,
        analysis_level="participant",
        viewer=False,
    )
    assert app.write_report("01", settings) == ""
    assert "viewer-library" not in (folder.root / "sub-01.html").read_text(encoding="utf-8")
    assert not (folder.root / result.figures["viewer_image"]).exists()


def test_the_group_level_brings_the_reports_up_to_date(folder):
    folder.add()
    settings = Settings(bids_dir=folder.root, output_dir=folder.root, analysis_level="group")
    assert app.write_report("01", settings) == ""
    before = (folder.root / "sub-01.html").read_text(encoding="utf-8")
    assert "Not compared yet" in before
    rows = [row(f"sub-{index}", index) for index in range(outliers.LEAST)]
    folder.table([row(f"sub-01/anat/sub-01{MASK}", 1), *rows])
    folder.write(participant_page.GROUP_PAGE, b"page")
    assert refreshed.update(settings) == 1
    after = (folder.root / "sub-01.html").read_text(encoding="utf-8")
    assert "Not compared yet" not in after
    assert f'href="{participant_page.GROUP_PAGE}"' in after
    assert refreshed.update(settings) == 0  # nothing changes


@pytest.mark.slow
def test_many_reports_are_brought_up_to_date_by_several_processes(folder, monkeypatch, caplog):
    monkeypatch.setattr(refreshed, "FEW", 1)
    settings = Settings(
        bids_dir=folder.root, output_dir=folder.root, analysis_level="group", n_cpus=2
    )
    for label in ("01", "02", "03"):
        folder.add(f"sub-{label}")
        folder.write(f"sub-{label}.html", b"old")
    (folder.root / "sub-04.html").mkdir()
    assert refreshed.update(settings) == 3
    assert "sub-04.html: the report cannot be brought up to date" in caplog.text
    assert "sub-03" in (folder.root / "sub-03.html").read_text(encoding="utf-8")
    assert refreshed.update(settings) == 0


def test_pictures_of_many_images_are_files_beside_the_page(folder, monkeypatch):
    everything(folder)
    folder.add("sub-01_ses-2", pictures=("brain",))
    inside = folder.page()
    monkeypatch.setattr(participant_page, "LARGEST", 10)
    beside = folder.page()
    before, after = (page.attributes("src") for page in (inside, beside))
    assert all(source.startswith("data:image/webp") for source in before)
    assert len(after) == len(before) == 5
    for source in after:
        assert source.startswith("./sub-01/figures/")
        assert (folder.root / source).is_file()
    (policy,) = (
        value for value in beside.attributes("content") if value.startswith("default-src")
    )
    assert "img-src 'self' file: data:;" in policy
    assert beside.shape == inside.shape
    assert len(beside.html) < len(inside.html) + 1000


def test_the_group_report_can_hold_its_pictures(folder):
    folder.add()
    for single in (False, True):
        group.write(
            Settings(
                bids_dir=folder.root / "absent",
                output_dir=folder.root,
                analysis_level="group",
                single_file=single,
            )
        )
        page = (folder.root / group.PAGE).read_text(encoding="utf-8")
        assert (page_data.INSIDE in page) is single
