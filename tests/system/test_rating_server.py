# SPDX-License-Identifier: Apache-2.0
"""Ratings that a server writes as they are given: to whom it answers, and that nothing is lost."""

import csv
import http.client
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from bids_brainmask.cli import brainmask
from bids_brainmask.dataset import readback
from bids_brainmask.errors import OutputError, UsageError
from bids_brainmask.reports import participant_page, rating_server, rating_table, ratings
from bids_brainmask.reports.rating_server import Decisions, GivenDecisions, RatingServer
from bids_brainmask.reports.rating_table import Table

MASK = "sub-01/anat/sub-01_desc-brain_mask.nii.gz"


@pytest.fixture
def root(tmp_path):
    (tmp_path / participant_page.GROUP_PAGE).write_text("<title>Group</title>", encoding="utf-8")
    (tmp_path / "sub-01/figures").mkdir(parents=True)
    (tmp_path / "sub-01/figures/ä b.webp").write_bytes(b"picture")
    (tmp_path / "secret.tsv").write_text("secret", encoding="utf-8")
    return tmp_path


@pytest.fixture
def server(root):
    """A server that runs in a thread until the test is over."""
    one = RatingServer(root, rater="Ada")
    thread = threading.Thread(target=one.run, args=(60,))
    thread.start()
    yield one
    one.page_opened()  # stops at once: no page, and no time left
    one.page_closed()
    one._last_page = -1e9
    thread.join(10)
    assert not thread.is_alive()


def ask(server, path="", method="GET", body=None, token=None, **headers):
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    where = f"/{server.token if token is None else token}/{path}"
    connection.request(method, where, body, {"Origin": server.origin} | headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def rating(verdict="accept", rater="Ada", time="2026-01-01T00:00:00Z", image=MASK, **more):
    return {"image": image, "rater": rater, "rating": verdict, "time": time, **more}


def give(server, *found, **headers):
    kind = {"Content-Type": "application/json"} | headers
    return ask(server, "ratings", "POST", json.dumps(found), **kind)


def rows(root):
    with (root / f"{rating_table.NAME}.tsv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# ---------------------------------------------------------------------- the table


def test_a_rating_is_on_disk_when_it_is_answered_and_the_newer_counts(root):
    table = Table(root)
    assert table.add([rating(comment='"odd" rim\t1', reasons="motion; bias", seconds=3)]) == 1
    (row,) = rows(root)
    assert (row["rating"], row["comment"], row["reasons"]) == (
        "accept",
        '"odd" rim 1',
        "motion; bias",
    )
    assert json.loads((root / f"{rating_table.NAME}.json").read_text())["rating"]["Levels"]
    assert table.add([rating("exclude", time="2025-01-01T00:00:00Z")]) == 0
    assert table.add([rating("exclude", time="2026-01-01T00:00:00Z")]) == 1
    assert table.add([rating("exclude", rater="Bo")]) == 1
    assert [(one["rater"], one["rating"]) for one in rows(root)] == [
        ("Ada", "exclude"),
        ("Bo", "exclude"),
    ]
    assert table.add([rating("", time="2027-01-01T00:00:00Z")]) == 1  # cleared
    assert rows(root)[0]["rating"] == "n/a"


def test_two_processes_keep_each_others_ratings(root):
    first, second = Table(root), Table(root)
    first.add([rating(rater="Ada")])
    second.add([rating("exclude", rater="Bo")])
    first.look()
    assert {row["rater"] for row in first.rows()[1]} == {"Ada", "Bo"}
    assert len(rows(root)) == 2
    assert first.rows(first.rows()[0])[1] == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"image": ""}, "image: expected the path of a mask"),
        (rating("fine"), "rating: expected one of accept, unsure, exclude"),
        (rating(comment="x" * 4001), "comment: expected a text of at most 4000 characters"),
        (rating(comment=["x"]), "comment: expected a text"),
    ],
)
def test_what_is_no_rating_is_refused_and_changes_nothing(root, found, said):
    with pytest.raises(ValueError, match=said):
        Table(root).add([rating(), found])
    assert not (root / f"{rating_table.NAME}.tsv").exists()


def test_a_file_that_is_no_table_is_left_alone(root):
    path = root / f"{rating_table.NAME}.tsv"
    path.write_text("one\n1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no table of ratings: expected the columns image"):
        Table(root)
    assert path.read_text(encoding="utf-8") == "one\n1\n"


def test_a_rating_that_cannot_be_written_is_not_taken(root, monkeypatch):
    table = Table(root)

    def full(path, content):
        raise OutputError("the disk is full")

    monkeypatch.setattr(rating_table.storage, "write_bytes", full)
    with pytest.raises(OutputError, match="full"):
        table.add([rating()])
    assert table.rows() == (0, [])


def test_the_group_level_reads_what_was_given(root):
    sidecar = root / MASK.replace(".nii.gz", ".json")
    sidecar.parent.mkdir()
    sidecar.write_text(json.dumps({"Parameters": {}, "VoxelsSHA256": "now"}))
    Table(root).add([rating("exclude", mask_sha256="now"), rating(rater="Bo", mask_sha256="old")])
    found = ratings.read([root / f"{rating_table.NAME}.tsv"], readback.read(root))
    assert [(one.rater, one.verdict, one.stale) for one in found] == [
        ("Ada", "exclude", False),
        ("Bo", "accept", True),
    ]


# ---------------------------------------------------------------------- the server


