"""pyproject.toml declares each package that pipeline/ imports, and constraints.txt pins it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from tests.conftest import ROOT

# Imported, and not declared: a declared package requires it in the version that fits.
REQUIRED_BY = {"dask": "distributed", "pydantic_core": "pydantic", "starlette": "fastapi"}
EXTRAS = ("gpus", "onnx", "scale")  # imported only where the extra is installed


def name_of(requirement: str) -> str:
    """Return the name of the distribution that a requirement names."""
    found = re.match(r"[\w.-]+", requirement)
    return canonical(found[0]) if found else ""


def canonical(name: str) -> str:
    """Return a distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (one for extra in EXTRAS for one in project["optional-dependencies"][extra])
    return {name_of(line) for line in (*project["dependencies"], *extras)}


def imported(path: Path) -> set[str]:
    """Return the top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_each_imported_package_is_declared() -> None:
    distributions = packages_distributions()
    modules = set().union(*(imported(path) for path in (ROOT / "pipeline").rglob("*.py")))
    others = modules - set(sys.stdlib_module_names) - {"pipeline"}
    assert {"bs4", "torch", "yaml"} <= others
    undeclared = {
        module
        for module in others
        if not {canonical(name) for name in distributions.get(module, [])} & declared()
    }
    assert undeclared == set(REQUIRED_BY)
    for module, package in REQUIRED_BY.items():
        assert package in declared()
        assert canonical(module) in {name_of(line) for line in requires(package) or ()}


def test_each_declared_package_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.partition("==")[0]) for line in lines if "==" in line}
    assert declared() - pinned == set()
