"""Add a dance: a few lines put into params.yaml; every other byte stays as it was."""

from __future__ import annotations

import click

from pipeline.core.errors import Stage
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, read_params
from pipeline.core.params_edit import scalar, with_entry


def with_dance(text: str, key: str, label: str, queries: list[str]) -> str:
    """Return the text of params.yaml with one more dance after the last one.

    Raises PipelineError where the key exists, the result would not be valid, or `dances` is not
    written a key a line.
    """
    asked = ", ".join(scalar(query) for query in queries)
    return with_entry(text, "dances", f"{key}:\n  label: {scalar(label)}\n  queries: [{asked}]\n")


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
    name = label or key.replace("_", " ").replace("-", " ").title()
    write_text(PARAMS, with_dance(read_params()[0], key, name, list(queries)))
    click.echo(f"params.yaml: added dances.{key} ({name}); next: dvc repro")
