"""`kalai add-dance`: insert one entry into params.yaml and leave the rest unchanged."""

from __future__ import annotations

import click

from pipeline.core.errors import Stage
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, read_params
from pipeline.core.params_edit import scalar, with_entry


def with_dance(text: str, key: str, label: str, queries: list[str]) -> str:
    """Return the text of params.yaml with one more dance after the last one.

    Raises PipelineError if the key exists, if the result is not valid, or if `dances` is not
    written with one key per line.
    """
    quoted = ", ".join(scalar(query) for query in queries)
    return with_entry(text, "dances", f"{key}:\n  label: {scalar(label)}\n  queries: [{quoted}]\n")


@click.command(cls=Stage)
@click.argument("key")
@click.option("--query", "queries", multiple=True, required=True, help="Search query. Repeatable.")
@click.option("--label", help="Name to show. [default: KEY in title case]")
def main(key: str, queries: tuple[str, ...], label: str | None) -> None:
    """Add a dance to params.yaml and keep its comments.

    \b
    Example:
      kalai add-dance odissi --query "odissi dance" --query "odissi dancer on stage"
      dvc repro        crawls the new dance only, then runs the stages after it
    """
    name = label or key.replace("_", " ").replace("-", " ").title()
    write_text(PARAMS, with_dance(read_params()[0], key, name, list(queries)))
    click.echo(f"{PARAMS}: added dances.{key} ({name}); next, run `dvc repro`")
