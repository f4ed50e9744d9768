"""The folder that a run leaves: its paths, its lock, its frozen recipe, its status, and which stages are done.

In: a folder (made when it is missing). Out: a Run. One process holds a run folder for writing; reading (status,
report, audit) needs no lock. A stage whose inputs, settings and outputs are unchanged is not made again.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from stillhouse.records import UserMistake, canonical_json, content_hash
from stillhouse.store.fingerprints import Fingerprints
from stillhouse.store.segments import remove_leftovers, replaced


class Status:
    """status.json: what the run is doing, replaced atomically at each update."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path, self._read_only = path, read_only
        self._lock = threading.Lock()
        self._fields: dict[str, Any] = self.read()

    def read(self) -> dict[str, Any]:
        """The fields as they stand in the file; empty without one."""
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return held if isinstance(held, dict) else {}

    def update(self, **fields: Any) -> None:
        """Set fields (JSON values; None removes one) and replace the file."""
        if self._read_only:
            raise ValueError(f"{self.path}: the run folder was opened for reading")
        with self._lock:
            self._fields |= fields
            self._fields = {name: value for name, value in self._fields.items() if value is not None}
            self._fields["updated"] = time.time()
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.0.tmp")
            temporary.write_text(json.dumps(self._fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(self.path)  # no fsync: progress that a power cut may take back


class Run:
    """A run folder. `Run(folder)` holds its lock until `close`; `Run(folder, read_only=True)` takes none.

    Raises UserMistake when another process holds the folder, or, read only, when there is none.
    """

    def __init__(self, folder: Path | str, *, read_only: bool = False) -> None:
        self.folder = Path(folder)
        self.read_only = read_only
        self._lock: int | None = None
        if read_only:
            if not self.folder.is_dir():
                raise UserMistake(f"{self.folder}: there is no run folder here")
        else:
            self._make_folder()
            self._lock = self._take_lock()
            remove_leftovers(self.folder)
        self.status = Status(self.folder / "status.json", read_only=read_only)
        self._fingerprints = Fingerprints(self.folder / ".fingerprints.json", keep=not read_only)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserMistake(f"{self.folder}: cannot be made a run folder: {error.strerror}") from error

    def _writable(self) -> None:
        if self.read_only:
            raise ValueError(f"{self.folder}: the run folder was opened for reading")

    # paths

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def queries(self) -> Path:
        return self.folder / "1-queries"

    @property
    def responses(self) -> Path:
        return self.folder / "2-responses"

    @property
    def verdicts(self) -> Path:
        return self.folder / "3-verdicts"

    @property
    def filters(self) -> Path:
        return self.folder / "4-filters"

    @property
    def datasets(self) -> Path:
        return self.folder / "5-datasets"

    @property
    def students(self) -> Path:
        return self.folder / "6-students"

    @property
    def evaluations(self) -> Path:
        return self.folder / "7-evaluations"

    @property
    def report_html(self) -> Path:
        return self.folder / "report.html"

    @property
    def report_json(self) -> Path:
        return self.folder / "report.json"

    # the journal's folders

    def use_store(self, store: Path | None) -> None:
        """Share a folder of journals with other runs: this run writes its replies there from now on.

        The choice is kept in 2-responses/store.json, so that status and audit find it without the recipe.
        """
        self._writable()
        pointer = self.responses / "store.json"
        if store is None:
            pointer.unlink(missing_ok=True)
            return
        store.mkdir(parents=True, exist_ok=True)
        with replaced(pointer) as temporary:
            temporary.write_text(json.dumps({"store": str(store.resolve())}) + "\n", encoding="utf-8")

    @property
    def store(self) -> Path | None:
        """The shared folder of journals, None where the run has its own."""
        try:
            return Path(json.loads((self.responses / "store.json").read_text(encoding="utf-8"))["store"])
        except FileNotFoundError:
            return None

    @property
    def audit_json(self) -> Path:
        """What the audit of the verifiers found, once there was one."""
        return self.verdicts / "audit.json"

    @property
    def journal(self) -> Path:
        """The folder that this run's journal is written to."""
        return self.store or self.responses

    @property
    def journals(self) -> tuple[Path, ...]:
        """The folders in which this run's replies may stand, for load_index."""
        return (self.responses,) if self.store is None else (self.responses, self.store)

    # lock

    def _take_lock(self) -> int:
        path = self.folder / ".lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserMistake(f"{self.folder}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserMistake(f"{self.folder}: another run holds this folder: {_holder(path)}") from None
        holder = {
            "pid": os.getpid(), "host": os.uname().nodename, "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(holder).encode(), 0)
        return lock

    def close(self) -> None:
        """Let the folder go. May be called twice."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # recipe

    def freeze(self, recipe_text: str) -> str:
        """Make this the run's recipe; returns what changed as a unified diff, "" for nothing or a first recipe.

        A former recipe that differs is kept as recipe.N.yaml, the highest N being the latest.
        """
        self._writable()
        former = self.recipe.read_text(encoding="utf-8") if self.recipe.exists() else None
        if former == recipe_text:
            return ""
        diff = ""
        if former is not None:
            kept = self._next_former()
            with replaced(kept) as temporary:
                temporary.write_text(former, encoding="utf-8")
            before, after = former.splitlines(keepends=True), recipe_text.splitlines(keepends=True)
            diff = "".join(difflib.unified_diff(before, after, fromfile=kept.name, tofile=self.recipe.name))
        with replaced(self.recipe) as temporary:
            temporary.write_text(recipe_text, encoding="utf-8")
        return diff

    def _next_former(self) -> Path:
        number = 1
        while (self.folder / f"recipe.{number}.yaml").exists():
            number += 1
        return self.folder / f"recipe.{number}.yaml"

    # stages

    def fingerprint(self, inputs: Iterable[Path], settings: Any = None) -> str:
        """One hash of the contents of files (and of all files of folders) and of settings (JSON values)."""
        return content_hash("stage", canonical_json(self._fingerprints.of(inputs)), canonical_json(settings))

    def fresh(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The counts of a stage that needs not be made again: same fingerprint, outputs there and as it left them."""
        try:
            stamp = json.loads(self._stamp(stage).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if stamp["fingerprint"] != fingerprint:
            return None
        outputs = [self.folder / name for name in stamp["outputs"]]
        if self._fingerprints.of(outputs) != stamp["contents"]:
            return None
        return dict(stamp["counts"])

    def stamp(self, stage: str, fingerprint: str, outputs: Iterable[Path], counts: Mapping[str, Any]) -> None:
        """Note that a stage is done: what it was made from, what it wrote, what it counted (JSON values)."""
        self._writable()
        given = list(outputs)
        stamp = {
            "fingerprint": fingerprint, "outputs": [os.path.relpath(o, self.folder) for o in given],
            "contents": self._fingerprints.of(given), "counts": dict(counts), "made": time.time(),
        }  # fmt: skip
        with replaced(self._stamp(stage)) as temporary:
            temporary.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")

    def unstamp(self, stage: str) -> None:
        """Forget that a stage was done."""
        self._writable()
        self._stamp(stage).unlink(missing_ok=True)

    def _stamp(self, stage: str) -> Path:
        return self.folder / ".stamps" / f"{stage}.json"


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError):  # it has just taken or left the lock and not yet written who it is
        return "a process that has not said its name yet"
