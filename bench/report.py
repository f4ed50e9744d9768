"""The report page measured: how long it takes to make, how large it is, and how soon a browser shows it.

    python bench/report.py [--plot FOLDER] [QUERIES ...]     default 2000 100000; needs chromium and selenium
Three teachers. paint_ms: until something is seen; charts_ms: until all of them stand; interactive_ms:
until the browser of queries answers; filter_ms, search_ms: until its list shows it. Medians of seven fresh browsers,
times from the start of navigation. --plot: the same charts by Observable Plot (bench/report_plot.py), in turn.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "stages"))

from made_run import MadeTeacher, make_run, word_tokens
from report_plot import plot_page

from stillhouse.stages.compare import compare
from stillhouse.stages.report import report

TEACHERS = (MadeTeacher("am", 0.75, 400), MadeTeacher("qwen", 0.6, 300), MadeTeacher("r1", 0.45, 250))
LOADS = 7
# Notes when the page has been parsed up to its footer, behind which only data and the script stand.
WATCH = """
new MutationObserver((_, watch) => {
  if (document.querySelector("footer")) { window.chartsStood = performance.now(); watch.disconnect(); }
}).observe(document, { childList: true, subtree: true });
"""
FILTER = """
const field = document.getElementById(arguments[0]), before = performance.now();
field.value = arguments[1]; field.dispatchEvent(new Event("change"));
document.getElementById("list").getBoundingClientRect();
return performance.now() - before;
"""


def measured(queries: int, folder: Path, plot: Path | None) -> dict[str, Any]:
    """One run of `queries` x three teachers."""
    if not (folder / "report.json").exists():
        made = make_run(folder, TEACHERS, queries=queries, words=1.0 if queries <= 5000 else 0.1)
        compare(folder, teachers=made.specs, tokenizer=word_tokens)
    wall, work = time.perf_counter(), time.process_time()
    counts = report(folder)
    done = {"queries": queries, "report_s": round(time.perf_counter() - wall, 1),
            "report_cpu_s": round(time.process_time() - work, 1)}  # fmt: skip
    page, beside = folder / "report.html", folder / "report"
    done |= {"page_mb": round(page.stat().st_size / 1e6, 2), "traced": counts["traced"],
             "traces_beside_mb": round(sum(f.stat().st_size for f in beside.glob("*.js")) / 1e6, 1)}  # fmt: skip
    peer = folder / "plot.html"
    if plot is not None:
        done |= plot_page(folder / "report.json", plot, peer)
    ours, theirs = [], []
    for _ in range(LOADS):  # in turn, so that whatever else the machine does falls on both
        ours.append(_load(page, own=True))
        if plot is not None:
            theirs.append(_load(peer, own=False))
    done |= {key: round(statistics.median(one[key] for one in ours), 1) for key in ours[0]}
    if theirs:
        done |= {f"plot_{key}": round(statistics.median(one[key] for one in theirs), 1) for key in theirs[0]}
    return done


def _load(page: Path, *, own: bool) -> dict[str, float]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        browser.get(f"file://{page}")
        ready = float(WebDriverWait(browser, 90).until(_ready))
        paint = "return performance.getEntriesByName('first-contentful-paint').map((entry) => entry.startTime)[0] || 0"
        painted = float(browser.execute_script(paint))
        if not own:
            return {"paint_ms": painted, "charts_ms": ready}
        parsed = browser.execute_script("return window.chartsStood")
        filtered = browser.execute_script(FILTER, "outcome-0", "missed")
        searched = browser.execute_script(FILTER, "q", "question 17")
        return {"paint_ms": painted, "charts_ms": float(parsed), "interactive_ms": ready, "filter_ms": filtered,
                "search_ms": searched}  # fmt: skip
    finally:
        browser.quit()


def _ready(browser: Any) -> Any:
    return browser.execute_script("return document.documentElement.dataset.ready")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queries", nargs="*", type=int, default=[2000, 100_000])
    parser.add_argument("--plot", type=Path, help="where `npm install @observablehq/plot d3` was run")
    parser.add_argument("--keep", type=Path, help="make the runs here, and use those that are here already")
    given = parser.parse_args()
    for size in given.queries:
        with tempfile.TemporaryDirectory() as place:
            where = given.keep / f"made-{size}" if given.keep else Path(place)
            where.mkdir(parents=True, exist_ok=True)
            print(json.dumps(measured(size, where, given.plot)), flush=True)
