"""The scratch project: a copy that is complete, clean and its own repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import PipelineError
from pipeline.demo import scratch
from pipeline.demo.scratch import BIN, Scratch, project_files
from tests.conftest import ROOT


@pytest.fixture
def params() -> dict[str, object]:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["train"]["dances"]["size"] = 32
    return dict(values)


def out(root: Path, *command: str) -> str:
    return subprocess.run(command, cwd=root, capture_output=True, check=True, text=True).stdout


def test_a_copy_holds_what_the_stages_need_and_nothing_of_other_data() -> None:
    files = project_files()
    assert {"dvc.yaml", "params.yaml", ".dvc/config", "pipeline/crawl/stage.py"} <= set(files)
    assert "dvc.lock" not in files
    assert all(path.is_file() for path in files.values())
    data = [name for name in files if name.startswith("data/")]
    assert sorted(data) == ["data/dances/decisions.csv", "data/tamil/decisions.csv"]


def test_a_scratch_project_is_committed_and_dvc_knows_it(
    tmp_path: Path, params: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another project
    root = tmp_path / "project"
    root.mkdir()
    project = Scratch(root)
    project.create(params)
    monkeypatch.delenv("GIT_DIR")
    assert not (tmp_path / "elsewhere").exists()
    assert out(root, "git", "status", "--porcelain") == ""
    assert out(root, "git", "log", "--format=%an %s") == "kalai demo The demo's project\n"
    written = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    assert written == params
    assert (root / "data/dances/decisions.csv").read_text().count("\n") == 1
    stages = out(root, str(BIN / "dvc"), "stage", "list", "--name-only").split()
    assert {"crawl@kathak", "train@tamil"} <= set(stages)


def test_invalid_params_are_refused(tmp_path: Path, params: dict[str, object]) -> None:
    with pytest.raises(PipelineError, match="crawll"):
        Scratch(tmp_path).create({**params, "crawll": {}})


def test_a_failing_command_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^`git no-such-command` failed with exit code 1; "):
        Scratch(tmp_path).git("no-such-command")


def test_without_a_checkout_the_package_and_its_settings_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from an installed wheel, or an unpacked source archive."""
    package, settings = tmp_path / "site" / "pipeline", tmp_path / "share"
    shutil.copytree(scratch.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").touch()
    for name in ("dvc.yaml", "params.yaml", "data/dances/decisions.csv"):
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, settings / name)
    monkeypatch.setattr(scratch, "PACKAGE", package)
    monkeypatch.setattr(scratch, "SETTINGS", (package.parent, settings))
    files = project_files()
    assert {"dvc.yaml", "params.yaml", "data/dances/decisions.csv"} <= set(files)
    assert files["pipeline/demo/world.py"] == package / "demo" / "world.py"
    kinds = {path.suffix for path in files.values()}
    assert {".py", ".html", ".css", ".js"} <= kinds and ".pyc" not in kinds
    monkeypatch.setattr(scratch, "SETTINGS", (package.parent,))
    with pytest.raises(PipelineError, match=r"site/dvc\.yaml: file not found; install kalai"):
        project_files()
