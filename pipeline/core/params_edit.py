"""Insert entries into the text of params.yaml, and leave the rest unchanged."""

from __future__ import annotations

import re
import sys
from textwrap import dedent, indent
from typing import Any

import yaml

from pipeline.core.errors import PipelineError
from pipeline.core.params import PARAMS, validate


def with_entry(text: str, section: str, entry: str) -> str:
    """Return the text with another entry at the end of a section.

    `entry` is YAML: a key and its value. Raises PipelineError if the key exists, if the result is
    not valid, or if the section is not written with one key per line.
    """
    node, values = _section(text, section), yaml.safe_load(text)
    added = yaml.safe_load(entry)
    (key,) = added
    if key in values[section]:
        raise PipelineError(
            f"{PARAMS}: {section}.{key} exists already; edit that entry, or choose another name"
        )
    lines = text.splitlines(keepends=True)
    if not node.value:  # the section is {}; the first entry starts a block
        line, start, end = node.start_mark.line, node.start_mark.column, node.end_mark.column
        if node.end_mark.line != line:
            raise _by_hand(section, key)
        lines[line] = lines[line][:start].rstrip() + lines[line][end:]
        at, column = line, 2
    elif node.flow_style:
        raise _by_hand(section, key)
    else:
        at, column = last_line(node), node.value[0][0].start_mark.column
    if not lines[at].endswith("\n"):
        lines[at] += "\n"
    lines.insert(at + 1, indent(dedent(entry).strip("\n") + "\n", " " * column))
    result = "".join(lines)
    expected = {**values, section: {**values[section], **added}}
    try:
        is_as_meant = yaml.safe_load(result) == expected
    except yaml.YAMLError:
        is_as_meant = False
    if not is_as_meant:
        raise _by_hand(section, key)
    validate(expected)
    return result


def entry_like(text: str, section: str, key: str, new_key: str) -> str:
    """Return the text of a section's entry, with its comments, under another key.

    Raises PipelineError if the section is not written with one key per line.
    """
    node = _section(text, section)
    name, value = next(pair for pair in node.value if pair[0].value == key)
    if node.flow_style:
        raise _by_hand(section, new_key)
    lines = text.splitlines(keepends=True)[name.start_mark.line : last_line(value) + 1]
    lines[0] = lines[0][: name.start_mark.column] + new_key + lines[0][name.end_mark.column :]
    return dedent("".join(lines))


def scalar(text: str) -> str:
    """Return a text as a YAML scalar: bare if it consists of plain words, else in quotes."""
    if re.sub(r"[ ./_-]", "", text).isalnum() and yaml.safe_load(text) == text:
        return text
    quoted = yaml.safe_dump(text, allow_unicode=True, default_style='"', width=sys.maxsize)
    return quoted.strip()


def last_line(node: yaml.Node) -> int:
    """Return the number of the last line of `node`, counted from 0.

    A block's end mark comes after any comments that follow the block, so the end mark of the
    block's last value is used instead.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line if mark.column else mark.line - 1)


def _by_hand(section: str, key: str) -> PipelineError:
    return PipelineError(
        f"{PARAMS}: section {section} does not have one key per line; add {key} to it by hand"
    )


def _section(text: str, section: str) -> Any:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return next(value for name, value in root.value if name.value == section)
