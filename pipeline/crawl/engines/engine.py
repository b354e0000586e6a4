"""The interface of a search engine: pages of results, with what it knows about each image.

To add an engine, write a module with a subclass of Engine beside this one and add it to the table
in `registry`. An engine never opens a connection: it requests pages through a function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pipeline.core.params import Crawl, Dance


@dataclass(frozen=True, slots=True)
class Result:
    """One image that an engine found; a field is None if the engine does not know it.

    A Creative Commons licence has the name that Openverse gives it: by, by-sa, by-nc, by-nd,
    by-nc-sa, by-nc-nd, cc0 or pdm. Another licence keeps its own name, in lower case.
    """

    url: str
    page_url: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    creator: str | None = None
    attribution: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of results.

    `size` counts all results on the page, including those without a usable URL, because the offset
    of the next page grows by this number.
    """

    results: list[Result]
    size: int
    is_last: bool = False


Problem = Literal["unreachable", "blocked", "changed"]
_MEANING: dict[Problem, str] = {
    "unreachable": "no answer",
    "blocked": "request refused",
    "changed": "answer in an unknown format",
}


class EngineError(Exception):
    """An engine gave no results.

    `kind` says why: it is unreachable, it has blocked us, or its format has changed.
    """

    def __init__(self, kind: Problem, detail: str) -> None:
        super().__init__(f"{_MEANING[kind]}: {detail}")
        self.kind = kind
        self.detail = detail


Fetch = Callable[[str], bytes]  # returns the body of an engine's page; raises EngineError


class Engine(ABC):
    """A search engine, set up for one class of the dataset."""

    name: ClassVar[str]  # as in params.yaml and in the ledger
    no_results = "its first page was empty; the engine may be rate-limiting you"
    secret: str | None = None  # an API key; messages show *** instead

    @classmethod
    @abstractmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine for the class `key`.

        `dance` is the class's entry in params.yaml and `params` is the section crawl.
        Raises PipelineError if a setting or an API key is missing; the error names it.
        """

    def queries(self, dance: Dance) -> Sequence[str]:
        """Return the queries for a class."""
        return dance.queries

    @abstractmethod
    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return page `number` (from 0) of the results, which begins after `offset` results.

        Raises EngineError if the engine refuses the request or answers in an unknown format.
        """


def home_url(params: Crawl, default: str) -> str:
    """Return the address of an engine: crawl.engine_url if it is set, else the engine's own."""
    return (params.engine_url or default).rstrip("/")
