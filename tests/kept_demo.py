"""`kalai demo --keep`, run once a session, and copies of its project for tests that change it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.demo.scratch import BIN
from pipeline.demo.web import Request, Traffic

PROXIES = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://x:9"}  # must not be used


@dataclass(frozen=True)
class Demo:
    """A finished demo that serves its web: read its project, but change only a copy of it."""

    root: Path
    log: Path  # of the web: a line for each request
    output: str
    traffic: Traffic  # of the run

    def copy(self, root: Path) -> Project:
        """Copy the project; the copy uses the same web."""
        shutil.copytree(self.root, root, copy_function=_link_or_copy, symlinks=True)
        return Project(root, self.log)


def _link_or_copy(source: str, target: str) -> None:
    """Copy a file; a file of DVC's cache or of git, which is never changed in place, is linked."""
    if "/.dvc/cache/" in source or "/.git/objects/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def read_traffic(log: Path) -> Traffic:
    """Return the requests in a web's log."""
    addresses, requests = {}, []
    for line in log.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        addresses[values["host"]] = values.pop("url").split("/")[2]
        requests.append(Request(**values))
    return Traffic(addresses, requests)


@dataclass(frozen=True)
class Project:
    """A copy of the demo's project, in which commands run as a person runs them."""

    root: Path
    log: Path

    @property
    def env(self) -> dict[str, str]:
        # One thread, as in the demo: the cores are busy with other tests.
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, at: Path | None = None) -> str:
        """Run a command in the project; return what it prints, or fail with it."""
        done = subprocess.run(
            command,
            cwd=at or self.root,
            env=self.env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def requests(self) -> list[str]:
        """Return the URLs of all requests that the web got, in order."""
        return [json.loads(line)["url"] for line in self.log.read_text().splitlines()]

    def set_params(self, **changes: object) -> None:
        """Change values of params.yaml; a key is dotted."""
        path = self.root / "params.yaml"
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for dotted, value in changes.items():
            at = values
            *parents, last = dotted.split(".")
            for parent in parents:
                at = at[parent]
            at[last] = value
        path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False))

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def kill_repro_when(self, is_time: Callable[[], bool]) -> None:
        """Start `dvc repro`; kill it and its stages with SIGKILL when `is_time` returns True."""
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not is_time():
            assert process.poll() is None, "dvc repro ended before it could be killed"
            assert time.monotonic() < deadline, "the time to kill never came"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def kept_demo(folder: Path) -> Iterator[Demo]:
    """Run `kalai demo --keep` below `folder` until it only serves its web; end it with Ctrl-C."""
    temporary = folder / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "demo", "--keep"],
        env={
            **os.environ,
            **PROXIES,
            "TMPDIR": str(temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),  # torchvision creates it in TMPDIR
            "PYTHONUNBUFFERED": "1",
        },
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("The web is running"):
            break
    else:
        pytest.fail(f"the demo ended with {process.wait()}:\n{output}")
    (folder / "output.txt").write_text(output, encoding="utf-8")  # for people
    (root,) = temporary.iterdir()
    assert re.search(rf"^project +{root}$", output, flags=re.M)
    log = root / ".dvc" / "tmp" / "web.jsonl"
    yield Demo(root, log, output, read_traffic(log))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.stdout.close()
