# SPDX-License-Identifier: Apache-2.0
"""Ratings in a browser: served by `brainmask rate`, and one image at a time."""

import csv
import io
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from axe import violations
from chromium_driver import chromium, launched, until
from group_rows import COLUMNS, row
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from bids_brainmask.dataset import decisions, storage
from bids_brainmask.drawing import tiles
from bids_brainmask.hashes import fingerprint
from bids_brainmask.reports import group_page, participant_page, rating_table, ratings
from bids_brainmask.reports.rating_server import Decisions, RatingServer
from bids_brainmask.results import lesion_decisions
from bids_brainmask.voxels.image import Volume

__all__ = ["chromium"]

PICTURES = (("slices", ".webp"), ("overlays", ".png"))
COUNT = 12

LABELS = "sub-0001/anat/sub-0001_ses-1_desc-meningioma_dseg.nii.gz"


def ball(size, radius, shift=0):
    grid = np.indices((size,) * 3) - (size - 1) / 2 - shift
    return np.sqrt((grid**2).sum(0)) < radius


def put_candidates(labels):
    """An index image of two candidates, as its sidecar says."""
    labels.parent.mkdir(parents=True)
    labels.write_bytes(b"two candidates")
    bound = {k: v for k, v in fingerprint(labels).items() if k != "Modified"}
    record = {"Parameters": {}, "CandidateCount": 2, "VoxelsSHA256": "abc"}
    text = json.dumps(record | {"Files": {labels.name: bound}})
    storage.sidecar(labels).write_text(text)


