"""Read what engines answer: JSON, text and licences, none of which can be trusted."""

from __future__ import annotations

import json
import re
from typing import Any

from bs4 import BeautifulSoup

from pipeline.crawl.engines.engine import EngineError


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in the answer of an API.

    Raises EngineError if the answer is something else.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise EngineError("changed", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise EngineError("changed", "JSON, but not an object")
    return value


def object_list(value: object, key: str) -> list[dict[str, Any]]:
    """Return the JSON objects in the list `key` of an answer.

    Raises EngineError if the answer has no such list.
    """
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise EngineError("changed", f"no list {key!r} in the response")
    return [item for item in items if isinstance(item, dict)]


def clean_text(value: object) -> str | None:
    """Return text that UTF-8 can encode, without spaces around it; None if there is no text.

    JSON may hold half a surrogate pair, which becomes "?".
    """
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().strip() or None


def text_of_html(value: object) -> str | None:
    """Return text without HTML tags; None if there is no text."""
    text = clean_text(value)
    if text and re.search("[<&]", text):
        return clean_text(BeautifulSoup(text, "lxml").get_text(" ", strip=True))
    return text


def licence_name(url: str | None, name: str | None) -> str | None:
    """Return the name of a licence; a Creative Commons licence gets the name Openverse uses.

    `url` decides; if it is not a Creative Commons URL, `name` is returned in lower case.
    """
    match = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)", url or "")
    if match:
        return {"zero": "cc0", "mark": "pdm"}.get(match[1], match[1])
    if name and name.lower().startswith("public domain"):
        return "pdm"
    return name.lower() if name else None
