"""`stillhouse sources`: the published corpora that a recipe can name by `mapping`, confirmed and unconfirmed."""

from __future__ import annotations

from typing import Any

from stillhouse.recipe import mappings


def sources() -> tuple[dict[str, Any], list[str]]:
    """Every corpus with its hub name, category, licence, and where its columns were read."""
    rows = mappings()
    lines = []
    for row in rows:
        lines.append(f"{row['name']:32} {row['category']:10} {row['hub']} ({row['licence']})")
        if row.get("note"):
            lines.append(f"{'':32} {row['note']}")
    return {"sources": rows}, lines
