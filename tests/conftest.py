"""What every test file shares: where real inputs lie, and a project folder to run stages in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

settings.register_profile("kalai", deadline=None)  # a busy machine is no failure
settings.load_profile("kalai")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"  # real inputs; not part of the project


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of real inputs, or skip."""
    if not SHARED.is_dir():
        pytest.skip("no real inputs beside the project")
    return SHARED


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the machine have no font but matplotlib's own, which has no Tamil."""
    from pipeline.charts import fonts as lettering

    monkeypatch.setattr(lettering, "of_the_system", lambda: ())
    lettering.font_for.cache_clear()
    yield
    lettering.font_for.cache_clear()


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Give a function that puts a file system of its own at a folder, or skips where none may be.

    `small_disk(folder, "size=64k")` is soon full, `small_disk(folder, "ro")` takes nothing.
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
    """Give a function that makes an empty project, params changed as told, and enters it.

    `project(**{"crawl.max_images": 5})` sets that key of the shipped params.yaml; a value set on
    a missing key adds it.
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
