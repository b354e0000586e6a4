"""Two runs side by side: what became of every number, better or worse in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.report.blocks import Block, Cell, Change, Number, Table, shown

ABSENT = "–"


def compared(before: Sequence[Block], now: Sequence[Block], name: str) -> list[Block]:
    """Return the blocks of now, their tables of numbers beside those of before.

    Tables are matched by caption, numbers by row and column; `name` is what before is called.
    """
    old = {block.caption: block for block in before if isinstance(block, Table)}
    return [
        side_by_side(old.get(block.caption), block, name)
        if isinstance(block, Table) and any(numbers(block))
        else block
        for block in now
    ]


def side_by_side(before: Table | None, now: Table, name: str) -> Table:
    """Return a table of (number, before, now, change), a row a number that either has.

    Where nothing has changed, the table of now, closed.
    """
    old = dict(numbers(before)) if before else {}
    new = dict(numbers(now))
    if old == new:
        return replace(now, caption=f"{now.caption}: as in {name}", is_long=True)
    rows: list[Sequence[Cell]] = [
        (key, old.get(key, ABSENT), new.get(key, ABSENT), change(old.get(key), new.get(key)))
        for key in dict.fromkeys([*new, *old])
    ]
    return replace(now, header=(now.header[0], name, "now", "change"), rows=rows)


def numbers(table: Table) -> Iterator[tuple[str, Number]]:
    """Yield every number of a table with the names of its row and column."""
    for first, *cells in table.rows:
        for column, cell in zip(table.header[1:], cells, strict=True):
            if isinstance(cell, Number):
                yield (str(first) if len(table.header) == 2 else f"{first}, {column}"), cell


def change(before: Number | None, now: Number | None) -> Change:
    """Say what became of a number.

    Within the interval of now it may be chance; it is said, and the verdict stays.
    """
    if before is None or before.value is None:
        return Change("new")
    if now is None or now.value is None:
        return Change("gone")
    apart = now.value - before.value
    size = shown(abs(apart), now.shape)
    if apart == 0:
        return Change("the same")
    if now.shape == "share":
        size = f"{100 * abs(apart):.1f} points" if abs(apart) >= 0.0005 else "under 0.1 points"
    way = ("more", "fewer") if now.shape == "count" else ("higher", "lower")
    words = f"{size} {way[0] if apart > 0 else way[1]}"
    if now.low is not None and now.high is not None and now.low <= before.value <= now.high:
        words += ", within the 95% interval"
    if not now.better:
        return Change(words)
    is_better = (apart > 0) == (now.better == "higher")
    return Change(f"better: {words}", "better") if is_better else Change(f"worse: {words}", "worse")
