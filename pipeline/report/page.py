"""`kalai report`: lay out the sections with a template that escapes all of their content."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import click
import jinja2

from pipeline.core.errors import Stage
from pipeline.core.files import write_text
from pipeline.dataset.paths import known_datasets
from pipeline.report.blocks import Section
from pipeline.report.galleries import galleries
from pipeline.report.runs import (
    Commit,
    at_revision,
    commit_of,
    in_working_tree,
    state_of_git,
)
from pipeline.report.sections import plans, sections

TEMPLATES = Path(__file__).parent / "templates"


@click.command(cls=Stage)
@click.argument("dataset", nargs=-1)
@click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    default="report.html",
    show_default=True,
    help="File to write. Git ignores report.html, because the images belong to their creators.",
)
@click.option(
    "--compare",
    metavar="REV",
    help="Show the numbers of this git revision beside the current ones.",
)
def main(dataset: tuple[str, ...], target: Path, compare: str | None) -> None:
    """Write one HTML page about a run: data, leaks, training, results, errors, decisions.

    The page is about all datasets, or the named ones. It contains its charts and thumbnails, loads
    nothing from the web and can be sent as one file. With --compare, each number stands beside the
    number of another revision; images are those of the working tree.

    \b
    Examples:
      kalai report
      kalai report tamil --compare HEAD~1 --to tamil.html
    """
    commit = None if compare is None else commit_of(compare)
    about = []
    for name in dataset or known_datasets():
        run = in_working_tree(name)
        before = None
        if compare is not None and commit is not None:
            before = at_revision(name, compare, commit)
        about.append((name, sections(run, before, galleries(name, plans()))))
    write_text(target, html(about, compare, commit))
    names = ", ".join(name for name, _ in about)
    click.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB, about {names or 'no dataset'}")


def html(
    about: Sequence[tuple[str, Sequence[Section]]], compare: str | None, commit: Commit | None
) -> str:
    """Return the page."""
    base = resources.files("pipeline.pages").joinpath("static/base.css").read_text("utf-8")
    style = base + (TEMPLATES / "report.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    head, has_changed = state_of_git()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return environment.get_template("report.html").render(
        about=about,
        compare=compare,
        commit=commit,
        head=head,
        has_changed=has_changed,
        style=style,
        style_hash=digest,
    )
