"""Files of a crawl, and their ledgers, for tests."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.dataset.ledger import Attempt
from pipeline.dataset.paths import crawl_images_folder, ledger_path
from pipeline.images.normalise import content_id


def store_file(
    root: Path, dance: str, data: bytes, name: str | None = None, **ledger: Any
) -> tuple[Path, Attempt]:
    """Write a file as the crawl does; return its path and its line for the ledger."""
    sha256 = content_id(data)
    path = root / crawl_images_folder("dances", dance) / (name or f"{sha256}.jpg")
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


def append_attempts(root: Path, *attempts: Attempt) -> None:
    """Append attempts to the ledgers of their classes."""
    for attempt in attempts:
        path = root / ledger_path("dances", attempt.dance)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(attempt)) + "\n")
