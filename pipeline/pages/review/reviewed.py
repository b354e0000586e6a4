"""A dataset as the review page reads it: turn its files into what the page shows.

The page stays open through `dvc repro`, so a result is computed again if a file that it depends on
changes. If a file does not exist yet, the tab that needs it is empty and names the command to run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import PipelineError
from pipeline.core.params import PARAMS, load_params, section
from pipeline.dataset.columns import CONTENT_ID, LABEL, LOSS, SAMPLE_ID, TOP3
from pipeline.dataset.dedupe_result import read_dedupe_result
from pipeline.dataset.labels import ClassNames, class_names
from pipeline.dataset.paths import (
    LOCK,
    decisions_path,
    dedupe_path,
    pairs_path,
    predictions_path,
    rejected_path,
    samples_path,
    split_path,
)
from pipeline.dataset.predictions import read_predictions
from pipeline.dataset.samples import SCHEMA, read_samples
from pipeline.dataset.split_table import read_split
from pipeline.pages.review.decision_log import DecisionLog, Stamp, stamp_of
from pipeline.pages.review.index import index_of
from pipeline.pages.review.next_run import STAGES, NextRun, next_run
from pipeline.pages.review.rejected_files import RejectedFiles
from pipeline.pages.review.tabs.tab import Tab
from pipeline.pages.review.thumbnails import ImageStore

Value = TypeVar("Value")


class ReviewedDataset:
    """One dataset. Every method answers from the files as they are now; thread-safe."""

    def __init__(self, name: str, who: str, tabs: Sequence[Tab]) -> None:
        self.name = name
        self.log = DecisionLog(decisions_path(name), who)
        self._tabs = tabs
        paths = [split_path, predictions_path, *(need for tab in tabs for need in tab.needs)]
        self._deduped = [need(name) for need in (samples_path, dedupe_path, pairs_path)]
        self._files = list(dict.fromkeys([*self._deduped, *(need(name) for need in paths)]))
        self._made: dict[str, tuple[tuple[Stamp | str | None, ...], Any]] = {}
        self._locks: dict[str, threading.RLock] = {}

    def _once(
        self, key: str, files: Iterable[Path], make: Callable[[], Value], version: str = ""
    ) -> Value:
        """Return what `make` returns; call it again if a file or the version has changed."""
        with self._locks.setdefault(key, threading.RLock()):
            stamps = (*(stamp_of(file) for file in files), version)
            if key not in self._made or self._made[key][0] != stamps:
                self._made[key] = (stamps, make())
            made: Value = self._made[key][1]
            return made

    def _of_samples(self, key: str, make: Callable[[], Value]) -> Value:
        return self._once(key, [samples_path(self.name)], make)

    def version(self) -> str:
        """Return an identifier of the current data; it changes if `dvc repro` has written files."""
        stamps = [stamp_of(file) for file in self._files]
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:12]

    def samples(self) -> pa.Table:
        """Return the samples without their images; no rows if there is no file yet."""

        def read() -> pa.Table:
            if not samples_path(self.name).exists():
                return SCHEMA.empty_table()
            return read_samples(self.name, images=False)

        return self._of_samples("samples", read)

    def rows(self) -> dict[str, list[int]]:
        """Return the rows of each content id."""

        def find() -> dict[str, list[int]]:
            found: dict[str, list[int]] = defaultdict(list)
            for row, content_id in enumerate(self.samples()[CONTENT_ID].to_pylist()):
                found[content_id].append(row)
            return dict(found)

        return self._of_samples("rows", find)

    def row_of(self) -> dict[str, int]:
        """Return the row of each sample id."""

        def find() -> dict[str, int]:
            ids = self.samples()[SAMPLE_ID].to_pylist()
            return {sample_id: row for row, sample_id in enumerate(ids)}

        return self._of_samples("row of", find)

    def labels(self) -> set[str]:
        """Return the labels of the samples."""
        return self._of_samples("labels", lambda: set(self.samples()[LABEL].unique().to_pylist()))

    def class_names(self) -> ClassNames:
        """Return the names of the classes."""
        return self._of_samples("class names", lambda: class_names(self.samples()))

    def images(self) -> ImageStore | None:
        """Return the stored images; None if there are no samples yet."""
        return self._of_samples(
            "images", lambda: ImageStore(self.name) if samples_path(self.name).exists() else None
        )

    def parts(self) -> dict[str, tuple[str, str]]:
        """Return (part, reason) by sample id; empty if there is no split yet."""

        def read() -> dict[str, tuple[str, str]]:
            if not split_path(self.name).exists():
                return {}
            return {row.sample_id: (row.part, row.reason) for row in read_split(self.name)}

        return self._once("parts", [split_path(self.name)], read)

    def predictions(self) -> pa.Table | None:
        """Return the predictions; None if there are none yet. Raises PipelineError if damaged."""
        path = predictions_path(self.name)
        return self._once(
            "predictions", [path], lambda: read_predictions(self.name) if path.exists() else None
        )

    def rejected_files(self) -> RejectedFiles:
        """Return the files behind rejected.csv. Only files that a tab has listed can be shown."""
        files = [rejected_path(self.name), PARAMS]
        return self._once("rejected", files, lambda: RejectedFiles(self.name, load_params()))

    def index(self) -> bytes:
        """Return the index of the samples with the version of the data, as JSON."""

        def make() -> bytes:
            index = index_of(self.samples(), self.parts(), self.predictions())
            return json.dumps(index | {"data": self.version()}, ensure_ascii=False).encode()

        return self._once("index", self._files, make)

    def tabs(self) -> bytes:
        """Return what each tab shows, as JSON by tab key: its sections, or why there are none."""

        def make() -> bytes:
            found = {tab.key: self._contents(tab) for tab in self._tabs}
            return json.dumps(found, ensure_ascii=False).encode()

        return self._once("tabs", [*self._files, PARAMS], make)

    def _contents(self, tab: Tab) -> dict[str, Any]:
        sections, empty = [], {"text": tab.empty}
        command = tab.command.format(dataset=self.name)
        if not all(need(self.name).exists() for need in tab.needs):
            empty = {"text": tab.missing, "command": command}
        else:
            try:
                sections = [each for each in tab.sections(self) if each.rows or each.files]
            except PipelineError as error:
                empty = {"text": error.message, "command": command}
        return {
            "hint": tab.hint,
            "layout": tab.layout,
            "note_lines": tab.note_lines,
            "suggestion": tab.suggestion,
            "is_for_cluster": tab.is_for_cluster,
            "sections": [asdict(section) for section in sections],
            "empty": None if sections else empty,
        }

    def next_run(self) -> NextRun:
        """Return what the next `dvc repro` will do to this dataset."""
        if not all(file.exists() for file in self._deduped):
            return NextRun(list(STAGES), "every stage (first run)")
        state = self.log.state()

        def make() -> NextRun:
            params = section(load_params(), "split", self.name)
            result = self._once(
                "dedupe result", self._deduped, lambda: read_dedupe_result(self.name)
            )
            return next_run(self.name, result, params, state.verdicts)

        return self._once("next run", [*self._files, LOCK, PARAMS], make, state.version)

    def facts(self, content_id: str) -> dict[str, Any] | None:
        """Return all that is known about an image; None if no sample has this content."""
        rows = self.rows().get(content_id)
        if rows is None:
            return None
        predicted = None
        predictions = self.predictions()
        if predictions is not None:
            is_this = pc.equal(predictions[CONTENT_ID], content_id)
            predicted = next(iter(predictions.filter(is_this).to_pylist()), None)
        return {
            "predicted": predicted and {name: predicted[name] for name in (TOP3, LOSS)},
            "samples": [
                {name: value for name, value in row.items() if value is not None}
                for row in self.samples().take(rows).to_pylist()
            ],
            "history": [
                {name: getattr(each, name) for name in ("time", "action", "label", "reason", "who")}
                for each in self.log.history_of(content_id)
            ],
        }