def decided(root):
    path = decisions.beside(root / LABELS)
    return decisions.of(decisions.read(path), "abc")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A page of images in two sessions, each with slices of a ball in a larger ball."""
    folder = tmp_path_factory.mktemp("rated")
    volume = Volume(ball(80, 38) * 60.0 + ball(80, 25) * 40, np.diag([2.0, 2, 2, 1]))
    mask = ball(80, 25)
    chance = np.where(ball(80, 27), 0.5, 0) + np.where(ball(80, 23), 0.5, 0)
    pictures = tiles.pictures(volume, mask, chance)
    rows = [
        replace(row(1 + number // 2, f"ses-{1 + number % 2}"), mask=f"mask{number}")
        for number in range(COUNT)
    ]
    shown = "sub-0001/figures/sub-0001_ses-1_desc-lesionthumbnail_T1w.webp"
    found = [[1, 4.11, 22.5, "left", "likely", None, None]]
    found.append([2, 0.89, 12.0, None, "unlikely", "low probability", None])
    lesions = {"image": LABELS, "sha256": "abc", "found": found, "thumbnail": shown}
    rows[0] = replace(rows[0], lesions=lesions)
    put_candidates(folder / LABELS)
    path = folder / shown
    path.parent.mkdir(parents=True)
    Image.new("RGB", (240, 80), "gray").save(path)
    overlay = tiles.lesion_overlays(volume, mask, ball(80, 6, 8), ball(80, 4, -8))
    other = path.with_name(path.name.replace("thumbnail", "overlays"))
    other.with_suffix(".png").write_bytes(overlay)
    cuts = path.with_name(path.name.replace("lesionthumbnail", "meningioma"))
    Image.new("RGB", (300, 200), "red").save(cuts)
    for one in rows:
        for content, (name, ending) in zip(pictures, PICTURES, strict=True):
            path = (folder / one.thumbnail.replace("thumbnail", name)).with_suffix(ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        Image.new("RGB", (24, 8), "gray").save(folder / one.thumbnail)
    text = group_page.page(rows, COLUMNS, title="Phantoms")
    (folder / participant_page.GROUP_PAGE).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def serve(root):
    """Start servers of the page; each is stopped by what is returned with its address."""
    started = []

    def start(**how):
        taken = Decisions(
            lambda: lesion_decisions.given(root),
            lambda rows: lesion_decisions.put(root, [("the page", row) for row in rows]),
        )
        server = RatingServer(root, decisions=taken, **how)
        thread = threading.Thread(target=server.run, args=(1e6,))
        thread.start()

        def stop():
            server._last_page, server.idle_seconds = 0, lambda: 1e9
            thread.join(10)
            server.server_close()

        started.append(stop)
        return server.address, stop

    yield start
    for stop in started:
        stop()
    for path in (*root.glob(f"{rating_table.NAME}.*"), decisions.beside(root / LABELS)):
        path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _nothing_is_kept(chromium):
    """Ratings that a page of one test still keeps are not sent by the page of the next one."""
    yield
    chromium.driver.execute_script("try { localStorage.clear(); } catch (error) {}")
    chromium.driver.get("about:blank")


class Page:
    """The address of a page, as `Browser.open` opens it."""

    def __init__(self, address):
        self.address = address

    def as_uri(self):
        return self.address


def table(root):
    path = root / f"{rating_table.NAME}.tsv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def progress_is(browser, text):
    browser.wait("return document.getElementById('progress').textContent === arguments[0]", text)


def shown(browser, name):
    browser.wait("return document.getElementById('view').dataset.shown === arguments[0]", name)


def name_here(browser):
    return browser.one("[aria-current]").get_attribute("aria-label")


# ---------------------------------------------------------------------- served


def test_a_rating_is_on_disk_as_it_is_given_and_every_tab_has_it(chromium, root, serve):
    address, stop = serve(rater="Ada")
    chromium.open(Page(address))
    chromium.wait("return document.body.classList.contains('live')")
    first = chromium.driver.current_window_handle
    chromium.driver.switch_to.new_window("tab")
    chromium.driver.get(address)
    chromium.wait("return document.body.classList.contains('live')")
    chromium.press("1", "m")
    (one,) = until(lambda: [r for r in table(root) if r["reasons"] == "motion"], "the table")
    assert (one["rating"], one["rater"]) == ("accept", "Ada")
    assert one["mask_sha256"].startswith("mask")
    chromium.driver.close()
    chromium.driver.switch_to.window(first)
    progress_is(chromium, f"1 of {COUNT} rated")
    chromium.press(Keys.ARROW_RIGHT, "2", "3")
    until(lambda: [r["rating"] for r in table(root)] == ["accept", "unsure"], "the last verdict")
    chromium.press("0")
    until(lambda: [r["rating"] for r in table(root)] == ["accept", "n/a"], "no verdict")
    assert chromium.errors() == []
    assert all(url.startswith(address.rsplit("/", 1)[0]) for url in chromium.strangers())
    stop()


def test_nothing_is_lost_when_the_server_is_away_and_comes_back(chromium, root, serve):
    address, stop = serve()
    chromium.open(Page(address))
    chromium.wait("return document.body.classList.contains('live')")
    stop()
    chromium.press("2")
    chromium.wait("return /does not answer/.test(document.getElementById('notices').textContent)")
    assert table(root) == []
    again, _ = serve()
    assert again.split("/")[2] == address.split("/")[2]  # the same port, so that the browser knows
    chromium.driver.switch_to.new_window("tab")
    chromium.driver.get(again)
    progress_is(chromium, f"1 of {COUNT} rated")
    until(lambda: [one["rating"] for one in table(root)] == ["exclude"], "the rating")


RATE = "import sys; from bids_brainmask.cli.brainmask import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def rate(root):
    """`brainmask rate` in a process of its own, which is killed at the end; its address."""
    command = [sys.executable, "-c", RATE, "rate", str(root), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("serve")  # which removes the ratings
def test_two_browsers_lose_nothing_when_the_server_is_killed_and_started_again(
    chromium, root, tmp_path
):
    """Two people rate the same images, each in a Chromium of his or her own."""
    with launched(tmp_path) as second:
        people = {"Ada": chromium, "Bo": second}
        with rate(root) as address:
            for name, browser in people.items():
                browser.open(Page(address))
                browser.wait("return document.body.classList.contains('live')")
                browser.one("#rater").send_keys(name, Keys.TAB)
            for browser, verdict in ((chromium, "1"), (second, "2")):
                browser.run("document.activeElement.blur()")
                browser.press(verdict)
            until(lambda: len(table(root)) == 2, "both ratings")
            chromium.wait("return document.getElementById('cards').innerText.includes('Bo: ')")
        for browser in people.values():
            browser.press(Keys.ARROW_RIGHT, "3")
            said = "return /does not answer/.test(document.getElementById('notices').textContent)"
            browser.wait(said)
        assert len(table(root)) == 2
        with rate(root) as again:
            for browser in people.values():
                browser.driver.get(again)
            until(lambda: len(table(root)) == 4, "all four ratings")
    found = sorted((one["image"], one["rater"], one["rating"]) for one in table(root))
    assert [each[1:] for each in found] == [
        *(("Ada", "accept"), ("Bo", "exclude"), ("Ada", "unsure"), ("Bo", "unsure")),
    ]
    assert len({each[0] for each in found}) == 2


def test_two_raters_are_compared_as_by_the_group_level(chromium, root, serve):
    image = "sub-{:04}/anat/sub-{:04}_ses-{}_desc-brain_mask.nii.gz"
    said = {
        "Ada": "accept accept exclude unsure accept",
        "Bo": "accept exclude exclude unsure unsure",
        "Cy": "accept accept exclude accept accept",
    }
    given = [
        {"image": image.format(1 + n // 2, 1 + n // 2, 1 + n % 2), "rater": rater, "rating": word}
        for rater, words in said.items()
        for n, word in enumerate(words.split())
    ]
    rating_table.Table(root).add(given)
    address, _ = serve(rater="Ada")
    chromium.open(Page(address))
    text = "return document.getElementById('raters').innerText"
    chromium.wait(f"{text}.includes('Fleiss')")
    found = chromium.run(text)
    columns = [words.split() for words in said.values()]
    pair = ratings.cohen(list(zip(columns[0], columns[1], strict=True)))
    assert f"Ada and Bo: Cohen's kappa {pair:.2f}, 5 images" in found
    assert (
        f"Fleiss' kappa {ratings.fleiss(list(zip(*columns, strict=True))):.2f}, 5 images" in found
    )
    assert "Rated differently: 3 images" in found
    chromium.run("document.querySelector('#raters details').open = true")
    assert "Ada accept, Bo exclude, Cy accept" in chromium.run(text)
    assert "Bo: exclude" in chromium.one("#cards").text
    chromium.one("#rater").clear()
    chromium.one("#rater").send_keys("Bo", Keys.TAB)
    progress_is(chromium, f"5 of {COUNT} rated")
    assert "Ada: accept" in chromium.one("#cards").text


CARD = "[aria-label='sub-0001_ses-1']"


def test_candidate_lesions_are_decided_about_on_the_page_and_it_is_on_disk(chromium, root, serve):
    address, _ = serve(rater="Ada")
    chromium.open(Page(address))
    chromium.wait("return document.body.classList.contains('live')")
    said = chromium.one(f"{CARD} .lesions")
    assert "1 of 2 count, 4.11 mL" in said.text
    assert "2: 0.89 mL, 12 mm, unlikely (low probability)" in said.text
    chromium.one(f"{CARD} [data-lesion='2'] [data-decision=accepted]").click()
    until(lambda: decided(root) == {2: "accepted"}, "a decision")
    assert "2 of 2 count, 5.00 mL" in said.text
    (row,) = decisions.read(decisions.beside(root / LABELS))
    assert row.by == "Ada"
    chromium.one("[data-only=open]").click()
    assert chromium.one("[data-only=open]").text == "Lesions to decide 1"
    assert len(chromium.all(".shot")) == 1
    first = chromium.driver.current_window_handle
    chromium.driver.switch_to.new_window("tab")
    chromium.driver.get(address)
    text = f'return document.querySelector("{CARD} .counted")?.textContent'
    chromium.wait(f"{text}.includes('2 of 2 count')")
    chromium.one(f"{CARD} [data-lesion='1'] [data-decision=rejected]").click()
    chromium.driver.close()
    chromium.driver.switch_to.window(first)
    chromium.wait(f"{text}.includes('1 of 2 count, 0.89 mL')")
    assert decided(root) == {1: "rejected", 2: "accepted"}
    chromium.one(f"{CARD} .frame").click()
    shown(chromium, "sub-0001_ses-1")
    assert orange(pixels(chromium)) > 0.0003
    button = chromium.one("#view-lesions [data-lesion='2'] [data-decision=accepted]")
    assert button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.SPACE)  # by keys: taken back
    until(lambda: decided(root) == {1: "rejected"}, "no decision")
    assert violations(chromium) == []
    chromium.photograph("rate_lesions")
    chromium.press("e")
    assert orange(pixels(chromium)) > 0.2
    assert chromium.errors() == []


def test_decisions_of_a_page_from_a_file_are_kept_exported_and_adopted(chromium, root, serve):
    page = root / participant_page.GROUP_PAGE
    chromium.open(page)
    chromium.one(f"{CARD} [data-lesion='1'] [data-decision=rejected]").click()
    chromium.driver.get(page.as_uri())
    assert "0 of 2 count, 0.00 mL" in chromium.one(f"{CARD} .lesions").text
    text = chromium.download(chromium.one("#export-lesions").click)
    assert "brainmask adopt OUTPUT_DIR --lesions FILE" in chromium.one("#notices").text
    file = root / "decisions.tsv"
    file.write_text(text)
    assert lesion_decisions.adopt(root, file) == [decisions.beside(root / LABELS)]
    assert decided(root) == {1: "rejected"}
    chromium.run("localStorage.clear()")
    chromium.driver.get(page.as_uri())
    assert "1 of 2 count" in chromium.one(f"{CARD} .lesions").text
    chromium.one("#file").send_keys(str(file))
    chromium.wait(
        "return /1 decisions imported/.test(document.getElementById('notices').textContent)"
    )
    assert "0 of 2 count" in chromium.one(f"{CARD} .lesions").text
    assert chromium.errors() == []


# ---------------------------------------------------------------------- one image at a time


@pytest.fixture
def view(chromium, root):
    """The view of the first image, opened by its key from a file."""
    chromium.open(root / participant_page.GROUP_PAGE)
    chromium.press("v")
    shown(chromium, name_here(chromium))
    yield chromium
    assert chromium.errors() == []
    assert chromium.strangers() == []


def pixels(browser):
    """What the first canvas shows, as it is on the screen, (rows, columns, 3) int."""
    frames = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    browser.driver.execute_async_script(frames)
    with Image.open(io.BytesIO(browser.one("#stages canvas").screenshot_as_png)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def orange(picture):
    """Share of pixels in the color of lesions that count, or red."""
    return ((picture[..., 0] - picture[..., 2] > 120) & (picture[..., 1] < 140)).mean()


def cyan(picture):
    """Share of pixels in the color of the mask."""
    return ((picture[..., 2] - picture[..., 0]) > 60).mean()


def test_slices_masks_and_ratings_by_keys_alone(view):
    view.photograph("rate_all")
    outline = pixels(view)
    assert outline.std() > 20
    assert 0.001 < cyan(outline) < 0.1
    view.press("l")
    assert cyan(pixels(view)) > 2 * cyan(outline)
    view.press("l")
    hold = ActionChains(view.driver).key_down(Keys.SPACE)
    hold.perform()
    assert cyan(pixels(view)) == 0
    ActionChains(view.driver).key_up(Keys.SPACE).perform()
    assert cyan(pixels(view)) > 0.001
    view.press("u")
    colored = pixels(view)
    assert ((colored[..., 0] - colored[..., 1]) > 60).mean() > 0.001
    view.press("u", Keys.ARROW_DOWN)
    assert view.one("#slice").text == "axial, 1 of 9"
    view.press(*[Keys.ARROW_DOWN] * 4)
    view.photograph("rate_one")
    assert view.one("#slice").text == "axial, 5 of 9"
    view.press("a")
    assert view.one("#slice").text == "all slices"
    view.run("document.getElementById('stages').dispatchEvent(new WheelEvent('wheel', "
             "{deltaY: -1, cancelable: true}))")  # fmt: skip
    assert view.one("#slice").text == "sagittal, 7 of 7"
    view.press("a", "s")
    assert len(view.all("#stages canvas")) == 2
    assert view.run("return document.querySelectorAll('#stages figcaption').length") == 2
    view.photograph("rate_sessions")
    view.press("s")
    view.one("#look-fill").send_keys(Keys.SPACE)
    assert view.one("#look-fill").get_attribute("aria-pressed") == "true"
    # Not by chromedriver's own mouse, while whose button is down it may take no picture.
    point = "document.getElementById('look-bare').dispatchEvent(new PointerEvent('pointer{}'))"
    view.run(point.format("down"))
    assert cyan(pixels(view)) == 0
    view.run(point.format("up"))
    assert cyan(pixels(view)) > 0.01


def test_ratings_reasons_comments_and_undo_in_the_view(view):
    first = name_here(view)
    view.press("2", "k", "y", "c")
    view.press(*"odd")
    view.press(Keys.ESCAPE)
    assert view.one("#view").is_displayed()
    assert view.run("return [...document.querySelectorAll('#view [aria-pressed=true]')]"
                    ".map(e => e.textContent.trim())") == [
        "exclude 2", "skull included k", "eyes included y"]  # fmt: skip
    assert "1 of 12 rated" in view.one("#view-progress").text
    view.press(Keys.ARROW_RIGHT)
    shown(view, name_here(view))
    assert name_here(view) != first
    view.press("1")
    ActionChains(view.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert "1 of 12 rated" in view.one("#view-progress").text
    view.press(Keys.ARROW_LEFT, Keys.ESCAPE)
    assert not view.one("#view").is_displayed()
    assert view.one("[aria-current] .said").text == "skull included; eyes included"
    assert view.one("[aria-current] input").get_attribute("value") == "odd"


def test_axe_finds_nothing_on_the_group_page_and_in_the_view(view):
    view.press("2", "k")
    assert violations(view) == []
    view.press(Keys.ESCAPE)
    assert violations(view) == []
    view.one("#theme").click()
    assert violations(view) == []


def test_the_view_tells_the_time_left(view):
    view.run("document.getElementById('advance').click()")
    view.press("1", "1", "1")
    assert "min left" in view.one("#view-progress").text
    assert "3 of 12 rated" in view.one("#view-progress").text


def test_the_view_fits_a_phone(view):
    size = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    view.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        view.wait("return document.querySelector('#stages canvas').width > 500")
        view.photograph("rate_phone")
        for selector in ("#view-verdict", "#view-close", "#view-next", "#stages canvas"):
            box = view.run("return document.querySelector(arguments[0]).getBoundingClientRect()"
                           ".toJSON()", selector)  # fmt: skip
            assert box["left"] >= 0
            assert box["right"] <= 390
            assert box["bottom"] <= 800
        assert box["height"] > 250  # of the canvas, the last one
        view.press(Keys.ESCAPE)
        assert view.run("return document.documentElement.scrollWidth") <= 390  # the group report
        assert view.one("#cards [aria-current]").is_displayed()
    finally:
        view.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_image_without_slices_has_its_reports_figure_or_says_so(chromium, tmp_path):
    rows = [row(1), row(2)]
    path = tmp_path / rows[0].thumbnail.replace("thumbnail", "brain")
    path.parent.mkdir(parents=True)
    Image.new("RGB", (300, 200), "red").save(path)
    page = tmp_path / participant_page.GROUP_PAGE
    page.write_text(group_page.page(rows, COLUMNS, title="Two"), encoding="utf-8")
    chromium.open(page)
    chromium.press("v")
    shown(chromium, name_here(chromium))
    found = pixels(chromium) if "0001" in name_here(chromium) else None
    missing = chromium.one("#no-picture").is_displayed()
    chromium.press(Keys.ARROW_RIGHT)
    shown(chromium, name_here(chromium))
    assert chromium.one("#no-picture").is_displayed() != missing
    found = pixels(chromium) if found is None else found
    assert ((found[..., 0] > 200) & (found[..., 1] < 60)).mean() > 0.3
