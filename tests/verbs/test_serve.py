"""`stillhouse serve`: every trace of a run over real HTTP, on loopback, under no other name, nothing but the run."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from made_run import Made, MadeTeacher, make_run, word_tokens, write_journal

from stillhouse.records import UserMistake, response_key
from stillhouse.reporting.served import Served
from stillhouse.stages.compare import compare
from stillhouse.stages.report import report
from stillhouse.verbs.serve import application, known_host

TEACHERS = (MadeTeacher("am", 0.75, 80), MadeTeacher("constructor", 0.4, 50))


@dataclass
class Server:
    made: Made
    port: int
    process: subprocess.Popen[str]

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """The path is sent as it is written; no client tidies it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "run"
    folder.mkdir()
    made = make_run(folder, TEACHERS, queries=40)
    (folder / "recipe.yaml").write_text("name: secret\n")
    (folder.parent / "outside.svg").write_text("outside")
    compare(folder, teachers=made.specs, tokenizer=word_tokens)
    report(folder, samples=5)
    (folder / "report" / "link.svg").symlink_to(folder.parent / "outside.svg")
    command = [sys.executable, "-m", "stillhouse", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    told = process.stdout.readline()
    yield Server(made, int(told.split("http://127.0.0.1:")[1].split("/")[0]), process)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "ended" in rest


def test_it_listens_on_loopback_only(server: Server) -> None:
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in sockets if row[3] == "0A" and row[1].endswith(f":{server.port:04X}")]
    assert listening == [f"0100007F:{server.port:04X}"]


def test_the_page_may_ask_its_server_and_nobody_else(server: Server) -> None:
    status, headers, page = server.get("/")
    assert status == 200 and 'lang="en" data-served' in page
    assert "default-src 'none'" in page and "connect-src 'self'" in page
    assert "connect-src" not in (server.made.folder / "report.html").read_text()
    assert headers["cache-control"] == "no-store" and headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


def test_every_attempt_of_every_teacher_is_shown(server: Server) -> None:
    for query in server.made.queries[:8]:
        status, _, body = server.get(f"/api/queries/{query.key[:12]}")
        item = json.loads(body)
        assert status == 200 and item["key"] == query.key
        for name, traces in zip(["am", "constructor"], item["traces"], strict=True):
            replies = [r for r in server.made.replies[name] if r["query"] == query.key]
            assert [t["attempt"] for t in traces] == [r["attempt"] for r in replies]
            assert [t["outcome"] for t in traces] == ["pass" if r["passed"] else "fail" for r in replies]


def test_search_finds_whole_words_of_queries_by_text_id_and_key(server: Server) -> None:
    found = json.loads(server.get("/api/search?q=question+17%3A")[2])["queries"]
    assert [row["id"] for row in found] == ["q17"] and len(found[0]["sides"]) == 2
    by_key = json.loads(server.get(f"/api/search?key={found[0]['key']}")[2])["queries"]
    assert by_key == found
    assert json.loads(server.get("/api/search?q=")[2])["queries"] == []
    assert json.loads(server.get("/api/search?q=%25.*%5B%3F")[2])["queries"] == []


