"""The JSON API of models: what it takes, what it answers, and its routes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipeline.dataset.labels import ClassName
from pipeline.pages.answers import (
    PICTURE_ANSWER,
    TOKEN,
    ContentId,
    picture_answer,
    refusals,
)
from pipeline.pages.guard import capped
from pipeline.pages.serve.served import Seen, Served, png_of

MAX_STROKES_BODY = 2_000_000  # bytes; MAX_POINTS with all their digits
MAX_STROKES, MAX_POINTS = 500, 20_000  # a letter has 1 to 5 of 20 to 200

Coordinate = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
Stroke = Annotated[list[Point], Field(min_length=1, max_length=MAX_POINTS)]


class Strokes(BaseModel):
    """What a pen wrote from each pen-down to pen-up: points (x, y), y growing downwards."""

    model_config = ConfigDict(extra="forbid", strict=True)

    strokes: list[Stroke] = Field(min_length=1, max_length=MAX_STROKES)
    points_per_inch: float | None = Field(
        default=None,
        ge=1,
        le=1e6,
        description="The tablet's resolution; null: the letter gets the archive's usual size.",
    )


class Wish(BaseModel):
    """What an answer should hold."""

    model_config = ConfigDict(extra="forbid")  # a typing mistake is not the default

    top: int = Field(default=3, ge=1, le=20, description="How many classes to name.")


Wished = Annotated[Wish, Query()]


class Guess(BaseModel):
    """A class and how probable it is."""

    label: str
    name: str
    romanised: str | None
    probability: float


class Picture(BaseModel):
    """A picture of this answer."""

    png: str = Field(description="A PNG in base64.")
    width: int
    height: int


class Answer(BaseModel):
    """The most probable classes, the surest first, and the picture that the network was given."""

    top: list[Guess]
    seen: Picture


class DrawnAnswer(Answer):
    """The same, and the strokes as the archive's letters are drawn."""

    drawn: Picture
    content_id: str = Field(description="Of `drawn`, as in samples.parquet.")


class KnownClass(BaseModel):
    """A class, and content ids of a few samples that were learned from."""

    label: str
    name: str
    romanised: str | None
    samples: list[str]


class Model(BaseModel):
    """A model and what it takes."""

    dataset: str
    classes: int
    takes: list[str] = Field(description="strokes, picture")
    size: int = Field(description="Pixels of a side of what the network sees.")


class StrokesRoute(APIRoute):
    """A route whose body is read up to MAX_STROKES_BODY: JSON takes 30 times its bytes."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler of a request whose body ends in time."""
        handle = super().get_route_handler()

        async def handle_small(request: Request) -> Response:
            small = Request(request.scope, capped(request.receive, MAX_STROKES_BODY))
            answer: Response = await handle(small)
            return answer

        return handle_small


async def whole_body(request: Request) -> bytes:
    """Return a body as it is; the guard has capped it."""
    return await request.body()


POST_REFUSALS = refusals(400, 403, 413, 421, 422)
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/octet-stream", "image/jpeg", "image/png")
        },
    }
}


def api(served: Served) -> APIRouter:
    """Return the routes of one model; those of strokes only where it knows a pen."""
    router = APIRouter(prefix=f"/api/{served.dataset}", tags=[served.dataset])

    @router.get("/classes", responses=refusals(403, 421))
    def classes() -> list[KnownClass]:
        """Say what the model can tell apart."""
        return [
            KnownClass(**names(known), samples=served.samples.get(known.label, []))
            for known in served.card.classes
        ]

    @router.get(
        "/samples/{content_id}",
        response_class=Response,
        responses=refusals(403, 404, 421, 422) | PICTURE_ANSWER,
    )
    def sample(content_id: ContentId) -> Response:
        """Give a sample picture that `classes` names."""
        data = served.pictures.get(content_id)
        if data is None:
            raise HTTPException(404, "no such sample is shown")
        return picture_answer(data)

    @router.post(
        "/picture",
        dependencies=[Depends(TOKEN)],
        responses=POST_REFUSALS,
        openapi_extra=PICTURE_BODY,
    )
    def picture(data: Annotated[bytes, Depends(whole_body)], wish: Wished) -> Answer:
        """Name what is in a picture: the file's bytes are the body, whatever its type."""
        return Answer(**answer(served.see_picture(data, wish.top)))

    if served.pen is not None:
        add_strokes(router, served)
    return router


def add_strokes(router: APIRouter, served: Served) -> None:
    """Add the route that draws strokes and names the letter."""

    def strokes(written: Strokes, wish: Wished) -> DrawnAnswer:
        """Draw strokes as the archive's letters are drawn, and name the letter."""
        points = sum(map(len, written.strokes))
        if points > MAX_POINTS:
            raise HTTPException(422, f"{points} points, at most {MAX_POINTS}")
        bitmap, seen = served.see_strokes(written.strokes, written.points_per_inch, wish.top)
        drawn = shown(bitmap.png, bitmap.width, bitmap.height)
        return DrawnAnswer(**answer(seen), drawn=drawn, content_id=bitmap.content_id)

    router.add_api_route(
        "/strokes",
        strokes,
        methods=["POST"],
        dependencies=[Depends(TOKEN)],
        responses=POST_REFUSALS,
        route_class_override=StrokesRoute,
    )


def names(known: ClassName) -> dict[str, str | None]:
    """Return a class's names for an answer."""
    return {"label": known.label, "name": known.name, "romanised": known.romanised}


def answer(seen: Seen) -> dict[str, Any]:
    """Return what was seen and guessed, for an answer."""
    _, height, width = seen.pixels.shape
    guesses = [Guess(**names(known), probability=sure) for known, sure in seen.guesses]
    return {"top": guesses, "seen": shown(png_of(seen.pixels), width, height)}


def shown(png: bytes, width: int, height: int) -> Picture:
    """Return a picture for an answer."""
    return Picture(png=base64.b64encode(png).decode(), width=width, height=height)
