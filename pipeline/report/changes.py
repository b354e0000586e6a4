"""Compare the tables of two runs: each number before and now, with the change in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.report.blocks import Block, Cell, Change, Number, Table, formatted

ABSENT = "–"
SLIGHT = {"share": 0.0005, "loss": 0.0005}  # smaller changes vanish in rounding


def compared(before: Sequence[Block], now: Sequence[Block], name: str) -> list[Block]:
    """Return the blocks in `now`.

    Each table of numbers also shows the values that it had in `before`.

    Tables are matched by caption, cells by row and column. `name` is the revision of `before`.
    """
    old = {block.caption: block for block in before if isinstance(block, Table)}
    return [
        side_by_side(old.get(block.caption), block, name)
        if isinstance(block, Table) and has_numbers(block)
        else block
        for block in now
    ]


def has_numbers(table: Table) -> bool:
    """Return whether a table has a cell that can be compared."""
    return any(isinstance(cell, Number) for row in table.rows for cell in row)


def side_by_side(before: Table | None, now: Table, name: str) -> Table:
    """Return a table with one row per cell: its name, its values before and now, and the change.

    `name` heads the column of earlier values. If no cell has changed, return `now`, folded.
    """
    old, new = dict(cells(before)) if before else {}, dict(cells(now))
    if old == new:
        return replace(now, caption=f"{now.caption}: no change since {name}", is_folded=True)
    rows: list[Sequence[Cell]] = [
        (key, old.get(key, ABSENT), new.get(key, ABSENT), change(old.get(key), new.get(key)))
        for key in dict.fromkeys([*new, *old])
    ]
    return replace(now, header=(now.header[0], name, "now", "change"), rows=rows)


def cells(table: Table) -> Iterator[tuple[str, Cell]]:
    """Yield each cell of a table with the names of its row and column."""
    for first, *others in table.rows:
        for column, cell in zip(table.header[1:], others, strict=True):
            yield (str(first) if len(table.header) == 2 else f"{first}, {column}"), cell


def change(before: Cell | None, now: Cell | None) -> Change:
    """Return how a cell has changed."""
    if is_none(before) or is_none(now):
        return Change("removed" if is_none(now) and not is_none(before) else "new")
    if before == now:
        return Change("no change")
    if isinstance(before, Number) and isinstance(now, Number):
        return change_of_number(before, now)
    return Change("changed")


def is_none(cell: Cell | None) -> bool:
    """Return whether a cell does not exist or holds no number."""
    return cell is None or (isinstance(cell, Number) and cell.value is None)


def change_of_number(before: Number, now: Number) -> Change:
    """Return the difference between two numbers, with a verdict if one direction is better.

    There is no verdict if `before` lies in the confidence interval of `now`: the difference may be
    due to chance.
    """
    was, is_now = before.value or 0.0, now.value or 0.0
    apart = abs(is_now - was)
    if apart < SLIGHT.get(now.format, 0):
        return Change("about the same")
    more, less = ("more", "fewer") if now.format == "count" else ("higher", "lower")
    size = f"{100 * apart:.1f} points" if now.format == "share" else formatted(apart, now.format)
    words = f"{size} {more if is_now > was else less}"
    if now.low is not None and now.high is not None and now.low <= was <= now.high:
        return Change(f"{words}, within the 95% CI")
    if not now.better:
        return Change(words)
    is_better = (is_now > was) == (now.better == "higher")
    return Change(f"better: {words}", "better") if is_better else Change(f"worse: {words}", "worse")
