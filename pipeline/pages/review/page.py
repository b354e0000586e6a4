"""The review page: its routes. Everything that is asked for is named by a dataset or content id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipeline.core.errors import Rejected
from pipeline.dataset.decisions import DecisionsChanged
from pipeline.pages.answers import (
    PICTURE_ANSWER,
    TOKEN,
    ContentId,
    answers,
    picture_answer,
    refusals,
)
from pipeline.pages.local import LocalPage
from pipeline.pages.review.dataset import Reviewed
from pipeline.pages.review.pictures import SMALL
from pipeline.pages.review.tabs import Section

MAX_AT_ONCE = 100_000  # pictures of one step
LARGE = 1024  # pixels; of a refused file's picture, which is always made anew
UNSEEN = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><path fill="none" stroke="#888" '
    'stroke-width="4" d="M20 24h56v48H20zM20 62l18-18 14 14 8-8 16 16M30 12l36 72"/></svg>'
)

Action = Literal["keep", "delete", "relabel", "not-duplicate", "keeper", "undo"]
Text = Annotated[str, Field(max_length=1000)]


class Said(BaseModel):
    """A decision about one picture; `label` is of a relabelling alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content_id: str = Field(pattern="^[0-9a-f]{64}$")
    action: Action
    label: Text = ""
    reason: Text = ""


class Step(BaseModel):
    """What is decided at once. `version` is the state that the page knows, for the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    decisions: list[Said] = Field(min_length=1, max_length=MAX_AT_ONCE)
    version: Text | None = None


class Back(BaseModel):
    """Which state the page knows: what it does not know of cannot be taken back."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Text


class Last(BaseModel):
    """The last step that stands: what it says, and whose it is."""

    says: str
    time: str
    who: str


class State(BaseModel):
    """What stands, as far as it is new since the version that was asked about."""

    version: str
    is_whole: bool = Field(description="Whether `verdicts` are all that stand.")
    verdicts: dict[str, tuple[str | None, str | None]] = Field(
        description="[label, action] by content id; both null where nothing stands any more."
    )
    pictures: int = Field(description="How many pictures something stands about.")
    by_action: dict[str, int]
    last: Last | None
    data: str = Field(description="Names the data; another name means that they were made anew.")


class NextRun(BaseModel):
    """What the next `dvc repro` does to this dataset."""

    stages: list[str]
    says: str
    changes: list[str]
    problem: str | None = Field(description="What `split` would stop with.")
    touching: dict[str, int] = Field(description="Decided pictures by part.")


class Index(BaseModel):
    """The samples of a dataset: equally long columns, each `values`, or `codes` of `names`."""

    sample_id: list[str]
    content_id: list[str]
    classes: list[dict[str, str | None]]
    columns: dict[str, dict[str, list[Any]]]
    data: str = Field(description="Names the data, as in the state.")


class Tab(BaseModel):
    """Sections of pictures by their rows in the index; or what is empty and what to run."""

    sections: list[Section]
    empty: dict[str, str] | None


class Facts(BaseModel):
    """What is known of a picture: the samples that hold it, and what was ever decided."""

    samples: list[dict[str, Any]]
    predicted: dict[str, Any] | None
    history: list[dict[str, str]]


def make_page(datasets: Sequence[str], who: str, first: str | None = None) -> LocalPage:
    """Return the page of datasets, at `first` or the first of them; `who` decides."""
    page = LocalPage("kalai review", Path(__file__).parent)
    page.app.description = "What `kalai review` shows. A POST carries the token of the page."
    for name in datasets:
        reviewed = Reviewed(name, who)
        page.app.include_router(looks(reviewed))
        page.app.include_router(decides(reviewed))
        add_page(page, f"/review/{name}", name, datasets, who)
    add_page(page, "/", first or datasets[0], datasets, who)
    return page


def add_page(page: LocalPage, path: str, shown: str, datasets: Sequence[str], who: str) -> None:
    """Add the page on which one dataset is reviewed."""

    @page.app.get(path, include_in_schema=False)
    def show() -> HTMLResponse:
        return page.render("review.html", dataset=shown, datasets=datasets, who=who)


