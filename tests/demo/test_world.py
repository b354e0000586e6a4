"""The drawn world: one seed draws the same bytes; sound images differ; faults are as planted."""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter

import numpy as np
import pytest

from pipeline.convert import unipen
from pipeline.core.errors import Rejected
from pipeline.dedupe.phash import phash
from pipeline.demo import drawn_letters, figures
from pipeline.demo.drawn_archives import (
    TEST_ARCHIVE,
    TEST_WRITERS,
    TRAIN_ARCHIVE,
    TRAIN_TRIALS,
    TRAIN_WRITERS,
    DrawnArchives,
    draw_archives,
)
from pipeline.demo.drawn_dances import DrawnDances, bomb, draw_gallery
from pipeline.demo.run import SEED
from pipeline.demo.scenes import Scene
from pipeline.demo.world import Answer, Fault, Gallery, Plant, Url, World
from pipeline.images import normalise

DANCES = ("bharathanatyam", "kathak", "kathakali", "jagoi", "odissi")


@pytest.fixture(scope="module")
def archives(scene: Scene) -> DrawnArchives:
    assert scene.archives.drawn
    return scene.archives.drawn


def body(gallery: Gallery, url: Url | None) -> bytes:
    assert url is not None
    answer = gallery.answers[url.host, url.path]
    if isinstance(answer.location, Url):
        return body(gallery, answer.location)
    assert isinstance(answer.body, bytes)
    return answer.body


def of(gallery: Gallery, fault: Fault) -> list[Plant]:
    plants = [plant for plant in gallery.plants if plant.fault == fault]
    assert plants, fault
    return plants


def gallery_of(dances: DrawnDances, dance: str) -> Gallery:
    gallery = dances.gallery(dance)
    assert gallery is not None
    return gallery


def test_the_same_seed_draws_the_same_bytes(dances: DrawnDances) -> None:
    assert draw_gallery("kathak", SEED) == gallery_of(dances, "kathak")
    assert draw_gallery("kathak", SEED + 1) != gallery_of(dances, "kathak")


def test_sound_images_are_unlike_each_other_and_copies_are_alike(dances: DrawnDances) -> None:
    hashes = []
    for dance in DANCES:
        gallery = gallery_of(dances, dance)
        hashes += [phash(body(gallery, url)) for url in gallery.sound]
        for plant in gallery.plants:
            if plant.fault in (Fault.RESCALED, Fault.RECOMPRESSED):
                copy, twin = body(gallery, plant.url), body(gallery, plant.twin)
                assert copy != twin
                assert (phash(copy) ^ phash(twin)).bit_count() <= 6
    bits = np.array(hashes, dtype=np.uint64)
    distances = np.bitwise_count(bits[:, None] ^ bits)[np.triu_indices(len(bits), 1)]
    assert distances.min() > 10  # else a sound image would be grouped with another
    assert np.mean(distances > 12) > 0.999


def test_sound_images_decode_and_are_searched_for(dances: DrawnDances) -> None:
    for dance in DANCES:
        gallery = gallery_of(dances, dance)
        found = {hit.image for hit in (*gallery.main, *gallery.stage)}
        assert set(gallery.sound) <= found
        formats = Counter(
            normalise.verify(body(gallery, url), min_side=100).format for url in gallery.sound
        )
        assert set(formats) == {"JPEG", "PNG", "WEBP"}


def test_every_planted_fault_is_early_among_the_results(dances: DrawnDances) -> None:
    """A crawl that stops at its quota must have met them all."""
    for dance in DANCES:
        gallery = gallery_of(dances, dance)
        early = {
            hit.image
            for shelf in (gallery.main, gallery.stage)
            for hit in shelf[: len(shelf) * 3 // 4]
        }
        assert {plant.url for plant in gallery.plants} <= early
        assert all(plant.dance == dance for plant in gallery.plants)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.HTML, "not-an-image"),
        (Fault.TRUNCATED, "truncated"),
        (Fault.BOMB, "too-many-pixels"),
    ],
)
def test_a_broken_image_is_broken_as_planted(
    dances: DrawnDances, fault: Fault, reason: str
) -> None:
    gallery = gallery_of(dances, "jagoi")
    for plant in of(gallery, fault):
        with pytest.raises(Rejected) as caught:
            normalise.verify(body(gallery, plant.url))
        assert caught.value.reason == reason


def test_a_bomb_is_small_and_claims_many_pixels() -> None:
    assert len(bomb()) < 200
    with pytest.raises(Rejected, match=r"^too-many-pixels"):
        normalise.verify(bomb(8000))


def test_other_faults_are_as_planted(dances: DrawnDances) -> None:
    gallery = gallery_of(dances, "kathakali")
    answers = gallery.answers
    for plant in of(gallery, Fault.MISSING):
        assert (plant.url.host, plant.url.path) not in answers
    for plant in of(gallery, Fault.LATE):
        assert answers[plant.url.host, plant.url.path].stumbles == "503"
    inside, outside = of(gallery, Fault.PRIVATE)
    assert answers[inside.url.host, inside.url.path].location == Url("intranet", "/secret.jpg")
    assert "169.254." in str(answers[outside.url.host, outside.url.path].location)
    (private,) = of(gallery, Fault.ROBOTS)
    assert "/private/" in private.url.path
    (kept_back,) = of(gallery, Fault.OPT_OUT)
    tagged = answers[kept_back.url.host, kept_back.url.path]
    assert tagged.headers == (("X-Robots-Tag", "noai"),)
    normalise.verify(body(gallery, kept_back.url))  # nothing else is wrong with it
    for plant in of(gallery, Fault.SAME_BYTES):
        assert plant.url != plant.twin
        assert body(gallery, plant.url) == body(gallery, plant.twin)
    (shared,) = of(gallery, Fault.TWO_LABELS)
    lender = gallery_of(dances, shared.twin_dance)
    assert shared.twin_dance != "kathakali"
    assert body(gallery, shared.url) == body(lender, shared.twin)
    assert shared.twin not in lender.sound


