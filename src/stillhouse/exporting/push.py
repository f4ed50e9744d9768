"""Upload a run's datasets to a hub repository, if all terms allow it.

In: 5-datasets, the terms of teachers and sources. Out: a dataset repository (private when it is made here).
huggingface_hub is imported when it is needed: it is an extra.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stillhouse.records import TeacherSpec, UserMistake


def check_terms(teachers: Sequence[TeacherSpec], sources: Sequence[Mapping[str, str]]) -> None:
    """Raises UserMistake, all at once, for every teacher and source whose terms forbid it."""
    problems = [
        f"--push: the terms of teacher {spec.name} do not allow training on its replies; take it out of the recipe"
        for spec in teachers
        if spec.terms == "no"
    ]
    problems += [
        f"--push: the terms of source {source['name']} do not allow training on its queries; take it out of the recipe"
        for source in sources
        if source.get("terms") == "no"
    ]
    if problems:
        raise UserMistake(*problems)


def push(folder: Path, repository: str, teachers: Sequence[TeacherSpec]) -> None:
    """Upload the datasets of these teachers, and of no other that an earlier recipe left in the folder.

    Raises UserMistake without the package, and for what the hub refuses.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise UserMistake("--push needs huggingface_hub: pip install 'stillhouse[hub]'") from None
    refused: tuple[type[Exception], ...] = (HfHubHTTPError, HFValidationError, OSError, *_network_errors())
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=str(folder), repo_type="dataset", ignore_patterns=["*.tmp"],
            allow_patterns=["README.md", "queries.parquet", "rejected.parquet", *(f"{t.name}/*" for t in teachers)],
        )  # fmt: skip
    except refused as error:
        raise UserMistake(
            f"--push {repository}: {str(error) or type(error).__name__}; the datasets stand in {folder}: once the hub "
            "can be reached and you are logged in (`hf auth login`), the same command uploads them"
        ) from error


def _network_errors() -> Iterator[type[Exception]]:
    """What the hub's client lets through of the HTTP library that its version uses."""
    for name in ("httpx2", "httpx", "requests"):
        error = getattr(sys.modules.get(name), "HTTPError" if name != "requests" else "RequestException", None)
        if isinstance(error, type) and issubclass(error, Exception):
            yield error
