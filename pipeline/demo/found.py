"""What a run found of what was planted, told by the files that its stages wrote."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.core.files import read_json
from pipeline.dataset.ledger import Attempt, read_ledger
from pipeline.demo.drawn_archives import TRAIN_ARCHIVE, DrawnArchives
from pipeline.demo.scenes import Scene
from pipeline.demo.web import Web
from pipeline.demo.world import ARCHIVES, INTRANET, Gallery, Plant, Url

REFUSED = {  # fault -> the reason in the ledger
    "HTML named .jpg": "not-an-image",
    "truncated JPEG": "truncated",
    "decompression bomb": "too-many-pixels",
    "404": "http-404",
    "robots.txt says no": "robots",
    "X-Robots-Tag says no": "opt-out",
    "redirect to a private address": "private-address",
}
VERDICTS = {
    "503 that recovers": "tried again, stored",
    "same bytes": "stored once",
    "near copy, rescaled": "one kept",
    "near copy, recompressed": "one kept",
    "one picture, two labels": "left out until a person decides",
} | {fault: f"refused: {reason}" for fault, reason in REFUSED.items()}


@dataclass(frozen=True)
class Finding:
    """A fault: how many were planted, how many were found, and what became of them."""

    fault: str
    planted: int
    found: int
    verdict: str


def find_planted(data: Path, scene: Scene, web: Web) -> list[Finding]:
    """Count what was found of all that a scene's drawn parts have planted."""
    findings = []
    if scene.drawn_dances:
        galleries = map(scene.world.dances.gallery, scene.drawn_dances)
        evidence = DanceEvidence(data, scene.drawn_dances, web)
        findings += evidence.findings([gallery for gallery in galleries if gallery])
    if scene.archives.drawn:
        findings += archive_findings(data, scene.archives.drawn, web)
    return findings


class DanceEvidence:
    """The ledgers of a run's crawls and the marks of its dedupe."""

    def __init__(self, data: Path, dances: Iterable[str], web: Web) -> None:
        self._web = web
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)  # by source URL
        for dance in dances:
            for attempt in read_ledger(data / "dances" / "crawl" / dance / "ledger.jsonl"):
                self._attempts[attempt.source_url].append(attempt)
        self._marks = _marks(data / "dances")

    def findings(self, galleries: Sequence[Gallery]) -> list[Finding]:
        """Count what was found of what these galleries hold."""
        plants = [plant for gallery in galleries for plant in gallery.plants]
        found = []
        for fault in dict.fromkeys(plant.fault for plant in plants):
            verdicts = [self.is_found(plant) for plant in plants if plant.fault == fault]
            found.append(Finding(fault, len(verdicts), sum(verdicts), VERDICTS[fault]))
        kept = [self.is_kept(url) for gallery in galleries for url in gallery.sound]
        return [*found, Finding("nothing wrong (pictures)", len(kept), sum(kept), "kept")]

    def is_found(self, plant: Plant) -> bool:
        """Say whether the run did with a planted fault what it should."""
        attempts = self._at(plant.url)
        outcomes = {(attempt.outcome, attempt.reason) for attempt in attempts}
        if plant.fault in REFUSED:
            return ("refused", REFUSED[plant.fault]) in outcomes and not self._web.requests(
                INTRANET
            )
        if plant.fault == "503 that recovers":
            return {("retry", "http-503"), ("stored", None)} <= outcomes
        if plant.fault == "same bytes":
            both = [*attempts, *self._at(plant.twin)]
            once = sorted(attempt.outcome for attempt in both) == ["duplicate", "stored"]
            return once and len({attempt.sha256 for attempt in both}) == 1
        copy, twin = self._mark(plant.url), self._mark(plant.twin)
        if plant.fault == "one picture, two labels":
            return copy.get("status") == twin.get("status") == "conflict"
        return any(_is_copy(*pair, "near-duplicate") for pair in ((copy, twin), (twin, copy)))

    def _is_reached(self, plant: Plant) -> bool:
        """Say whether a request went where none should."""
        if plant.fault == "robots.txt says no":
            asked = self._web.requests(plant.url.host)
            return any(request.path == plant.url.path for request in asked)
        return plant.fault.startswith("redirect") and bool(self._web.requests(INTRANET))

    def is_kept(self, url: Url) -> bool:
        """Say whether a picture is among the kept ones."""
        return bool(self._mark(url).get("status") == "keep")

    def _at(self, url: Url | None) -> list[Attempt]:
        return self._attempts[self._web.url(url)] if url is not None else []

    def _mark(self, url: Url | None) -> Mapping[str, Any]:
        """Return the row of dedupe.parquet of the picture that an address gave."""
        for attempt in self._at(url):
            if attempt.outcome in ("stored", "duplicate") and attempt.sha256:
                return self._marks.get(f"{attempt.dance}/{attempt.sha256[:16]}", {})
        return {}


def archive_findings(data: Path, archives: DrawnArchives, web: Web) -> list[Finding]:
    """Count what was found of what is wrong in the archives and with their download."""
    folder = data / "tamil"
    with (folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
        rejected = {row["sample_id"].removesuffix(".txt") for row in csv.DictReader(file)}
    skipped = read_json(folder / "reports" / "convert.json")["parts"]["train"]["skipped"]
    marks = _marks(folder)
    resumed = [
        request
        for request in web.requests(ARCHIVES)
        if request.path == f"/{TRAIN_ARCHIVE}" and request.status == 206
    ]
    doubles = skipped.get("apple-double", 0)
    corrupt = [name in rejected and name not in marks for name in archives.corrupt]
    twins = [(marks.get(name, {}), marks.get(twin, {})) for name, twin in archives.copies]
    copies = [_is_copy(a, b, "same-bytes") or _is_copy(b, a, "same-bytes") for a, b in twins]
    kept = [marks.get(name, {}).get("status") == "keep" for name in archives.sound]
    return [
        Finding("download cut halfway", 1, min(len(resumed), 1), "resumed by Range"),
        Finding("AppleDouble member", len(archives.apple_doubles), doubles, "passed over"),
        Finding("corrupt pen file", len(corrupt), sum(corrupt), "rejected with a reason"),
        Finding("same pen strokes twice", len(copies), sum(copies), "one kept"),
        Finding("nothing wrong (pen files)", len(kept), sum(kept), "kept"),
    ]


def _marks(folder: Path) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(folder / "dedupe.parquet").to_pylist()
    return {row["sample_id"]: row for row in rows}


def _is_copy(gone: Mapping[str, Any], kept: Mapping[str, Any], reason: str) -> bool:
    """Say whether the first is removed for this reason, as a copy of the second."""
    return (
        gone.get("status") == "remove"
        and gone["reason"] == reason
        and gone["keeper_id"] == kept.get("sample_id")
    )
