"""The report page measured: how long it takes to make, how large it is, and how soon a browser shows it.

    python bench/report.py [QUERIES ...]     default 2000 100000, three teachers each; needs chromium and selenium
Interactive: from the start of navigation until the browser of queries answers, median of five fresh loads.
"""

from __future__ import annotations

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

from stillhouse.stages.compare import compare
from stillhouse.stages.report import report

TEACHERS = (MadeTeacher("am", 0.75, 400), MadeTeacher("qwen", 0.6, 300), MadeTeacher("r1", 0.45, 250))


def measured(queries: int, folder: Path) -> dict[str, Any]:
    """One run of `queries` x three teachers."""
    made = make_run(folder, TEACHERS, queries=queries, words=1.0 if queries <= 5000 else 0.1)
    started = time.perf_counter()
    compare(folder, teachers=made.specs, tokenizer=word_tokens)
    compared = time.perf_counter()
    counts = report(folder)
    done = time.perf_counter()
    page, beside = folder / "report.html", folder / "report"
    return {
        "queries": queries,
        "compare_seconds": round(compared - started, 1),
        "report_seconds": round(done - compared, 1),
        "page_mb": round(page.stat().st_size / 1e6, 2),
        "traces_beside_mb": round(sum(f.stat().st_size for f in beside.glob("*.js")) / 1e6, 1),
        "traced": counts["traced"],
        **_interactive(page),
    }


def _interactive(page: Path) -> dict[str, Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    times, filtered = [], []
    for _ in range(5):
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            browser.get(f"file://{page}")
            times.append(int(WebDriverWait(browser, 60).until(_ready)))
            filtered.append(browser.execute_script(
                "const s = performance.now(); const q = document.getElementById('outcome-0'); q.value = 'missed';"
                "q.dispatchEvent(new Event('change')); return performance.now() - s"
            ))  # fmt: skip
        finally:
            browser.quit()
    return {"interactive_ms": statistics.median(times), "filter_ms": round(statistics.median(filtered), 1)}


def _ready(browser: Any) -> Any:
    return browser.execute_script("return document.documentElement.dataset.ready")


if __name__ == "__main__":
    for size in [int(arg) for arg in sys.argv[1:]] or [2000, 100_000]:
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(measured(size, Path(place))), flush=True)
