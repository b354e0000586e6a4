"""Add a dance: a few lines put into params.yaml; every other byte stays as it was."""

from __future__ import annotations

import json

import click
import yaml

from pipeline.errors import PipelineError, Stage
from pipeline.files import write_text
from pipeline.params import PARAMS, validate


def with_dance(text: str, key: str, label: str, queries: list[str]) -> str:
    """Return the text of params.yaml with one more dance after the last one.

    Raises PipelineError where the key exists, the result would not be valid, or `dances` is not
    written a key a line.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    values = yaml.safe_load(text)
    validate(values)
    assert isinstance(root, yaml.MappingNode)
    dances = next(value for name, value in root.value if name.value == "dances")
    if key in values["dances"]:
        raise PipelineError(f"params.yaml: dances.{key} exists already; edit it there")
    if dances.flow_style:
        raise PipelineError("params.yaml: dances is written in {}; add the dance by hand")
    column = " " * dances.value[0][0].start_mark.column
    # Plain words stay plain, and JSON's quoting is YAML's, too.
    entry = [
        f"{column}{key}:",
        f"{column}  label: {_scalar(label)}",
        f"{column}  queries: [{', '.join(_scalar(query) for query in queries)}]",
    ]
    lines = text.splitlines(keepends=True)
    at = _last_line(dances) + 1
    if not lines[at - 1].endswith("\n"):
        lines[at - 1] += "\n"
    lines[at:at] = [f"{line}\n" for line in entry]
    result = "".join(lines)
    expected = {**values, "dances": {**values["dances"], key: {"label": label, "queries": queries}}}
    if yaml.safe_load(result) != expected:
        raise PipelineError("params.yaml: its form is not understood; add the dance by hand")
    validate(expected)
    return result


def _scalar(text: str) -> str:
    plain = text.replace(" ", "").isalnum() and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _last_line(node: yaml.Node) -> int:
    """Return the number of the last line that holds something of `node`, from 0.

    A block's own end mark lies behind the comments that follow it, so the last leaf is asked.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line if mark.column else mark.line - 1)


@click.command(cls=Stage)
@click.argument("key")
@click.option("--query", "queries", multiple=True, required=True, help="What to search; repeat it.")
@click.option("--label", help="The name shown to people; the key in title case by default.")
def main(key: str, queries: tuple[str, ...], label: str | None) -> None:
    """Add a dance to params.yaml and keep its comments.

    \b
    Example:
      kalai add-dance odissi --query "odissi dance" --query "odissi dancer on stage"
      dvc repro        crawls only the new one, then what follows
    """
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise PipelineError(f"{PARAMS}: no such file; run from the project's root") from error
    name = label or key.replace("_", " ").replace("-", " ").title()
    write_text(PARAMS, with_dance(text, key, name, list(queries)))
    click.echo(f"params.yaml: added dances.{key} ({name}); next: dvc repro")


if __name__ == "__main__":
    main()
