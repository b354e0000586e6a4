"""dedupe marks and deletes nothing; what it hashes once it never decodes again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps

from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.files import read_json
from pipeline.dataset.contents import contents_of
from pipeline.dataset.dedupe_result import SCHEMA
from pipeline.dataset.ingest import image_files, ingest_image
from pipeline.dataset.pairs_table import Edges, Pairs, pairs_table, read_edges, write_pairs
from pipeline.dataset.paths import dataset_folder, samples_path
from pipeline.dedupe import hash_cache
from pipeline.dedupe.edges import crop_edges, edges_of
from pipeline.dedupe.hash_cache import BOTH, PHASH, cache_path, hash_all, hash_files, hashes_of
from pipeline.dedupe.phash import phash
from pipeline.dedupe.stage import main
from pipeline.images.normalise import content_id
from tests.running import run
from tests.tables import content, drawn, encoded, picture, sample, table, write


def marks(dataset: str) -> dict[str, dict[str, Any]]:
    rows = pq.read_table(dataset_folder(dataset) / "dedupe.parquet").to_pylist()
    return {row["sample_id"]: row for row in rows}


def birds(mirrored: bool = False) -> list[dict[str, Any]]:
    """Drawn pictures of two classes: an exact, a near and a mirrored copy, and a label conflict."""
    rows = [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(10)]
    rows.append(picture("near", drawn(0).resize((160, 120)), "a", quality=75))
    rows.append(rows[1] | {"sample_id": "b/copy"})
    rows.append(picture("other", drawn(2).resize((200, 150)), "b"))
    if mirrored:
        rows.append(picture("mirror", ImageOps.mirror(drawn(3)), "b"))
    return rows


def test_every_sample_has_a_status_a_reason_and_a_keeper(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    write("birds", birds())
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


def test_exact_looks_at_bytes_alone_and_decodes_nothing(project: Callable[..., Path]) -> None:
    project(**{"dedupe.letters": {"method": "exact"}})
    rows = [sample(n, content_id=content(n // 2)) for n in range(6)]  # no picture in them
    write("letters", rows)
    run(main, "letters")
    found = marks("letters")
    assert [row["status"] for row in found.values()] == ["keep", "remove"] * 3
    assert {row["phash"] for row in found.values()} == {None}
    assert not cache_path("letters", PHASH).exists()
    policy = pq.read_schema(dataset_folder("letters") / "dedupe.parquet").metadata[b"policy"]
    assert json.loads(policy)["method"] == "exact"


def test_no_samples_are_no_fault(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    write("birds", [])
    run(main, "birds")
    assert marks("birds") == {}


def test_mirrored_pictures_are_grouped_and_never_removed(project: Callable[..., Path]) -> None:
    for is_searched in (False, True):
        project(**{"dedupe.birds": {"method": "phash", "mirror": is_searched}})
        write("birds", birds(mirrored=True))
        run(main, "birds")
        found = marks("birds")
        assert found["b/mirror"]["status"] == found["b/3"]["status"] == "keep"
        is_grouped = found["b/mirror"]["cluster"] == found["b/3"]["cluster"]
        assert is_grouped == is_searched
        kinds = pq.read_table(dataset_folder("birds") / "pairs.parquet")["kind"].to_pylist()
        assert kinds.count("mirror") == is_searched


def test_the_order_of_samples_does_not_matter(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    rows = birds()
    write("birds", rows)
    run(main, "birds")
    first = marks("birds")
    write("birds", [rows[n] for n in np.random.default_rng(0).permutation(len(rows))])
    run(main, "birds")
    assert marks("birds") == first


def test_a_second_run_decodes_only_what_is_new(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    seen: list[bytes] = []

    def counted(data: bytes) -> int:
        seen.append(data)
        return phash(data)

    monkeypatch.setattr(hash_cache, "phash", counted)
    rows = birds()
    samples = write("birds", rows)
    ids = [row["content_id"] for row in rows]
    first = hashes_of("birds", ids)
    assert len(seen) == 12, "the same bytes are decoded once"
    assert hashes_of("birds", ids) == first
    assert len(seen) == 12
    rows.append(picture("new", drawn(77), "b"))
    write("birds", rows)
    ids.append(rows[-1]["content_id"])
    assert hashes_of("birds", ids)[-1] == [phash(rows[-1]["image"]["bytes"])]
    assert len(seen) == 13
    both = hashes_of("birds", ids, BOTH)
    assert [[upright] for upright, _ in both[:-1]] == first
    image = Image.open(io.BytesIO(rows[3]["image"]["bytes"]))
    assert (both[3][1] ^ int(str(imagehash.phash(ImageOps.mirror(image))), 16)).bit_count() <= 4
    samples.unlink()
    assert hashes_of("birds", ids) == both, "all are known"


def test_processes_hash_as_threads_do(tmp_path: Path) -> None:
    encoded_ = [encoded(drawn(n)) for n in range(70)] + [b"no picture", encoded(drawn(70))[:900]]
    pictures = [(content_id(data), data) for data in encoded_]
    for kind in (PHASH, BOTH):
        alone = list(hash_all(pictures, kind._replace(many=1000), len(pictures)))
        shared = list(hash_all(pictures, kind._replace(many=1), len(pictures)))
        assert [name for name, _ in shared] == [name for name, _ in pictures]
        assert [str(found) for _, found in shared] == [str(found) for _, found in alone]
        assert alone[5][1] == list(kind.compute(encoded_[5]))
        assert all(isinstance(found, Rejected) for _, found in shared[70:])

    for number, data in enumerate([*encoded_, encoded_[0]]):
        (tmp_path / f"{number:02}").write_bytes(data)
    read, found = hash_files(sorted(tmp_path.iterdir()), PHASH._replace(many=1))
    assert read == [(content_id(data), len(data)) for data in [*encoded_, encoded_[0]]]
    assert found.keys() == {name for name, _ in pictures}, "the same bytes are decoded once"


def test_another_policy_or_a_damaged_cache_is_hashed_anew(project: Callable[..., Path]) -> None:
    project()
    rows = birds()
    write("birds", rows)
    ids = [row["content_id"] for row in rows]
    first = hashes_of("birds", ids)
    path = cache_path("birds", PHASH)
    table_ = pq.read_table(path)
    zeros = table_.set_column(1, table_.field(1), pa.array([[0]] * 12, table_.field(1).type))
    pq.write_table(zeros, path)
    assert hashes_of("birds", ids) == [[0]] * 13, "the cache is what is read"
    pq.write_table(zeros.replace_schema_metadata({"policy": "another decoder"}), path)
    assert hashes_of("birds", ids) == first
    path.write_bytes(path.read_bytes()[:100])
    assert hashes_of("birds", ids) == first


def test_a_picture_that_cannot_be_decoded_is_named_and_the_others_hashes_stay(
    project: Callable[..., Path],
) -> None:
    project(**{"dedupe.birds": {"method": "phash"}})
    rows = [picture(f"{n}", drawn(n)) for n in range(80)]
    broken = encoded(drawn(99))[:900]
    rows.append(sample("broken", content_id=content("broken"), image={"bytes": broken, "path": ""}))
    write("birds", rows)
    result = CliRunner().invoke(main, ["birds"])
    assert result.exit_code == 1
    assert f"picture {content('broken')}: truncated" in result.output
    assert not (dataset_folder("birds") / "dedupe.parquet").exists()
    assert pq.read_table(cache_path("birds", PHASH)).num_rows == 80


def test_links_go_there_and_back(project: Callable[..., Path]) -> None:
    project()
    samples = table([sample(n, content_id=content(n % 4)) for n in range(6)])
    contents = contents_of(samples)
    one = Pairs(np.array([0, 1]), np.array([2, 3]), np.array([4, 11], np.int32))
    mirror = Pairs(np.array([0]), np.array([1]), np.array([3], np.int32))
    links = Edges(one, mirror)
    write_pairs("birds", pairs_table(samples, contents, links))
    found = read_edges("birds", samples, contents)
    for wanted, got in zip(links, found, strict=True):
        assert np.array_equal(np.stack(wanted), np.stack(got))
    with pytest.raises(PipelineError, match=r"pairs\.parquet: .* names the unknown sample"):
        read_edges("birds", samples.slice(0, 1), contents_of(samples.slice(0, 1)))
    with pytest.raises(PipelineError, match=r"unknown dataset .fish."):
        read_edges("fish", samples, contents)


def test_a_symmetric_picture_is_no_mirror_image_of_itself_and_a_pair_has_one_kind() -> None:
    upright = np.array([5, 5 << 40, 6], np.uint64)
    mirrored = np.array([5, 9 << 40, 6], np.uint64)
    links = edges_of(upright, mirrored, 2, 2)
    assert (links.near.a.tolist(), links.near.b.tolist()) == ([0], [2])
    assert links.mirror.a.size == 0


def test_a_crop_is_found_by_two_regions_and_only_told() -> None:
    x, y, z = 0, 0xFFFF_FFFF << 32, 0xFFFF_0000_FFFF  # 32 bits apart
    pictures = [[x, y, z], [x | 0b111, y], [x], [z | 1 << 60, z | 1 << 61]]
    alike = crop_edges(pictures)
    assert (alike.a.tolist(), alike.b.tolist(), alike.distance.tolist()) == ([0], [1], [-1])
    assert crop_edges([[5, 5], [5, 5]]).a.size == 0, "one region twice is one"
    assert crop_edges([]).a.size == crop_edges([[1]]).a.size == 0


def test_crops_are_linked_for_review_and_remove_nothing(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash", "crop": True}})
    image = scene()
    rows = [picture("whole", image), picture("part", image.crop((60, 50, 560, 430)), "b")]
    rows += [picture(f"{n}", drawn(n)) for n in range(3)]
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
    rows = []
    for path in image_files(shared / "dances"):
        taken = ingest_image(path.read_bytes(), 512)
        assert not isinstance(taken, Exception)
        label = path.parent.name
        columns = taken.columns(f"{label}/{path.name}")
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
