"""Real files shown by the loopback web: pictures in a folder a class, and published archives."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import PipelineError
from pipeline.demo.world import IMAGE_HOSTS, Answer, Gallery, Hit, Url

PARTS = ("train", "test")
SOURCES = ("offline", "online")  # the publisher's own pictures first


@dataclass(frozen=True)
class FolderDances:
    """A dance a folder: every file in it is a search result."""

    galleries: dict[str, Gallery]  # by key
    labels: dict[str, str]  # key -> the folder's name

    def find(self, query: str) -> str | None:
        """Return the dance whose folder's name stands in the query; the longest where several."""
        asked = _words(query)
        named = [key for key, label in self.labels.items() if _words(label) in asked]
        return max(named, key=len, default=None)

    def gallery(self, key: str) -> Gallery | None:
        """Return what is in a dance's folder."""
        return self.galleries.get(key)


def _words(text: str) -> str:
    return f" {' '.join(text.lower().split())} "


def read_dances(root: Path) -> FolderDances:
    """Take the folders of `root` as dances.

    Raises PipelineError where there is none, one is empty, or two give the same key.
    """
    galleries: dict[str, Gallery] = {}
    labels: dict[str, str] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith("."):
            continue
        key = re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-")
        files = sorted(path for path in folder.iterdir() if path.is_file())
        files = [path for path in files if not path.name.startswith(".")]
        if not files:
            raise PipelineError(f"{folder}: no pictures in it")
        if not key or key in galleries:
            raise PipelineError(f"{folder}: its name gives the key {key!r}, which is no other's")
        galleries[key] = _gallery(key, folder.name, files)
        labels[key] = folder.name
    if len(galleries) < 2:
        raise PipelineError(f"{root}: expected a folder a class, at least two; see --help")
    return FolderDances(galleries, labels)


def _gallery(key: str, label: str, files: list[Path]) -> Gallery:
    hits, answers = [], {}
    for index, path in enumerate(files):
        host = IMAGE_HOSTS[index % len(IMAGE_HOSTS)]
        image = Url(host, f"/{key}/{quote(path.name)}")
        page = Url(host, f"/{key}/page-{index}.html")  # whose pictures they are is not known
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        answers[image.host, image.path] = Answer(path, kind)
        answers[page.host, page.path] = Answer(
            f"<!DOCTYPE html><title>{key}</title><img src='{image.path}'>\n".encode(),
            "text/html; charset=utf-8",
        )
        hits.append(Hit(image, page, f"{label} {index}"))
    return Gallery(tuple(hits), tuple(hits), answers, storable=len(files))


def find_archives(root: Path) -> dict[str, dict[str, Path]]:
    """Return source -> part -> archive for each source that has both parts.

    Raises PipelineError where no source has, or one part has several archives.
    """
    found: dict[str, dict[str, Path]] = {}
    for source in SOURCES:
        parts: dict[str, Path] = {}
        for part in PARTS:
            paths = sorted(root.glob(f"hpl-tamil-*-{part}-{source}*.tar.gz"))
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise PipelineError(f"{root}: one {part} {source} archive expected, found {names}")
            if paths:
                parts[part] = paths[0]
        if set(parts) == set(PARTS):
            found[source] = parts
    if not found:
        raise PipelineError(
            f"{root}: no pair hpl-tamil-*-train-{{offline,online}}*.tar.gz and -test-"
        )
    return found
