"""Convert a batch: the order stays, and each rejection has a reason."""

from __future__ import annotations

from pipeline.convert.archive import Letter
from pipeline.convert.letters import convert_letters
from pipeline.dataset.columns import SAMPLE_ID
from pipeline.dataset.pen_settings import PenSettings
from tests.archiving import TRAIN, WRONG


def test_a_batch_is_converted_in_its_order() -> None:
    letters = [
        Letter(name, "000", None, None, name, data) for name, data in [*TRAIN[1:7], *WRONG[:4]]
    ]
    converted = convert_letters(PenSettings(), letters)
    assert converted.columns[SAMPLE_ID] == [name for name, _ in TRAIN[1:7]]
    assert [row.reason for row in converted.rejected] == ["truncated", "corrupt", "no-ink", "empty"]
