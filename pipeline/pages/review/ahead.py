"""What the next `dvc repro` will do to a dataset: computed, not guessed.

A split is pure and quick, so it is made here as its stage would make it and compared with the one
that there is. What DVC last ran with is in dvc.lock; `dvc status` takes many times as long.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.params import PARAMS, Split
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.dedupe_result import DedupeResult
from pipeline.dataset.paths import LOCK, dataset_folder
from pipeline.split.stage import check_decisions, split, table_of, touching, without_decisions

STAGES = ("split", "train", "evaluate")
HASHED = 4_000_000  # bytes; of a larger dependency the size is compared alone
IGNORED = frozenset({"__pycache__"})  # folders that .dvcignore names
Rows = list[list[str]]  # of split.csv, the header first


@dataclass
class Ahead:
    """The stages that will run and what they change; `problem` is what `split` would stop with."""

    stages: list[str]
    says: str
    changes: list[str] = field(default_factory=list)
    problem: str | None = None
    touching: dict[str, int] = field(default_factory=dict)  # decided pictures by part

    def told(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def ahead_of(
    dataset: str, marked: DedupeResult, params: Split, said: Mapping[str, Verdict]
) -> Ahead:
    """Return what the next `dvc repro` does to a dataset whose standing decisions are `said`."""
    folder = dataset_folder(dataset)
    try:
        check_decisions(folder / "decisions.csv", said, marked)
        parts = split(marked, params, said)
    except PipelineError as error:
        return Ahead(["split"], "split, which will stop", problem=error.message)
    undecided = without_decisions(marked, params) if said else None
    touched = touching(said, marked, parts.part, undecided)
    header, rows = table_of(marked, parts)
    after = [list(header), *([str(value) for value in row] for row in rows)]
    before = read_rows(folder / "split.csv")
    if not before:
        return Ahead(list(STAGES), "split, train, evaluate: for the first time", touching=touched)
    stale = stale_stages(dataset)
    is_split_anew = "split" in stale and after != before
    stages = [stage for stage in STAGES if stage in stale or (is_split_anew and stage != "split")]
    if "train" in stages and "evaluate" not in stages:
        stages.append("evaluate")
    changes = changes_of(before, after) if is_split_anew else []
    return Ahead(stages, told(stages, is_split_anew), changes, None, touched)


def told(stages: Sequence[str], is_split_anew: bool) -> str:
    """Say which stages will run, in words."""
    if not stages:
        return "nothing, the split has all decisions"
    if stages == ["split"] and not is_split_anew:
        return "split, with the same result: nothing is trained again"
    return ", ".join(stages)


def changes_of(before: Rows, after: Rows) -> list[str]:
    """Say what two splits differ in: who leaves, comes, changes class or part."""
    old = {row[0]: row for row in before[1:]}
    leave, come = Counter[str](), Counter[str]()
    relabelled = moved = 0
    for row in after[1:]:
        label, part = row[2:4]
        old_label, old_part = old.get(row[0], ["", "", label, "out"])[2:4]
        if part == "out" != old_part:
            leave[old_part] += 1
        elif old_part == "out" != part:
            come[part] += 1
        elif part != "out":
            relabelled += label != old_label
            moved += part != old_part
    found = []
    for counts, word in ((leave, "go out"), (come, "come in")):
        if counts:
            where = ", ".join(f"{part} {count}" for part, count in sorted(counts.items()))
            found.append(f"{counts.total()} {word} ({where})")
    found += [f"{relabelled} get another class"] * bool(relabelled)
    return found + [f"{moved} go to another part"] * bool(moved)


def stale_stages(dataset: str) -> set[str]:
    """Return the stages whose dependencies or params are not those that DVC last ran them with."""
    try:
        locked = yaml.load(LOCK.read_bytes(), yaml.CSafeLoader)["stages"]
    except (FileNotFoundError, KeyError, TypeError):
        return set(STAGES)
    except yaml.YAMLError as error:
        raise PipelineError(f"{LOCK}: not YAML") from error
    return {stage for stage in STAGES if is_stale(locked.get(f"{stage}@{dataset}"))}


def is_stale(entry: Mapping[str, Any] | None) -> bool:
    """Tell whether a stage's files or values differ from its entry in dvc.lock."""
    if entry is None:
        return True
    if any(differs(Path(dep["path"]), dep) for dep in entry.get("deps", ())):
        return True
    now = yaml.load(PARAMS.read_bytes(), yaml.CSafeLoader)
    for dotted, value in entry.get("params", {}).get(str(PARAMS), {}).items():
        at = now
        for key in dotted.split("."):
            at = at.get(key) if isinstance(at, dict) else None
        if read_as_dvc(at) != read_as_dvc(value):
            return True
    return False


def read_as_dvc(value: Any) -> Any:
    """Return a value as YAML 1.2 reads it: 1e-05 is a number there, in YAML 1.1 it is text."""
    if isinstance(value, dict):
        return {key: read_as_dvc(each) for key, each in value.items()}
    if isinstance(value, list):
        return [read_as_dvc(each) for each in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def differs(path: Path, dep: Mapping[str, Any]) -> bool:
    """Tell whether a file or folder is not the one that an entry of dvc.lock names."""
    if not path.exists():
        return True
    if "md5" not in dep:
        return False
    files = sorted(_files(path)) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    if size != dep.get("size", size) or len(files) != dep.get("nfiles", len(files)):
        return True
    if size > HASHED:
        return False
    return (_folder_md5(path, files) if path.is_dir() else _file_md5(path)) != dep["md5"]


def _files(folder: Path) -> Iterator[Path]:
    """Give the files below a folder that DVC looks at; .dvcignore names what it passes over."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED]
        yield from (Path(root, name) for name in names)


def _folder_md5(folder: Path, files: Sequence[Path]) -> str:
    """Return the hash by which DVC knows a folder: of the JSON that lists its files."""
    listed = [
        {"md5": _file_md5(file), "relpath": file.relative_to(folder).as_posix()} for file in files
    ]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _file_md5(path: Path) -> str:
    found = path.stat()
    return _md5(path, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=2000)
def _md5(path: Path, time_ns: int, inode: int) -> str:
    """Return what DVC knows a file by; hashed again only when it is another."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def read_rows(path: Path) -> Rows:
    """Return the rows of split.csv; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
