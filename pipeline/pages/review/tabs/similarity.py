"""How similar the images of a cluster are, in words; shared by the tabs that show clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.dataset.columns import DISTANCE, KIND, A, B
from pipeline.dataset.pairs_table import MIRROR, SAME, read_pairs

# pair of rows -> (distance in bits, kind)
Similarities = Mapping[tuple[int, int], tuple[int, str]]


def read_similarities(dataset: str, row_of: Mapping[str, int]) -> Similarities:
    """Map the rows of two samples in the index to their pair in pairs.parquet.

    Pairs with a sample that no longer exists are left out.
    """
    table = read_pairs(dataset)
    columns = (table[name].to_pylist() for name in (A, B, DISTANCE, KIND))
    return {
        (row_of[a], row_of[b]): (distance, kind)
        for a, b, distance, kind in zip(*columns, strict=True)
        if a in row_of and b in row_of
    }


def described(distance: int, kind: str, number: int) -> str:
    """Return how an image differs from image `number` of its cluster."""
    if kind == SAME:
        return f"same bytes as {number}"
    if distance < 0:
        return f"regions match {number}"
    bits = f"{distance} bit{'' if distance == 1 else 's'} from {number}"
    return f"mirrored, {bits}" if kind == MIRROR else bits


def compared(rows: Sequence[int], similarities: Similarities) -> tuple[list[list[str]], int]:
    """Return a note for each image of a cluster, and the largest distance in the notes.

    Each image is compared with the most similar image before it, so the first has no note.
    """
    notes: list[list[str]] = [[]]
    farthest = 0
    for place, row in enumerate(rows[1:], 1):
        before = [
            (*found, number)
            for number, other in enumerate(rows[:place], 1)
            if (found := similarities.get((other, row)) or similarities.get((row, other)))
        ]
        if not before:
            notes.append(["linked through others"])
            continue
        distance, kind, number = min(before)
        farthest = max(farthest, distance)
        notes.append([described(distance, kind, number)])
    return notes, farthest


def groups_of(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the groups of rows that are connected by pairs, directly or through other rows."""
    group: dict[int, list[int]] = {}
    for a, b in pairs:
        one, other = group.setdefault(a, [a]), group.setdefault(b, [b])
        if one is not other:
            one += other
            group.update(dict.fromkeys(other, one))
    return [list(rows) for rows in {id(rows): rows for rows in group.values()}.values()]
