"""Copy the project to a scratch folder and run git and DVC there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

import pipeline
from pipeline.core.errors import PipelineError
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, validate
from pipeline.dataset.paths import DATA, DECISIONS, LOCK

BIN = Path(sys.executable).parent  # dvc.yaml runs `python`: PATH must lead to this one
PACKAGE = Path(pipeline.__file__).parent
# dvc.yaml is beside the package in a checkout, and in the data folder of an installed wheel.
SETTINGS = (PACKAGE.parent, Path(sysconfig.get_path("data")) / "share" / "kalai")
SETTINGS_FILES = (
    "dvc.yaml",
    "params.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
)
DVC_CONFIG = "[core]\n    autostage = true\n"  # else every run ends with advice about git
# Lines of DVC that say nothing about the run.
CHATTER = re.compile(r"(Generating|Updating) lock file |Use `dvc push` to send your updates ")
HEADER = """\
# The params of the demo: a small world, served by this machine. The comments in the project's own
# params.yaml explain each key.
"""


def check_tools() -> None:
    """Raise PipelineError if git is missing or no `python` is beside the interpreter."""
    if shutil.which("git") is None:
        raise PipelineError("git: command not found; install git: the demo makes a git repository")
    if not (BIN / "python").exists():
        raise PipelineError(
            f"{BIN / 'python'}: file not found; run kalai from a virtual environment"
        )


class Scratch:
    """A project folder to run git and DVC in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {name: value for name, value in os.environ.items() if not _is_harmful(name)}
        self.env["PATH"] = f"{BIN}{os.pathsep}{self.env.get('PATH', '')}"
        self.env["PYTHONUNBUFFERED"] = "1"  # show progress at once

    def create(self, params: Mapping[str, Any]) -> None:
        """Copy the project, write its params.yaml, and commit both to a new repository."""
        for name, source in project_files().items():
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name == DECISIONS:  # a person's decisions are about other images
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
            "core.hooksPath": os.devnull,  # global hooks are meant for other projects
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
        """Run DVC here with this interpreter, and print its output without DVC's hints.

        Raises PipelineError if it fails.
        """
        self._run("dvc", [sys.executable, "-m", "dvc", *arguments])

    def _run(self, name: str, command: list[str]) -> None:
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                for line in process.stdout or ():
                    if not CHATTER.match(line):
                        click.echo(line, nl=False)
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        if code:
            words = " ".join([name, *command[command.index(name) + 1 :]])
            raise PipelineError(f"`{words}` failed with exit code {code}; its error is above")


def _is_harmful(name: str) -> bool:
    """Return whether a variable would point git, DVC or Python away from the scratch folder."""
    return name.startswith(("GIT_", "DVC_")) or name in ("PYTHONPATH", "PYTHONSAFEPATH")


def project_files() -> dict[str, Path]:
    """Return the files that a copy of the project needs, by path in the project.

    From a git checkout: all tracked files, and untracked files of the package. Otherwise: the
    package and its settings. Reports and dvc.lock are left out, since they describe other data.

    Raises PipelineError if there is no dvc.yaml.
    """
    settings = next((root for root in SETTINGS if (root / "dvc.yaml").is_file()), None)
    if settings is None:
        raise PipelineError(
            f"{PACKAGE.parent / 'dvc.yaml'}: file not found; install kalai from its repository"
        )
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
        found |= {
            str(path.relative_to(settings)): path for path in settings.glob(f"{DATA}/*/*.csv")
        }
    return {
        name: path
        for name, path in sorted(found.items())
        if path.is_file()
        and name != str(LOCK)
        and (not name.startswith(f"{DATA}/") or path.name == DECISIONS)
    }


def _tracked(root: Path) -> Iterable[str]:
    if not (root / ".git").exists():
        return []
    listed: list[str] = []
    for selection in (["--cached"], ["--others", "--exclude-standard", "pipeline"]):
        done = subprocess.run(
            ["git", "ls-files", "-z", *selection],
            cwd=root,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            return []
        listed += [name for name in done.stdout.split("\0") if name]
    return listed
