"""A copy of the project in a folder of its own, where git and the real DVC run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

import pipeline
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, validate

BIN = Path(sys.executable).parent  # dvc.yaml says `python`; this one is to be found first
PACKAGE = Path(pipeline.__file__).parent
# dvc.yaml stands beside the package in a checkout; an installed wheel keeps it with its data.
SETTINGS = (PACKAGE.parent, Path(sysconfig.get_path("data")) / "share" / "kalai")
SETTINGS_FILES = (
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
)
DVC_CONFIG = "[core]\n    autostage = true\n"  # or every run ends with advice about git
KEPT_EMPTY = "decisions.csv"  # a person's decisions are about other pictures
HEADER = """\
# The demo's params: small, and the whole web is this machine. The project's own params.yaml says
# why each value is what it is.
"""


def check_tools() -> None:
    """Raise PipelineError where git or the interpreter's `python` is missing."""
    if shutil.which("git") is None:
        raise PipelineError("git: not found; the demo's project is a git repository")
    if not (BIN / "python").exists():
        raise PipelineError(f"{BIN}: has no `python`; run kalai from a virtual environment")


class Scratch:
    """A project folder to run git and DVC in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {name: value for name, value in os.environ.items() if not _disturbs(name)}
        self.env["PATH"] = f"{BIN}{os.pathsep}{self.env.get('PATH', '')}"
        self.env["PYTHONUNBUFFERED"] = "1"  # progress is shown when it is made

    def create(self, params: Mapping[str, Any]) -> None:
        """Copy the project, write its params.yaml, and commit both in a new repository."""
        for name, source in project_files().items():
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name == KEPT_EMPTY:
                header = source.read_text(encoding="utf-8").partition("\n")[0]
                write_text(target, f"{header}\n")
            else:
                shutil.copyfile(source, target)
        validate(params)
        text = yaml.safe_dump(dict(params), allow_unicode=True, sort_keys=False)
        write_text(self.root / PARAMS, HEADER + text)
        self.git("init", "--quiet", "--initial-branch=main")
        for key, value in {
            "user.name": "kalai demo",
            "user.email": "demo@localhost",
            "commit.gpgsign": "false",
            "core.hooksPath": os.devnull,  # a person's global hooks are about other projects
            "core.autocrlf": "false",
        }.items():
            self.git("config", key, value)
        if not (self.root / ".dvc").is_dir():
            self.dvc("init", "--quiet")
        write_text(self.root / ".dvc" / "config.local", DVC_CONFIG)
        self.commit("The demo's project")

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)

    def git(self, *arguments: str) -> None:
        """Run git here."""
        self._run("git", ["git", *arguments])

    def dvc(self, *arguments: str) -> None:
        """Run DVC here; it starts the stages with this interpreter.

        Raises PipelineError where it fails.
        """
        self._run("dvc", [sys.executable, "-m", "dvc", *arguments])

    def _run(self, name: str, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.root, env=self.env, check=False)
        if done.returncode:
            words = " ".join([name, *command[command.index(name) + 1 :]])
            raise PipelineError(f"{words}: ended with {done.returncode}")


def _disturbs(name: str) -> bool:
    """Say whether a variable would lead git, DVC or Python elsewhere than to the scratch folder."""
    return name.startswith(("GIT_", "DVC_")) or name in ("PYTHONPATH", "PYTHONSAFEPATH")


def project_files() -> dict[str, Path]:
    """Return the files that a copy of the project needs, by their path in it.

    From a git checkout: all tracked files, and new ones of the package. Otherwise the package and
    the settings beside it. Reports and DVC's lock stay behind: they are of other data.
    """
    settings = next((root for root in SETTINGS if (root / "dvc.yaml").is_file()), None)
    if settings is None:
        raise PipelineError(f"{PACKAGE}: no dvc.yaml beside it; install kalai from its repository")
    names = set(_tracked(settings))
    if names:
        found = {name: settings / name for name in names}
    else:
        found = {
            str(Path("pipeline", path.relative_to(PACKAGE))): path
            for path in PACKAGE.rglob("*")
            if "__pycache__" not in path.parts
        }
        found |= {name: settings / name for name in SETTINGS_FILES}
        found |= {str(path.relative_to(settings)): path for path in settings.glob("data/*/*.csv")}
    return {
        name: path
        for name, path in sorted(found.items())
        if path.is_file()
        and name != "dvc.lock"
        and (not name.startswith("data/") or path.name == KEPT_EMPTY)
    }


def _tracked(root: Path) -> Iterable[str]:
    if not (root / ".git").exists():
        return []
    listed: list[str] = []
    for chosen in (["--cached"], ["--others", "--exclude-standard", "pipeline"]):
        done = subprocess.run(
            ["git", "ls-files", "-z", *chosen],
            cwd=root,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            return []
        listed += [name for name in done.stdout.split("\0") if name]
    return listed
