"""Scenes: real folders and archives as a world, and params that reach nothing but it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from pipeline.core.errors import PipelineError
from pipeline.core.params import validate
from pipeline.demo.folders import find_archives, read_dances
from pipeline.demo.scenes import Scene, make_scene, merged
from pipeline.demo.web import Web
from pipeline.demo.world import SEARCH, Url


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for folder, names in {
        "Kathak": ["1.jpg", "1 - Copy.jpg", "பெயர்&#.png"],
        "Kathakali (Kerala)": ["a.webp", "note.txt", ".DS_Store"],
        ".git": ["config"],
    }.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (9, 9)).save(root / folder / name, "PNG")
    return root


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    root = tmp_path / "archives"
    root.mkdir()
    for source in ("online", "offline"):
        for part in ("train", "test"):
            name = f"hpl-tamil-x-{part}-{source}-part1.tar.gz"
            (root / name).write_bytes(f"{part} {source}".encode())
    return root


def test_every_file_of_a_folder_is_found_and_served(photos: Path) -> None:
    scene = make_scene(8, dances=photos)
    files = {path.read_bytes() for path in (photos / "Kathak").iterdir()}
    with Web(scene.world) as web:
        hits = scene.world.search("Kathak dance")
        assert len(hits) == 3
        assert {requests.get(web.url(hit.image), timeout=5).content for hit in hits} == files
        assert len({hit.page for hit in hits}) == 3
        for hit in hits:
            assert requests.get(web.url(hit.page), timeout=5).status_code == 200
        assert len(scene.world.search("kathakali (kerala) dance on stage")) == 2
        assert not scene.world.search("odissi dance")


def test_a_folders_name_becomes_key_and_label(photos: Path, shipped: dict[str, Any]) -> None:
    scene = make_scene(8, dances=photos)
    with Web(scene.world) as web:
        params = validate(scene.params(shipped, web))
    assert {key: dance.label for key, dance in params.dances.items()} == {
        "kathak": "Kathak",
        "kathakali-kerala": "Kathakali (Kerala)",
    }
    for key, dance in params.dances.items():
        assert {scene.world.dances.find(query) for query in dance.queries} == {key}
    assert (params.crawl.max_images, params.crawl.min_images) == (3, 1)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "at least two"),
        ({"kathak": ["1.jpg"]}, "at least two"),
        ({"kathak": ["1.jpg"], "empty": []}, "empty: the folder is empty"),
        ({"Kathak": ["1.jpg"], "kathak": ["1.jpg"]}, "'Kathak' gives the same key, 'kathak'"),
        ({"நடனம்": ["1.jpg"], "kathak": ["1.jpg"]}, "needs a letter a-z or a digit"),
    ],
)
def test_folders_that_give_no_classes(
    tmp_path: Path, folders: dict[str, list[str]], message: str
) -> None:
    for folder, names in folders.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    with pytest.raises(PipelineError, match=message):
        read_dances(tmp_path)


def test_archives_are_found_by_name(archives: Path) -> None:
    found = find_archives(archives)
    assert list(found) == ["offline", "online"]
    assert found["online"]["test"].name == "hpl-tamil-x-test-online-part1.tar.gz"
    found["offline"]["test"].unlink()
    assert list(find_archives(archives)) == ["online"]
    (archives / "hpl-tamil-y-train-online.tar.gz").touch()
    with pytest.raises(PipelineError, match="expected one train online archive, found 2"):
        find_archives(archives)
    with pytest.raises(PipelineError, match="expected two archives"):
        find_archives(archives.parent)


def test_real_archives_come_whole_and_pinned(archives: Path, shipped: dict[str, Any]) -> None:
    scene = make_scene(8, tamil=archives, per_class=5)
    with Web(scene.world) as web:
        params = validate(scene.params(shipped, web))
        fetch = params.fetch["tamil"]
        assert fetch.source == "offline"
        archive = fetch.archives["online"]["train"]
        assert requests.get(archive.url, timeout=5).content == b"train online"
    assert archive.sha256 == hashlib.sha256(b"train online").hexdigest()
    assert params.convert["tamil"].per_class == 5
    assert scene.drawn_dances
    assert not scene.is_drawn


def test_params_of_the_drawn_world_reach_the_loopback_alone(
    scene: Scene, shipped: dict[str, Any]
) -> None:
    shipped["fetch"]["other"] = shipped["fetch"]["tamil"]
    shipped["crawl"]["allow_hosts"] = ["10.0.0.1:80"]
    assert scene.is_drawn
    with Web(scene.world) as web:
        values = scene.params(shipped, web)
        assert values["crawl"]["engine_url"] == web.url(Url(SEARCH, ""))
        assert values["crawl"]["allow_hosts"] == values["fetch"]["tamil"]["allow_hosts"]
        assert set(values["crawl"]["allow_hosts"]) == set(web.allowed)
    params = validate(values)
    urls = [value for value in leaves(values) if isinstance(value, str) and "://" in value]
    assert urls
    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    assert set(params.fetch) == {"tamil"}
    assert {settings.weights for settings in params.train.values()} == {"none"}
    assert list(params.dances) == ["bharathanatyam", "kathak", "kathakali", "jagoi"]


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def test_the_quota_is_what_a_crawl_can_store(scene: Scene, shipped: dict[str, Any]) -> None:
    """A dance that is added later has as many, else `dvc repro` would never stop asking."""
    with Web(scene.world) as web:
        wanted = scene.params(shipped, web)["crawl"]["max_images"]
    for dance in (scene.drawn_dances[0], "odissi"):
        gallery = scene.world.dances.gallery(dance)
        assert gallery is not None
        assert gallery.storable == wanted


def test_a_page_is_the_same_group_whatever_the_port(scene: Scene, shipped: dict[str, Any]) -> None:
    """Else two runs of the same world would split it differently."""
    pages = [hit.page for hit in scene.world.search("kathak dance")]
    groups = []
    for _ in "12":
        with Web(scene.world) as web:
            split = validate(scene.params(shipped, web)).split["dances"]
            assert split.group_column == "page_url"
            found = [re.search(str(split.group_pattern), web.url(page)) for page in pages]
            groups.append([match[0] for match in found if match])
    assert groups[0] == groups[1]
    assert len(set(groups[0])) == len(set(pages)) > 10


def test_merged_keeps_what_is_not_named() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": [1], "e": {"x": 1}}
    assert merged(old, {"a": {"c": 3}, "d": [2], "e": None, "f": {"g": 4}}) == {
        "a": {"b": 1, "c": 3},
        "d": [2],
        "e": None,
        "f": {"g": 4},
    }
    assert old["a"] == {"b": 1, "c": 2}
