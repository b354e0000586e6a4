"""Which images a crawl stores, and which refusals of earlier runs still hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pipeline.core.params import Crawl
from pipeline.crawl.engines.engine import Result
from pipeline.dataset.ledger import Attempt, is_licensed


@dataclass(frozen=True)
class Rules:
    """The conditions under which the crawl stores an image."""

    min_side: int = 1  # pixels
    max_pixels: int = 50_000_000
    max_bytes: int = 20_000_000
    licences: frozenset[str] = frozenset()  # empty: any licence, even an unknown one
    robots: bool = True  # whether requests honour robots.txt
    opt_out: bool = True  # whether requests honour opt-out headers

    @classmethod
    def from_params(cls, params: Crawl) -> Self:
        """Return the rules from the section crawl of params.yaml."""
        return cls(
            min_side=params.min_side,
            max_pixels=params.max_pixels,
            max_bytes=params.max_bytes,
            licences=frozenset(params.licences),
            robots=params.robots,
            opt_out=params.opt_out,
        )

    def still_refuse(self, attempt: Attempt, result: Result) -> bool:
        """Return whether these rules, too, refuse what an earlier attempt refused.

        `result` is what an engine now says about the same URL.
        """
        if attempt.reason == "too-small" and attempt.width and attempt.height:
            return min(attempt.width, attempt.height) < self.min_side
        if attempt.reason == "too-many-pixels" and attempt.width and attempt.height:
            return attempt.width * attempt.height > self.max_pixels
        if attempt.reason == "too-large" and attempt.bytes:
            return attempt.bytes > self.max_bytes
        if attempt.reason == "licence":
            return not self.is_licensed(result.licence)
        return {"robots": self.robots, "opt-out": self.opt_out}.get(str(attempt.reason), True)

    def is_licensed(self, licence: str | None) -> bool:
        """Return whether an image under this licence may be stored."""
        return is_licensed(licence, self.licences)