def test_pages_and_figures_are_served_and_nothing_else(server, root):
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server)[1] == ask(server, participant_page.GROUP_PAGE)[1] == b"<title>Group</title>"
    assert ask(server, "sub-01/figures/%C3%A4%20b.webp") == (200, b"picture")
    (root / ".hidden.html").write_text("x", encoding="utf-8")
    (root / "away.html").symlink_to(__file__)
    outside = ("../x.html", "%2e%2e/%2e%2e/etc/passwd", "away.html", "%00.html")
    for path in (*outside, "secret.tsv", ".hidden.html", "absent.html", "sub-01"):
        assert ask(server, path)[0] == 404, path


def test_who_lacks_the_token_or_comes_from_elsewhere_is_refused(server):
    assert ask(server, token="guess")[0] == 404
    assert ask(server, Host="evil.example")[0] == 403
    assert ask(server, Host=f"localhost:{server.server_address[1]}")[0] == 403
    assert ask(server, Origin="http://evil.example")[0] == 403
    assert give(server, rating(), Origin="null")[0] == 403
    assert give(server, rating(), **{"Content-Type": "text/plain"})[0] == 415
    assert ask(server, "elsewhere", "POST", "[]", **{"Content-Type": "application/json"})[0] == 404
    large = {"Content-Type": "application/json", "Content-Length": str(rating_server.MOST + 1)}
    for size in (large["Content-Length"], "9" * 5000, "\u00b2", "-1"):
        assert ask(server, "ratings", "POST", b"", **large | {"Content-Length": size})[0] == 413
    assert not server.table.path.exists()


def test_no_origin_is_no_permission_to_write(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    kind = {"Content-Type": "application/json"}
    connection.request("POST", f"/{server.token}/ratings", json.dumps([rating()]), kind)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (403, b'{"error": "another origin"}')
    connection.close()


@pytest.mark.parametrize(
    "body", ["{}", "[1]", "[", '[{"image": 1, "rating": "x"}]', "[" * 100_000]
)
def test_a_body_that_is_no_list_of_ratings_is_refused(server, body):
    status, said = ask(server, "ratings", "POST", body, **{"Content-Type": "application/json"})
    assert status == 400
    assert json.loads(said)["error"]


def test_what_is_no_decision_about_a_lesion_is_refused(server):
    status, said = give(server, {"candidates_sha256": "abc", "index": "1"})
    assert status == 400
    assert json.loads(said)["error"] == "decisions about candidate lesions are not taken here"
    taken = []
    server.lesions = GivenDecisions(Decisions(read=list, put=taken.extend))
    status, said = give(server, {"candidates_sha256": "abc", "index": "1"})
    assert status == 400
    assert json.loads(said)["error"] == "expected an image, an index and a decision"
    assert not taken


def test_a_disk_that_is_full_is_told_of(server, monkeypatch, caplog):
    def full(*args):
        raise OutputError("the disk is full")

    monkeypatch.setattr(rating_table.storage, "write_bytes", full)
    status, said = give(server, rating())
    assert (status, json.loads(said)) == (500, {"error": "the disk is full"})
    assert "the disk is full" in caplog.text


def test_every_page_hears_of_every_rating(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=10)
    connection.request("GET", f"/{server.token}/ratings")
    stream = connection.getresponse()
    first = json.loads(stream.readline().removeprefix(b"data: "))
    assert first == {"all": True, "rater": "Ada", "rows": []}
    assert server.idle_seconds() == 0
    assert give(server, rating("exclude", rater="Bo")) == (200, b'{"changed": 1}')
    lines = iter(stream.readline, b"")
    text = next(line for line in lines if line.startswith(b"data"))
    message = json.loads(text.removeprefix(b"data: "))
    assert [(row["rater"], row["rating"]) for row in message["rows"]] == [("Bo", "exclude")]
    assert not message["all"]
    connection.close()
    stream.close()
    end = time.monotonic() + 10
    while not server.idle_seconds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_port_is_the_same_each_time_and_another_if_it_is_taken(root):
    with RatingServer(root) as first:
        assert first.server_address[1] == rating_server.usual_port(root)
        with RatingServer(root) as second:
            assert second.server_address[1] != first.server_address[1]
            assert second.token != first.token
        with pytest.raises(UsageError, match=r"--port: \d+ cannot be used"):
            RatingServer(root, port=first.server_address[1])


def test_a_dataset_without_a_group_report_is_refused(tmp_path, capsys):
    assert brainmask.main(["rate", str(tmp_path), "--no-browser"]) == 2
    assert "found no group report. Run the group level first." in capsys.readouterr().err


def test_the_command_stops_by_itself(root, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with RatingServer(root) as probe:
        port = probe.server_address[1]
    command = ["rate", str(root), "--stop-after", "0.001", "--rater", "Ada", "--port", str(port)]
    assert brainmask.main(command) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"Rate at http://127.0.0.1:{port}/")
    assert opened == [said.out.split()[-1]]
    assert "Stopped: no page was open." in said.err


STOPS = [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
RATE = "import sys; from bids_brainmask.cli.brainmask import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), STOPS)
def test_a_server_that_is_stopped_has_written_its_ratings(root, number, status):
    command = [sys.executable, "-c", RATE, "rate", str(root), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split()[-1]
            host, token, _ = address.removeprefix("http://").split("/")
            connection = http.client.HTTPConnection(host, timeout=20)
            headers = {"Content-Type": "application/json", "Origin": f"http://{host}"}
            connection.request("POST", f"/{token}/ratings", json.dumps([rating()]), headers)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b'{"changed": 1}')
            connection.close()
            process.send_signal(number)
            assert process.wait(20) == status
        finally:
            process.kill()  # else the end of the block waits for it
    assert [row["rating"] for row in rows(root)] == ["accept"]
