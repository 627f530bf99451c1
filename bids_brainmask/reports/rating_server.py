# SPDX-License-Identifier: Apache-2.0
"""A server of the group report, on this machine alone, that writes ratings as they are given.

It serves one derivative dataset to browsers of this machine. Its address has a random token, so
that no other user and no other page can guess it; requests for another host, or from another
origin, are refused. It only reads the dataset, but for the table of ratings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mimetypes
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bids_brainmask.errors import BrainMaskError, UsageError
from bids_brainmask.reports import participant_page
from bids_brainmask.reports.rating_table import Table

log = logging.getLogger(__name__)

HOST = "127.0.0.1"

SERVED = {".html", ".js", ".png", ".webp"}
"""Extensions of the files that pages consist of; no other file is served."""

MOST = 64_000_000
"""Bytes of a request at most: an imported table of 100,000 ratings has a third of it."""

PULSE = 2.0
"""Seconds after which an open page is written to again, and the table is looked at."""

PRIVATE_PORTS = (49152, 65535)
"""Ports that are free for any use."""

HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Decisions:
    """Where decisions about candidate lesions go, and come from."""

    read: Callable[[], list[dict[str, str]]]
    put: Callable[[list[dict[str, str]]], object]
    """Raises a `UsageError` for what is no decision about a candidate of the dataset."""


class GivenDecisions:
    """Decisions about candidate lesions: those on disk at the start, and what is given since."""

    def __init__(self, place: Decisions | None):
        self._place = place
        self._lock = threading.Lock()
        self._rows: list[dict[str, str]] | None = None

    @property
    def count(self) -> int:
        """Number of decisions so far."""
        return len(self._rows or ())

    def rows(self, since: int = 0) -> tuple[int, list[dict[str, str]]]:
        """Give the number of decisions so far, and those after the first ones."""
        with self._lock:
            if self._rows is None:
                try:
                    self._rows = self._place.read() if self._place else []
                except UsageError as error:
                    log.error("%s", error)
                    self._rows = []
            return len(self._rows), self._rows[since:]

    def add(self, found: list[dict]) -> int:
        """Take decisions; return their number.

        Raises
        ------
        UsageError
            One of them is none, or nothing takes them.
        """
        if not found:
            return 0
        if self._place is None:
            raise UsageError("decisions about candidate lesions are not taken here")
        rows = [{str(name): str(value or "") for name, value in row.items()} for row in found]
        if any(not {"image", "index", "decision"} <= set(row) for row in rows):
            raise UsageError("expected an image, an index and a decision")
        self.rows()
        self._place.put(rows)
        with self._lock:
            self._rows = [*(self._rows or ()), *rows]
        return len(rows)


class RatingServer(ThreadingHTTPServer):
    """Serves a derivative dataset's reports, and keeps its table of ratings.

    Parameters
    ----------
    root : Path
        Derivative dataset.
    port : int
        0: the same one for this dataset each time, or any if that is taken. Then ratings that a
        browser could not send before are sent when the server runs again.
    rater : str
        Name that pages propose; empty: none.
    decisions : Decisions or None
        Where decisions about candidate lesions go; None: they are refused.

    Raises
    ------
    UsageError
        The dataset has no group report, or the port is taken.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(
        self, root: Path, *, port: int = 0, rater: str = "", decisions: Decisions | None = None
    ):
        self.root = root.resolve()
        if not (self.root / participant_page.GROUP_PAGE).is_file():
            raise UsageError(f"{root}: found no group report. Run the group level first.")
        self.table = Table(self.root)
        self.rater = rater
        self.lesions = GivenDecisions(decisions)
        self.token = secrets.token_urlsafe(24)
        self.stopping = False
        self._lock = threading.Lock()
        self._pages = 0
        self._last_page = time.monotonic()
        try:
            super().__init__((HOST, port or usual_port(self.root)), Handler)
        except OSError as error:
            if port:
                raise UsageError(f"--port: {port} cannot be used: {error.strerror}.") from error
            super().__init__((HOST, 0), Handler)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """Address of the group report."""
        return f"{self.origin}/{self.token}/{participant_page.GROUP_PAGE}"

    def page_opened(self) -> None:
        """Count a page that listens."""
        with self._lock:
            self._pages += 1

    def page_closed(self) -> None:
        """Count a page that no longer listens."""
        with self._lock:
            self._pages -= 1
            self._last_page = time.monotonic()

    def idle_seconds(self) -> float:
        """Time since the last page was closed; 0 while one is open."""
        with self._lock:
            return 0.0 if self._pages else time.monotonic() - self._last_page

    def run(self, stop_after: float) -> None:
        """Serve until no page was open for a time.

        Parameters
        ----------
        stop_after : float
            Seconds.
        """
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            while self.idle_seconds() < stop_after:
                time.sleep(min(0.2, stop_after))
        finally:
            self.stopping = True
            with self.table.changed:
                self.table.changed.notify_all()
            self.shutdown()
            thread.join()
            self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong in a request, at a level that is not shown: a browser went away."""
        del request
        log.debug("a request of %s ended early", client_address, exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: RatingServer
    server_version = "bids_brainmask"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # a connection for each request: none outlives its server
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:
        """Log requests at a level that is not shown; the token is not in it."""
        log.debug("request: %s", (format % args).replace(self.server.token, "TOKEN"))

    def do_GET(self) -> None:
        """Send a file, or the ratings as they change."""
        place = self._place()
        if place == "ratings":
            self._stream()
        elif place is not None:
            self._send_file(place or participant_page.GROUP_PAGE)

    def do_POST(self) -> None:
        """Take ratings."""
        if (place := self._place()) is None:
            return
        size = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if place != "ratings":
            self._refuse(HTTPStatus.NOT_FOUND, "no such address")
        elif kind != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        elif self.headers.get("Origin") != self.server.origin:
            self._refuse(HTTPStatus.FORBIDDEN, "another origin")
        elif not size.isdecimal() or len(size) > 9 or int(size) > MOST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST} bytes")
        else:
            self._take(self.rfile.read(int(size)))

    def _take(self, body: bytes) -> None:
        """Merge ratings into the table."""
        try:
            found = json.loads(body)
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise ValueError("expected a list of ratings")
            lesions = [one for one in found if "candidates_sha256" in one]
            others = [one for one in found if "candidates_sha256" not in one]
            count = self.server.table.add(others)
            count += self._decide(lesions)
        except (ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except BrainMaskError as error:
            log.error("%s", error)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._send(json.dumps({"changed": count}).encode(), "application/json")

    def _decide(self, found: list[dict]) -> int:
        """Take decisions about candidate lesions, and tell the open pages."""
        try:
            count = self.server.lesions.add(found)
        except UsageError as error:
            raise ValueError(str(error)) from error
        if count:
            with self.server.table.changed:
                self.server.table.changed.notify_all()
        return count

    def _place(self) -> str | None:
        """Give the path after the token; None, with an answer, for a request that is refused."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        token, _, place = urlsplit(self.path).path.removeprefix("/").partition("/")
        if f"http://{host}" != self.server.origin or origin not in (None, self.server.origin):
            self._refuse(HTTPStatus.FORBIDDEN, "another host or origin")
        elif not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "no such address")
        else:
            return unquote(place, errors="surrogateescape")
        return None

    def _send_file(self, place: str) -> None:
        root = self.server.root
        try:
            path = (root / place).resolve()
            allowed = path.is_relative_to(root) and path.suffix in SERVED and path.is_file()
            hidden = any(part.startswith(".") for part in Path(place).parts)
            content = path.read_bytes() if allowed and not hidden else None
        except (OSError, ValueError):  # not readable, or no name of a file
            content = None
        if content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such address")
        else:
            self._send(content, mimetypes.types_map.get(Path(place).suffix, "image/webp"))

    def _stream(self) -> None:
        """Send all ratings, then the changed ones, until the page is closed."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        table, known, first = self.server.table, 0, True
        lesions, decided = self.server.lesions, 0
        self.server.page_opened()
        try:
            while not self.server.stopping:
                table.look()
                known, rows = table.rows(known)
                message = {"all": first, "rater": self.server.rater, "rows": rows}
                if not first:  # the first message need not wait for their files
                    decided, message["lesions"] = lesions.rows(decided)
                new = first or rows or message["lesions"]
                text = f"data: {json.dumps(message)}\n\n" if new else ": open\n\n"
                self.wfile.write(text.encode())
                self.wfile.flush()
                if first:
                    first = False
                    continue
                with table.changed:
                    same = table.rows(known)[0] == known and lesions.count == decided
                    if same and not self.server.stopping:
                        table.changed.wait(PULSE)
        finally:
            self.server.page_closed()

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        text = kind.startswith(("text/", "application/"))
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Say why a request is refused; what it still sends is not read."""
        self._send(json.dumps({"error": reason}).encode(), "application/json", status)


def usual_port(root: Path) -> int:
    """Port of a dataset: the same each time."""
    first, last = PRIVATE_PORTS
    digest = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).digest()
    return first + int.from_bytes(digest[:4], "big") % (last - first + 1)
