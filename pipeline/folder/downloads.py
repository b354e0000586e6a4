"""Download images by URL into a folder; each is downloaded once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pipeline.core.errors import Rejected
from pipeline.core.files import replacing, write_text
from pipeline.core.params import Crawl
from pipeline.core.progress import Progress
from pipeline.http.polite_session import PoliteSession
from pipeline.images.normalise import verify

INDEX = "index.txt"  # each line has the name of a file and its URL


class Downloads:
    """Images by URL. A file's name is the sha256 of its URL.

    Requests follow the limits and the politeness rules in `params`, the section crawl.
    """

    def __init__(self, folder: Path, params: Crawl) -> None:
        self.folder, self.params = folder, params
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(".*.part"):  # left by a run that was killed
            part.unlink()

    def path(self, url: str) -> Path:
        """Return the path of a URL's file, which need not exist."""
        return self.folder / hashlib.sha256(url.encode()).hexdigest()

    def fetch(self, urls: Collection[str]) -> dict[str, Rejected]:
        """Download the URLs that have no file yet; return the reason for each failure, by URL.

        A file that is not an image is not kept, so that another run requests it again.
        """
        missing = sorted(url for url in set(urls) if not self.path(url).exists())
        refused = self._fetch(missing) if missing else {}
        self._write_index(set(urls) - refused.keys())
        return refused

    def _write_index(self, urls: Set[str]) -> None:
        """Add URLs to the index, which lists the files of earlier runs, too."""
        path = self.folder / INDEX
        old = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        lines = {f"{self.path(url).name} {url}" for url in urls} | set(filter(None, old))
        write_text(path, "".join(f"{line}\n" for line in sorted(lines)))

    def _fetch(self, missing: Sequence[str]) -> dict[str, Rejected]:
        refused: dict[str, Rejected] = {}

        def fetch_one(url: str) -> None:
            data = session.get(url)
            verify(data, max_pixels=self.params.max_pixels)
            with replacing(self.path(url)) as temporary:
                temporary.write_bytes(data)

        with (
            PoliteSession(self.params) as session,
            ThreadPoolExecutor(self.params.threads) as pool,
            Progress("download", len(missing)) as progress,
        ):
            futures = {pool.submit(fetch_one, url): url for url in missing}
            try:
                for future in as_completed(futures):
                    try:
                        future.result()
                    except Rejected as refusal:
                        refused[futures[future]] = refusal
                    progress.advance(note=f"{len(refused)} refused")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                session.cancel()
                raise
        return refused
