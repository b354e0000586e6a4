"""What a run left in git: of the working tree, or of a revision."""

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

KINDS = {".json", ".csv"}  # what is read of the reports; pictures are of the working tree


@dataclass(frozen=True)
class Run:
    """A dataset's reports: what each file holds, by its path below the reports' folder."""

    dataset: str
    revision: str | None  # as it was asked for; None: the working tree
    files: Mapping[str, bytes]

    def path(self, name: str) -> Path:
        """Return where a report lies, for people."""
        return reports_folder(self.dataset) / name

    def value(self, name: str) -> Any:
        """Return what a report holds, a table as rows, None where it is not there.

        Of a `name` with a star, the values of all that it matches, by name. Raises ValueError for
        what is no JSON or CSV.
        """
        if "*" in name:
            return {each: self.value(each) for each in fnmatch.filter(self.files, name)} or None
        if name not in self.files:
            return None
        text = self.files[name].decode("utf-8")
        if name.endswith(".json"):
            return json.loads(text)
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@dataclass(frozen=True)
class Commit:
    """A revision: its hash, its date and its subject."""

    hash: str
    date: str
    subject: str


def in_working_tree(dataset: str) -> Run:
    """Read a dataset's reports as they lie here. Raises PipelineError for an unknown dataset."""
    check_dataset(dataset)
    folder = reports_folder(dataset)
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in KINDS and path.is_file()
    }
    return Run(dataset, None, found)


def at_revision(dataset: str, revision: str, commit: Commit) -> Run:
    """Read a dataset's reports as they were in a revision of git's."""
    folder = reports_folder(dataset).as_posix()
    listed = git("ls-tree", "-r", "-z", "--name-only", commit.hash, "--", f"{folder}/").decode()
    names = [name for name in listed.split("\0") if Path(name).suffix in KINDS]
    found = {name[len(folder) + 1 :]: git("show", f"{commit.hash}:./{name}") for name in names}
    return Run(dataset, revision, found)


def commit_of(revision: str) -> Commit:
    """Return the commit that a revision names. Raises PipelineError where there is none."""
    try:
        full = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except PipelineError as error:
        raise PipelineError(f"--compare {revision}: no such revision in git here") from error
    date, subject = (
        git("show", "-s", "--format=%cs%n%s", full.decode().strip()).decode().split("\n", 1)
    )
    return Commit(full.decode().strip(), date, subject.strip())


def state_of_git() -> tuple[Commit | None, bool]:
    """Return the commit that is checked out and whether the reports have changed since."""
    try:
        head = commit_of("HEAD")
        return head, bool(git("status", "--porcelain", "--", DATA.as_posix()).strip())
    except PipelineError:
        return None, False


def git(*arguments: str) -> bytes:
    """Return what git prints. Raises PipelineError with the last line of its complaint."""
    try:
        done = subprocess.run(["git", *arguments], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise PipelineError("git: not found") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        raise PipelineError(f"git {arguments[0]}: {said[-1]}") from error
    return done.stdout
