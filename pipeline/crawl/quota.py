"""A quota of images: exactly as many as are wanted, and the same ones in every run."""

from __future__ import annotations

import threading


class Quota:
    """Let downloads begin in order, with at most as many running as images are still wanted.

    If downloads begin in order of rank, the first `wanted` images that can be stored are stored,
    whether one thread runs or many. Any thread may call any method.
    """

    def __init__(self, wanted: int, stored: int) -> None:
        self.wanted, self.stored = wanted, stored
        self._listed = self._under_way = 0  # listed: not ended, including those under way
        self._is_stopped = False
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """Whether all wanted images are stored."""
        return self.stored >= self.wanted

    @property
    def _is_over(self) -> bool:
        return self._is_stopped or self.is_full

    def enlist(self) -> None:
        """Count one more image that was found and may be downloaded."""
        with self._changed:
            self._listed += 1

    def begin(self) -> bool:
        """Wait until one more image is wanted; return False if none will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.stored + self._under_way < self.wanted
            )
            if not self._is_over:
                self._under_way += 1
            return not self._is_over

    def end(self, *, is_new: bool) -> None:
        """Count a download as finished; `is_new` says whether it added an image to those stored."""
        with self._changed:
            self._listed -= 1
            self._under_way -= 1
            self.stored += is_new
            self._changed.notify_all()

    def wait_until_short(self) -> bool:
        """Wait until more images are needed to fill the quota; False if it is full or stopped."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.stored + self._listed < self.wanted
            )
            return not self._is_over

    def stop(self) -> None:
        """Let no further image begin."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