def test_a_search_tells_kathak_from_kathakali(dances: DrawnDances) -> None:
    world = World(dances, {})
    for query, dance in (("Kathak dance", "kathak"), ("the kathakali", "kathakali")):
        paths = [hit.image.path for hit in world.search(query)]
        assert paths
        assert all(path.startswith(f"/{dance}/") for path in paths)
    assert dances.find("ras lila manipuri dance") == "jagoi"
    assert not world.search("waltz & நடனம்")
    on_stage = {hit.image for hit in world.search("kathak dancer on stage")}
    assert on_stage
    assert on_stage.isdisjoint(hit.image for hit in world.search("kathak dance"))


def test_an_unknown_address_has_no_answer(dances: DrawnDances) -> None:
    world = World(dances, {"a.tar.gz": Answer(b"x")})
    assert world.answer(Url("archives", "/a.tar.gz")) == Answer(b"x")
    robots = world.answer(Url("photos", "/robots.txt"))
    assert robots is not None
    assert b"Disallow: /*/private/" in robots.body  # type: ignore[operator]
    for url in (Url("archives", "/b.tar.gz"), Url("photos", "/"), Url("photos", "/waltz/1.jpg")):
        assert world.answer(url) is None


def test_classes_differ_in_what_the_styles_say() -> None:
    appearances = [
        (style.skirt, style.head, style.arms, round(style.costume, 2))
        for style in figures.STYLES.values()
    ]
    assert len(set(appearances)) == len(appearances) == 8


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        files = {info.name: tar.extractfile(info) for info in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_archives_have_the_publishers_layout(archives: DrawnArchives) -> None:
    assert draw_archives(SEED) == archives
    train, test = members(archives.files[TRAIN_ARCHIVE]), members(archives.files[TEST_ARCHIVE])
    form = re.compile(r"tamil_iso_char/usr_(\d+)/(?:\._)?(\d{3})t\d\d\.txt")
    matches = [form.fullmatch(name) for name in train]
    assert all(matches)
    assert {int(match[1]) for match in matches if match} == set(TRAIN_WRITERS)
    assert {match[2] for match in matches if match} == set(drawn_letters.LETTERS)
    labels = dict(line.split() for line in test.pop("test/labels.txt").decode().splitlines())
    assert {f"test/{number}.txt" for number in labels} == set(test)
    assert set(labels.values()) == set(drawn_letters.LETTERS)
    assert not set(TEST_WRITERS) & set(TRAIN_WRITERS)
    wrong = len(archives.apple_doubles) + len(archives.corrupt) + len(archives.copies)
    assert len(train) == wrong + len(TRAIN_WRITERS) * len(drawn_letters.LETTERS) * TRAIN_TRIALS


def test_faults_in_archives_are_as_planted(archives: DrawnArchives) -> None:
    train = members(archives.files[TRAIN_ARCHIVE])

    def strokes(name: str) -> list[bytes]:
        return re.findall(rb"^-?\d+ -?\d+", train[f"{name}.txt"], re.MULTILINE)

    for name in archives.apple_doubles:
        assert train[f"{name}.txt"].startswith(b"\x00\x05\x16\x07")
        assert len(train[f"{name}.txt"]) == 82  # as macOS writes one without entries
    for name, reason in zip(archives.corrupt, ("truncated", "corrupt"), strict=True):
        with pytest.raises(Rejected) as caught:
            unipen.parse(train[f"{name}.txt"])
        assert caught.value.reason == reason
    for name, twin in archives.copies:
        assert strokes(name) == strokes(twin) != strokes(f"{twin[:-1]}2")
        assert train[f"{name}.txt"] != train[f"{twin}.txt"]  # the trial's number differs
    test = members(archives.files[TEST_ARCHIVE])
    assert len({(train | test)[f"{name}.txt"] for name in archives.sound}) == len(archives.sound)
    assert not {*archives.corrupt, *sum(archives.copies, ())} & set(archives.sound)


def test_a_writers_handwriting_is_recognisable() -> None:
    """Over all letters and trials, sizes differ between writers far more than within."""

    def height(writer: int, letter: str, trial: int) -> int:
        strokes = drawn_letters.Handwriting.of(writer, SEED).write(letter, trial, SEED)
        y = [point[1] for stroke in strokes for point in stroke]
        return max(y) - min(y)

    heights = np.array(
        [
            [height(writer, letter, trial) for letter in drawn_letters.LETTERS for trial in (1, 2)]
            for writer in TRAIN_WRITERS
        ]
    )
    assert heights.mean(axis=1).std() > 1.5 * heights.std(axis=1).mean()
    assert len(np.unique(heights)) > heights.size / 2  # and no two trials are the same


def test_a_spline_meets_its_control_points() -> None:
    controls = [(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (3.0, 1.0), (4.0, 0.0)]
    curve = drawn_letters.spline(controls)
    assert all(min(abs(x - cx) + abs(y - cy) for x, y in curve) < 1e-9 for cx, cy in controls)
    assert (curve[0], curve[-1]) == (controls[0], controls[-1])
