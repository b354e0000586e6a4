"""The errors of the pipeline: each becomes one line on stderr and a non-zero exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, Any

import click


class PipelineError(click.ClickException):
    """An error that ends a command. Its message is one line that tells the user what to do.

    click prints the message and exits with `exit_code`, in `kalai` and in the stages alike.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click has one code for all errors

    def show(self, file: IO[Any] | None = None) -> None:
        """Print `error: message`, by default on stderr."""
        click.echo(f"error: {self.message}", file=file or sys.stderr)


def unknown_dataset(dataset: str, known: Iterable[str]) -> PipelineError:
    """Return the error for a dataset that the project lacks; `known` are the datasets it has."""
    names = ", ".join(sorted(known)) or "none"
    return PipelineError(f"unknown dataset {dataset!r}; this project has: {names}")


def not_installed(package: str, extra: str) -> PipelineError:
    """Return the error for a missing package that one of kalai's extras installs."""
    return PipelineError(f"{package} is not installed; run: pip install 'kalai[{extra}]'")


class Rejected(Exception):  # noqa: N818  (one item is left out; the stage goes on)
    """The reason to leave out one item. The stage writes it as a row and goes on.

    `reason` is one of a few fixed words, counted in reports, such as "truncated" or "not-an-image".
    `detail` is free text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)  # both, so that pickle can restore it in another process
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """Return "reason: detail", or the reason if there is no detail."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class Stage(click.Command):
    """A click command that reports an OSError, such as a full disk, as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises PipelineError in place of an OSError."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise PipelineError(f"{where}{error.strerror or error}") from error
