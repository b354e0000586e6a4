"""`kalai`: quick help, every command listed as what it is."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import TARGETS, main


@pytest.mark.parametrize("name", TARGETS)
def test_a_command_is_listed_with_its_own_first_line_and_has_an_example(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    help_text = command.help or ""
    assert help_text.replace("\b", "").strip().splitlines()[0] == TARGETS[name][1]
    assert "Example" in help_text
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: main {name}" in shown.output or f"Usage: kalai {name}" in shown.output


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    heavy = ["torch", "fastai", "pyarrow", "pydantic", "icrawler", "matplotlib", "numpy", "yaml"]
    code = (
        "import sys\nfrom pipeline.cli import main\nmain(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "LOADED []" in shown


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["drwa"])
    assert result.exit_code == 2
    assert "No such command" in result.output
