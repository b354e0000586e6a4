"""What has been received of a file, and when it is safe to go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core.files import read_json, write_json


@dataclass(frozen=True)
class State:
    """What a part is part of: the address it began at, and its version there."""

    url: str
    validator: str | None


class Part:
    """What has been received of a file, and what it takes to go on with it."""

    def __init__(self, folder: Path, name: str, sha256: str | None) -> None:
        self.name = name
        self.path = folder / f"{name}.part"
        self.state_path = folder / f"{name}.part.json"
        self.sha256 = sha256
        self.is_resumed = False
        try:
            self.state: State | None = State(**read_json(self.state_path))
        except (OSError, ValueError, TypeError):
            self.state = None

    @property
    def size(self) -> int:
        """Bytes received."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, url: str, validator: str | None) -> None:
        """Start anew, with nothing."""
        self.discard()
        self.path.touch()
        self.state = State(url, validator)
        write_json(self.state_path, asdict(self.state))

    def discard(self) -> None:
        """Forget what was received."""
        self.state, self.is_resumed = None, False
        self.path.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)

    def set_aside(self, digest: str) -> Path:
        """Keep a file that is not the wanted one under a name that says so."""
        aside = self.path.with_name(f"{self.name}.bad-{digest[:12]}")
        self.path.replace(aside)
        self.discard()
        return aside

    def range_headers(self, url: str) -> dict[str, str]:
        """Return what asks for the rest, nothing where the rest could be of another file.

        With a sha256 to prove the whole, any mirror may give it. Without one it must be the same
        address and the same version: If-Range has the server send all of it otherwise.
        """
        state, size = self.state, self.size
        if state is None or not size:
            return {}
        if state.url == url and state.validator:
            return {"Range": f"bytes={size}-", "If-Range": state.validator}
        return {"Range": f"bytes={size}-"} if self.sha256 else {}

    def is_other_version(self, url: str, validator: str | None) -> bool:
        """Say whether a server that heeds no If-Range has another version by now."""
        known = self.state.validator if self.state and self.state.url == url else None
        return bool(known and validator and known != validator)


def validator_of(headers: Mapping[str, str]) -> str | None:
    """Return what tells a version from another: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
