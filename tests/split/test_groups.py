"""Groups join samples that share a cluster or an origin."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.split.groups import groups_of, origins_of
from tests.tables import sample, table


def test_a_pattern_finds_the_original_image_in_a_name() -> None:
    rows = [sample(f"img{n // 4}_jpg.rf.{n}") for n in range(80)] + [sample("other.png")]
    origins = origins_of(table(rows), None, r"/(.+)_jpg\.rf\.")
    assert len(origins[1].values) == 20
    groups = groups_of(np.arange(81), origins, [row["content_id"] for row in rows])
    assert len(groups.keys) == 21
    assert "sample_id=img7" in groups.keys
    whole = origins_of(table(rows), "sample_id", "img[0-9]+")
    assert whole[1].values[0] == "img0"
    with pytest.raises(PipelineError, match="group_pattern 'x_y' matches no value of sample_id"):
        origins_of(table(rows), None, "x_y")
    with pytest.raises(PipelineError, match=r"unknown group_column 'colour'; columns: sample_id"):
        origins_of(table(rows), "colour", None)
