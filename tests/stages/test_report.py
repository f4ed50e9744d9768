"""The report page: reads only, stands alone, shows what is there, and never makes markup of anybody's text."""

from __future__ import annotations

import gzip
import json
import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_run import Made, MadeTeacher, make_run, word_tokens
from made_students import make_students

from stillhouse.pipeline import compare_existing, run_stage
from stillhouse.records import UserMistake
from stillhouse.reporting import traces as report_traces
from stillhouse.reporting.page import _split
from stillhouse.reporting.svg import log_ticks, nice_ticks, number
from stillhouse.stages.compare import compare
from stillhouse.stages.report import report

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> "
    "<!--<script> &amp; {{x}} ${1} \u2028 \x07 <a href='javascript:alert(1)'>x</a> http://example.com/beacon.png "
    "</style></svg></pre></body></html> ]]> \x1b[31mred\x1b[0m \u202egnirts desrever\u202c "
    "data:text/html,<script>x</script>"
)
TEACHERS = (MadeTeacher("am", 0.75, 80), MadeTeacher("qwen", 0.55, 50), MadeTeacher("r1", 0.4, 60, terms="no"))
HOSTILE_NAMES = ("constructor", "toString", "a." + "very-long-name-" * 8)


def reported(folder: Path, *, queries: int = 60, **settings: Any) -> Made:
    made = make_run(folder, TEACHERS, queries=queries, **settings)
    (folder / "recipe.yaml").write_text(f"name: made  # {HOSTILE}\n")
    compare(folder, teachers=made.specs, tokenizer=word_tokens)
    report(folder)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    reported(place, hostile=HOSTILE)
    return place


@pytest.fixture(scope="module")
def named_badly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose ids, sources, categories, rules, reasons, hits and terms are hostile too."""
    place = tmp_path_factory.mktemp("bad")
    teachers = [MadeTeacher(name, 0.5 + 0.1 * n, 40) for n, name in enumerate(HOSTILE_NAMES)]
    made = make_run(place, tuple(teachers), queries=30, hostile=HOSTILE, names=HOSTILE)
    compare(place, teachers=made.specs, tokenizer=word_tokens)
    report(place, name=HOSTILE, sources=[{"name": HOSTILE, "licence": HOSTILE, "terms": HOSTILE}])
    return place


class Elements(HTMLParser):
    """Collects every element with its attributes, and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append(data)
            self._inside = False


def elements(folder: Path) -> Elements:
    parser = Elements()
    parser.feed((folder / "report.html").read_text())
    return parser


@pytest.mark.parametrize("of", ["folder", "named_badly"])
def test_hostile_text_makes_no_element(of: str, request: pytest.FixtureRequest) -> None:
    found = elements(request.getfixturevalue(of))
    assert [tag for tag, _ in found.found if tag == "script"] == ["script", "script"]
    assert not [tag for tag, _ in found.found if tag in ("img", "iframe", "object", "embed", "link", "base", "form")]
    assert not [attrs for _, attrs in found.found if any(name.startswith("on") for name in attrs)]
    assert not [attrs for _, attrs in found.found if "javascript:" in f"{attrs.get('href')} {attrs.get('src')}"]


def test_no_control_character_and_no_override_of_direction_reaches_the_markup(named_badly: Path) -> None:
    markup = (named_badly / "report.html").read_text().split('<script type="application/json"')[0]
    assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", markup)
    assert "‹U+202E›" in markup and "\u241b[31m" in markup


def test_every_chart_file_is_well_formed_xml(named_badly: Path) -> None:
    files = list((named_badly / "report").glob("*.svg"))
    assert len(files) >= 9
    for file in files:
        root = ElementTree.fromstring(file.read_text())
        assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "image", "foreignObject", "a")]


def test_nothing_is_loaded_from_elsewhere(folder: Path) -> None:
    for tag, attrs in elements(folder).found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert not str(attrs.get(name) or "").startswith(("http", "//")), (tag, attrs)
    page = (folder / "report.html").read_text()
    assert "@import" not in page and "url(" not in page


