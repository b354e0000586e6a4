"""A quota of pictures: exactly as many as were asked for, and which ones is no matter of luck."""

from __future__ import annotations

import threading


class Quota:
    """Lets pictures begin one after the other, and never more than are still wanted.

    Whoever begins them in order of rank gets the first `wanted` good ones: the same set with one
    thread and with many, and not one too many.
    """

    def __init__(self, wanted: int, stored: int) -> None:
        self.wanted, self.stored = wanted, stored
        self._listed = self._under_way = 0  # pictures that the downloader has, and works on
        self._is_stopped = False
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """Whether all that were wanted are stored."""
        return self.stored >= self.wanted

    @property
    def _is_over(self) -> bool:
        return self._is_stopped or self.is_full

    def enlist(self) -> None:
        """Count one more picture that may begin."""
        with self._changed:
            self._listed += 1

    def begin(self) -> bool:
        """Wait until one more is wanted; return False when none will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.stored + self._under_way < self.wanted
            )
            if not self._is_over:
                self._under_way += 1
            return not self._is_over

    def end(self, *, is_new: bool) -> None:
        """Say that a picture that began has ended, and whether it is one more."""
        with self._changed:
            self._listed -= 1
            self._under_way -= 1
            self.stored += is_new
            self._changed.notify_all()

    def wait_until_short(self) -> bool:
        """Wait until what is listed cannot fill the quota; return False when it is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.stored + self._listed < self.wanted
            )
            return not self._is_over

    def stop(self) -> None:
        """Let nothing more begin."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
