"""Which stages are out of date: compares dvc.lock with the current files and params.

`dvc status` gives the same answer but takes many times as long.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.params import PARAMS
from pipeline.dataset.paths import LOCK

MAX_HASHED = 4_000_000  # bytes; for a larger dependency, only the size is compared
IGNORE = Path(".dvcignore")


def stale_stages(dataset: str, stages: Collection[str]) -> set[str]:
    """Return the stages that DVC has not run with the current files and params.

    Raises PipelineError if dvc.lock is not YAML.
    """
    try:
        locked = yaml.load(LOCK.read_bytes(), yaml.CSafeLoader)["stages"]
    except (FileNotFoundError, KeyError, TypeError):
        return set(stages)
    except yaml.YAMLError as error:
        raise PipelineError(f"{LOCK}: not YAML; run `git checkout {LOCK}` to restore it") from error
    return {stage for stage in stages if is_stale(locked.get(f"{stage}@{dataset}"))}


def is_stale(entry: Mapping[str, Any] | None) -> bool:
    """Return whether a stage's dependencies or params differ from its entry in dvc.lock."""
    if entry is None:
        return True
    if any(has_changed(Path(dep["path"]), dep) for dep in entry.get("deps", ())):
        return True
    params = yaml.load(PARAMS.read_bytes(), yaml.CSafeLoader)
    for dotted, locked in entry.get("params", {}).get(str(PARAMS), {}).items():
        value = params
        for key in dotted.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if with_numbers(value) != with_numbers(locked):
            return True
    return False


def with_numbers(value: Any) -> Any:
    """Return a value as YAML 1.2 reads it: 1e-05 is a number there, but text in YAML 1.1."""
    if isinstance(value, dict):
        return {key: with_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_numbers(each) for each in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def has_changed(path: Path, dep: Mapping[str, Any]) -> bool:
    """Return whether a file or folder differs from its entry in dvc.lock."""
    if not path.exists():
        return True
    if "md5" not in dep:
        return False
    files = sorted(watched_files(path)) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    if size != dep.get("size", size) or len(files) != dep.get("nfiles", len(files)):
        return True
    if size > MAX_HASHED:
        return False
    return (folder_md5(path, files) if path.is_dir() else file_md5(path)) != dep["md5"]


def watched_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, except those that .dvcignore names.

    Patterns are compared with file and folder names; patterns with a slash are not supported.
    """
    ignored = IGNORE.read_text(encoding="utf-8").split("\n") if IGNORE.exists() else []
    patterns = [line.rstrip("/ ") for line in ignored if line and not line.startswith("#")]

    def is_watched(name: str) -> bool:
        return not any(fnmatch(name, pattern) for pattern in patterns)

    for root, folders, names in os.walk(folder):
        folders[:] = filter(is_watched, folders)
        yield from (Path(root, name) for name in filter(is_watched, names))


def folder_md5(folder: Path, files: Sequence[Path]) -> str:
    """Return DVC's hash of a folder: the hash of the JSON list of its files, sorted by path."""
    listed = [
        {"md5": file_md5(file), "relpath": file.relative_to(folder).as_posix()} for file in files
    ]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"


def file_md5(path: Path) -> str:
    """Return DVC's hash of a file; an unchanged file is hashed only once."""
    found = path.stat()
    return _md5(path, found.st_mtime_ns, found.st_ino)


@lru_cache(maxsize=2000)
def _md5(path: Path, time_ns: int, inode: int) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
