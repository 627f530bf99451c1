# SPDX-License-Identifier: Apache-2.0
"""The page about all images, as text."""

import base64
import hashlib
import json
import math
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from group_rows import COLUMNS, row

from bids_brainmask.analyses import catalog, quality
from bids_brainmask.analyses.measures import Measure
from bids_brainmask.dataset.session_order import Sessions
from bids_brainmask.reports import group_page, page_data, session_plots
from bids_brainmask.reports.page_data import Row

HOSTILE = "</script><script>alert(1)</script><!--\"'&amp;\u2028{{ 7 * 7 }}${1}é脳" + "x" * 150


class Page(HTMLParser):
    """What a browser would find: elements with attributes, scripts, and text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.text, self.inside = [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag if tag in ("script", "style") else ""
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif not self.inside:
            self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[0])

    def attributes(self, tag, name):
        return [given[name] for found, given in self.elements if found == tag and name in given]


def page(rows, **more):
    return Page(group_page.page(rows, COLUMNS, **({"title": "Phantoms"} | more)))


def test_values_come_back_as_they_went_in():
    rows = [
        row(1, volume_ml=1234.5678, outlier_reasons='roughness < 2 & "odd"; asymmetry'),
        row(2, volume_ml=None, contrast_enhanced=True, group="µ \u2028 ' </script>"),
    ]
    data = page(rows).data
    names = [column["name"] for column in data["columns"]]
    assert names == list(COLUMNS)
    for index, given in enumerate(rows):
        found = [data["lists"][f"c{place}"][index] for place in range(len(names))]
        assert dict(zip(names, found, strict=True)) == given.values
    assert data["lists"]["names"] == ["sub-0001", "sub-0002"]


def test_unknown_numbers_are_null():
    data = page([row(1, volume_ml=math.nan, seconds=math.inf), row(2)]).data
    names = [column["name"] for column in data["columns"]]
    assert data["lists"][f"c{names.index('volume_ml')}"][0] is None
    assert data["lists"][f"c{names.index('seconds')}"][0] is None


def test_every_column_is_defined_and_numbers_are_told_apart():
    shown = page([row(1), row(2)])
    for name, meaning in COLUMNS.items():
        assert meaning["Description"] in shown.text
        assert name in shown.text
    numbers = {column["name"] for column in shown.data["columns"] if column["number"]}
    assert numbers == {*quality.columns(), "seconds", "outlier_score"}


def test_every_number_is_plotted_and_margins_as_the_smallest():
    data = page([row(1), row(2)]).data
    names = [column["name"] for column in data["columns"]]
    plotted = {metric["name"]: metric for metric in data["metrics"]}
    margins = [name for name in quality.columns() if name.startswith("margin_")]
    assert len(margins) == 6
    numbers = {*quality.columns(), "seconds", "outlier_score"}
    assert set(plotted) == numbers - {*margins} | {"margin_smallest_mm"}
    smallest = plotted["margin_smallest_mm"]
    assert [names[index] for index in smallest["columns"]] == margins
    assert data["metrics"][0]["name"] == "volume_ml"


def test_what_is_the_same_everywhere_or_nowhere_is_not_plotted():
    rows = [row(number, size_i=256, predicted_dice=None) for number in (1, 2, 3)]
    data = page(rows).data
    assert [(one["name"], one["value"]) for one in data["constant"]] == [("size_i", 256)]
    assert not {"size_i", "predicted_dice"} & {metric["name"] for metric in data["metrics"]}


def test_smallest_margin_is_that_of_known_ones():
    names = ["margin_left_mm", "margin_right_mm", "margin_inferior_mm"]
    values = {"margin_left_mm": 4.0, "margin_right_mm": None, "margin_inferior_mm": 2.5}
    assert group_page.smallest(row(1, **values), names) == 2.5
    assert group_page.smallest(row(1, **dict.fromkeys(names)), names) is None


def test_head_counts():
    rows = [
        row(1, "ses-1", outlier_reasons="roughness", outlier_score=4.0),
        row(1, "ses-2", doubts="predicted Dice 0.73; shape too long"),
        row(2, "ses-1", outlier_reasons="fewer than 8 similar images", outlier_score=None),
    ]
    assert group_page.counts(rows) == {
        "images": 3,
        "participants": 2,
        "sessions": 3,
        "doubtful": 1,
        "outliers": 1,
    }
    data = page(rows).data
    assert data["outliers"] == [0]
    assert data["doubts"] == ["doubts"]


def test_a_measure_that_is_a_doubt_is_named_as_one(monkeypatch):
    """Also one of an analysis whose columns are beside those of the brain mask."""
    tumor = catalog.analysis("meningioma")
    more = Measure("doubts", {"Description": "Why"}, read=lambda reading: "x", is_doubt=True)
    tumor = replace(tumor, measures=lambda: (more,))
    monkeypatch.setattr(catalog, "ANALYSES", (catalog.analysis("brain"), tumor))
    assert group_page.doubts() == ("doubts", "meningioma_doubts")


def test_head_says_when_by_what_and_for_what():
    text = page([row(1)], made=datetime(2026, 3, 4, 5, 6, tzinfo=UTC)).text
    assert "2026-03-04 05:06 UTC" in text
    assert "For research only; not a medical device." in text


def test_failures_are_listed_and_a_flood_is_counted():
    failures = [{"Source": f"sub-{n}_T1w.nii.gz", "Message": f"odd {n}"} for n in range(203)]
    text = page([row(1)], failures=failures).text
    assert "203 images without a result" in text
    assert "odd 199" in text
    assert "odd 200" not in text
    assert "and 3 more" in text


def test_nothing_failed_and_nothing_is_said_of_it():
    assert "without a result" not in page([row(1)]).text


def test_hostile_names_stay_text():
    values = dict.fromkeys(("participant_id", "group", "outlier_reasons"), HOSTILE)
    hostile = Row(HOSTILE, f"{HOSTILE}.html", f"{HOSTILE}.webp", row(1).values | values)
    failures = [{"Source": HOSTILE, "Message": HOSTILE}]
    plain = page([row(1)], failures=[{"Source": "a", "Message": "b"}])
    shown = page([hostile], title=HOSTILE, failures=failures)
    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in plain.elements]
    assert shown.scripts[1:] == plain.scripts[1:]
    assert shown.text.count(HOSTILE) == 4  # title, heading, source and message
    data = shown.data
    assert data["title"] == data["lists"]["names"][0] == HOSTILE
    assert [HOSTILE] in data["lists"].values()


@pytest.mark.parametrize("path", ["javascript:alert(1)", "//evil.example/a", "a b?c#d&e", HOSTILE])
def test_links_are_relative_whatever_a_path_is(path):
    made = Row(HOSTILE, path, path, {"participant_id": "sub-1"})
    for address in (page_data.link(made), page_data.relative(path)):
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc, parts.query) == ("", "", "")
        assert unquote(parts.path) == f"./{path}"
        assert re.fullmatch(r"[\w./%~#-]+", address, re.ASCII)
    assert unquote(urlsplit(page_data.link(made)).fragment) == HOSTILE


def test_names_that_are_no_text_are_written():
    odd = Row("sub-\udcff", "sub-\udcff.html", None, {"participant_id": "sub-\udcff"})
    text = group_page.page([odd], COLUMNS, title="\udcff")
    assert Page(text.encode().decode()).data["lists"]["links"] == ["./sub-%FF.html#sub-%FF"]


def test_a_picture_may_be_missing():
    gone = Row("sub-1", "sub-1.html", None, {"participant_id": "sub-1"})
    assert page([gone, row(2)]).data["lists"]["thumbnails"] == [
        None,
        "./sub-0002/figures/sub-0002_desc-thumbnail_T1w.webp",
    ]


def test_a_picture_may_be_inside():
    inside = f"{page_data.INSIDE}AAAA"
    rows = [Row("a", "a.html", inside, {"participant_id": "a"}), row(2)]
    first, second = page(rows).data["lists"]["thumbnails"]
    assert first == inside
    assert second.startswith("./sub-0002/figures/")


def test_no_image_at_all_is_a_page():
    shown = page([])
    assert shown.data["lists"]["names"] == shown.data["metrics"] == []


def test_page_asks_nobody():
    shown = page([row(1)])
    assert not [tag for tag, _ in shown.elements if tag in ("iframe", "object", "embed", "base")]
    assert not shown.attributes("script", "src")
    assert shown.attributes("link", "href") == ["data:,"]
    policies = shown.attributes("meta", "content")
    assert [text for text in policies if text.startswith("default-src 'none'; script-src ")]
    styles = "".join(map(group_page.read, group_page.STYLES))
    assert not re.search(r"@import|url\(|</", styles)


def test_only_the_scripts_of_the_page_may_run():
    shown = page([row(1)])
    (policy,) = (t for t in shown.attributes("meta", "content") if t.startswith("default-src"))
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    found = [hashlib.sha256(code.encode()).digest() for code in shown.scripts[1:]]
    assert allowed == [base64.b64encode(digest).decode() for digest in found]
    assert len(found) == 2
    assert "unsafe" not in policy.partition("style-src")[0]
    assert "sourceMappingURL" not in "".join(shown.scripts)


def test_a_script_cannot_end_its_element():
    code = 'f("</script>"); g("<!-- <script>"); /<\\/script/'
    text = group_page.script(code)
    assert "</script" not in text
    assert "<!--" not in text
    assert Page(f"<script>{text}</script><p>").elements == [("script", {}), ("p", {})]


def test_ratings_are_kept_by_dataset_and_images():
    key = page([row(1), row(2)]).data["key"]
    assert page([row(2), row(1)]).data["key"] == key  # the order of rows changes nothing
    assert page([row(1)]).data["key"][:2] == key[:2]
    assert page([row(1)]).data["key"][2] != key[2]
    assert page([row(1), row(2)], title="Others").data["key"][1] != key[1]


def test_digest_does_not_confuse_lists():
    assert page_data.digest("a", "b") != page_data.digest("ab")
    assert page_data.digest('a","b') != page_data.digest("a", "b")


def test_brain_volumes_over_sessions_in_their_order():
    rows = [
        row(1, "ses-10", volume_ml=1190.0),
        row(1, "ses-2", volume_ml=1200.0),
        row(2, "ses-2", volume_ml=1300.0),
        row(3, volume_ml=1400.0),
    ]
    (plot,) = page(rows).data["plots"]
    assert plot["sessions"] == ["ses-2", "ses-10"]
    assert plot["lines"] == [
        {"name": "sub-0001", "points": [["ses-2", 1200.0, 1], ["ses-10", 1190.0, 0]]}
    ]


def test_excluded_images_have_no_volume_over_sessions():
    rows = [row(1, f"ses-{session}", volume_ml=session) for session in (1, 2, 3)]
    (plot,) = page(rows, excluded={"sub-0001_ses-2"}).data["plots"]
    assert [point[0] for point in plot["lines"][0]["points"]] == ["ses-1", "ses-3"]
    assert page(rows[:2], excluded={"sub-0001_ses-2"}).data["plots"] == []


def test_lines_join_like_images_only():
    measured = [
        session_plots.Volume(*values)
        for values in (
            ("sub-1_ses-1", "a 1", "ses-1", 1.0, 0),
            ("sub-1_ses-2", "a 1", "ses-2", 2.0, 1),
            ("sub-1_ses-2", "b 1", "ses-2", 3.0, 1),
            ("sub-1_ses-2_ce-gad", "a 1", "ses-2", 4.0, 2),
            ("sub-1_ses-3", "a 1", "ses-3", None, 3),
        )
    ]
    (line,), unordered = session_plots.join(measured, Sessions(None))
    assert line == {"name": "sub-1, a 1", "points": [["ses-1", 1.0, 0], ["ses-2", 2.0, 1]]}
    assert unordered == []


def test_meningiomas_over_sessions():
    rows = [row(1, "ses-1"), row(1, "ses-2")]
    volumes = [
        {
            "participant_id": "sub-0001",
            "session_id": session,
            "image": f"sub-0001/{session}/anat/{prefix}_label-tumor_desc-meningioma_mask.nii.gz",
            "model": "meningioma 1.0",
            "volume_ml": volume,
        }
        for session, prefix, volume in (
            ("ses-1", "sub-0001_ses-1", "2.500"),
            ("ses-2", "sub-0001_ses-2", 3.0),
            ("ses-3", "sub-0001_ses-3", "n/a"),
        )
    ]
    brain, tumour = page(rows, volumes=volumes).data["plots"]
    assert brain["title"] == "Brain volume"
    assert tumour["lines"] == [
        {
            "name": "sub-0001, meningioma 1.0",
            "points": [["ses-1", 2.5, 0], ["ses-2", 3.0, 1]],
        }
    ]


def test_five_thousand_images_are_small_and_quick():
    rows = [row(number, outlier_reasons="roughness" * 9) for number in range(5000)]
    started = time.process_time()
    text = group_page.page(rows, COLUMNS, title="Many")
    assert time.process_time() - started < 3
    assert len(text.encode()) < 6e6


def test_very_many_images_are_in_files_beside_the_page(monkeypatch):
    monkeypatch.setattr(page_data, "INSIDE_MOST", 3)
    monkeypatch.setattr(page_data, "PER_FILE", 2)
    rows = [row(number, group="`${1}`\\ </script>") for number in range(5)]
    assert page_data.data_files(rows[:3], COLUMNS, "x") == {}
    files = page_data.data_files(rows, COLUMNS, "x")
    assert [name.split("-")[-1] for name in files] == ["1.js", "2.js", "3.js"]
    text = group_page.page(rows, COLUMNS, title="Phantoms", files=tuple(files))
    shown = Page(text)
    assert shown.data["count"] == 5
    assert shown.data["lists"] == {}
    nonce = re.search(r"nonce-([\w-]+)", text)[1]
    assert len(nonce) > 20
    for name in files:
        assert f'<script nonce="{nonce}" src="./{name}"></script>' in text
    assert not page(rows).attributes("script", "nonce")
    whole = page(rows).data["lists"]
    code = "".join(files.values())
    assert "</script" not in code
    found = {}
    for name, text in re.findall(r"^(\w+): `(.*)`(?:,|}\);)$", code, re.MULTILINE):
        found.setdefault(name, []).extend(json.loads(re.sub(r"\\([`$\\])", r"\1", text)))
    assert found == whole
