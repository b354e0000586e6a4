"""The table of archive layouts: `convert.<dataset>.layout` in params.yaml names one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.convert.archive import Layout
from pipeline.convert.hp_archive import HpLayout
from pipeline.core.errors import PipelineError

LAYOUTS: Mapping[str, Callable[[Path], Layout]] = {
    "hp": HpLayout,  # HP Labs India: Tamil, Devanagari, Telugu
}


def layout_named(name: str, dataset: str) -> Callable[[Path], Layout]:
    """Return the function that makes a layout from the path of an archive.

    Raises PipelineError if there is no layout of this name; the error lists the layouts.
    """
    if name not in LAYOUTS:
        key = f"params.yaml: convert.{dataset}.layout"
        raise PipelineError(f"{key}: unknown layout {name!r}; allowed: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
