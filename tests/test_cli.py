"""`kalai`: its help is fast and complete, and every command treats an unknown dataset alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.cli import COMMANDS, TARGETS, help_line, main


@pytest.mark.parametrize("name", TARGETS)
def test_a_command_is_listed_with_the_first_line_of_its_own_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    first = (command.help or "").replace("\b", "").strip().splitlines()[0]
    assert help_line(TARGETS[name]) == first
    assert first.endswith(".") and len(first) < 90
    assert "Example" in (command.help or "")
    shown = CliRunner().invoke(main, [name, "--help"], prog_name="kalai")
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Usage: kalai {name} [OPTIONS]")


def test_help_lists_every_command_under_its_heading() -> None:
    lines = CliRunner().invoke(main, ["--help"], terminal_width=120).output.splitlines()
    for title, commands in COMMANDS.items():
        start = lines.index(f"{title}:") + 1
        listed = [line.split(maxsplit=1) for line in lines[start : start + len(commands)]]
        assert listed == [[name, help_line(module)] for name, module in commands.items()]


def test_help_imports_no_heavy_package() -> None:
    heavy = ["torch", "fastai", "pyarrow", "pydantic", "icrawler", "matplotlib", "numpy", "yaml"]
    code = (
        "import sys\nfrom pipeline.cli import main\nmain(['--help'], standalone_mode=False)\n"
        f"print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "LOADED []" in shown and "Measure a trained model" in shown


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["drwa"])
    assert result.exit_code == 2
    assert "No such command 'drwa'" in result.output


# The arguments of a command; ["danses"] if it is not listed.
CALLS = {
    "decide": ["danses", "--list"],
    "export": ["danses", "model.onnx"],
    "predict": ["photo.jpg", "--dataset", "danses"],
}
# Commands without the name of an existing dataset: add-dance and add-dataset make an entry, collect
# is about "dances", status about all datasets, crawl about a dance, demo and unipen about none.
WITHOUT = {"add-dance", "add-dataset", "collect", "crawl", "demo", "status", "unipen"}


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in WITHOUT])
def test_an_unknown_dataset_reads_the_same_in_every_command(
    project: Callable[..., Path], name: str
) -> None:
    project()
    result = CliRunner().invoke(main, [name, *CALLS.get(name, ["danses"])])
    assert result.exit_code == 1
    assert result.output == "error: unknown dataset 'danses'; this project has: dances, tamil\n"


def test_an_unknown_dance_is_refused_with_the_known_ones(project: Callable[..., Path]) -> None:
    project()
    result = CliRunner().invoke(main, ["crawl", "kathakk"])
    assert result.exit_code == 1
    assert "unknown dance 'kathakk'" in result.output and "kathak, kathakali" in result.output
