"""One exception tree, translated once at the edge: one line on stderr and a non-zero exit."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, Any

import click


class PipelineError(click.ClickException):
    """What went wrong and where, in one line a person can act on.

    click prints it and exits with `exit_code`, for `kalai` and for the stages alike.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # ours differ by failure

    def show(self, file: IO[Any] | None = None) -> None:
        """Print `error: message`."""
        click.echo(f"error: {self.message}", file=file or sys.stderr)


def unknown_dataset(dataset: str, known: Iterable[str]) -> PipelineError:
    """Return the error for a dataset that the project does not have; `known` are those it has."""
    names = ", ".join(sorted(known)) or "none"
    return PipelineError(f"unknown dataset {dataset!r}; this project has: {names}")


class Rejected(Exception):  # noqa: N818  (a verdict on one item, not a failure of the stage)
    """An item that is left out, with its reason; a stage writes it as a row, never drops it.

    `reason` is one of a few fixed words that can be counted ("truncated", "not-an-image"),
    `detail` is free text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)  # both, so that it can cross to another process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """Return "reason: detail"."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Stage(click.Command):
    """A click command for which a full disk or a missing file is one line, too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; translate what the machine refuses."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise PipelineError(f"{where}{error.strerror or error}") from error
