"""The web app of the review page: the API, and the HTML page that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi.responses import HTMLResponse

from pipeline.pages.local import LocalPage
from pipeline.pages.review.actions import ACTIONS
from pipeline.pages.review.api import routers
from pipeline.pages.review.reviewed import ReviewedDataset
from pipeline.pages.review.tabs.registry import TABS


def make_page(datasets: Sequence[str], who: str, first: str | None = None) -> LocalPage:
    """Return a page for some datasets; it opens on the dataset `first`, by default `datasets[0]`.

    `who` is written into the decisions.
    """
    page = LocalPage("kalai review", Path(__file__).parent)
    page.app.description = "The data of `kalai review`. A POST needs the token of the page."
    for name in datasets:
        for router in routers(ReviewedDataset(name, who, TABS)):
            page.app.include_router(router)
        add_page(page, f"/review/{name}", name, datasets, who)
    add_page(page, "/", first or datasets[0], datasets, who)
    return page


def add_page(page: LocalPage, path: str, shown: str, datasets: Sequence[str], who: str) -> None:
    """Add the HTML page of one dataset."""

    @page.app.get(path, include_in_schema=False)
    def show() -> HTMLResponse:
        return page.render(
            "review.html", dataset=shown, datasets=datasets, who=who, tabs=TABS, actions=ACTIONS
        )
