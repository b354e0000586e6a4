"""The JSON API of the review page. A request names a dataset and content ids, never a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipeline.core.errors import Rejected
from pipeline.dataset.decisions import DecisionsChanged
from pipeline.pages.answers import (
    IMAGE_ANSWER,
    TOKEN,
    ContentId,
    answers,
    image_answer,
    refusals,
)
from pipeline.pages.review.next_run import NextRun
from pipeline.pages.review.reviewed import ReviewedDataset
from pipeline.pages.review.tabs.tab import Layout, Section
from pipeline.pages.review.thumbnails import SIDE

MAX_DECISIONS = 100_000  # in one step
LARGE = 1024  # pixels; the longest side of a rejected file's image, which is made anew each time
UNREADABLE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><path fill="none" stroke="#888" '
    'stroke-width="4" d="M20 24h56v48H20zM20 62l18-18 14 14 8-8 16 16M30 12l36 72"/></svg>'
)

Action = Literal["keep", "delete", "relabel", "not-duplicate", "keeper", "undo"]
Text = Annotated[str, Field(max_length=1000)]


class NewDecision(BaseModel):
    """A decision about one image. `label` is given for `relabel` only."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content_id: str = Field(pattern="^[0-9a-f]{64}$")
    action: Action
    label: Text = ""
    reason: Text = ""


class NewStep(BaseModel):
    """Decisions that are made and undone together."""

    model_config = ConfigDict(extra="forbid", strict=True)

    decisions: list[NewDecision] = Field(min_length=1, max_length=MAX_DECISIONS)
    version: Text | None = Field(
        default=None, description="The state that the page knows; the answer holds what is newer."
    )


