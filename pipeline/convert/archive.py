"""What a layout of handwriting archives is.

Each publisher names the members of its archives in its own way. A layout turns a member into a
letter with its class, writer and trial. `pipeline.convert.layouts` has the table of layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.core.tarballs import Member, members

MAX_MEMBER_BYTES = 4_000_000  # the largest pen file seen has 20,000, the largest image 5,000

_APPLE_DOUBLE = b"\0\5\x16\7"  # first bytes of macOS's attribute files


class Letter(NamedTuple):
    """A member that becomes a sample, and what the archive says about it."""

    sample_id: str  # unique in the dataset: the member's path without extension
    class_id: str
    group: str | None  # the writer
    trial: int | None  # the writer's first, second, ... try at this class
    source: str  # archive and member, for error messages and rejected.csv
    data: bytes


class Skipped(NamedTuple):
    """A member that is not a letter. The report counts these by reason."""

    reason: str


class Layout(Protocol):
    """How one archive names its members and gives their classes.

    LAYOUTS holds functions that make a Layout from the path of an archive.
    """

    def letter(self, member: Member) -> Letter | Skipped:
        """Return a member as a letter, or why it is skipped.

        The caller has checked that the member's name is safe (relative, no `..`) and that its data
        is complete. Raises Rejected with the reason "unlabelled" if the archive gives no class for
        a letter; that becomes a row of rejected.csv. Raises PipelineError if the labels of a whole
        test archive are damaged.
        """
        ...


def walk(path: Path) -> Iterator[Member]:
    """Yield the members of an archive in order, as `pipeline.core.tarballs.members` does."""
    return members(path, max_member_bytes=MAX_MEMBER_BYTES)


def read_member(layout: Layout, member: Member) -> Letter | Skipped:
    """Return a member as a letter, or why it is skipped; macOS's own files are skipped first.

    Raises Rejected if the member is unsafe, too large or has no class.
    """
    file = member.name.rpartition("/")[2]
    if file.startswith("._") or member.data.startswith(_APPLE_DOUBLE):
        return Skipped("apple-double")
    if member.rejected is not None:
        raise member.rejected
    return layout.letter(member)
