"""Write docs/reference.md from the commands and the models of params.yaml: `make docs`.

tests/test_docs.py fails if the file differs from what this module writes.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    """Give the help of each command, by section."""
    parent = main.make_context("kalai", ["--help"], resilient_parsing=True)
    for title, names in COMMANDS.items():
        yield f"### {title}\n"
        for name in names:
            command = main.get_command(parent, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=parent, max_content_width=96)
            text = command.get_help(context).replace("\b\n", "")
            yield f"#### kalai {name}\n\n```text\n{text}\n```\n"


def yaml_comments(path: Path) -> dict[str, str]:
    """Return the comment on the line of each key of a YAML file, by dotted key."""
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


def field_comments(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment of each field in the source of a model: beside it, or above it."""
    source = inspect.getsource(model)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno - 1, (node.end_lineno or node.lineno) + 1)
            texts = [comments.pop(line) for line in lines if line in comments]
            if texts:
                found[node.target.id] = "; ".join(texts)
    return found


def allowed(kind: Any, field: FieldInfo | None = None) -> str:
    """Return a type and its bounds in words."""
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


class Key(NamedTuple):
    """A key of params.yaml that has no keys below it."""

    key: str  # dotted; `*` stands for a name that the user chooses
    field: FieldInfo
    comment: str


def keys(model: type[BaseModel] = Params, prefix: str = "") -> Iterator[Key]:
    """Give the keys of params.yaml that have a value, in the order of the models."""
    comments = field_comments(model)
    for name, field in model.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        while typing.get_origin(kind) is dict:
            kind, key = typing.get_args(kind)[1], f"{key}.*"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{key}.")
        else:
            yield Key(key, field, comments.get(name, ""))


def reasons(key: str, comments: Mapping[str, str]) -> str:
    """Return the comments on a key; if those of several names differ, with the names."""
    pattern = re.escape(key.removesuffix(".*")).replace(r"\*", "([a-z0-9_-]+)", 1)
    pattern = pattern.replace(r"\*", "[a-z0-9_-]+")
    by_text: dict[str, list[str]] = {}
    for name, text in comments.items():
        match = re.fullmatch(pattern, name)
        if match:
            by_text.setdefault(text, []).extend(match.groups())
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in by_text.items())


def params() -> Iterator[str]:
    """Give the table of keys: allowed values, default, meaning, and the reasons in params.yaml."""
    shipped = yaml_comments(ROOT / "params.yaml")
    yield "| key | allowed | default | meaning | shipped value |\n| --- | --- | --- | --- | --- |"
    for key, field, comment in keys():
        default = "required" if field.is_required() else f"`{yaml_value(field.default)}`"
        cells = [
            f"`{key}`",
            allowed(field.annotation, field),
            default,
            comment,
            reasons(key, shipped),
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def yaml_value(value: object) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def reference() -> str:
    """Return the whole page."""
    parts = [
        "# Reference\n",
        "`make docs` writes this page from the code; edit the code instead.\n",
        "## Commands\n",
        *commands(),
        "## params.yaml\n",
        "An unknown key, a wrong type or a value out of range is an error of one line that names"
        " the key. `*` stands for a name that you choose: of a dance or a dataset. The column"
        " *shipped value* has the reasons for the values in the shipped params.yaml.\n",
        *params(),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    write_text(ROOT / "docs" / "reference.md", reference())
