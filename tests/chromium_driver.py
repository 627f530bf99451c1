# SPDX-License-Identifier: Apache-2.0
"""A real Chromium, without a window, that opens pages from the disk."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import missing
from selenium import webdriver
from selenium.webdriver.common.by import By

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1800",
)
OWN_SCHEMES = ("file:", "data:", "blob:", "about:", "chrome:")


class Browser:
    """Chromium, and what tests ask of it."""

    def __init__(self, driver: webdriver.Chrome, downloads: Path, blank: Path):
        self.driver = driver
        self.downloads = downloads
        self.blank = blank  # a page that is quick to open: what files keep, all files see

    def open(self, page: Path) -> None:
        """Open a page anew, in one window, with nothing kept and nothing logged."""
        first, *others = self.driver.window_handles
        for window in others:
            self.driver.switch_to.window(window)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get(self.blank.as_uri())
        self.run("localStorage.clear()")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri())

    def run(self, script: str, *values):
        """Run JavaScript in the page and give what it returns."""
        return self.driver.execute_script(script, *values)

    def one(self, selector: str):
        """First element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list:
        """All elements of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def wait(self, script: str, *values, seconds: float = 20):
        """Wait until JavaScript returns something true, and give it."""
        return until(lambda: self.run(script, *values), script, seconds)

    def download(self, click: Callable[[], None]) -> str:
        """Click something that gives a file, and give its text."""
        for path in self.downloads.iterdir():
            path.unlink()
        click()

        def done():
            return [path for path in self.downloads.iterdir() if path.suffix == ".tsv"]

        (path,) = until(done, "a download")
        return path.read_text(encoding="utf-8")

    def errors(self) -> list[str]:
        """What the page complained of since it was opened."""
        return [one["message"] for one in self.driver.get_log("browser") if is_bad(one)]

    def strangers(self) -> list[str]:
        """Addresses not on this disk that were asked for since the page was opened."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [address for address in found if not address.startswith(OWN_SCHEMES)]

    def photograph(self, name: str) -> None:
        """Save a picture of the window in the folder that BRAINMASK_SCREENSHOTS names, if any."""
        if folder := os.environ.get("BRAINMASK_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


def is_bad(entry: dict) -> bool:
    """Tell whether an entry of the browser's log is an error or a warning."""
    return entry["level"] in ("SEVERE", "WARNING")


def until(done: Callable, what: str, seconds: float = 20):
    """Ask again and again until the answer is true, and give it."""
    end = time.monotonic() + seconds
    while not (found := done()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s for: {what}")
        time.sleep(0.05)
    return found


@contextmanager
def launched(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own in a folder, and end it afterwards."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        missing("chromium and chromedriver are not both installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    downloads = folder / "downloads"
    downloads.mkdir()
    where = {"behavior": "allow", "downloadPath": str(downloads)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    blank = folder / "blank.html"
    blank.write_text("<title>Blank</title>", encoding="utf-8")
    try:
        yield Browser(driver, downloads, blank)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[Browser]:
    """One Chromium for all tests; `Browser.open` makes it as new."""
    with launched(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