def test_the_policy_names_the_script_and_style_by_their_hash(folder: Path) -> None:
    policy = next(
        attrs["content"] for tag, attrs in elements(folder).found if "Content-Security-Policy" in attrs.values()
    )
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy


def test_the_page_has_no_inline_style(folder: Path) -> None:
    assert not [attrs for _, attrs in elements(folder).found if "style" in attrs]


def test_the_data_holds_every_query_and_its_traces_as_they_were(folder: Path) -> None:
    data = json.loads(elements(folder).scripts[0])
    index = json.loads(gzip.decompress(b64decode(data["index"])))
    assert len(index["key"]) == 60 and len(index["sampled"]) == 60
    items = [item for chunk in data["chunks"] for item in json.loads(gzip.decompress(b64decode(chunk[2])))]
    assert all(HOSTILE in item["messages"][0]["content"] for item in items)
    trace = items[0]["traces"][0][0]
    assert HOSTILE.strip() in trace["thinking"]
    assert trace["outcome"] in ("pass", "fail") and trace["rule"] == "exact"


def test_each_chart_is_a_file_of_its_own(folder: Path) -> None:
    files = {file.stem: file.read_text() for file in (folder / "report").glob("*.svg")}
    assert {
        "rates",
        "cost",
        "pass_at_k",
        "first_lengths",
        "kept_lengths",
        "length_boxes",
        "wins",
        "difficulty",
        "overlap",
    } <= set(files)
    for text in files.values():
        assert text.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "<style>" in text
        assert "NaN" not in text and "inf" not in re.sub(r"<title>.*?</title>|<style>.*?</style>", "", text)


def test_a_report_only_reads(folder: Path) -> None:
    def state() -> dict[str, bytes]:
        return {
            str(file): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and "report" not in file.relative_to(folder).parts[0] and file.name != "report.html"
        }

    before = state()
    report(folder)
    assert state() == before


def test_what_stages_left_beside_is_shown(tmp_path: Path) -> None:
    made = make_run(tmp_path, TEACHERS, queries=60)
    make_students(tmp_path, {"am": 0.6, "qwen": 0.4})
    one = {"expected": 60, "low": 50, "high": 70, "actual": 71, "held": False}
    check = {"queries": 60, "pilot": 10, "confidence": 0.9, "comparable": True, "why": "", "held": 0, "of": 1}
    check |= {"teachers": {"am": {"verified": one, "cost_usd": None}}, "total": {}}
    (tmp_path / "forecast_check.json").write_text(json.dumps(check))
    account = {"teachers": {"am": {"distill": {"paid": 1234, "stopped": 7, "saved_tokens": 5678, "saved_usd": None}}}}
    (tmp_path / "2-responses" / "account.json").write_text(json.dumps(account))
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    report(tmp_path, sources=[{"name": "pool", "licence": "MIT", "terms": "no"}])
    page = (tmp_path / "report.html").read_text()
    assert 'id="students"' in page and 'id="chart-losses"' in page and 'id="chart-student_scores"' in page
    assert "0 of 1 held" in page and "outside" in page
    assert 'id="account"' in page and "1,234" in page and "5,678" in page
    assert "Student against student" in page
    assert "pool" in page and "no: compared, never written as training rows" in page


def test_a_loss_file_cut_by_a_kill_is_read_up_to_the_cut(tmp_path: Path) -> None:
    made = make_run(tmp_path, TEACHERS, queries=30)
    make_students(tmp_path, {"am": 0.6, "qwen": 0.4})
    with (tmp_path / "6-students" / "losses.jsonl").open("a") as file:
        file.write('{"student": "am", "teacher": "am", "st')
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    assert report(tmp_path)["charts"] >= 12


def test_an_audit_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    made = make_run(tmp_path, TEACHERS, queries=30)
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    (tmp_path / "3-verdicts" / "audit.json").write_text("{")
    with pytest.raises(UserMistake, match=r"audit\.json is not JSON"):
        report(tmp_path)


