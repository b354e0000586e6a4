"""The report's section about confused classes: the most frequent pairs, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.dataset.split_table import TEST, VALID
from pipeline.report.blocks import Block, Missing, Number, Table, Text
from pipeline.report.galleries import Data, Planned, Shown, predictions_of
from pipeline.report.items import Chart, Definition, Images, Report
from pipeline.report.wording import SETS

PAIRS_LISTED, PAIRS_SHOWN = 12, 8
EXAMPLES = 4  # images of a confused pair; half as many correct examples of each class


def confused(rows: Sequence[Mapping[str, str]]) -> list[Block]:
    """Return the pairs of classes that are confused most often."""
    cells = [
        (f"{row['actual_name']} predicted as {row['predicted_name']}", Number(int(row["count"])))
        for row in rows[:PAIRS_LISTED]
    ]
    if not cells:
        return [Text("Every sample is predicted correctly.")]
    return [Table("Most confused pairs", ("pair", "samples"), cells)]


def of_confused(data: Data) -> Planned | Missing:
    """Choose images of the most confused pairs, and correctly classified ones of both classes."""
    found = predictions_of(data)
    if isinstance(found, Missing):
        return found
    part = TEST if any(row.part == TEST for row in found) else VALID
    found = sorted((row for row in found if row.part == part), key=lambda row: -row.probability)
    total = Counter(row.label for row in found)
    pairs = Counter((row.label, row.predicted) for row in found if row.label != row.predicted)
    groups: list[tuple[str, Sequence[Shown]]] = []
    by_count = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    for (label, predicted), count in by_count[:PAIRS_SHOWN]:
        name, other = data.class_name(label), data.class_name(predicted)
        wrong = [row for row in found if (row.label, row.predicted) == (label, predicted)]
        samples = [
            Shown(row.sample_id, f"predicted {other}, {row.probability:.0%} (labelled {name})")
            for row in wrong[:EXAMPLES]
        ]
        for each in (label, predicted):
            correct = [row for row in found if row.label == row.predicted == each]
            samples += [
                Shown(
                    row.sample_id,
                    f"predicted {data.class_name(each)}, {row.probability:.0%} (correct)",
                )
                for row in correct[: EXAMPLES // 2]
            ]
        groups.append((f"{name} predicted as {other}: {count} of {total[label]}", samples))
    caption = f"Confused images of the {SETS[part]}, and correct examples of both classes"
    return Planned(caption, groups)


CONFUSION = Definition(
    "confused",
    "Confused classes",
    [
        Chart("evaluate/most_confused.png", "Most confused pairs of classes"),
        Report("evaluate/most_confused.csv", confused, is_compared=False),
        Images(of_confused),
        Chart("evaluate/confusion.png", "Confusion matrix of labelled and predicted classes"),
    ],
)
