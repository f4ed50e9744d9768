"""`stillhouse serve RUN`: the report with every trace of the run, for a browser on this machine.

In: a run folder with a report. Out: an HTTP server on loopback, until Ctrl-C. It reads and never writes. Hosts named
by a domain are refused, so that no web page can reach it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import re
import socket
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.records import UserMistake
from stillhouse.reporting.page import as_served
from stillhouse.reporting.served import Served

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PORT = 8765
KEY = re.compile(r"[0-9a-f]{12,64}")
BESIDE = re.compile(r"[a-z_]+\.svg|traces-[0-9]+\.js")
LONGEST_SEARCH = 500
KINDS = {".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
Message = MutableMapping[str, Any]


def serve(folder: Path, *, host: str = "127.0.0.1", port: int = PORT, open_browser: bool = False) -> None:
    """Serve until Ctrl-C. port 0 takes a free one. Raises UserMistake for what cannot be served."""
    try:
        import uvicorn
    except ImportError:
        raise UserMistake("stillhouse serve needs two packages more: pip install 'stillhouse[serve]'") from None
    app = application(folder, host)
    listening = _listen(host, port)
    address = _address(host, listening.getsockname()[1])
    print(f"{folder}: {address}  (Ctrl-C ends it)", flush=True)
    if not _is_loopback(host):
        print(f"everyone who reaches {host} can read the queries and replies of this run", flush=True)
    if open_browser:
        webbrowser.open(address)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    with listening:
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # uvicorn has shut down and hands the signal on
            print("ended", flush=True)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UserMistake(f"--port {port}: a port is a number from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise UserMistake(f"--host {host}: {error.strerror}") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        free = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise UserMistake(f"port {port} of {host}: {why}{free}") from None


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(folder: Path, host: str = "127.0.0.1") -> Starlette:
    """The server as an ASGI application. Raises UserMistake where no report stands in the folder."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.routing import Route

    served, one_at_a_time = Served(folder), asyncio.Lock()
    page, beside = folder / "report.html", folder / "report"
    if not page.is_file():
        raise UserMistake(f"{page} does not exist: run `stillhouse report {folder}` first")

    async def asked(call: Callable[..., Any], *given: Any) -> Any:
        async with one_at_a_time:
            return await asyncio.to_thread(call, *given)

    async def whole(request: Request) -> Response:
        return HTMLResponse(as_served(await asyncio.to_thread(page.read_text, encoding="utf-8")))

    async def one(request: Request) -> Response:
        key = request.path_params["key"]
        found = await asked(served.query, key) if KEY.fullmatch(key) else None
        return JSONResponse(found) if found else PlainTextResponse("this run has no query of that key", 404)

    async def search(request: Request) -> Response:
        words, key = request.query_params.get("q", ""), request.query_params.get("key", "")
        if len(words) > LONGEST_SEARCH or (key and not KEY.fullmatch(key)):
            return PlainTextResponse("q: words of the query; key: at least 12 hex digits", 400)
        return JSONResponse({"queries": await asked(served.search, words, key)})

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        path = beside / name
        if not BESIDE.fullmatch(name) or path.is_symlink() or not path.is_file():
            return PlainTextResponse("there is no such file", 404)
        return FileResponse(path, media_type=KINDS[path.suffix], headers={
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        })  # fmt: skip

    routes = [
        Route("/", whole), Route("/report.html", whole), Route("/api/queries/{key}", one),
        Route("/api/search", search), Route("/report/{name}", file),
    ]  # fmt: skip
    return Starlette(routes=routes, middleware=[Middleware(Guard, host=host)])


class Guard:
    """ASGI middleware: refuses requests under a foreign name or from a foreign page, and sets the headers that keep
    what is served from being read or framed by other pages."""

    def __init__(self, app: Callable[..., Awaitable[None]], host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        given = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(given)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if refusal is None:
            await self.app(scope, receive, guarded)
            return
        body = refusal.encode()
        await guarded({
            "type": "http.response.start", "status": 403,
            "headers": [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())],
        })  # fmt: skip
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, given: MutableMapping[bytes, str]) -> str | None:
        if not known_host(given.get(b"host", ""), self.host):
            return "this server answers to its address and to localhost, not to other names"
        if given.get(b"sec-fetch-site", "none") in ("cross-site", "same-site") and (
            given.get(b"sec-fetch-mode") != "navigate"
        ):
            return "other pages may not read this server"
        return None


def known_host(header: str, host: str) -> bool:
    """Whether a Host header names this machine: an address in figures, localhost, or the name that was given.

    A page that has rebound its own domain to loopback sends that domain; it can never send figures.
    """
    name = re.sub(r":\d{1,5}$", "", header.strip()).lower()
    if name in ("localhost", host.lower(), f"[{host.lower()}]"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
