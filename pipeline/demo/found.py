"""Compare the planted faults with a run's results, from its files and the web's log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import read_json
from pipeline.dataset.columns import KEEPER_ID, REASON, SAMPLE_ID, STATUS
from pipeline.dataset.dedupe_result import (
    CONFLICT,
    KEEP,
    NEAR_DUPLICATE,
    REMOVE,
    SAME_BYTES,
    read_marks,
)
from pipeline.dataset.ledger import Attempt, read_ledger
from pipeline.dataset.paths import ledger_path, report_path
from pipeline.dataset.rejected import read_rejected
from pipeline.demo.drawn_archives import TRAIN_ARCHIVE, DrawnArchives
from pipeline.demo.scenes import Scene
from pipeline.demo.web import Traffic
from pipeline.demo.world import ARCHIVES, INTRANET, Fault, Gallery, Plant, Url

REFUSED = {  # fault -> the reason in the ledger
    Fault.HTML: "not-an-image",
    Fault.TRUNCATED: "truncated",
    Fault.BOMB: "too-many-pixels",
    Fault.MISSING: "http-404",
    Fault.ROBOTS: "robots",
    Fault.OPT_OUT: "opt-out",
    Fault.PRIVATE: "private-address",
}
OUTCOMES = {
    Fault.LATE: "retried, then stored",
    Fault.SAME_BYTES: "stored once",
    Fault.RESCALED: "one copy kept",
    Fault.RECOMPRESSED: "one copy kept",
    Fault.TWO_LABELS: "left out until a person decides",
    Fault.HTML: "refused: not-an-image",
    Fault.TRUNCATED: "refused: truncated",
    Fault.BOMB: "refused: too-many-pixels",
    Fault.MISSING: "refused: http-404",
    Fault.ROBOTS: "refused: robots; never requested",
    Fault.OPT_OUT: "refused: opt-out",
    Fault.PRIVATE: "refused: private-address; never requested",
    Fault.CUT: "resumed with Range",
    Fault.APPLE_DOUBLE: "skipped",
    Fault.CORRUPT: "rejected with a reason",
    Fault.SAME_STROKES: "one copy kept",
}
KEPT = "kept"
SOUND_IMAGES, SOUND_PEN_FILES = "no fault (images)", "no fault (pen files)"

Mark = Mapping[str, Any]  # a row of dedupe.parquet by column; empty if there is none


@dataclass(frozen=True)
class Finding:
    """A kind of fault: how many were planted, how many were found, and what became of them."""

    fault: str
    planted: int
    found: int
    outcome: str


def find_planted(root: Path, scene: Scene, traffic: Traffic) -> list[Finding]:
    """Return a finding for each kind of fault in the drawn parts of a scene.

    `root` is the project that ran; `traffic` holds every request that its run made.
    """
    findings = []
    with chdir(root):  # paths of a dataset are relative to the project's root
        if scene.drawn_dances:
            galleries = map(scene.world.dances.gallery, scene.drawn_dances)
            evidence = DanceEvidence(scene.drawn_dances, traffic)
            findings += evidence.findings([gallery for gallery in galleries if gallery])
        if scene.archives.drawn:
            findings += archive_findings(scene.archives.drawn, traffic)
    return findings


class DanceEvidence:
    """What a run leaves behind: its crawls' ledgers, the result of dedupe, and its requests."""

    def __init__(self, dances: Iterable[str], traffic: Traffic) -> None:
        self._traffic = traffic
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)  # by source URL
        for dance in dances:
            for attempt in read_ledger(ledger_path("dances", dance)):
                self._attempts[attempt.source_url].append(attempt)
        self._marks = _marks("dances")

    def findings(self, galleries: Sequence[Gallery]) -> list[Finding]:
        """Return a finding for each kind of fault in these galleries, and one for good images."""
        plants = [plant for gallery in galleries for plant in gallery.plants]
        findings = []
        for fault in dict.fromkeys(plant.fault for plant in plants):
            found = [self.is_found(plant) for plant in plants if plant.fault == fault]
            findings.append(Finding(fault, len(found), sum(found), OUTCOMES[fault]))
        kept = [self.is_kept(url) for gallery in galleries for url in gallery.sound]
        return [*findings, Finding(SOUND_IMAGES, len(kept), sum(kept), KEPT)]

    def is_found(self, plant: Plant) -> bool:
        """Return whether the run treated a planted fault as it should."""
        attempts = self._at(plant.url)
        outcomes = {(attempt.outcome, attempt.reason) for attempt in attempts}
        if plant.fault in REFUSED:
            is_refused = ("refused", REFUSED[plant.fault]) in outcomes
            return is_refused and not self._is_trespassed(plant)
        if plant.fault == Fault.LATE:
            return {("retry", "http-503"), ("stored", None)} <= outcomes
        if plant.fault == Fault.SAME_BYTES:
            both = [*attempts, *self._at(plant.twin)]
            is_stored_once = sorted(attempt.outcome for attempt in both) == ["duplicate", "stored"]
            return is_stored_once and len({attempt.sha256 for attempt in both}) == 1
        copy, twin = self._mark(plant.url), self._mark(plant.twin)
        if plant.fault == Fault.TWO_LABELS:
            return copy.get(STATUS) == twin.get(STATUS) == CONFLICT
        return any(_is_copy(*pair, NEAR_DUPLICATE) for pair in ((copy, twin), (twin, copy)))

    def _is_trespassed(self, plant: Plant) -> bool:
        """Return whether the run requested an address that it had to leave alone."""
        if plant.fault == Fault.ROBOTS:
            return any(r.path == plant.url.path for r in self._traffic.of(plant.url.host))
        return plant.fault == Fault.PRIVATE and bool(self._traffic.of(INTRANET))

    def is_kept(self, url: Url) -> bool:
        """Return whether dedupe kept the image at an address."""
        return bool(self._mark(url).get(STATUS) == KEEP)

    def _at(self, url: Url | None) -> list[Attempt]:
        return self._attempts[self._traffic.url(url)] if url is not None else []

    def _mark(self, url: Url | None) -> Mark:
        """Return the row of dedupe.parquet for the image that was downloaded from an address."""
        for attempt in self._at(url):
            if attempt.outcome in ("stored", "duplicate") and attempt.sha256:
                return self._marks.get(f"{attempt.dance}/{attempt.sha256[:16]}", {})
        return {}


