"""Run a command of kalai in the process of the test."""

from __future__ import annotations

import click
from click.testing import CliRunner, Result


def run(command: click.Command, *arguments: str) -> Result:
    """Run a command that must succeed; return its result."""
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result
