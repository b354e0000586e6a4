"""The docs say what is: every command and key, and commands that parse."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.cli import TARGETS, main
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shell_lines(page: Path) -> list[str]:
    """Return the commands in a page's `sh` blocks; output stands in `text` blocks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("   #")[0].strip() for line in lines if line.strip()]


COMMANDS = [(page.name, line) for page in PAGES for line in shell_lines(page)]


def test_the_reference_is_what_the_code_says() -> None:
    # in a process of its own: a command remembers the first context that asked for its help
    tell = "from docs.reference import reference; print(reference(), end='')"
    said = subprocess.run(
        [sys.executable, "-c", tell], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == said, "run `make docs`"


@pytest.mark.parametrize(("page", "line"), [pair for pair in COMMANDS if "kalai " in pair[1]])
def test_a_documented_command_parses(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] != "kalai":  # a pipe into it
        words = words[words.index("kalai") :]
    name, *arguments = words[1:]
    if name.startswith("-"):
        return
    assert name in TARGETS, f"{page}: {line}"
    command = main.get_command(click.Context(main), name)
    assert command is not None
    command = copy.copy(command)
    command.params = [copy.copy(parameter) for parameter in command.params]
    for parameter in command.params:  # a path of the example need not exist here
        if isinstance(parameter.type, click.Path):
            parameter.type = click.STRING
    if "--help" not in arguments:
        command.make_context(name, arguments)


def test_make_targets_in_the_docs_exist() -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    )
    named = {line.split()[1] for _, line in COMMANDS if line.startswith("make ")}
    assert {"demo", "test"} <= named <= targets


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_stage_and_key_is_in_the_docs() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in TARGETS:
        assert f"kalai {name}" in text, name
