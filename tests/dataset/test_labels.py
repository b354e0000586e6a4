"""The names of labels in a table of samples."""

from __future__ import annotations

from pipeline.dataset.labels import ClassName, class_names
from tests.tables import sample, table


def test_names_come_from_samples_and_an_unknown_label_is_its_own_name() -> None:
    rows = [sample(1, "a"), sample(2, "b", label_name="க", romanised="ka")]
    names = class_names(table(rows))
    assert names.of(["b", "a", "oval"]) == (
        ClassName("b", "க", "ka"),
        ClassName("a", "A"),
        ClassName("oval", "oval"),
    )


def test_the_name_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [sample(1, "a", label_name="Ape"), sample(2, "a", label_name="Ant")]
    assert class_names(table(rows)) == class_names(table(rows[::-1]))
    assert class_names(table(rows))["a"].name == "Ape"