def archive_findings(archives: DrawnArchives, traffic: Traffic) -> list[Finding]:
    """Return a finding for each kind of fault in the archives and in their download."""
    rejected = {row.sample_id.removesuffix(".txt") for row in read_rejected("tamil")}
    skipped = read_json(report_path("tamil", "convert"))["parts"]["train"]["skipped"]
    marks = _marks("tamil")
    resumed = [
        request
        for request in traffic.of(ARCHIVES)
        if request.path == f"/{TRAIN_ARCHIVE}" and request.status == 206
    ]
    corrupt = [name in rejected and name not in marks for name in archives.corrupt]
    twins = [(marks.get(name, {}), marks.get(twin, {})) for name, twin in archives.copies]
    copies = [_is_copy(a, b, SAME_BYTES) or _is_copy(b, a, SAME_BYTES) for a, b in twins]
    kept = [marks.get(name, {}).get(STATUS) == KEEP for name in archives.sound]
    counts = {
        Fault.CUT: (1, min(len(resumed), 1)),
        Fault.APPLE_DOUBLE: (len(archives.apple_doubles), skipped.get("apple-double", 0)),
        Fault.CORRUPT: (len(corrupt), sum(corrupt)),
        Fault.SAME_STROKES: (len(copies), sum(copies)),
    }
    findings = [
        Finding(fault, planted, found, OUTCOMES[fault])
        for fault, (planted, found) in counts.items()
    ]
    return [*findings, Finding(SOUND_PEN_FILES, len(kept), sum(kept), KEPT)]


def _marks(dataset: str) -> dict[str, Mark]:
    return {row[SAMPLE_ID]: row for row in read_marks(dataset).to_pylist()}


def _is_copy(removed: Mark, kept: Mark, reason: str) -> bool:
    """Return whether dedupe removed the first image, for this reason, as a copy of the second."""
    return (
        removed.get(STATUS) == REMOVE
        and removed[REASON] == reason
        and removed[KEEPER_ID] == kept.get(SAMPLE_ID)
    )
