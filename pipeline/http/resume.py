"""The part of a file received so far, and the conditions for resuming its download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.files import read_json, write_json


@dataclass(frozen=True)
class Origin:
    """The URL from which a download started, and the validator of the file at that time."""

    url: str
    validator: str | None


class PartialFile:
    """The received bytes of a file in `<name>.part`, and their origin in `<name>.part.json`.

    `is_resumed` is true if the bytes come from more than one response.
    """

    def __init__(self, folder: Path, name: str, sha256: str | None) -> None:
        self.name = name
        self.path = folder / f"{name}.part"
        self.origin_path = folder / f"{name}.part.json"
        self.sha256 = sha256
        self.is_resumed = False
        try:
            self.origin: Origin | None = Origin(**read_json(self.origin_path))
        except (OSError, ValueError, TypeError):
            self.origin = None

    @property
    def size(self) -> int:
        """The number of bytes received."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, url: str, validator: str | None) -> None:
        """Discard what was received, and start an empty file for this origin."""
        self.discard()
        self.path.touch()
        self.origin = Origin(url, validator)
        write_json(self.origin_path, asdict(self.origin))

    def discard(self) -> None:
        """Remove what was received."""
        self.origin, self.is_resumed = None, False
        self.path.unlink(missing_ok=True)
        self.origin_path.unlink(missing_ok=True)

    def set_aside(self, digest: str) -> Path:
        """Rename a complete file with a wrong sha256 to `<name>.bad-<sha256>`; return the path."""
        aside = self.path.with_name(f"{self.name}.bad-{digest[:12]}")
        self.path.replace(aside)
        self.discard()
        return aside

    def range_headers(self, url: str) -> dict[str, str]:
        """Return the request headers that ask for the rest; empty if the whole file must be sent.

        With a sha256 for the whole file, the rest may come from any mirror. Without one, it must
        come from the same URL and have the same validator. If-Range makes the server send the whole
        file if it has changed.
        """
        origin, size = self.origin, self.size
        if origin is None or not size:
            return {}
        if origin.url == url and origin.validator:
            return {"Range": f"bytes={size}-", "If-Range": origin.validator}
        return {"Range": f"bytes={size}-"} if self.sha256 else {}

    def is_other_version(self, url: str, validator: str | None) -> bool:
        """Return whether a server that ignores If-Range now has another version of the file."""
        known = self.origin.validator if self.origin and self.origin.url == url else None
        return bool(known and validator and known != validator)


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return the identifier of a file's version: a strong ETag, or else Last-Modified."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
