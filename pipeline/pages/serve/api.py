"""The JSON API of the models: requests, answers and routes."""

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
    IMAGE_ANSWER,
    TOKEN,
    ContentId,
    image_answer,
    refusals,
)
from pipeline.pages.request_guard import limited
from pipeline.pages.serve.loaded_model import LoadedModel, Prediction, png_of

MAX_STROKES_BODY = 2_000_000  # bytes; enough for MAX_POINTS with all their digits
MAX_STROKES, MAX_POINTS = 500, 20_000  # a letter has 1 to 5 strokes of 20 to 200 points

Coordinate = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
Point = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
Stroke = Annotated[list[Point], Field(min_length=1, max_length=MAX_POINTS)]


class Strokes(BaseModel):
    """A letter: each stroke holds its (x, y) points from pen-down to pen-up; y grows downwards."""

    model_config = ConfigDict(extra="forbid", strict=True)

    strokes: list[Stroke] = Field(min_length=1, max_length=MAX_STROKES)
    points_per_inch: float | None = Field(
        default=None,
        ge=1,
        le=1e6,
        description="The tablet's resolution. Without it, the letter is scaled to the median size "
        "of the archive's letters.",
    )


class Options(BaseModel):
    """Options of a prediction."""

    model_config = ConfigDict(extra="forbid")  # a misspelt option is an error, not the default

    top: int = Field(default=3, ge=1, le=20, description="How many classes to return.")


QueryOptions = Annotated[Options, Query()]


class ClassProbability(BaseModel):
    """A class and its probability."""

    label: str
    name: str
    romanised: str | None
    probability: float


class Png(BaseModel):
    """An image in an answer."""

    png: str = Field(description="A PNG in base64.")
    width: int
    height: int


class Answer(BaseModel):
    """The prediction for an image."""

    top: list[ClassProbability] = Field(description="The highest probability comes first.")
    seen: Png = Field(description="The network's input.")


class DrawnAnswer(Answer):
    """The prediction for a letter."""

    drawn: Png = Field(description="The letter, drawn as `convert` draws the archive's letters.")
    content_id: str = Field(description="The content id of `drawn`, as in samples.parquet.")


class KnownClass(BaseModel):
    """A class of the model."""

    label: str
    name: str
    romanised: str | None
    samples: list[str] = Field(description="Content ids of a few training images.")


class Model(BaseModel):
    """A model and the inputs that it accepts."""

    dataset: str
    classes: int
    takes: list[str] = Field(description='Accepted inputs: "strokes", "picture".')
    size: int = Field(description="The side of the network's input, in pixels.")


class StrokesRoute(APIRoute):
    """A route that reads at most MAX_STROKES_BODY bytes.

    Parsed JSON takes 30 times as much memory.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return a handler that limits the body of its request."""
        handle = super().get_route_handler()

        async def handle_limited(request: Request) -> Response:
            small = Request(request.scope, limited(request.receive, MAX_STROKES_BODY))
            answer: Response = await handle(small)
            return answer

        return handle_limited


async def raw_body(request: Request) -> bytes:
    """Return the raw body of a request; the guard limits its size."""
    return await request.body()


POST_REFUSALS = refusals(400, 403, 413, 421, 422)
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("application/octet-stream", "image/jpeg", "image/png")
        },
    }
}


def api(model: LoadedModel) -> APIRouter:
    """Return the routes of one model; it accepts strokes if its images were drawn from strokes."""
    router = APIRouter(prefix=f"/api/{model.dataset}", tags=[model.dataset])

    @router.get("/classes", responses=refusals(403, 421))
    def classes() -> list[KnownClass]:
        """Return the classes of the model."""
        return [
            KnownClass(**names(known), samples=model.samples.get(known.label, []))
            for known in model.card.classes
        ]

    @router.get(
        "/samples/{content_id}",
        response_class=Response,
        responses=refusals(403, 404, 421, 422) | IMAGE_ANSWER,
    )
    def sample(content_id: ContentId) -> Response:
        """Return one of the training images that `classes` lists."""
        data = model.images.get(content_id)
        if data is None:
            raise HTTPException(404, "unknown sample; `classes` lists those of this dataset")
        return image_answer(data)

    @router.post(
        "/picture",
        dependencies=[Depends(TOKEN)],
        responses=POST_REFUSALS,
        openapi_extra=IMAGE_BODY,
    )
    def picture(data: Annotated[bytes, Depends(raw_body)], options: QueryOptions) -> Answer:
        """Return the prediction for an image. The body is the file; any media type is accepted."""
        return Answer(**answer(model.predict_image(data, options.top)))

    if model.pen is not None:
        add_strokes(router, model)
    return router


def add_strokes(router: APIRouter, model: LoadedModel) -> None:
    """Add the route that draws strokes and predicts the letter."""

    def strokes(letter: Strokes, options: QueryOptions) -> DrawnAnswer:
        """Draw strokes as the archive's letters are drawn, and return the prediction."""
        points = sum(map(len, letter.strokes))
        if points > MAX_POINTS:
            raise HTTPException(422, f"strokes: {points} points; at most {MAX_POINTS} are allowed")
        bitmap, prediction = model.predict_strokes(
            letter.strokes, letter.points_per_inch, options.top
        )
        drawn = encoded(bitmap.png, bitmap.width, bitmap.height)
        return DrawnAnswer(**answer(prediction), drawn=drawn, content_id=bitmap.content_id)

    router.add_api_route(
        "/strokes",
        strokes,
        methods=["POST"],
        dependencies=[Depends(TOKEN)],
        responses=POST_REFUSALS,
        route_class_override=StrokesRoute,
    )


def names(known: ClassName) -> dict[str, str | None]:
    """Convert a class's names to the form of an answer."""
    return {"label": known.label, "name": known.name, "romanised": known.romanised}


def answer(prediction: Prediction) -> dict[str, Any]:
    """Convert a prediction to the form of an answer."""
    _, height, width = prediction.pixels.shape
    top = [
        ClassProbability(**names(known), probability=probability)
        for known, probability in prediction.classes
    ]
    return {"top": top, "seen": encoded(png_of(prediction.pixels), width, height)}


def encoded(png: bytes, width: int, height: int) -> Png:
    """Encode a PNG in base64, for an answer in JSON."""
    return Png(png=base64.b64encode(png).decode(), width=width, height=height)