@pytest.mark.browser
def test_the_served_page_shows_what_the_file_does_not_hold(server: Server, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    query = next(q for q in server.made.queries if _attempts(server, "constructor", q.key) > 2)
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(f"http://127.0.0.1:{server.port}/#q={query.id}&open={query.key[:12]}")
    wait = WebDriverWait(browser, 30)
    held = _attempts(server, "constructor", query.key)
    wait.until(lambda b: len(b.find_elements("css selector", ".side:nth-child(2) .trace")) == held)
    browser.execute_script(
        "const q = document.getElementById('q'); q.value = 'what is'; q.dispatchEvent(new Event('input'))"
    )
    wait.until(lambda b: b.find_element("id", "found").text.startswith("40 of 40"))
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def _attempts(server: Server, teacher: str, key: str) -> int:
    return sum(reply["query"] == key for reply in server.made.replies[teacher])


HOSTILE_PATHS = [
    "/recipe.yaml", "/report/../recipe.yaml", "/report/%2e%2e/recipe.yaml", "/report/..%2frecipe.yaml", "//etc/passwd",
    "/report/%00.svg", "/report/link.svg", "/report/..%5crecipe.yaml", "/2-responses", "/report/", "/report.json",
    "/api/queries/..%2f..", "/api/queries/zzzzzzzzzzzz", "/api/queries/0123456789ab", "/api/queries/" + "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_hostile_path_is_not_found(server: Server, path: str) -> None:
    status, _, body = server.get(path)
    assert status == 404 and "secret" not in body and "outside" not in body


@pytest.mark.parametrize("path", ["/api/search?q=" + "x" * 600, "/api/search?key=..", "/api/search?key=abc"])
def test_a_question_that_makes_no_sense_is_refused(server: Server, path: str) -> None:
    assert server.get(path)[0] == 400


def test_nothing_can_be_written(server: Server) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, "/api/search")
        assert connection.getresponse().status == 405
        connection.close()


def test_a_foreign_name_is_refused(server: Server) -> None:
    assert server.get("/", Host="evil.example")[0] == 403
    assert server.get("/api/search?q=a", Host=f"rebound.example:{server.port}")[0] == 403
    assert server.get("/", Host=f"localhost:{server.port}")[0] == 200


def test_another_page_cannot_read_through_the_browser(server: Server) -> None:
    assert server.get("/api/search?q=a", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert server.get("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert server.get("/api/search?q=a", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:8765", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:8765", True), ("10.0.0.7", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example:80", False), ("", False),
        ("localhost@evil.example", False), ("127.0.0.1:8765:80", False), ("box.lan", False),
    ],
)  # fmt: skip
def test_a_host_is_known_by_figures_or_as_localhost(header: str, known: bool) -> None:
    assert known_host(header, "127.0.0.1") is known


def test_the_name_that_was_given_is_known() -> None:
    assert known_host("box.lan:9000", "box.lan")


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="run `stillhouse report"):
        application(tmp_path)
    with pytest.raises(UserMistake, match="there is no run folder"):
        application(tmp_path / "missing")


@pytest.mark.parametrize(
    ("given", "told"),
    [(["--port", "99999"], "a number from 0 to 65535"), (["--host", "192.0.2.1"], "Cannot assign requested address")],
)
def test_where_it_cannot_listen_is_told(server: Server, given: list[str], told: str) -> None:
    command = [sys.executable, "-m", "stillhouse", "serve", str(server.made.folder), *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and told in ended.stderr and "Traceback" not in ended.stderr


def test_a_port_in_use_is_told(server: Server) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        command = [sys.executable, "-m", "stillhouse", "serve", str(server.made.folder), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "--port 0 takes a free one" in ended.stderr


def test_a_run_that_goes_on_is_read_again(tmp_path: Path) -> None:
    """The journal has grown since the last answer: what it holds now is shown."""
    made = make_run(tmp_path, TEACHERS, queries=6)
    compare(tmp_path, teachers=made.specs, tokenizer=word_tokens)
    served, key = Served(tmp_path), made.queries[0].key
    before = served.query(key)
    reply = next(r for r in made.replies["am"] if r["query"] == key)
    attempt = 1 + max(r["attempt"] for r in made.replies["am"] if r["query"] == key)
    later = reply | {"key": response_key(reply["identity"], reply["prompt"], attempt), "attempt": attempt}
    made.replies = {"am": [later]}
    asyncio.run(write_journal(made))
    after = served.query(key)
    assert before is not None and after is not None
    assert [t["attempt"] for t in after["traces"][0]] == [t["attempt"] for t in before["traces"][0]] + [attempt]
