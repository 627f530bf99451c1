# SPDX-License-Identifier: Apache-2.0
"""What pages of very many images take: to make, to open, to sort, to rate in.

python benchmarks/pages.py records OUTPUT_DIR [--images 100000] [--pages 0]
python benchmarks/pages.py group OUTPUT_DIR
python benchmarks/pages.py open OUTPUT_DIR
python benchmarks/pages.py next OUTPUT_DIR [--images 1000]
python benchmarks/pages.py draw IMAGE --mask MASK

`records` writes sidecars of simulated masks, with `--pages` also participants' pages to be brought
up to date. `group` runs the group level on them. `open` opens its page in Chromium without a
window, sorts and filters. `next` writes a page of images with pictures of slices, and measures
from the key to the next image on the screen, in the view of one image. `draw` measures the time
of each figure of an image, with the mask for probabilities.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from document import table
from scipy import ndimage

from bids_brainmask.analyses import catalog, quality
from bids_brainmask.cli import bids_app
from bids_brainmask.drawing import tiles
from bids_brainmask.reports import group, group_page
from bids_brainmask.reports.page_data import Row
from bids_brainmask.voxels import image
from bids_brainmask.voxels.image import Volume


@dataclass(frozen=True)
class Extraction:
    """What figures need of an extraction: a mask, and a soft edge of it as probabilities."""

    mask: np.ndarray
    probability: np.ndarray


SCANNERS = [("Siemens", "Prisma", 3), ("GE", "MR750", 3), ("Philips", "Achieva", 1.5)]

PICTURES = (("slices", ".webp"), ("overlays", ".png"))
"""Figures of the view of one image, and their endings."""

MOVES = 40
"""Images that are gone through."""

WINDOW = (1400, 1000)
"""Pixels."""


def write_records(out: Path, images: int, pages: int) -> str:
    """Write sidecars like those of the participant level, two sessions a participant."""
    rng = np.random.default_rng(0)
    names = list(quality.columns())
    values = rng.normal(1, 0.1, (images, len(names)))
    for number in range(images):
        label, session = f"sub-{number // 2:06}", f"ses-{number % 2 + 1}"
        folder = out / label / session / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        measured = dict(zip(names, values[number].round(4).tolist(), strict=True))
        measured["volume_ml"] = round(1450 + 100 * rng.normal(), 2)
        record = {
            "Parameters": {"Model": "embedded", "ModelVersion": "0.5.0", "Threshold": 0.5},
            **{"BrainVolume": measured["volume_ml"], "BrainVolumeUnits": "mL"},
            **{"ContrastEnhanced": False, "Seconds": 2.5, "BoundaryUncertainty": 0.2},
            **{"VoxelsSHA256": f"{number:064x}", "Quality": measured},
        }
        path = folder / f"{label}_{session}_desc-brain_mask.json"
        path.write_text(json.dumps(record), encoding="utf-8")
    for number in range(pages):
        (out / f"sub-{number:06}.html").write_text("old", encoding="utf-8")
    description = {"Name": "Simulated", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    made = {"GeneratedBy": [{"Name": "bids_brainmask"}]}
    (out / "dataset_description.json").write_text(json.dumps(description | made))
    lines = [f"sub-{n:06}\t{20 + n % 60}\t{'AB'[n % 2]}\n" for n in range((images + 1) // 2)]
    (out / "participants.tsv").write_text("participant_id\tage\tsite\n" + "".join(lines))
    return f"{images:,} records, {pages:,} pages\n"


def measure_group(out: Path) -> str:
    """Run the group level in this process."""
    started, cpu = time.perf_counter(), time.process_time()
    status = bids_app.main([str(out / "absent"), str(out), "group", "--quiet"])
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, others.ru_maxrss) / 1e6
    size = (out / group.PAGE).stat().st_size / 1e6
    beside = sum(path.stat().st_size for path in out.glob(f"{group.DATA}-*.js")) / 1e6
    numbers = (seconds, cpu, others.ru_utime + others.ru_stime, memory, size, beside)
    heads = ["status", "s", "CPU s", "other processes, CPU s", "GB", "page, MB", "beside it, MB"]
    return table(heads, [[str(status), *(f"{number:.2f}" for number in numbers)]])


def browser():
    """Chromium without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", size):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium") or ""
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


