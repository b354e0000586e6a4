"""Show progress on stderr: a bar in a terminal, a line every 10 s in a log."""

from __future__ import annotations

import sys
import time
from typing import Self

from tqdm import tqdm

LINE_EVERY_S = 10.0  # keeps logs short


class Progress:
    """Counts finished items and shows the rate and the time left.

    `with Progress("hash", total=500) as progress: progress.advance()`. `unit` is what one item is
    called. A note, such as the number of failures or the loss, is shown after the count.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "img") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.note = ""
        self.started = self.last_line = time.monotonic()
        self.bar = (
            tqdm(total=total, desc=what, unit=unit, dynamic_ncols=True, leave=True)
            if sys.stderr.isatty()
            else None
        )

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Add `count` finished items; set the note unless it is None.

        Shows both if it is time to.
        """
        self.done += count
        if note is not None:
            self.note = note
        if self.bar is not None:
            if note is not None:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last_line >= LINE_EVERY_S:
            self._line()

    def write(self, line: str) -> None:
        """Print a separate line; in a terminal it appears above the bar."""
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def _line(self) -> None:
        self.last_line = time.monotonic()
        elapsed = max(self.last_line - self.started, 1e-9)
        rate = self.done / elapsed
        shown = f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"
        of = f"/{self.total}" if self.total is not None else ""
        left = ""
        if self.total and rate and self.done < self.total:
            left = f", {(self.total - self.done) / rate:.0f} s left"
        note = f", {self.note}" if self.note else ""
        print(
            f"{self.what}: {self.done}{of} {self.unit}, {shown} {self.unit}/s{left}{note}",
            file=sys.stderr,
            flush=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done:
            self._line()
