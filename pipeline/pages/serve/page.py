"""The page on which models are tried, around their API."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi.responses import HTMLResponse

from pipeline.dataset.labels import ClassName
from pipeline.pages.answers import refusals
from pipeline.pages.guard import TOKEN_HEADER
from pipeline.pages.local import LocalPage
from pipeline.pages.serve.api import Model, api
from pipeline.pages.serve.served import Served

ABOUT = f"""What `kalai serve` shows, for scripts. A POST carries the token in `{TOKEN_HEADER}`;
`kalai serve --token` chooses one, and a browser on another page is refused with it and without."""
EXAMPLES = 9  # what is shown before anything is asked
MAX_BODY = 20_000_000  # bytes; the largest picture that `crawl` takes, too


def make_page(served: Sequence[Served], token: str | None = None) -> LocalPage:
    """Return the page of one or more models."""
    page = LocalPage("kalai serve", Path(__file__).parent, MAX_BODY, token)
    page.app.description = ABOUT

    @page.app.get("/api/models", tags=["models"], responses=refusals(403, 421))
    def models() -> list[Model]:
        """Say which models there are and what they take."""
        return [
            Model(
                dataset=each.dataset,
                classes=len(each.card.classes),
                takes=["strokes", "picture"] if each.pen else ["picture"],
                size=each.card.view.size,
            )
            for each in served
        ]

    for each in served:
        page.app.include_router(api(each))
        add_page(page, f"/try/{each.dataset}", each, served)
    add_page(page, "/", served[0], served)
    return page


def add_page(page: LocalPage, path: str, shown: Served, served: Sequence[Served]) -> None:
    """Add the page on which one model is tried."""

    @page.app.get(path, include_in_schema=False)
    def show() -> HTMLResponse:
        return page.render(
            "try.html",
            shown=shown,
            datasets=[each.dataset for each in served],
            examples=examples(shown),
            most=MAX_BODY,
        )


def examples(shown: Served) -> list[tuple[ClassName, str]]:
    """Return a few classes from the first to the last, each with a sample's content id."""
    known = [each for each in shown.card.classes if shown.samples.get(each.label)]
    step = max(1, len(known) // EXAMPLES)
    return [(each, shown.samples[each.label][0]) for each in known[::step][:EXAMPLES]]
