"""Fixtures of all tests: real inputs, project folders, the demo; and which worker runs what."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from tests.kept_demo import Demo, kept_demo

settings.register_profile("kalai", deadline=None)  # a slow example on a busy machine is no bug
settings.load_profile("kalai")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: with several threads each, they would wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"  # real inputs; not part of the project


# One worker runs all of these, so that the demo runs once. The others are distributed by file.
NEED_THE_DEMO = ("tests/demo/", "tests/test_end_to_end.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return pytest-xdist's scheduler by file, with the tests of the demo as one file."""
    from xdist.scheduler import LoadFileScheduling

    class OneDemo(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(NEED_THE_DEMO):
                return NEED_THE_DEMO[0]
            return super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # keep the order of the hook below
    return OneDemo(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers begin with the files that take longest, so that they end together."""
    if not hasattr(config, "workerinput"):
        return  # without workers, the order is no matter
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(NEED_THE_DEMO), item.path not in slow))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Give a finished demo, run once a session; see NEED_THE_DEMO before you use it elsewhere."""
    with kept_demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of real inputs; skip the test if there is none."""
    if not SHARED.is_dir():
        pytest.skip("no real inputs beside the project")
    return SHARED


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that no system font is installed; matplotlib's own has no Tamil letters."""
    from pipeline.charts import fonts

    monkeypatch.setattr(fonts, "of_the_system", lambda: ())
    fonts.font_for.cache_clear()
    yield
    fonts.font_for.cache_clear()


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Give a function that mounts a file system at a folder; skip if this user may not mount.

    `small_disk(folder, "size=64k")` is soon full; `small_disk(folder, "ro")` is read-only.
    """
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("not allowed to mount")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Give a function that creates an empty project and makes it the current folder.

    `project(**{"crawl.max_images": 5})` changes that key of the shipped params.yaml, or adds it.
    """

    def make(**changes: Any) -> Path:
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["convert"]["tamil"]["classes"] = str(ROOT / values["convert"]["tamil"]["classes"])
        for dotted, value in changes.items():
            *parents, last = dotted.split(".")
            at = values
            for parent in parents:
                at = at[parent]
            at[last] = value
        (tmp_path / "params.yaml").write_text(
            yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )
        for dataset in ("dances", "tamil"):
            decisions = tmp_path / "data" / dataset / "decisions.csv"
            decisions.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "data" / dataset / "decisions.csv", decisions)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make