WATCH = """
globalThis.blocks = [];
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) blocks.push(task.duration);
}).observe({ type: "longtask", buffered: true });
"""

TIMED = """
const [act, shows, done] = [...arguments];
const started = performance.now();
const painted = () =>
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
if (shows) new MutationObserver((_, one) => { one.disconnect(); painted(); })
  .observe(document.querySelector(shows), { childList: true, subtree: true });
new Function(act)();
if (!shows) painted();
"""
"""Does something; gives the ms until the window is painted, after an element has changed."""

QUIET = """
const done = arguments[arguments.length - 1];
let last = [blocks.length, performance.now()];
const look = () => {
  if (blocks.length > last[0]) last = [blocks.length, performance.now()];
  if (performance.now() - last[1] > 1500) done([last[1], Math.max(0, ...blocks)]);
  else setTimeout(look, 50);
};
look();
"""
"""Waits until nothing blocks; gives the time of the last block, and the longest one, in ms."""


def _change(element: str, event: str, change: str) -> str:
    found = f"const e = document.getElementById('{element}'); {change};"
    return f"{found} e.dispatchEvent(new Event('{event}'))"


def _title(number: int) -> str:
    return f"document.querySelectorAll('.tabulator-col[tabulator-field^=c] ')[{number}].click()"


ROWS = ".tabulator-table"

ON_CARDS = {
    "first order of the cards": (_change("order", "change", "e.selectedIndex = 3"), ""),
    "first search of the cards": (_change("text", "input", "e.value = '00012'"), ""),
    "all cards again": (_change("text", "input", "e.value = ''"), ""),
    "second order of the cards": (_change("order", "change", "e.selectedIndex = 5"), ""),
}

ON_TABLE = {
    "first order of the table": (_title(5), ROWS),
    "first filter of the table": (
        "const e = document.querySelectorAll('.tabulator-col[tabulator-field^=c] input')[5];"
        "e.value = '>1'; e.dispatchEvent(new KeyboardEvent('keyup'));"
        "e.dispatchEvent(new Event('search'))",
        ROWS,
    ),
    "second order of the table": (_title(6), ROWS),
    "order of the table by name": (
        "document.querySelector('.tabulator-col[tabulator-field=name]').click()",
        ROWS,
    ),
}


def measure_open(out: Path) -> str:
    """Open the page, and time what a person does, from the first time on; medians of three."""
    driver = browser()
    found: dict[str, list[float]] = {}
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        for _ in range(3):
            for name, value in _one_visit(driver, out):
                found.setdefault(name, []).append(value)
        wrong = [one["message"] for one in driver.get_log("browser") if one["level"] != "INFO"]
    finally:
        driver.quit()
    rows = [
        [name, f"{np.median(values):.0f}", ", ".join(f"{value:.0f}" for value in values)]
        for name, values in found.items()
    ]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n"
    return table(["", "median, ms", "each, ms"], rows) + load + "".join(f"{w}\n" for w in wrong)


def _one_visit(driver, out: Path) -> Iterator[tuple[str, float]]:
    """Open the page, order and search its cards at once, then go to its plots and its table."""
    driver.get((out / group.PAGE).as_uri())
    loaded = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    yield "opening", driver.execute_script(f"blocks.length = 0; {loaded}")
    for name, (act, shows) in ON_CARDS.items():
        yield name, driver.execute_async_script(TIMED, act, shows)
    yield "longest block with the cards", driver.execute_async_script(QUIET)[1]
    for place in ("strips", "quality", "volumes"):
        show = f"blocks.length = 0; document.getElementById('{place}')?.scrollIntoView();"
        started = driver.execute_script(f"{show} return performance.now()")
        ended, longest = driver.execute_async_script(QUIET)
        yield f"until {place} are drawn", ended - started
        yield f"longest block in it ({place})", longest
    driver.execute_script("document.getElementById('quality').scrollIntoView()")
    for name, (act, shows) in ON_TABLE.items():
        yield name, driver.execute_async_script(TIMED, act, shows)


