"""What a tab of the review page is, and the sections of images that it shows.

A tab is a module of this package that defines `TAB`. `registry.py` lists all tabs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from pipeline.dataset.labels import ClassName, ClassNames
from pipeline.pages.review.rejected_files import RejectedFiles

# "grid": one grid of images. "sections": a grid under each section's title.
# "clusters": sections side by side, never torn apart by a filter, with numbered images.
Layout = Literal["grid", "sections", "clusters"]


@dataclass
class Section:
    """Images that a tab shows together, named by their rows in the index."""

    title: str
    rows: list[int]
    # lines of text below each image; without notes the page shows the value that it sorts by
    notes: list[list[str]] = field(default_factory=list)
    kind: str = ""  # what the tab's filter "Kind" selects
    keeper: int | None = None  # the row that dedupe keeps
    # the label that key S sets for each image; without it the page suggests the prediction
    suggested: list[str] | None = None
    files: list[dict[str, Any]] = field(default_factory=list)  # rejected files; not samples


class ReviewData(Protocol):
    """What a tab may read, besides the tables that `pipeline.dataset` reads by dataset name."""

    name: str

    def samples(self) -> pa.Table:
        """Return the samples without their images."""
        ...

    def row_of(self) -> dict[str, int]:
        """Return the row of each sample id in the index."""
        ...

    def parts(self) -> dict[str, tuple[str, str]]:
        """Return (part, reason) by sample id."""
        ...

    def class_names(self) -> ClassNames:
        """Return the names of the classes."""
        ...

    def rejected_files(self) -> RejectedFiles:
        """Return the files behind rejected.csv."""
        ...


@dataclass(frozen=True)
class Tab:
    """One tab: what it is called, which files it needs and how its sections are made."""

    key: str  # in the page's address and in the API
    title: str
    sections: Callable[[ReviewData], list[Section]]
    needs: tuple[Callable[[str], Path], ...]  # paths of the dataset's files that must exist
    command: str  # writes those files; {dataset} stands for the dataset's name
    empty: str  # shown if there are no sections
    hint: str = ""  # shown above the images
    missing: str = "Not computed yet."  # shown if a file that the tab needs does not exist
    layout: Layout = "grid"
    note_lines: tuple[int, ...] = (1,)  # how many lines of a card each note may fill
    suggestion: str = "Relabel as predicted"  # what key S does
    is_for_cluster: bool = False  # key S relabels the image's whole cluster


def display_name(known: ClassName) -> str:
    """Return a class's name with its romanised form, if there is one."""
    return f"{known.name} {known.romanised}" if known.romanised else known.name
