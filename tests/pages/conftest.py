"""Fixtures of the tests of the local pages: a browser, and projects to review and to serve."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import Request

from pipeline.core.errors import PipelineError, Rejected
from pipeline.pages.local import LocalPage
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.review.app import make_page
from tests.browsing import browser, served, tabs
from tests.reviewing import NAME, WHO, Client, write_review_project

if TYPE_CHECKING:
    from pipeline.pages.serve.loaded_model import LoadedModel

__all__ = ["browser", "tabs"]  # fixtures


@contextmanager
def current_folder(folder: Path) -> Iterator[None]:
    """Make a folder the current one; monkeypatch does so for one test only."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


# the local page itself


@pytest.fixture(scope="session")
def plain_page(tmp_path_factory: pytest.TempPathFactory) -> LocalPage:
    """Give a page with a route that reads, one that changes something, and two that fail."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("templates", "static"):
        (folder / name).mkdir()
    (folder / "templates" / "hello.html").write_text("{{ token }} {{ word }}")
    (folder / "static" / "page.js").write_text("")
    page = LocalPage("Test", folder, max_body=1000)
    page.app.get("/")(lambda: page.render("hello.html", word="<b>"))

    @page.app.post("/change")
    async def change(request: Request) -> int:
        return len(await request.body())

    @page.app.get("/number/{number}")
    def number(number: int) -> int:
        if number == 1:
            raise Rejected("truncated", "at the end")
        raise PipelineError("two\nlines")

    return page


@pytest.fixture(scope="session")
def plain_url(plain_page: LocalPage) -> Iterator[str]:
    """Serve that page."""
    with served(plain_page) as address:
        yield address


# kalai review


@pytest.fixture(scope="session")
def review_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a project with the drawn dataset, made once. Tests must not change it."""
    root = tmp_path_factory.mktemp("review")
    with current_folder(root):
        write_review_project(root)
    return root


def copy_of(project: Path, folder: Path) -> Path:
    """Return a copy of a project."""
    shutil.copytree(project, folder / "project", symlinks=True)
    return folder / "project"


@pytest.fixture
def root(review_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of the project, which the test may change."""
    copied = copy_of(review_project, tmp_path)
    monkeypatch.chdir(copied)
    return copied


@contextmanager
def review_client() -> Iterator[Client]:
    """Serve the dataset of the current folder; give a client of its API."""
    page = make_page([NAME], WHO)
    with served(page) as url, httpx.Client(base_url=f"{url}/api/{NAME}", timeout=30) as http:
        yield Client(http, page.token)


@pytest.fixture
def client(root: Path) -> Iterator[Client]:
    """Give a client of a copy of the project, which the test may change."""
    with review_client() as client:
        yield client


@pytest.fixture(scope="module")
def reader(review_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Give a client of a project that the tests of a module share and do not change."""
    copied = copy_of(review_project, tmp_path_factory.mktemp("reader"))
    with current_folder(copied), review_client() as client:
        yield client


@pytest.fixture
def url(root: Path) -> Iterator[str]:
    """Serve a copy of the project; asked for before `tabs`, it outlives them."""
    with served(make_page([NAME], WHO)) as address:
        yield address


# kalai serve; torch is imported here, so that the tests of kalai review need not wait for it


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two datasets and their models, letters and photos, made once."""
    from tests.serving import write_models

    root = tmp_path_factory.mktemp("serve")
    write_models(root)
    return root


@pytest.fixture(scope="session")
def models(saved_models: Path) -> Mapping[str, LoadedModel]:
    """Give the two loaded models by dataset."""
    import torch

    from pipeline.pages.serve.loaded_model import load

    with current_folder(saved_models):  # a dataset is looked up below the current folder
        device = torch.device("cpu")
        return {name: load(name, device) for name in ("letters", "photos")}


@pytest.fixture(scope="session")
def serve_page(models: Mapping[str, LoadedModel]) -> LocalPage:
    """Give the page of both models."""
    from pipeline.pages.serve.app import make_page

    return make_page(list(models.values()))


@pytest.fixture(scope="session")
def serve_url(serve_page: LocalPage) -> Iterator[str]:
    """Serve the page of both models."""
    with served(serve_page) as address:
        yield address


@pytest.fixture(scope="session")
def serve_client(serve_page: LocalPage, serve_url: str) -> Iterator[httpx.Client]:
    """Give a client of both models that carries the token."""
    headers = {TOKEN_HEADER: serve_page.token}
    with httpx.Client(base_url=serve_url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def models_project(saved_models: Path, project: Callable[..., Path]) -> Path:
    """Enter a project with both datasets and their models, which the test may change."""
    root = project()
    shutil.copytree(saved_models / "data", root / "data", dirs_exist_ok=True)
    return root
