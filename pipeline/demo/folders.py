"""Real files for the demo's web: one folder of images per class, and published archives."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import PipelineError
from pipeline.demo.world import IMAGE_HOSTS, Answer, Gallery, Hit, Url

PARTS = ("train", "test")
SOURCES = ("offline", "online")  # the publisher's own images first


@dataclass(frozen=True)
class FolderDances:
    """One folder per dance; each file in it is a search result."""

    galleries: dict[str, Gallery]  # by key
    labels: dict[str, str]  # key -> the folder's name

    def find(self, query: str) -> str | None:
        """Return the dance whose folder name is in the query.

        If there are several, the longest name wins.
        """
        words = _words(query)
        named = [key for key, label in self.labels.items() if _words(label) in words]
        return max(named, key=len, default=None)

    def gallery(self, key: str) -> Gallery | None:
        """Return the files of a dance; None if there is no such folder."""
        return self.galleries.get(key)


def _words(text: str) -> str:
    return f" {' '.join(text.lower().split())} "


def read_dances(root: Path) -> FolderDances:
    """Return the folders of `root` as dances.

    Raises PipelineError if there are fewer than two, one is empty, or two give the same key.
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
            raise PipelineError(f"{folder}: the folder is empty; add images to it or remove it")
        if not key:
            raise PipelineError(f"{folder}: the folder's name needs a letter a-z or a digit")
        if key in galleries:
            raise PipelineError(
                f"{folder}: the folder {labels[key]!r} gives the same key, {key!r}; rename one"
            )
        galleries[key] = _gallery(key, folder.name, files)
        labels[key] = folder.name
    if len(galleries) < 2:
        raise PipelineError(f"{root}: expected one folder per class, and at least two")
    return FolderDances(galleries, labels)


def _gallery(key: str, label: str, files: list[Path]) -> Gallery:
    hits, answers = [], {}
    for index, path in enumerate(files):
        host = IMAGE_HOSTS[index % len(IMAGE_HOSTS)]
        image = Url(host, f"/{key}/{quote(path.name)}")
        page = Url(host, f"/{key}/page-{index}.html")  # page unknown: each image gets its own
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

    Raises PipelineError if no source has both, or if a part has several archives.
    """
    found: dict[str, dict[str, Path]] = {}
    for source in SOURCES:
        parts: dict[str, Path] = {}
        for part in PARTS:
            paths = sorted(root.glob(f"hpl-tamil-*-{part}-{source}*.tar.gz"))
            if len(paths) > 1:
                names = ", ".join(path.name for path in paths)
                raise PipelineError(
                    f"{root}: expected one {part} {source} archive, found {len(paths)}: {names}"
                )
            if paths:
                parts[part] = paths[0]
        if set(parts) == set(PARTS):
            found[source] = parts
    if not found:
        raise PipelineError(
            f"{root}: expected two archives, hpl-tamil-*-train-SOURCE*.tar.gz and "
            f"hpl-tamil-*-test-SOURCE*.tar.gz, where SOURCE is {' or '.join(SOURCES)}"
        )
    return found
