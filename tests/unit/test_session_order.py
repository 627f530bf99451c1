# SPDX-License-Identifier: Apache-2.0
"""Sessions come in their order in time, or there is no change between them."""

import json
import logging
import re
from functools import partial

import pytest
from group_rows import COLUMNS, row

from bids_brainmask.dataset.session_order import SOURCES, Sessions
from bids_brainmask.reports import group_page, participant_page, session_plots, tumor_growth
from bids_brainmask.reports.tumor_growth import Measured

SCANS, SESSIONS, SIDECARS = SOURCES


def scans(root, session, *dates, label="01"):
    folder = root / f"sub-{label}/ses-{session}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"anat/{number}_T1w.nii.gz\t{date}" for number, date in enumerate(dates)]
    path = folder / f"sub-{label}_ses-{session}_scans.tsv"
    path.write_text("\n".join(["filename\tacq_time", *lines, ""]), encoding="utf-8-sig")


def sessions(root, **dates):
    (root / "sub-01").mkdir(parents=True, exist_ok=True)
    lines = [f"ses-{label}\t{date}" for label, date in dates.items()]
    path = root / "sub-01/sub-01_sessions.tsv"
    path.write_text("\n".join(["session_id\tacq_time", *lines, ""]))


def sidecar(root, session, content):
    folder = root / f"sub-01/ses-{session}/anat"
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"sub-01_ses-{session}_T1w.json").write_text(text)


def of_scans(root):
    scans(root, "pre", "2012-01-05T10:00:00", "n/a")
    scans(root, "post", "2012-03-01T10:00:00", "2011-12-31T23:59:59.5Z", "yesterday")


def of_scans_then_sessions(root):
    scans(root, "pre", "n/a")
    scans(root, "post", "2001-01-01")
    sessions(root, pre="2012-01-05", post="2011-12-31")


def of_sidecars(root):
    sidecar(root, "pre", {"AcquisitionDateTime": "20120105101010.25"})
    sidecar(root, "post", {"AcquisitionDate": "", "StudyDate": "20111231"})


def of_one_day_then_sidecars(root):
    """Dates without a time of day do not order what was scanned on one day."""
    sessions(root, pre="2012-01-05", post="2012-01-05T08:00:00")
    sidecar(root, "pre", {"AcquisitionDateTime": "2012-01-05T09:00:00"})
    sidecar(root, "post", {"AcquisitionDateTime": "2012-01-05T08:00:00"})


DATED = {of_scans: SCANS, of_scans_then_sessions: SESSIONS}
DATED |= dict.fromkeys([of_sidecars, of_one_day_then_sidecars], SIDECARS)


@pytest.mark.parametrize("write", DATED, ids=lambda write: write.__name__)
def test_dates_order_sessions(write, tmp_path):
    write(tmp_path)
    order = Sessions(tmp_path).order("01", {"pre", "post"})
    assert (order.labels, order.basis) == (("post", "pre"), DATED[write])
    assert order.sentence("01") == ""


def no_dates(root):
    sidecar(root, "pre", [])
    sidecar(root, "post", "{")
    (root / "sub-01/sub-01_sessions.tsv").mkdir()


def one_date_only(root):
    scans(root, "pre", "2012-01-05T10:00:00")
    sidecar(root, "post", {"AcquisitionDate": "2011-01-01"})


def one_date_for_both(root):
    sessions(root, pre="1800-01-01T00:00:00", post="1800-01-01T00:00:00")


@pytest.mark.parametrize("write", [no_dates, one_date_only, one_date_for_both])
def test_without_dates_words_do_not_order_sessions(write, tmp_path):
    write(tmp_path)
    order = Sessions(tmp_path).order("01", {"pre", "post"})
    assert (order.labels, order.basis, order.is_known) == (("post", "pre"), "", False)
    assert order.sentence("01").startswith(
        "sub-01: the order of the sessions post, pre is unknown: scans.tsv"
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("10 2 1", "1 2 10"),
        ("M12 M00 M06", "M00 M06 M12"),
        ("v2r1 v1r2", "v1r2 v2r1"),
        ("20120105 20111231", "20111231 20120105"),
        ("only", "only"),
        ("baseline 6mo", ""),
        ("6mo 1y", ""),
        ("pre1 post1", ""),
        ("1 01", ""),
        ("A B", ""),
        ("pre post", ""),
    ],
)
def test_numbers_in_labels_order_sessions(labels, expected):
    order = Sessions(None).order("01", labels.split())
    assert order.is_known is bool(expected)
    if expected:
        assert " ".join(order.labels) == expected


