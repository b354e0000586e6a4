"""dedupe marks duplicates and label conflicts, and deletes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner
from PIL import Image, ImageOps

from pipeline.core.files import read_json
from pipeline.dataset.dedupe_result import SCHEMA
from pipeline.dataset.ingest import IngestedImage, image_files, ingest_image
from pipeline.dataset.paths import dataset_folder, samples_path
from pipeline.dedupe.edges import edges_of
from pipeline.dedupe.hash_cache import PHASH, cache_path, hashes_of
from pipeline.dedupe.stage import main
from tests.running import run
from tests.tables import content, drawn, encoded, picture, sample, with_duplicates, write


def marks(dataset: str) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(dataset_folder(dataset) / "dedupe.parquet").to_pylist()
    return {row["sample_id"]: row for row in rows}


def test_every_sample_has_a_status_a_reason_and_a_keeper(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    write("birds", with_duplicates())
    run(main, "birds")
    table_ = pq.read_table(dataset_folder("birds") / "dedupe.parquet")
    assert table_.schema.equals(SCHEMA)
    found = marks("birds")
    assert len(found) == 13
    near = found["a/near"]
    assert (near["status"], near["reason"], near["keeper_id"]) == (
        "remove",
        "near-duplicate",
        "a/0",
    )
    assert near["distance"] == (near["phash"] ^ found["a/0"]["phash"]).bit_count() <= 6
    assert near["cluster"] == found["a/0"]["cluster"] != found["a/4"]["cluster"]
    copy = found["b/copy"]
    assert (copy["status"], copy["reason"], copy["keeper_id"]) == ("remove", "same-bytes", "b/1")
    assert {found[name]["status"] for name in ("a/2", "b/other")} == {"conflict"}
    for name in ("a/0", "b/1", "b/3", "a/4"):
        assert (found[name]["status"], found[name]["keeper_id"]) == ("keep", name)
    pairs = pq.read_table(dataset_folder("birds") / "pairs.parquet").to_pylist()
    assert {(frozenset((row["a"], row["b"])), row["kind"]) for row in pairs} == {
        (frozenset(("b/1", "b/copy")), "same"),
        (frozenset(("a/0", "a/near")), "near"),
        (frozenset(("a/2", "b/other")), "near"),
    }
    report = read_json(dataset_folder("birds") / "reports" / "dedupe.json")
    assert report["removed"] == {"same-bytes": 1, "near-duplicate": 1}
    assert report["conflicts"] == {"clusters": 1, "samples": 2}
    assert report["samples"] == 13 and report["kept"] == 9
    assert report["pairs"]["to_remove"] == 2


def test_exact_compares_bytes_and_decodes_nothing(project: Callable[..., Path]) -> None:
    project(**{"dedupe.letters": {"method": "exact"}})
    rows = [sample(n, content_id=content(n // 2)) for n in range(6)]  # without images
    write("letters", rows)
    run(main, "letters")
    found = marks("letters")
    assert [row["status"] for row in found.values()] == ["keep", "remove"] * 3
    assert {row["phash"] for row in found.values()} == {None}
    assert not cache_path("letters", PHASH).exists()
    policy = pq.read_schema(dataset_folder("letters") / "dedupe.parquet").metadata[b"policy"]
    assert json.loads(policy)["method"] == "exact"


def test_an_empty_dataset_is_no_error(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    write("birds", [])
    run(main, "birds")
    assert marks("birds") == {}


def test_mirror_images_are_grouped_and_never_removed(project: Callable[..., Path]) -> None:
    for is_searched in (False, True):
        project(**{"dedupe.birds": {"method": "phash", "mirror": is_searched}})
        write("birds", [*with_duplicates(), picture("mirror", ImageOps.mirror(drawn(3)), "b")])
        run(main, "birds")
        found = marks("birds")
        assert found["b/mirror"]["status"] == found["b/3"]["status"] == "keep"
        is_grouped = found["b/mirror"]["cluster"] == found["b/3"]["cluster"]
        assert is_grouped == is_searched
        kinds = pq.read_table(dataset_folder("birds") / "pairs.parquet")["kind"].to_pylist()
        assert kinds.count("mirror") == is_searched


def test_the_order_of_samples_does_not_matter(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    rows = with_duplicates()
    write("birds", rows)
    run(main, "birds")
    first = marks("birds")
    write("birds", [rows[n] for n in np.random.default_rng(0).permutation(len(rows))])
    run(main, "birds")
    assert marks("birds") == first


def test_the_error_names_a_damaged_image_and_the_other_hashes_stay(
    project: Callable[..., Path],
) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    rows = [picture(f"{n}", drawn(n)) for n in range(80)]
    broken = encoded(drawn(99))[:900]
    rows.append(sample("broken", content_id=content("broken"), image={"bytes": broken, "path": ""}))
    write("birds", rows)
    result = CliRunner().invoke(main, ["birds"])
    assert result.exit_code == 1
    assert f"samples.parquet: image {content('broken')} cannot be decoded" in result.output
    assert "truncated" in result.output
    assert not (dataset_folder("birds") / "dedupe.parquet").exists()
    assert pq.read_table(cache_path("birds", PHASH)).num_rows == 80


def test_crops_are_for_review_and_neither_removed_nor_grouped(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash", "crop": True}})
    image = scene()
    rows = [picture("whole", image), picture("part", image.crop((60, 50, 560, 430)), "b")]
    rows.append(picture("other", drawn(0)))
    write("birds", rows)
    run(main, "birds")
    found = marks("birds")
    assert {row["status"] for row in found.values()} == {"keep"}
    assert found["a/whole"]["cluster"] != found["b/part"]["cluster"]
    pairs = pq.read_table(dataset_folder("birds") / "pairs.parquet").to_pylist()
    crops = [{row["a"], row["b"]} for row in pairs if row["kind"] == "crop"]
    assert {"a/whole", "b/part"} in crops
    report = read_json(dataset_folder("birds") / "reports" / "dedupe.json")
    assert report["pairs"]["crop"] == len(crops)


def scene() -> Image.Image:
    """Draw four bright patches of different insides on a dark stage."""
    image = Image.new("RGB", (640, 480), (8, 8, 12))
    for number, (x, y) in enumerate([(90, 80), (370, 90), (100, 270), (380, 260)]):
        patch = drawn(200 + number, (150, 130)).point(lambda value: 120 + value // 2)
        image.paste(patch, (x, y))
    return image


def test_real_photos_by_their_published_numbers(project: Callable[..., Path], shared: Path) -> None:
    """The 519 photos of four classes, against hashes of a full decode compared one by one."""
    project()
    paths = image_files(shared / "dances")
    files = [path.read_bytes() for path in paths]
    distinct = list(dict.fromkeys(files))
    with ThreadPoolExecutor() as pool:
        images = pool.map(partial(ingest_image, max_side=512), distinct)
        ingested = dict(zip(distinct, images, strict=True))
    rows = []
    for path, data in zip(paths, files, strict=True):
        image = ingested[data]
        assert isinstance(image, IngestedImage)
        label = path.parent.name
        columns = image.columns(f"{label}/{path.name}")
        rows.append(columns | {"label": label, "label_name": label})
    write("dances", rows)
    run(main, "dances")
    report = read_json(dataset_folder("dances") / "reports" / "dedupe.json")
    assert report["samples"] == 519
    assert report["removed"]["same-bytes"] == 519 - len({row["content_id"] for row in rows}) == 130
    contents = {row["content_id"]: row["image"]["bytes"] for row in rows}
    ids = sorted(contents)
    full = [int(str(imagehash.phash(Image.open(io.BytesIO(contents[name])))), 16) for name in ids]
    numbered = list(enumerate(full))
    hashed = np.array(hashes_of("dances", ids), np.uint64)[:, 0]
    bits = {(a, b): (x ^ y).bit_count() for a, x in numbered for b, y in numbered[a + 1 :]}
    for within in (6, 10):
        ours = edges_of(hashed, None, within, within).near
        naive = {pair for pair, apart in bits.items() if apart <= within}
        assert set(zip(ours.a.tolist(), ours.b.tolist(), strict=True)) == naive
    assert report["pairs"]["to_remove"] == sum(apart <= 6 for apart in bits.values())
    assert samples_path("dances").exists()
