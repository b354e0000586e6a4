"""The reports of a run: from the working tree, or from a git revision."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.dataset.paths import DATA, check_dataset, reports_folder
from pipeline.dataset.reports import current_keys, reading

SUFFIXES = {".json", ".csv"}  # charts are always from the working tree


@dataclass(frozen=True)
class Run:
    """The reports of a dataset: maps each file's path below the reports folder to its bytes."""

    dataset: str
    revision: str | None  # as the user named it; None for the working tree
    files: Mapping[str, bytes]

    def path(self, name: str) -> Path:
        """Return the path of a report, in git's form `revision:path` if it is from a revision."""
        path = reports_folder(self.dataset) / name
        return path if self.revision is None else Path(f"{self.revision}:{path}")

    def value(self, name: str) -> Any:
        """Return the content of a report, a CSV as rows; None if it does not exist.

        If `name` has a star, return the contents of all matching reports by name. Raises
        PipelineError if a report is not JSON or CSV.
        """
        if "*" in name:
            return {each: self.value(each) for each in fnmatch.filter(self.files, name)} or None
        if name not in self.files:
            return None
        with reading(self.path(name)):
            text = self.files[name].decode("utf-8")
            if name.endswith(".json"):
                return current_keys(json.loads(text))
            return current_keys(list(csv.DictReader(io.StringIO(text, newline=""), strict=True)))


@dataclass(frozen=True)
class Commit:
    """A commit: its hash, its date and its subject."""

    hash: str
    date: str
    subject: str


def in_working_tree(dataset: str) -> Run:
    """Return a dataset's reports in the working tree.

    Raises PipelineError if the dataset is unknown.
    """
    check_dataset(dataset)
    folder = reports_folder(dataset)
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES and path.is_file()
    }
    return Run(dataset, None, found)


def at_revision(dataset: str, revision: str, commit: Commit) -> Run:
    """Return a dataset's reports at a git revision."""
    folder = reports_folder(dataset).as_posix()
    listed = git("ls-tree", "-r", "-z", "--name-only", commit.hash, "--", f"{folder}/").decode()
    names = [name for name in listed.split("\0") if Path(name).suffix in SUFFIXES]
    found = {name[len(folder) + 1 :]: git("show", f"{commit.hash}:./{name}") for name in names}
    return Run(dataset, revision, found)


def commit_of(revision: str) -> Commit:
    """Return the commit that a revision names. Raises PipelineError if there is none."""
    try:
        full = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except PipelineError as error:
        raise PipelineError(
            f"--compare {revision}: not a commit of this git repository; see `git log`"
        ) from error
    date, subject = (
        git("show", "-s", "--format=%cs%n%s", full.decode().strip()).decode().split("\n", 1)
    )
    return Commit(full.decode().strip(), date, subject.strip())


def state_of_git() -> tuple[Commit | None, bool]:
    """Return the checked-out commit, and whether files below data/ differ from it."""
    try:
        head = commit_of("HEAD")
        return head, bool(git("status", "--porcelain", "--", DATA.as_posix()).strip())
    except PipelineError:
        return None, False


def git(*arguments: str) -> bytes:
    """Return the output of a git command. Raises PipelineError with git's last error line."""
    try:
        done = subprocess.run(["git", *arguments], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise PipelineError("git is not installed") from error
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        raise PipelineError(f"git {arguments[0]}: {lines[-1]}") from error
    return done.stdout
