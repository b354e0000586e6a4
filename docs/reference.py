"""Write docs/reference.md from the commands and the params models: `make docs`.

tests/test_docs.py fails where the file is not what this writes.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.cli import COMMANDS, main
from pipeline.core.files import write_text
from pipeline.core.params import Params

ROOT = Path(__file__).parent.parent
COMMENT = re.compile(r"\s#\s+(.*)$")


def commands() -> Iterator[str]:
    """Yield the help of every command, by section."""
    parent = main.make_context("kalai", ["--help"], resilient_parsing=True)
    for title, names in COMMANDS.items():
        yield f"### {title}\n"
        for name in names:
            command = main.get_command(parent, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=parent, max_content_width=96)
            text = command.get_help(context).replace("\b\n", "")
            yield f"#### kalai {name}\n\n```text\n{text}\n```\n"


def reasons(path: Path) -> dict[str, str]:
    """Return the comment beside each key of a YAML file, by dotted key."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: dict[str, str] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for name, value in node.value:
            key = f"{prefix}{name.value}"
            comment = COMMENT.search(lines[name.start_mark.line])
            if comment:
                found[key] = comment[1]
            walk(value, f"{key}.")

    walk(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return found


def allowed(kind: Any, field: FieldInfo | None = None) -> str:
    """Describe a type and its bounds in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        text = ", ".join(f"`{value}`" for value in arguments)
    elif origin in (typing.Union, types.UnionType):
        text = " or ".join("`null`" if part is type(None) else allowed(part) for part in arguments)
    elif origin is typing.Annotated:
        text = allowed(arguments[0])
    elif origin is list:
        text = f"list of {allowed(arguments[0])}"
    elif origin is dict:
        text = f"mapping to {allowed(arguments[1])}"
    else:
        text = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}.get(
            kind, getattr(kind, "__name__", str(kind))
        )
    bounds = [
        f"{sign} {value:g}" if isinstance(value, int | float) else f"{sign} {value}"
        for part in (field.metadata if field else [])
        for name, sign in {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}.items()
        if (value := getattr(part, name, None)) is not None
    ]
    return text + (f", {' and '.join(bounds)}" if bounds else "")


def fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted key, field) of a model's leaves; `*` stands for a key the user names."""
    for name, field in model.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        while typing.get_origin(kind) is dict:
            kind, key = typing.get_args(kind)[1], f"{key}.*"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{key}.")
        else:
            yield key, field


def params() -> Iterator[str]:
    """Yield the table of every key: what is allowed, its default, and why the shipped value."""
    why = reasons(ROOT / "params.yaml")
    yield "| key | allowed | default | as shipped |\n| --- | --- | --- | --- |"
    for key, field in fields(Params, ""):
        pattern = re.compile(key.replace(".", r"\.").replace("*", "[a-z0-9_-]+"))
        shipped = dict.fromkeys(text for name, text in why.items() if pattern.fullmatch(name))
        default = "required" if field.is_required() else f"`{yaml_value(field.default)}`"
        cells = [f"`{key}`", allowed(field.annotation, field), default, "; ".join(shipped)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def yaml_value(value: object) -> str:
    """Return a value as it would stand in YAML, on one line."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def reference() -> str:
    """Return the whole page."""
    parts = [
        "# Reference\n",
        "Written by `make docs` from the code; edit that, not this.\n",
        "## Commands\n",
        *commands(),
        "## params.yaml\n",
        "An unknown key, a wrong type or a value out of range is refused in one line that names"
        " the key. `*` is a key of yours: a dance or a dataset.\n",
        *params(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    write_text(ROOT / "docs" / "reference.md", reference())
