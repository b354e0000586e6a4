"""Fixtures of the demo's tests: the drawn world, which takes seconds to draw."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipeline.demo.drawn_dances import DrawnDances
from pipeline.demo.run import SEED
from pipeline.demo.scenes import Scene, make_scene
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Give the demo's own scene, in which everything is drawn."""
    return make_scene(SEED)


@pytest.fixture(scope="session")
def dances(scene: Scene) -> DrawnDances:
    """Give the drawn dances of that scene."""
    assert isinstance(scene.world.dances, DrawnDances)
    return scene.world.dances


@pytest.fixture
def shipped() -> dict[str, Any]:
    """Give the project's own params."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    return values