def looks(reviewed: Reviewed) -> APIRouter:
    """Return the routes that tell and show."""
    router = APIRouter(prefix=f"/api/{reviewed.name}", tags=[reviewed.name])

    @router.get(
        "/index",
        response_class=Response,
        responses=answers(Index) | refusals(400, 403, 421),
    )
    def index() -> Response:
        """Give the samples, a column a fact."""
        pictures = reviewed.pictures()
        if pictures is not None:
            pictures.begin()
        return Response(reviewed.index(), media_type="application/json")

    @router.get(
        "/tabs",
        response_class=Response,
        responses=answers(dict[str, Tab]) | refusals(400, 403, 421),
    )
    def tabs() -> Response:
        """Give what each tab shows: sections of rows of the index, or why it is empty."""
        return Response(reviewed.tabs(), media_type="application/json")

    @router.get("/next", responses=refusals(400, 403, 421))
    def next_run() -> NextRun:
        """Say what the next `dvc repro` does."""
        return NextRun(**reviewed.ahead().told())

    @router.get("/facts/{content_id}", responses=refusals(400, 403, 404, 421, 422))
    def facts(content_id: ContentId) -> Facts:
        """Say all that is known of a picture: where it is from, and what was decided about it."""
        found = reviewed.facts(content_id)
        if found is None:
            raise HTTPException(404, "no such picture")
        return Facts(**found)

    @router.get(
        "/pictures/{size}/{content_id}",
        response_class=Response,
        responses=PICTURE_ANSWER | refusals(400, 403, 404, 421, 422),
    )
    def picture(size: Literal["small", "whole"], content_id: ContentId) -> Response:
        """Give a picture, as it is stored or small; of a refused file, a copy that is safe."""
        pictures = reviewed.pictures()
        try:
            if pictures is not None:
                data = pictures.small(content_id) if size == "small" else pictures.whole(content_id)
                if data is not None:
                    return picture_answer(data)
            data = reviewed.refused().picture(content_id, SMALL if size == "small" else LARGE)
        except Rejected:  # it is there, and cannot be shown: no error of whoever asks
            return Response(UNSEEN, media_type="image/svg+xml")
        if data is None:
            raise HTTPException(404, "no such picture")
        return picture_answer(data)

    return router


def decides(reviewed: Reviewed) -> APIRouter:
    """Return the routes that tell what stands, and those that add to it."""
    router = APIRouter(prefix=f"/api/{reviewed.name}", tags=[reviewed.name])
    can_fail = refusals(400, 403, 409, 413, 421, 422)

    def state(since: str | None) -> State:
        return State(**reviewed.decided.since(since), data=reviewed.version())

    @router.get("/state", responses=refusals(400, 403, 421, 422))
    def look(since: Annotated[str | None, Query(max_length=100)] = None) -> State:
        """Say what stands about pictures, as far as it is new since a version."""
        return state(since)

    @router.post("/decisions", dependencies=[Depends(TOKEN)], responses=can_fail)
    def decide(step: Step) -> State:
        """Add decisions, all or none; they are on the disk before the answer."""
        rows, labels = reviewed.rows(), reviewed.labels()
        for said in step.decisions:
            if said.content_id not in rows:
                raise HTTPException(422, f"no picture {said.content_id[:12]} in this dataset")
            if said.label and said.label not in labels:
                raise HTTPException(422, "no such class in this dataset")
        try:
            reviewed.decided.add(
                (said.content_id, said.action, said.label, said.reason) for said in step.decisions
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return state(step.version)

    @router.post("/undo", dependencies=[Depends(TOKEN)], responses=can_fail)
    def take_back(back: Back) -> State:
        """Take the last step back, if nobody has decided since `version`."""
        try:
            reviewed.decided.take_back(back.version)
        except DecisionsChanged as error:
            raise HTTPException(409, "somebody has just decided: look again") from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return state(back.version)

    return router
