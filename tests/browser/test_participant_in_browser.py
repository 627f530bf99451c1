# SPDX-License-Identifier: Apache-2.0
"""A participant's page in a browser, opened from the disk, as the app writes it."""

import io

import nibabel as nb
import numpy as np
import pytest
from axe import violations
from chromium_driver import chromium
from conftest import Dataset
from PIL import Image

from bids_brainmask.cli import bids_app
from bids_brainmask.demo import phantom
from bids_brainmask.reports import group

__all__ = ["chromium"]

PREFIX = "sub-01_ses-1_ce-gad"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Results of two images of a phantom at 2 mm, with the viewer, and the group's page."""
    folder = tmp_path_factory.mktemp("reports")
    data = Dataset(folder / "bids")
    for name, contrast in (("sub-01_ses-1_T1w", False), (f"{PREFIX}_T1w", True)):
        data.add(f"{name}.nii.gz", phantom.head(2, spacing=2.0, contrast=contrast)[0])
    command = [str(data.root), str(folder / "out")]
    assert bids_app.main([*command, "participant", "--viewer", "--skip-bids-validation"]) == 0
    assert bids_app.main([*command, "group"]) == 0
    return folder / "out"


@pytest.fixture
def page(chromium, out):
    """The participant's page, just opened; what it did is looked at when the test is over."""
    chromium.open(out / "sub-01.html")
    yield chromium
    assert chromium.errors() == []
    assert chromium.strangers() == []


def colours(element):
    """Pixels of an element as it is drawn, (rows, columns, 3) int."""
    with Image.open(io.BytesIO(element.screenshot_as_png)) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_the_page_shows_every_image(page):
    page.photograph("participant")
    assert page.run("return document.title").startswith("sub-01")
    for anchor in ("sub-01_ses-1", PREFIX):
        assert page.run("return !!document.getElementById(arguments[0])", anchor)
    broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert page.run("return document.images.length") >= 5
    assert page.run(broken) == 0


def test_axe_finds_nothing(page):
    page.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert violations(page) == []


def test_light_becomes_dark(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = page.run(ground)
    page.one("[data-theme-switch]").click()
    assert page.run(ground) != before


def test_methods_are_copied(page):
    page.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    button = next(one for one in page.all("[data-copy]") if one.is_displayed())
    page.run("arguments[0].scrollIntoView({block: 'center'})", button)
    answers = ["Copied", "Selected: press Ctrl+C"]
    button.click()
    page.wait("return arguments[1].includes(arguments[0].textContent)", button, answers)


def test_the_viewer_is_nothing_until_it_is_asked_for(page):
    assert page.all("canvas") == []
    assert page.run("return window.niivue === undefined")


def test_the_viewer_shows_the_head_and_its_masks(page):
    view = page.one(f"[data-title*='{PREFIX}']")
    button = view.find_element("css selector", "[data-viewer='open']")
    page.run("arguments[0].scrollIntoView({block: 'center'})", button)
    assert "MB" in button.text
    button.click()
    page.wait("return /mm/.test(document.querySelector(\"[data-viewer='place']\").textContent)"
              " || [...document.querySelectorAll(\"[data-viewer='place']\")]"
              ".some(e => /mm/.test(e.textContent))", seconds=60)  # fmt: skip
    (canvas,) = page.all("canvas")
    masked = colours(canvas)
    page.photograph("viewer")
    assert masked.std() > 20  # a head, and not one colour
    tinted = (masked.max(2) - masked.min(2) > 60).sum()
    assert tinted > 500  # the mask's outline is in colour, the head is grey
    view.find_element("css selector", "[data-viewer='show']").click()
    plain = colours(canvas)
    assert (plain.max(2) - plain.min(2) > 60).sum() < tinted / 2
    assert plain.std() > 20
    view.find_element("css selector", "[data-viewer='close']").click()
    assert page.all("canvas") == []


def test_the_viewers_volumes_lie_where_the_image_does(out):
    head = nb.load(out.parent / f"bids/sub-01/ses-1/anat/{PREFIX}_T1w.nii.gz")
    mask = nb.load(out / f"sub-01/ses-1/anat/{PREFIX}_desc-brain_mask.nii.gz")
    shown = nb.load(out / f"sub-01/figures/{PREFIX}_desc-viewer_T1w.nii.gz")
    labels = nb.load(out / f"sub-01/figures/{PREFIX}_desc-viewer_dseg.nii.gz")
    assert shown.get_data_dtype() == labels.get_data_dtype() == np.uint8
    corner = np.linalg.solve(head.affine, shown.affine[:, 3])[:3].round().astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(corner, shown.shape, strict=True))
    found = np.asanyarray(labels.dataobj) == 1
    wanted = np.asanyarray(mask.dataobj)[box] > 0
    assert (found | (np.asanyarray(labels.dataobj) == 2))[wanted].all()
    assert np.asanyarray(mask.dataobj).sum() == wanted.sum()
    pair = np.corrcoef(np.asanyarray(shown.dataobj).ravel(), head.get_fdata()[box].ravel())
    assert pair[0, 1] > 0.98


def test_the_groups_page_leads_to_the_participants(chromium, out):
    chromium.open(out / group.PAGE)
    links = chromium.run("return [...document.querySelectorAll('a[href]')].map(a => a.href)")
    target = next(link for link in links if link.endswith(f"#{PREFIX}"))
    chromium.driver.get(target)
    assert chromium.run("return location.hash") == f"#{PREFIX}"
    assert chromium.run("return document.title").startswith("sub-01")
    assert chromium.errors() == []
