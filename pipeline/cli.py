"""`kalai`: one click group. A command is imported when it is called, so that help is fast."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import click

from pipeline import __version__

# The table of commands: name -> the module whose `main` is the command.
# `kalai --help` reads the first line of main's docstring from the source and imports nothing.
COMMANDS: dict[str, dict[str, str]] = {
    "Start here": {
        "demo": "demo.run",
        "review": "pages.review.command",
        "status": "commands.status",
        "add-dance": "commands.add_dance",
        "add-dataset": "commands.add_dataset",
        "predict": "commands.predict",
        "serve": "pages.serve.command",
    },
    "Inspect": {
        "decide": "commands.decide",
        "audit": "commands.audit",
        "lookalikes": "commands.duplicate_sheets",
        "suspects": "commands.suspects",
        "unipen": "commands.show_unipen",
    },
    "Publish": {
        "card": "commands.card",
        "credits": "commands.credits",
        "report": "report.page",
        "export": "commands.export",
    },
    "Stages (dvc repro runs them)": {
        "crawl": "crawl.stage",
        "collect": "collect.stage",
        "folder": "folder.stage",
        "fetch": "fetch.stage",
        "convert": "convert.stage",
        "dedupe": "dedupe.stage",
        "split": "split.stage",
        "train": "train.stage",
        "evaluate": "evaluate.stage",
    },
}
TARGETS = {name: module for commands in COMMANDS.values() for name, module in commands.items()}


def help_line(module: str) -> str:
    """Return the first line of the docstring of a module's `main`, without importing the module."""
    source = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            return inspect.cleandoc(ast.get_docstring(node) or "").partition("\n")[0]
    raise LookupError(f"{source} has no function main")


class LazyGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(TARGETS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if no command has this name."""
        if cmd_name not in TARGETS:
            return None
        command: click.Command = importlib.import_module(f"pipeline.{TARGETS[cmd_name]}").main
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Give a command its name from the table; as a click command, it is called `main`."""
        name, command, rest = super().resolve_command(ctx, args)
        return (args[0] if command else name), command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands and the first lines of their help, by section."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, help_line(module)) for name, module in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kalai")
def main() -> None:
    """Make a reliable image dataset and train on it.

    \b
    Examples:
      kalai demo                                  run everything once, offline
      kalai add-dance odissi --query "odissi dance"
      dvc repro                                   run the stages whose inputs have changed
      dvc metrics diff                            compare the metrics with the last commit
    """


if __name__ == "__main__":
    main()
