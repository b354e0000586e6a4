"""Errors are one line and a non-zero exit, never a traceback."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from pipeline.core.errors import PipelineError, Rejected, Stage


def failing(error: Exception) -> click.Command:
    @click.command(cls=Stage)
    def main() -> None:
        raise error

    return main


def test_a_pipeline_error_is_one_line_with_its_exit_code() -> None:
    result = CliRunner().invoke(failing(PipelineError("a.csv:\n  line 3", exit_code=3)))
    assert result.exit_code == 3
    assert result.stderr == "error: a.csv: line 3\n"


def test_what_the_machine_refuses_is_one_line(tmp_path: Path) -> None:
    @click.command(cls=Stage)
    def main() -> None:
        (tmp_path / "absent" / "x").write_text("y")

    result = CliRunner().invoke(main)
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path}/absent/x: No such file or directory\n"


def test_a_bug_stays_a_traceback() -> None:
    assert isinstance(CliRunner().invoke(failing(KeyError("x"))).exception, KeyError)


def test_a_rejection_carries_its_reason() -> None:
    rejected = Rejected("truncated", "ends at 10 of 20 bytes")
    assert (rejected.reason, rejected.detail) == ("truncated", "ends at 10 of 20 bytes")
    assert str(rejected) == "truncated: ends at 10 of 20 bytes"
