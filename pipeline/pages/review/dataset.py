"""A dataset as the review page reads it: files into what the tabs show.

What is made of files is made again when one of them changes: the page stays open through
`dvc repro`. A file that is not there yet is an empty tab that says what to run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError
from pipeline.core.params import PARAMS, load_params, section
from pipeline.core.text_table import Table
from pipeline.dataset.dedupe_result import read_dedupe_result
from pipeline.dataset.paths import LOCK, dataset_folder, samples_path
from pipeline.dataset.rejected import HEADER
from pipeline.dataset.samples import SCHEMA, read_samples
from pipeline.pages.review import tabs
from pipeline.pages.review.ahead import STAGES, Ahead, ahead_of
from pipeline.pages.review.decided import Decided, Stamp, stamp_of
from pipeline.pages.review.index import index_of
from pipeline.pages.review.pictures import Pictures
from pipeline.pages.review.refused import Refused, attempts_of
from pipeline.pages.review.tabs import Section

Value = TypeVar("Value")
FILES = (
    "samples.parquet",
    "dedupe.parquet",
    "pairs.parquet",
    "split.csv",
    "predictions.parquet",
    "suspects.parquet",
    "rejected.csv",
)


class Reviewed:
    """One dataset. Every method answers for the files as they are now; safe with threads."""

    def __init__(self, name: str, who: str) -> None:
        self.name = name
        self.folder = dataset_folder(name)
        self.decided = Decided(self.folder / "decisions.csv", who)
        self._made: dict[str, tuple[tuple[Stamp | str | None, ...], Any]] = {}
        self._locks: dict[str, threading.RLock] = {}

    def _once(
        self, what: str, files: Sequence[str | Path], make: Callable[[], Value], more: str = ""
    ) -> Value:
        """Return what `make` made of files, made anew where one (in the folder) has changed."""
        with self._locks.setdefault(what, threading.RLock()):
            stamps = (*(stamp_of(self.folder / file) for file in files), more)
            if what not in self._made or self._made[what][0] != stamps:
                self._made[what] = (stamps, make())
            made: Value = self._made[what][1]
            return made

    def version(self) -> str:
        """Return a name for the data as they are: it changes when `dvc repro` has written."""
        stamps = [stamp_of(self.folder / file) for file in FILES]
        return hashlib.sha256(repr(stamps).encode()).hexdigest()[:12]

    def samples(self) -> pa.Table:
        """Return the samples without pictures; none where there is no file yet."""

        def read() -> pa.Table:
            if not samples_path(self.name).exists():
                return SCHEMA.empty_table()
            return read_samples(self.name, images=False)

        return self._once("samples", ["samples.parquet"], read)

    def rows(self) -> dict[str, list[int]]:
        """Return the rows of each content id."""

        def find() -> dict[str, list[int]]:
            found: dict[str, list[int]] = defaultdict(list)
            for row, content in enumerate(self.samples()["content_id"].to_pylist()):
                found[content].append(row)
            return dict(found)

        return self._once("rows", ["samples.parquet"], find)

    def labels(self) -> set[str]:
        """Return the classes that there are."""
        return self._once(
            "labels", ["samples.parquet"], lambda: set(self.samples()["label"].unique().to_pylist())
        )

    def pictures(self) -> Pictures | None:
        """Return the stored pictures; None where there are none yet."""
        path = samples_path(self.name)
        return self._once(
            "pictures", ["samples.parquet"], lambda: Pictures(path) if path.exists() else None
        )

    def index(self) -> bytes:
        """Return the index of the samples, and which data it is of, as JSON."""

        def make() -> bytes:
            said = index_of(self.samples(), self.parts(), self._table("predictions.parquet"))
            return json.dumps(said | {"data": self.version()}, ensure_ascii=False).encode()

        return self._once("index", FILES, make)

    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return (part, reason) of each sample; nothing where there is no split yet."""
        path = self.folder / "split.csv"
        if not path.exists():
            return {}
        columns = ["sample_id", "part", "reason"]
        return {row[0]: tuple(row[1:]) for row in rows_of(path, columns)}

    def _table(self, name: str) -> pa.Table | None:
        """Read a table; None where there is none. Raises PipelineError where it is damaged."""
        path = self.folder / name
        try:
            return pq.read_table(path) if path.exists() else None
        except (pa.ArrowException, OSError) as error:
            raise PipelineError(f"{path}: not a table: {error}") from error

    def tabs(self) -> bytes:
        """Return what each tab shows, as JSON: sections, or why there is nothing."""
        return self._once("tabs", [*FILES, PARAMS.absolute()], self._tabs)

    def _tabs(self) -> bytes:
        makers: dict[str, tuple[Callable[[], list[Section] | None], str, str]] = {
            "losses": (self._losses, "No predictions.", f"dvc repro evaluate@{self.name}"),
            "conflicts": (
                self._conflicts,
                "No label conflicts: no picture stands under two labels.",
                f"dvc repro dedupe@{self.name}",
            ),
            "duplicates": (self._duplicates, "No duplicates.", f"dvc repro dedupe@{self.name}"),
            "suspects": (self._suspects, "No label is disputed.", f"kalai suspects {self.name}"),
            "rejected": (self._rejected, "Nothing was rejected.", "dvc repro"),
        }
        found = {}
        for name, (make, none, command) in makers.items():
            try:
                sections = make()
                says = (
                    {"says": "Not made yet.", "run": command}
                    if sections is None
                    else {"says": none}
                )
            except (PipelineError, pa.ArrowException, KeyError, ValueError) as error:
                sections, says = None, {"says": f"Cannot be read: {error}", "run": command}
            shown = [each.told() for each in sections or [] if each.rows or each.refused]
            found[name] = {"sections": shown, "empty": None if shown else says}
        return json.dumps(found, ensure_ascii=False).encode()

    def _row_of(self) -> dict[str, int]:
        names = self.samples()["sample_id"].to_pylist()
        return {name: row for row, name in enumerate(names)}

    def _losses(self) -> list[Section] | None:
        table = self._table("predictions.parquet")
        return None if table is None else tabs.losses_of(table, self._row_of())

    def _suspects(self) -> list[Section] | None:
        table = self._table("suspects.parquet")
        return None if table is None else tabs.suspects_of(table, self._row_of())

    def _conflicts(self) -> list[Section] | None:
        return self._marked(tabs.conflicts_of)

    def _duplicates(self) -> list[Section] | None:
        return self._marked(tabs.duplicates_of)

    def _marked(self, make: Callable[..., list[Section]]) -> list[Section] | None:
        marks, pairs = self._table("dedupe.parquet"), self._table("pairs.parquet")
        if marks is None or pairs is None:
            return None
        row_of = self._row_of()
        return make(marks, tabs.bonds_of(pairs, row_of), row_of)

    def _rejected(self) -> list[Section] | None:
        path = self.folder / "rejected.csv"
        if not path.exists():
            return None
        refused = self.refused()
        rejected = [dict(zip(HEADER, row, strict=True)) for row in rows_of(path, HEADER)]
        out: dict[str, list[int]] = defaultdict(list)
        row_of = self._row_of()
        for sample_id, (part, reason) in self.parts().items():
            if part == "out" and sample_id in row_of:
                out[reason].append(row_of[sample_id])
        return tabs.rejected_of(rejected, attempts_of(self.name), refused.find, out)

    def refused(self) -> Refused:
        """Return the files that were refused; those that the tab has named can be shown."""
        path = PARAMS.absolute()
        return self._once(
            "refused", ["rejected.csv", path], lambda: Refused(self.name, load_params())
        )

    def ahead(self) -> Ahead:
        """Return what the next `dvc repro` does to this dataset."""
        if not all((self.folder / name).exists() for name in FILES[:3]):
            return Ahead(list(STAGES), "all stages, nothing has run yet")
        known = self.decided.known()
        files: list[str | Path] = [*FILES, LOCK.absolute(), PARAMS.absolute()]

        def look() -> Ahead:
            params = section(load_params(), "split", self.name)
            marked = self._once("marked", FILES[:3], lambda: read_dedupe_result(self.name))
            return ahead_of(self.name, marked, params, known.verdicts)

        return self._once("ahead", files, look, known.version)

    def facts(self, content_id: str) -> dict[str, Any] | None:
        """Return all that is known of a picture; None for what is no sample."""
        rows = self.rows().get(content_id)
        if rows is None:
            return None
        samples = self.samples().take(rows).to_pylist()
        predictions = self._once(
            "predictions", ["predictions.parquet"], lambda: self._table("predictions.parquet")
        )
        predicted = None
        if predictions is not None:
            is_it = pc.equal(predictions["content_id"], content_id)
            predicted = next(iter(predictions.filter(is_it).to_pylist()), None)
        return {
            "predicted": predicted and {name: predicted[name] for name in ("top3", "loss")},
            "samples": [
                {name: value for name, value in row.items() if value is not None} for row in samples
            ],
            "history": [
                {name: getattr(each, name) for name in ("time", "action", "label", "reason", "who")}
                for each in self.decided.about(content_id)
            ],
        }


def rows_of(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Return columns of a CSV as text. Raises PipelineError where they are not there."""
    table = Table(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise PipelineError(f"{path}: no column {missing[0]!r}")
    return [row for row in table.rows(list(columns)) if row is not None]
