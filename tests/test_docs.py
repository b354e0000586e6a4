"""The docs are true: they name every command and key, their commands parse, their links work."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pipeline.cli import TARGETS, main
from pipeline.core.params import Params
from pipeline.demo.found import KEPT, OUTCOMES, SOUND_IMAGES, SOUND_PEN_FILES
from tests.conftest import ROOT

README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def shell_lines(page: Path) -> list[str]:
    """Return the commands in the `sh` blocks of a page; `text` blocks hold output."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("   #")[0].strip() for line in lines if line.strip()]


COMMANDS = [(page.name, line) for page in PAGES for line in shell_lines(page)]


def test_the_reference_is_up_to_date() -> None:
    # in another process, because a command remembers the context that first asked for its help
    code = "from docs.reference import reference; print(reference(), end='')"
    written = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout
    assert REFERENCE.read_text(encoding="utf-8") == written, "run `make docs`"


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
    for parameter in command.params:  # the paths of an example need not exist here
        if isinstance(parameter.type, click.Path):
            parameter.type = click.STRING
    if "--help" not in arguments:
        command.make_context(name, arguments)


def test_documented_make_targets_exist() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    )
    named = {line.split()[1] for _, line in COMMANDS if line.startswith("make ")}
    assert {"demo", "test"} <= named <= targets


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in map(slug, headings), target


def test_every_command_is_in_the_readme_or_the_reference() -> None:
    text = README.read_text(encoding="utf-8") + REFERENCE.read_text(encoding="utf-8")
    assert [name for name in TARGETS if not re.search(rf"kalai {name}\b", text)] == []


def schema_keys(schema: dict[str, Any], at: dict[str, Any], key: str = "") -> Iterator[str]:
    """Give the dotted keys with a value in a JSON schema; `*` stands for any name."""
    for part in [at, *at.get("anyOf", ())]:
        if "$ref" in part:
            yield from schema_keys(schema, schema["$defs"][part["$ref"].rpartition("/")[2]], key)
            return
    if at.get("type") != "object":
        yield key
        return
    for name, value in at.get("properties", {}).items():
        yield from schema_keys(schema, value, f"{key}.{name}" if key else name)
    for value in (*at.get("patternProperties", {}).values(), at.get("additionalProperties")):
        if value:  # not False, which closes a model
            yield from schema_keys(schema, value, f"{key}.*")


def documented_keys() -> list[str]:
    """Return the keys in the table of the reference."""
    return re.findall(r"^\| `([a-z0-9_.*]+)` \|", REFERENCE.read_text(encoding="utf-8"), flags=re.M)


def test_every_key_of_params_is_in_the_reference() -> None:
    schema = Params.model_json_schema()
    keys = list(schema_keys(schema, schema))
    assert {"crawl.max_images", "fetch.*.archives.*.*.url", "train.*.augment.flip"} <= set(keys)
    assert documented_keys() == keys


def leaves(values: Any, key: str = "") -> Iterator[str]:
    """Give the dotted keys of a YAML document that hold a value; also those of empty mappings."""
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from leaves(value, f"{key}.{name}" if key else name)
    else:
        yield key


def test_every_key_in_the_shipped_file_is_in_the_reference() -> None:
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    patterns = [re.escape(key).replace(r"\*", "[^.]+") for key in documented_keys()]
    missing = [
        key
        for key in leaves(shipped)
        if not any(
            re.fullmatch(pattern, key) or pattern.startswith(re.escape(key) + r"\.")
            for pattern in patterns
        )
    ]
    assert missing == []


def test_the_fault_table_has_the_labels_of_the_demo() -> None:
    text = README.read_text(encoding="utf-8")
    rows = re.findall(r"^(\S.*?) +\| +(\d+) \| +(\d+) \| (.*)$", text, flags=re.M)
    labels = {fault: outcome for fault, _, _, outcome in rows}
    expected = {str(fault): outcome for fault, outcome in OUTCOMES.items()}
    assert labels == expected | {SOUND_IMAGES: KEPT, SOUND_PEN_FILES: KEPT}
    assert [row for row in rows if row[1] != row[2]] == []