class UndoRequest(BaseModel):
    """A request to undo the last step."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Text = Field(
        description="The version of the decisions that the page shows. "
        "If they have changed since, nothing is undone."
    )


class LastStep(BaseModel):
    """The last step that is not undone."""

    summary: str
    time: str
    who: str


class State(BaseModel):
    """The verdicts on images: all of them, or those that changed since a version."""

    version: str
    is_whole: bool = Field(description="Whether `verdicts` holds every verdict.")
    verdicts: dict[str, tuple[str | None, str | None]] = Field(
        description="[label, action] by content id; both are null if every decision was undone."
    )
    images: int = Field(description="Number of images with an active decision.")
    by_action: dict[str, int]
    last: LastStep | None
    data: str = Field(
        description="Version of the data, which changes each time `dvc repro` writes the tables."
    )


class Index(BaseModel):
    """The samples of a dataset, as columns of equal length.

    A column holds `values`, or `codes` that are positions in `names`.
    """

    sample_id: list[str]
    content_id: list[str]
    classes: list[dict[str, str | None]]
    columns: dict[str, dict[str, list[Any]]]
    titles: dict[str, str] = Field(description="The columns' names for people.")
    searched: list[str] = Field(description="The columns that the search looks into.")
    part_names: dict[str, str] = Field(description="The parts of the split, for people.")
    data: str = Field(description="Version of the data, as in the state.")


class Empty(BaseModel):
    """Why a tab is empty, and which command fills it."""

    text: str
    command: str | None = None


class TabContents(BaseModel):
    """Sections of images, given as row numbers of the index; or why there are none."""

    hint: str
    layout: Layout
    note_lines: list[int] = Field(description="How many lines of a card each note may fill.")
    suggestion: str = Field(description="What key S does.")
    is_for_cluster: bool = Field(description="Whether key S relabels the whole cluster.")
    sections: list[Section]
    empty: Empty | None


class Facts(BaseModel):
    """All that is known about an image."""

    samples: list[dict[str, Any]] = Field(description="The samples with this content.")
    predicted: dict[str, Any] | None
    history: list[dict[str, str]] = Field(description="Every decision, undone ones too.")


def routers(reviewed: ReviewedDataset) -> Sequence[APIRouter]:
    """Return the routes of one dataset."""
    return reading(reviewed), deciding(reviewed)


def reading(reviewed: ReviewedDataset) -> APIRouter:
    """Return the read-only routes."""
    router = APIRouter(prefix=f"/api/{reviewed.name}", tags=[reviewed.name])

    @router.get(
        "/index",
        response_class=Response,
        responses=answers(Index) | refusals(400, 403, 421),
    )
    def index() -> Response:
        """Return the samples, a column for each fact."""
        images = reviewed.images()
        if images is not None:
            images.start_thumbnails()
        return Response(reviewed.index(), media_type="application/json")

    @router.get(
        "/tabs",
        response_class=Response,
        responses=answers(dict[str, TabContents]) | refusals(400, 403, 421),
    )
    def tabs() -> Response:
        """Return what each tab shows, by its key."""
        return Response(reviewed.tabs(), media_type="application/json")

    @router.get("/next", responses=refusals(400, 403, 421))
    def next_run() -> NextRun:
        """Return what the next `dvc repro` will do."""
        return reviewed.next_run()

    @router.get("/facts/{content_id}", responses=refusals(400, 403, 404, 421, 422))
    def facts(content_id: ContentId) -> Facts:
        """Return all that is known about an image: source, prediction and decisions."""
        found = reviewed.facts(content_id)
        if found is None:
            raise HTTPException(404, "unknown image")
        return Facts(**found)

    @router.get(
        "/pictures/{size}/{content_id}",
        response_class=Response,
        responses=IMAGE_ANSWER | refusals(400, 403, 404, 421, 422),
    )
    def image(size: Literal["small", "whole"], content_id: ContentId) -> Response:
        """Return an image as it is stored, or as a thumbnail.

        For a rejected file, return a safe copy.
        """
        images = reviewed.images()
        try:
            if images is not None:
                is_small = size == "small"
                data = images.thumbnail(content_id) if is_small else images.image(content_id)
                if data is not None:
                    return image_answer(data)
            side = SIDE if size == "small" else LARGE
            data = reviewed.rejected_files().image(content_id, side)
        except Rejected:  # the file exists but cannot be decoded: not the request's fault
            return Response(UNREADABLE, media_type="image/svg+xml")
        if data is None:
            raise HTTPException(404, "unknown image")
        return image_answer(data)

    return router


def deciding(reviewed: ReviewedDataset) -> APIRouter:
    """Return the routes that read and write decisions."""
    router = APIRouter(prefix=f"/api/{reviewed.name}", tags=[reviewed.name])
    can_fail = refusals(400, 403, 409, 413, 421, 422)

    def current(since: str | None) -> State:
        return State(**reviewed.log.changes_since(since), data=reviewed.version())

    @router.get("/state", responses=refusals(400, 403, 421, 422))
    def state(since: Annotated[str | None, Query(max_length=100)] = None) -> State:
        """Return the verdicts, or those that changed since a version."""
        return current(since)

    @router.post("/decisions", dependencies=[Depends(TOKEN)], responses=can_fail)
    def decide(step: NewStep) -> State:
        """Append decisions, all or none. They are on the disk before the answer."""
        rows, labels = reviewed.rows(), reviewed.labels()
        for new in step.decisions:
            if new.content_id not in rows:
                raise HTTPException(422, f"no image {new.content_id[:12]} in this dataset")
            if new.label and new.label not in labels:
                raise HTTPException(422, f"unknown label; this dataset has: {listed(labels)}")
        try:
            reviewed.log.add(
                (new.content_id, new.action, new.label, new.reason) for new in step.decisions
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return current(step.version)

    @router.post("/undo", dependencies=[Depends(TOKEN)], responses=can_fail)
    def undo(request: UndoRequest) -> State:
        """Undo the last step, unless there are decisions newer than `version`."""
        try:
            reviewed.log.undo_last(request.version)
        except DecisionsChanged as error:
            message = "there are newer decisions; check them, then undo again"
            raise HTTPException(409, message) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return current(request.version)

    return router


def listed(labels: set[str]) -> str:
    """Return the first few labels, in order."""
    first = sorted(labels)[:10]
    return ", ".join(first) + (", ..." if len(labels) > len(first) else "")