def test_the_decision_is_split_where_its_first_clause_ends() -> None:
    lead, rest = _split("a verifies 3 % (b 2 %; 9 queries); about 40 would decide; which teaches is open.", ["a", "b"])
    assert (lead, rest) == ("a verifies 3 % (b 2 %; 9 queries).", "About 40 would decide; which teaches is open.")
    assert _split("No teacher leads; b is ahead.", ["a", "b"]) == ("No teacher leads.", "b is ahead.")
    assert _split("One sentence.", []) == ("One sentence.", "")


def test_the_same_run_gives_the_same_page(folder: Path) -> None:
    first = (folder / "report.html").read_bytes()
    report(folder)
    assert (folder / "report.html").read_bytes() == first


def test_a_run_before_compare_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="run compare first"):
        report(tmp_path)


def test_a_broken_report_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserMistake, match="run compare again"):
        report(tmp_path)


def test_the_page_of_compared_datasets_is_made_again_without_a_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows = [{"query": f"what is {n}", "response": f"{name} says {n}", "category": "math"} for n in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "compared"
    compare_existing([tmp_path / "one.jsonl", tmp_path / "two.jsonl"], out, quiet=True)
    page = (out / "report.html").read_text()
    assert "Dataset against dataset" in page and "passed at once" not in page
    (out / "report.html").unlink()
    assert run_stage(out, "report", quiet=True).exit_code == 0
    assert (out / "report.html").read_text() == page


def test_a_report_of_nothing_stands(tmp_path: Path) -> None:
    made = make_run(tmp_path, queries=0)
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    assert report(tmp_path)["queries"] == 0
    assert "nothing to compare" not in (tmp_path / "report.html").read_text()


def test_many_queries_are_indexed_and_some_are_traced(tmp_path: Path) -> None:
    made = make_run(tmp_path, queries=90)
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    counts = report(tmp_path, samples=20)
    assert (counts["queries"], counts["traced"]) == (90, 20)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.1234, "0.123"), (7, "7"), (99.5, "99.5"), (1234, "1,234"), (15600, "15.6k"), (2_345_678, "2.35M")],
)
def test_numbers_are_short(value: float, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.03), (0, 9731), (2.0, 2.4), (0, 0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks and all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks) and len(ticks) <= 12


def test_log_ticks_are_powers_of_two() -> None:
    assert log_ticks(60, 5000, 10) == [64, 128, 256, 512, 1024, 2048, 4096]


# -- in a browser -------------------------------------------------------------------------------------------------


def requests(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith(("blob:", "data:", "about:"))]


def opened(browser: Any, folder: Path, state: str = "") -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(f"file://{folder}/report.html{state}")
    WebDriverWait(browser, 20).until(lambda b: b.execute_script("return document.documentElement.dataset.ready"))
    return browser


def rows(browser: Any) -> list[Any]:
    return list(browser.find_elements("css selector", "#list button.row"))


def open_first(browser: Any, query: str = "") -> str:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_script("document.querySelector('#list button.row').click()")
    WebDriverWait(browser, 20).until(
        lambda b: b.execute_script("return document.querySelector('.trace') || document.querySelector('.open .bad')")
    )
    return str(browser.execute_script("return document.querySelector('.open').textContent"))


@pytest.mark.browser
def test_charts_are_drawn_and_no_request_leaves_the_file(browser: Any, folder: Path) -> None:
    opened(browser, folder)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg.wide')].map(s => s.getBoundingClientRect().width)"
    )
    assert len(boxes) >= 9 and all(width > 200 for width in boxes)
    assert requests(browser) == [f"file://{folder}/report.html"]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.mark.browser
def test_a_hostile_trace_stays_text(browser: Any, folder: Path) -> None:
    opened(browser, folder)
    shown = open_first(browser)
    assert "</script><script>document.title='owned'</script><img src=x onerror=" in shown
    assert browser.title != "owned"
    assert browser.execute_script("return document.querySelectorAll('img, .open script, .open a').length") == 0
    assert requests(browser) == [f"file://{folder}/report.html"]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.browser
