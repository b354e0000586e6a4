"""`kalai`: one click group for people. Commands load when they are called, so help is quick."""

from __future__ import annotations

import importlib

import click

from pipeline import __version__

# name -> (module:command, first line of its help). Listing them here keeps `kalai --help` free of
# imports; a test compares the lines with the commands' own.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": ("demo.run:main", "Run the whole pipeline offline on a small drawn world."),
        "review": (
            "pages.review.command:main",
            "Look at pictures in the browser and decide: keep, delete, relabel.",
        ),
        "status": ("commands.status:main", "Show what each dataset holds, stage by stage."),
        "add-dance": (
            "commands.add_dance:main",
            "Add a dance to params.yaml and keep its comments.",
        ),
        "add-dataset": (
            "commands.add_dataset:main",
            "Add pictures of your own to params.yaml as a dataset.",
        ),
        "predict": (
            "commands.predict:main",
            "Name what is in pictures: the top 3 with probabilities.",
        ),
        "serve": (
            "pages.serve.command:main",
            "Try trained models in the browser: draw a letter, drop a picture.",
        ),
    },
    "Look closely": {
        "decide": (
            "commands.decide:main",
            "Decide about pictures in bulk, list the decisions, take them back.",
        ),
        "audit": ("commands.audit:main", "Measure what leaks between the parts of a split."),
        "lookalikes": (
            "commands.duplicate_sheets:main",
            "Draw what dedupe removed and asks about, side by side.",
        ),
        "suspects": (
            "commands.suspects:main",
            "Find labels that models which never saw them confidently dispute.",
        ),
        "unipen": ("commands.unipen:main", "Show what UNIPEN pen files hold, and draw them."),
    },
    "Pass it on": {
        "card": (
            "commands.card:main",
            "Write a dataset's card: counts, sources, licences, duplicates, splits and leaks.",
        ),
        "credits": (
            "commands.credits:main",
            "Write credits.csv and credits.md for exactly the pictures in use.",
        ),
        "report": (
            "report.page:main",
            "Write one HTML page about a run: data, leaks, training, results, errors, decisions.",
        ),
        "export": ("commands.export:main", "Write a trained model as ONNX, checked against torch."),
    },
    "Stages (dvc repro runs them)": {
        "crawl": ("crawl.stage:main", "Search for a dance's pictures and download them."),
        "collect": ("collect.stage:main", "Turn crawled files into samples."),
        "folder": ("folder.stage:main", "Turn pictures of your own into samples."),
        "fetch": ("fetch.stage:main", "Download a dataset's archives and verify them."),
        "convert": ("convert.stage:main", "Turn archived handwriting into samples."),
        "dedupe": ("dedupe.stage:main", "Mark near-duplicate pictures and label conflicts."),
        "split": ("split.stage:main", "Split a dataset into parts between which nothing leaks."),
        "train": ("train.stage:main", "Train a ResNet34 in two stages, frozen and then unfrozen."),
        "evaluate": ("evaluate.stage:main", "Measure a trained model on validation and test."),
    },
}
TARGETS = {name: entry for commands in COMMANDS.values() for name, entry in commands.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported when one is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(TARGETS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None where there is none of this name."""
        if cmd_name not in TARGETS:
            return None
        module, _, attribute = TARGETS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"pipeline.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Give the command its name here: every stage calls its own one `main`."""
        name, command, rest = super().resolve_command(ctx, args)
        return (args[0] if command else name), command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, without importing one."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kalai")
def main() -> None:
    """Make an image data set that can be trusted, and train on it.

    \b
    Examples:
      kalai demo                                  see all of it work, offline
      kalai add-dance odissi --query "odissi dance"
      dvc repro                                   run what has changed
      dvc metrics diff                            see what that changed
    """


if __name__ == "__main__":
    main()
