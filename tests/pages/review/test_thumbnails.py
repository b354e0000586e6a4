"""Stored images and thumbnails: bounded memory, and a cache that may fail."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.dataset.paths import cache_folder, samples_path
from pipeline.pages.review.thumbnails import SIDE, ImageStore
from tests.reviewing import NAME, Client, content_of
from tests.tables import sample, write


def test_an_image_is_served_as_stored_or_small_and_may_be_cached(reader: Client) -> None:
    stored = pq.read_table(samples_path(NAME)).to_pylist()[0]
    content_id = stored["content_id"]
    whole = reader.http.get(f"/pictures/whole/{content_id}?of=x")
    assert whole.content == stored["image"]["bytes"]
    small = reader.http.get(f"/pictures/small/{content_id}")
    assert max(Image.open(io.BytesIO(small.content)).size) <= SIDE
    for answer in (whole, small):
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert reader.http.get(f"/pictures/small/{content_id}").content == small.content


def test_memory_is_bounded_and_thumbnails_are_kept(root: Path) -> None:
    table = pq.read_table(samples_path(NAME))
    pq.write_table(table, samples_path(NAME), row_group_size=5)
    images = ImageStore(NAME, budget=1)
    content_ids = table["content_id"].to_pylist()
    stored = [image["bytes"] for image in table["image"].to_pylist()]
    first = dict(reversed(list(zip(content_ids, stored, strict=True))))
    for content_id in [*content_ids, *reversed(content_ids)]:
        assert images.image(content_id) == first[content_id]
        assert len(images._groups) == 1
    roomy = ImageStore(NAME)
    small = {content_id: roomy.thumbnail(content_id) for content_id in content_ids[:7]}
    assert len(roomy._groups) == 2
    roomy.make_thumbnails()
    again = ImageStore(NAME)
    assert [again.thumbnail(content_id) for content_id in content_ids[:7]] == list(small.values())
    assert all(again.thumbnail(content_id) for content_id in content_ids)
    assert not again._groups, "all come from the cache"
    assert again.image("0" * 64) is again.thumbnail("0" * 64) is None


@pytest.mark.parametrize("what", ["damaged", "a folder"])
def test_thumbnails_are_made_if_the_cache_cannot_be_used(root: Path, what: str) -> None:
    cache = cache_folder(NAME) / "thumbnails.sqlite"
    if what == "damaged":
        cache.parent.mkdir(exist_ok=True)
        cache.write_bytes(b"no database at all" * 100)
    else:
        cache.mkdir(parents=True)
    images = ImageStore(NAME)
    content_id = content_of("kathak/0")
    small = images.thumbnail(content_id)
    assert small is not None and images.thumbnail(content_id) == small
    images.make_thumbnails()


def test_a_stored_file_that_is_no_image_is_never_served_as_it_is(
    root: Path, client: Client
) -> None:
    page = b"<html><script>alert(1)</script>"
    row = sample("page", "kathak", image={"bytes": page, "path": "page.png"})
    write(NAME, [row])
    small = client.http.get(f"/pictures/small/{row['content_id']}")
    assert small.headers["content-type"] == "image/svg+xml"
    whole = client.http.get(f"/pictures/whole/{row['content_id']}")
    assert whole.status_code == 422
    assert b"script" not in small.content + whole.content
