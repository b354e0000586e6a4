"""Blocks refuse what must not reach the page."""

from __future__ import annotations

import pytest

from pipeline.report.blocks import Link, Number


def test_only_web_addresses_become_links() -> None:
    assert Link("a", "https://x.example").address == "https://x.example"
    for address in ("javascript:alert(1)", "data:text/html,x", "//x.example", " https://x", None):
        assert Link("a", address).address is None


def test_a_number_has_its_format_and_its_interval() -> None:
    assert str(Number(0.5, "share", "higher", 0.25, 0.75)) == "50.0% (95% CI 25.0% to 75.0%)"
    assert [str(Number(value)) for value in (7, None)] == ["7", "none"]
    assert (str(Number(1.25, "loss")), str(Number(3e-4, "plain"))) == ("1.250", "0.0003")
    with pytest.raises(TypeError, match="'many' is not a number"):
        Number("many")  # type: ignore[arg-type]  # what a damaged report may hold