def test_dates_come_before_numbers(tmp_path):
    for session, date in (("1", "2020-01-02"), ("2", "2020-01-01")):
        scans(tmp_path, session, date)
    assert Sessions(tmp_path).order("01", ["1", "2"]).labels == ("2", "1")


def measured(session, volume):
    entities = (("sub", "01"), ("ses", session))
    return Measured(f"{session}.nii.gz", entities, "{}", "ams 1", 1, volume)


def test_changes_follow_time_and_not_labels(tmp_path):
    scans(tmp_path, "pre", "2012-01-05T10:00:00")
    scans(tmp_path, "post", "2012-03-05T10:00:00")
    found = [measured("post", 1.0), measured("pre", 4.0)]
    first, last = tumor_growth.rows(found, Sessions(tmp_path))
    assert (first["session_id"], first["change_ml"]) == ("ses-pre", "n/a")
    assert (last["session_id"], last["change_ml"], last["since_last_percent"]) == (
        *("ses-post", "-3.000", "-75.0"),
    )
    assert first["session_order"] == last["session_order"] == SCANS


def test_without_an_order_there_is_no_change_and_a_sentence(caplog):
    with caplog.at_level(logging.WARNING):
        table = tumor_growth.rows([measured("pre", 4.0), measured("post", 1.0)], Sessions(None))
    names = [name for name in table[0] if name.startswith(("change_", "since_last_"))]
    assert len(names) == 4
    assert {one[name] for one in table for name in names} == {"n/a"}
    assert {one["session_order"] for one in table} == {"unknown"}
    assert "sessions post, pre is unknown" in caplog.text
    assert "Changes of volumes are n/a." in caplog.text
    (alone,) = tumor_growth.rows([measured("pre", 4.0)], Sessions(None))
    assert alone["session_order"] == "n/a"


def test_plots_follow_time_or_say_why_there_are_none(tmp_path):
    for label in ("0001", "0002"):
        scans(tmp_path, "pre", "2012-01-05", label=label)
    scans(tmp_path, "post", "2012-03-05", label="0001")
    rows = [row(n, f"ses-{s}", volume_ml=n + len(s)) for n in (1, 2) for s in ("post", "pre")]
    text = group_page.page(rows, COLUMNS, title="x", sessions=Sessions(tmp_path))
    (plot,) = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["plots"]
    assert plot["sessions"] == ["ses-pre", "ses-post"]
    (line,) = plot["lines"]
    assert (line["name"], line["points"]) == ("sub-0001", [["ses-pre", 4, 1], ["ses-post", 5, 0]])
    assert text.count("sub-0002: the order of the sessions post, pre is unknown") == 1


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        (["5 6", "1 2 3"], "1 2 3 5 6"),
        (["pre post", "post late", "pre late"], "pre post late"),
        (["2 10", "1 10"], "1 2 10"),
        (["a b", "b a"], "a b"),
    ],
)
def test_orders_of_participants_are_merged(orders, expected):
    assert session_plots.axis([order.split() for order in orders]) == expected.split()


def test_a_participants_page_follows_time_or_says_that_it_does_not(tmp_path):
    out, raw = tmp_path / "out", tmp_path / "raw"
    for session in ("pre", "post"):
        folder = out / f"sub-01/ses-{session}/anat"
        folder.mkdir(parents=True)
        record = {"Parameters": {"Model": "embedded", "ModelVersion": "1"}}
        path = folder / f"sub-01_ses-{session}_desc-brain_mask.json"
        path.write_text(json.dumps(record))
    page = partial(participant_page.participant, out, "01", raw=raw)
    anchors = re.compile(r'<section class="card" id="sub-01_ses-(\w+)"')
    before = page()
    assert anchors.findall(before) == ["post", "pre"]
    assert "sessions post, pre is unknown" in before
    assert "They are shown by label." in before
    sessions(raw, pre="2012-01-05", post="2012-03-31")
    after = page()
    assert anchors.findall(after) == ["pre", "post"]
    assert "unknown" not in after
