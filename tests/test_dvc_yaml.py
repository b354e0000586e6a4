"""dvc.yaml says the truth: what a stage imports is what it depends on, and names agree."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.params import Params
from tests.conftest import ROOT

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def body(stage: str) -> dict[str, Any]:
    """Return what a stage does, inside `foreach` or not."""
    return STAGES[stage].get("do", STAGES[stage])


def paths(entries: list[Any]) -> list[str]:
    """Return the paths of a list of outs, which are strings or one-key mappings."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@functools.cache
def imports(path: Path) -> frozenset[Path]:
    """Return the files of this package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            names = [node.module or ""] + [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names if name.name.startswith("pipeline")]
        else:
            continue
        for name in names:
            file = ROOT / (name.replace(".", "/") + ".py")
            if file.exists():
                found.add(file)
    return frozenset(found)


def closure(module: Path) -> set[Path]:
    """Return a module and all of this package that it imports, directly or not."""
    reached: set[Path] = set()
    waiting = [module]
    while waiting:
        at = waiting.pop()
        if at not in reached:
            reached.add(at)
            waiting.extend(imports(at))
    return reached


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"crawl"}))
def test_deps_cover_the_import_closure_and_nothing_else(stage: str) -> None:
    needed = closure(ROOT / "pipeline" / stage / "stage.py")
    named = [ROOT / dep for dep in body(stage)["deps"] if dep.startswith("pipeline/")]
    missing = {path for path in needed if not {path, *path.parents} & set(named)}
    assert not missing, f"missing in dvc.yaml: {sorted(missing)}"
    needless = [dep for dep in named if not any(dep in {path, *path.parents} for path in needed)]
    assert not needless, f"needless in dvc.yaml: {needless}"


def test_an_edit_of_code_never_crawls_again() -> None:
    assert "deps" not in body("crawl")
    assert all(entry[path]["persist"] for entry in body("crawl")["outs"] for path in entry)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_names_agree(stage: str) -> None:
    assert (ROOT / "pipeline" / stage / "stage.py").exists()
    assert (ROOT / "tests" / stage / "test_stage.py").exists()
    assert stage in Params.model_fields
    assert body(stage)["cmd"].split()[:3] == ["python", "-m", f"pipeline.{stage}"]


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_depends_on_its_params(stage: str) -> None:
    keyed = "foreach" in STAGES[stage] and stage != "crawl"
    assert (f"{stage}.${{key}}" if keyed else stage) in body(stage)["params"]


def test_no_stage_depends_on_where_it_is_computed() -> None:
    """Results are equal on a cluster and here (test_cluster.py), so a change must rerun nothing."""
    assert "compute" in Params.model_fields
    for stage in STAGES:
        named = [
            key
            for entry in body(stage)["params"]
            for key in ([entry] if isinstance(entry, str) else entry)
        ]
        assert not [key for key in named if key.split(".")[0] == "compute"], stage


def test_no_stage_imports_the_stage_module_of_another() -> None:
    for stage in STAGES:
        others = {ROOT / "pipeline" / other / "stage.py" for other in STAGES if other != stage}
        assert not closure(ROOT / "pipeline" / stage / "stage.py") & others, stage


def test_after_the_border_no_code_names_a_dataset() -> None:
    for stage in ("dedupe", "split", "train", "evaluate"):
        assert "dances" not in str(body(stage)), stage
        for module in closure(ROOT / "pipeline" / stage / "stage.py"):
            if module.stem in {"params", "samples"}:  # the frame, which has dances' section
                continue
            strings = [
                node.value
                for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
                if len(node.value) < 40  # a key or a path; a docstring may give an example
            ]
            named = [text for text in strings if text in {"dances", "tamil"}]
            assert not named, f"{module.name} names {named}"


def test_reports_are_kept_by_git_and_data_by_dvc() -> None:
    for stage in STAGES:
        do = body(stage)
        for entry in [*do.get("metrics", []), *do.get("plots", [])]:
            path, options = next(iter(entry.items()))
            assert "/reports/" in path and options["cache"] is False
        assert not any("/reports" in path for path in paths(do.get("outs", [])))


def test_pictures_of_samples_never_go_into_git() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    outs = [path for stage in STAGES for path in paths(body(stage).get("outs", []))]
    sheets = [Path(path).name for path in outs if path.endswith(".png")]
    assert {"classes.png", "duplicates.png", "top_losses.png"} <= set(sheets)
    assert {f"/data/*/{name}" for name in sheets} | {"/report.html"} <= set(ignored)
