"""What the APIs of the local pages share: documented errors, and image answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipeline.pages.request_guard import TOKEN_HEADER

CACHED = "private, max-age=31536000, immutable"  # a content id's image never changes
_KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}  # the formats of stored images

ContentId = Annotated[str, InPath(pattern="^[0-9a-f]{64}$")]
TOKEN = APIKeyHeader(name=TOKEN_HEADER, auto_error=False)  # only documents it; the guard checks it
IMAGE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in (*_KINDS.values(), "image/svg+xml")}}
}


class Problem(BaseModel):
    """Why a request failed, in one line."""

    error: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": why}
    for status, why in {
        400: "The request is not valid HTTP or JSON, or the dataset is damaged",
        403: f"{TOKEN_HEADER} is missing or wrong, or the request comes from another page",
        404: "Not found",
        409: "The decisions have changed since the given version",
        413: "The body is too large",
        421: "The Host header does not name this server",
        422: "A value is not valid; the error names it",
    }.items()
}


def answers(model: Any) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of an answer that FastAPI does not serialise itself."""
    return {200: {"model": model}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation for some error statuses."""
    return {status: REFUSALS[status] for status in statuses}


def image_answer(data: bytes) -> Response:
    """Return the answer with a stored image; raise HTTPException if it is not a JPEG or PNG."""
    for beginning, kind in _KINDS.items():
        if data.startswith(beginning):
            return Response(data, media_type=kind, headers={"Cache-Control": CACHED})
    raise HTTPException(422, "the stored image is neither JPEG nor PNG")
