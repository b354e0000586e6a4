"""Top losses: images of the validation and test sets, by the loss of their prediction."""

from __future__ import annotations

from pipeline.dataset.columns import LABEL, LOSS, PART, PREDICTED, PROBABILITY, SAMPLE_ID
from pipeline.dataset.labels import ClassNames
from pipeline.dataset.paths import predictions_path
from pipeline.dataset.predictions import read_predictions
from pipeline.pages.review.index import PART_NAMES
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab, display_name

COLUMNS = (SAMPLE_ID, LABEL, PREDICTED, PROBABILITY, LOSS, PART)


def sections(data: ReviewData) -> list[Section]:
    """Return one section, the highest loss first."""
    table = read_predictions(data.name, COLUMNS)
    table = table.sort_by([(LOSS, "descending"), (SAMPLE_ID, "ascending")])
    row_of, names = data.row_of(), data.class_names()
    found = Section("", [])
    for sample_id, *values in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True):
        if sample_id in row_of:
            label, predicted, probability, loss, part = values
            found.rows.append(row_of[sample_id])
            found.notes.append(
                [
                    prediction(label, predicted, probability, names),
                    f"loss {loss:.2f} · {PART_NAMES[part].removesuffix(' set')}",
                ]
            )
    return [found]


def prediction(label: str, predicted: str, probability: float, names: ClassNames) -> str:
    """Return what the model predicts, how probable it is, and whether the label agrees."""
    judged = "correct" if predicted == label else f"labelled {display_name(names[label])}"
    return f"predicted {display_name(names[predicted])}, {probability:.0%} ({judged})"


TAB = Tab(
    key="losses",
    title="Top losses",
    sections=sections,
    needs=(predictions_path,),
    command="dvc repro evaluate@{dataset}",
    empty="No predictions.",
    hint="Validation and test images with the highest loss first. The model was not trained on "
    "them. Delete what is wrong, not what is difficult.",
    note_lines=(3, 1),
)
