"""What the APIs of local pages have in common: refusals as documented, pictures as answered."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path as InPath
from fastapi import Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pipeline.pages.guard import TOKEN_HEADER

FOR_EVER = "private, max-age=31536000, immutable"  # what a content id names never changes
_KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}  # the border's two

ContentId = Annotated[str, InPath(pattern="^[0-9a-f]{64}$")]
TOKEN = APIKeyHeader(name=TOKEN_HEADER, auto_error=False)  # the guard judges it; this documents it
PICTURE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in (*_KINDS.values(), "image/svg+xml")}}
}


class Problem(BaseModel):
    """Why there is no answer, in a line."""

    error: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": why}
    for status, why in {
        400: "Not JSON, or not HTTP, or the dataset is damaged",
        403: f"No {TOKEN_HEADER}, or from another page",
        404: "Not here",
        409: "Somebody was quicker",
        413: "Too many bytes",
        421: "Not this host",
        422: "Refused, with the reason",
    }.items()
}


def answers(model: Any) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of an answer that is written without FastAPI's help."""
    return {200: {"model": model}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of some refusals."""
    return {status: REFUSALS[status] for status in statuses}


def picture_answer(data: bytes) -> Response:
    """Answer with a stored picture. Refuses what is neither JPEG nor PNG."""
    for beginning, kind in _KINDS.items():
        if data.startswith(beginning):
            return Response(data, media_type=kind, headers={"Cache-Control": FOR_EVER})
    raise HTTPException(422, "neither JPEG nor PNG")
