"""The web app of `kalai serve`: the API, and the HTML pages that call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi.responses import HTMLResponse

from pipeline.dataset.labels import ClassName
from pipeline.pages.answers import refusals
from pipeline.pages.local import LocalPage
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.serve.api import Model, api
from pipeline.pages.serve.loaded_model import LoadedModel

ABOUT = f"""The API of `kalai serve`. A POST needs the token in the header `{TOKEN_HEADER}`; set it
with `kalai serve --token`. Requests from other web pages are refused."""
EXAMPLES = 9  # classes shown before there is a prediction
MAX_BODY = 20_000_000  # bytes; also the largest image that `crawl` accepts


def make_page(models: Sequence[LoadedModel], token: str | None = None) -> LocalPage:
    """Return the page of one or more models."""
    page = LocalPage("kalai serve", Path(__file__).parent, MAX_BODY, token)
    page.app.description = ABOUT

    @page.app.get("/api/models", tags=["models"], responses=refusals(403, 421))
    def list_models() -> list[Model]:
        """Return the models and the inputs that they accept."""
        return [
            Model(
                dataset=each.dataset,
                classes=len(each.card.classes),
                takes=["strokes", "picture"] if each.pen else ["picture"],
                size=each.card.view.size,
            )
            for each in models
        ]

    for each in models:
        page.app.include_router(api(each))
        add_page(page, f"/try/{each.dataset}", each, models)
    add_page(page, "/", models[0], models)
    return page


def add_page(page: LocalPage, path: str, shown: LoadedModel, models: Sequence[LoadedModel]) -> None:
    """Add the HTML page of one model."""

    @page.app.get(path, include_in_schema=False)
    def show() -> HTMLResponse:
        return page.render(
            "try.html",
            shown=shown,
            datasets=[each.dataset for each in models],
            examples=examples(shown),
            max_body=MAX_BODY,
        )


def examples(shown: LoadedModel) -> list[tuple[ClassName, str]]:
    """Return a few evenly spaced classes, each with the content id of a sample."""
    known = [each for each in shown.card.classes if shown.samples.get(each.label)]
    step = max(1, len(known) // EXAMPLES)
    return [(each, shown.samples[each.label][0]) for each in known[::step][:EXAMPLES]]
