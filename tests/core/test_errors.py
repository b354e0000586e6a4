"""Errors are one line and a non-zero exit code, without a traceback."""

from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from pipeline.core.errors import PipelineError, Rejected, Stage, not_installed, unknown_dataset


def failing(error: Exception) -> click.Command:
    @click.command(cls=Stage)
    def main() -> None:
        raise error

    return main


def test_a_pipeline_error_is_one_line_with_its_exit_code() -> None:
    result = CliRunner().invoke(failing(PipelineError("a.csv:\n  line 3", exit_code=3)))
    assert result.exit_code == 3
    assert result.stderr == "error: a.csv: line 3\n"


def test_an_os_error_is_one_line(tmp_path: Path) -> None:
    @click.command(cls=Stage)
    def main() -> None:
        (tmp_path / "absent" / "x").write_text("y")

    result = CliRunner().invoke(main)
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path}/absent/x: No such file or directory\n"


def test_common_errors_list_what_exists_and_what_to_run() -> None:
    unknown = unknown_dataset("danses", {"tamil", "dances"})
    assert unknown.message == "unknown dataset 'danses'; this project has: dances, tamil"
    assert unknown_dataset("x", []).message == "unknown dataset 'x'; this project has: none"
    missing = not_installed("onnx", "onnx")
    assert missing.message == "onnx is not installed; run: pip install 'kalai[onnx]'"


def test_a_bug_stays_a_traceback() -> None:
    assert isinstance(CliRunner().invoke(failing(KeyError("x"))).exception, KeyError)


def test_a_rejection_has_a_reason_and_a_detail() -> None:
    rejected = Rejected("truncated", "ends at 10 of 20 bytes")
    assert (rejected.reason, rejected.detail) == ("truncated", "ends at 10 of 20 bytes")
    assert str(rejected) == "truncated: ends at 10 of 20 bytes"
    assert str(Rejected("empty")) == "empty"