def test_hostile_names_stay_text_and_turn_no_line(browser: Any, named_badly: Path) -> None:
    opened(browser, named_badly)
    shown = open_first(browser)
    assert "‹U+202E›gnirts desrever" in shown and "\u241b[31mred" in shown
    assert len(browser.find_elements("css selector", ".side")) == 3
    assert browser.title != "owned"
    assert browser.execute_script("return document.querySelectorAll('img, a[href^=java], .open script').length") == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert requests(browser) == [f"file://{named_badly}/report.html"]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


@pytest.mark.browser
def test_a_mark_of_a_chart_tells_what_it_stands_for(browser: Any, folder: Path) -> None:
    opened(browser, folder)
    told = browser.execute_script(
        "const dot = document.querySelector('#chart-decision svg.wide circle');"
        "dot.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: 5, clientY: 5}));"
        "const tip = document.getElementById('tip'); return tip.hidden ? null : tip.textContent"
    )
    assert told is not None and "95 % interval" in told


@pytest.mark.browser
def test_filters_filter_and_the_address_keeps_them(browser: Any, folder: Path) -> None:
    opened(browser, folder)
    everything = browser.find_element("id", "found").text
    assert everything.startswith("60 of 60")
    browser.execute_script(
        "const c = document.getElementById('category'); c.value = [...c.options].find(o => o.text === 'math').value;"
        "c.dispatchEvent(new Event('change'));"
        "const o = document.getElementById('outcome-1'); o.value = 'missed'; o.dispatchEvent(new Event('change'));"
    )
    filtered = browser.find_element("id", "found").text
    shown = int(filtered.split(" of ")[0])
    assert 0 < shown < 20
    assert all("math" in row.text for row in rows(browser))
    state = browser.execute_script("return location.hash")
    assert "category=math" in state and "is-qwen=missed" in state
    opened(browser, folder, state)
    assert browser.find_element("id", "found").text == filtered


@pytest.mark.browser
def test_going_to_a_section_leaves_the_state_in_the_address(browser: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, folder, "#q=question&is-am=missed")
    browser.execute_script("document.querySelector('nav a[href=\"#rules\"]').click()")
    assert browser.execute_script("return location.hash") == "#q=question&is-am=missed"
    seen = "return document.getElementById('rules').getBoundingClientRect().top < innerHeight"
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(seen))


@pytest.mark.browser
def test_search_finds_by_words_and_a_link_opens_its_query(browser: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, folder)
    browser.find_element("id", "q").send_keys("question 17:")
    WebDriverWait(browser, 10).until(lambda b: b.find_element("id", "found").text.startswith("1 of 60"))
    open_first(browser)
    state = browser.execute_script("return location.hash")
    assert "open=" in state
    opened(browser, folder, state)
    WebDriverWait(browser, 10).until(lambda b: b.execute_script("return document.querySelector('.trace')"))
    assert "Question 17" in browser.find_element("css selector", ".open .question").text


@pytest.mark.browser
@pytest.mark.parametrize("of", ["folder", "named_badly"])
def test_the_page_fits_a_phone(browser: Any, of: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(of)
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        opened(browser, folder)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        assert browser.execute_script("return getComputedStyle(document.querySelector('svg.wide')).display") == "none"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_traces_beside_the_page_are_loaded_when_a_query_is_opened(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_traces, "INSIDE_BYTES", 0)
    reported(tmp_path, queries=12)
    opened(browser, tmp_path)
    assert "Question" in open_first(browser)
    assert browser.execute_script("return document.querySelectorAll('.trace').length") >= 3
    assert requests(browser) == [f"file://{tmp_path}/report.html", f"file://{tmp_path}/report/traces-0.js"]
    for file in (tmp_path / "report").glob("traces-*.js"):
        file.unlink()
    opened(browser, tmp_path)
    assert "copy the folder report/ with it" in open_first(browser)