SHOWN = """
const done = arguments[arguments.length - 1];
const view = document.getElementById("view");
const before = view.dataset.shown;
const started = performance.now();
document.activeElement.dispatchEvent(
  new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }));
const wait = () => view.dataset.shown === before
  ? setTimeout(wait, 1)
  : requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
wait();
"""


def measure_next(out: Path, images: int) -> str:
    """Time the view from the key to the next image, which a person looked at for a second."""
    grid = np.indices((160, 190, 150)) - np.array([80, 95, 75])[:, None, None, None]
    far = np.sqrt((grid**2).sum(0))
    noise = np.random.default_rng(0).normal(0, 8, far.shape)
    data = np.where(far < 65, 100, np.where(far < 74, 60, 0)) + noise
    pictures = tiles.pictures(Volume(data.clip(0), np.eye(4)), far < 65, np.clip(66 - far, 0, 1))
    columns = {"participant_id": {"Description": "Participant"}} | quality.columns()
    rows = []
    for number in range(images):
        label = f"sub-{number:04}"
        thumbnail = f"{label}/figures/{label}_desc-thumbnail_T1w.webp"
        for content, (name, ending) in zip(pictures, PICTURES, strict=True):
            path = (out / thumbnail.replace("thumbnail", name)).with_suffix(ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        values = dict.fromkeys(quality.columns(), 1.0 + number)
        rows.append(Row(label, f"{label}.html", thumbnail, values | {"participant_id": label}))
    page = out / "next.html"
    page.write_text(group_page.page(rows, columns, title="Next"), encoding="utf-8")
    driver = browser()
    try:
        driver.get(page.as_uri())
        driver.execute_script("document.getElementById('open-view').click()")
        times = []
        for _ in range(MOVES):
            time.sleep(1)
            times.append(driver.execute_async_script(SHOWN))
        shares = np.percentile(times, (50, 95, 100))
        sizes = [f"{len(content) / 1000:.0f}" for content in pictures]
        heads = ["images", "median, ms", "95 %, ms", "most, ms", "slices, kB", "overlays, kB"]
        return table(heads, [[str(images), *(f"{value:.0f}" for value in shares), *sizes]])
    finally:
        driver.quit()


def measure_draw(path: Path, mask: Path) -> str:
    """Draw the figures of one image; medians of three, after a first time."""
    source = image.read(path)
    found_mask = image.read_mask(mask)
    soft = ndimage.gaussian_filter(found_mask.astype(np.float32), 1.2)
    brain = Extraction(found_mask, soft)
    rows = [row for row in catalog.FIGURES if row.made_by == "brain"]
    found: dict[str, list[float]] = {row.name: [] for row in rows}
    for row in rows:
        for _ in range(4):
            started = time.process_time()
            row.draw(source, {"brain": brain}, "sub-01")
            found[row.name].append(time.process_time() - started)
    medians = {name: float(np.median(values[1:])) for name, values in found.items()}
    medians["all"] = sum(medians.values())
    return table(["figure", "CPU s"], [[name, f"{value:.2f}"] for name, value in medians.items()])


def main(argv: list[str]) -> int:
    """Do one of the five."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["records", "group", "open", "next", "draw"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--images", type=int)
    parser.add_argument("--pages", type=int, default=0)
    args = parser.parse_args(argv)
    if args.what == "records":
        text = write_records(args.out, args.images or 100_000, args.pages)
    elif args.what == "draw":
        text = measure_draw(args.out, args.mask)
    elif args.what == "next":
        text = measure_next(args.out, args.images or 1000)
    else:
        text = {"group": measure_group, "open": measure_open}[args.what](args.out)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
