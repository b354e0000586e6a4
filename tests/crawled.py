"""Files of a crawl, and their ledgers, for tests."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.dataset.ledger import Attempt
from pipeline.images.normalise import content_id


def store(
    root: Path, dance: str, data: bytes, name: str | None = None, **ledger: Any
) -> tuple[Path, Attempt]:
    """Write a file as the crawl does; return its path and its line for the ledger."""
    sha256 = content_id(data)
    folder = root / "data/dances/crawl" / dance
    path = folder / "images" / (name or f"{sha256}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    values: dict[str, Any] = {
        "dance": dance,
        "engine": "bing",
        "query": dance,
        "rank": 1,
        "source_url": f"http://host/{sha256[:8]}.jpg",
        "sha256": sha256,
        "outcome": "stored",
    }
    return path, Attempt(**values | ledger)


def tell(root: Path, *attempts: Attempt) -> None:
    """Append lines to the ledgers of their dances."""
    for attempt in attempts:
        path = root / "data/dances/crawl" / attempt.dance / "ledger.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(attempt)) + "\n")
