"""Choose the world of a demo (drawn, real files, or a mix) and the params.yaml for it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import sha256_of
from pipeline.dataset.columns import PAGE_URL
from pipeline.demo import figures
from pipeline.demo.drawn_archives import TEST_ARCHIVE, TRAIN_ARCHIVE, DrawnArchives, draw_archives
from pipeline.demo.drawn_dances import DrawnDances
from pipeline.demo.folders import find_archives, read_dances
from pipeline.demo.web import Web
from pipeline.demo.world import ARCHIVES, SEARCH, Answer, Dances, Url, World

Changes = dict[str, Any]  # nested values of params.yaml

DATASETS = ("dances", "tamil")
CRAWL: Changes = {  # replaces settings that a project may have made for its own crawls
    "engines": ["bing"],
    "filters": {},
    "licences": [],
    "contact": None,
    "proxy": None,
    "host_delay_s": 0.01,  # every host is this machine, so politeness is not needed
    "engine_delay_s": 0.01,
}

# Matches a page's address without its port: ports differ from run to run, the split must not.
PAGES = {"group_column": PAGE_URL, "group_pattern": r"[^/]+/page-[0-9]+"}
# Small enough for two minutes on two cores, large enough to be clearly better than chance.
DRAWN_DANCES_TRAIN = {
    "size": 48,
    "batch_size": 16,
    "frozen_epochs": 2,
    "unfrozen_epochs": 8,
    "lr_find_steps": 20,
}
DRAWN_TAMIL_TRAIN = {**DRAWN_DANCES_TRAIN, "size": 32, "unfrozen_epochs": 6}
REAL_DANCES_TRAIN = {"size": 96, "batch_size": 32, "frozen_epochs": 4, "unfrozen_epochs": 12}
REAL_TAMIL_TRAIN = {"size": 48, "batch_size": 64, "frozen_epochs": 1, "unfrozen_epochs": 7}


@dataclass(frozen=True)
class Archives:
    """The handwriting archives of a scene."""

    answers: Mapping[str, Answer]  # by file name
    sources: Mapping[str, Mapping[str, str]]  # source -> part -> file; the first source is used
    checksums: Mapping[str, str]  # sha256 by file name
    changes: Changes
    drawn: DrawnArchives | None  # None if they are real


@dataclass(frozen=True)
class Scene:
    """A world, and the values of params.yaml for it."""

    world: World
    archives: Archives
    changes: Changes  # without the web's addresses, known only once it runs
    drawn_dances: tuple[str, ...]  # keys of drawn dances; empty if they are real

    @property
    def is_drawn(self) -> bool:
        """Whether both the dances and the archives are drawn."""
        return bool(self.drawn_dances and self.archives.drawn)

    def params(self, project: Mapping[str, Any], web: Web) -> Changes:
        """Return the project's params with the values for this scene; all addresses are `web`'s."""
        values: Changes = deepcopy(dict(project))
        for stage in ("fetch", "convert", "folder", "dedupe", "split", "train", "evaluate"):
            values[stage] = {
                name: settings for name, settings in values[stage].items() if name in DATASETS
            }
        values["dances"] = {}
        values["fetch"]["tamil"]["archives"] = {
            source: {
                part: {
                    "url": web.url(Url(ARCHIVES, f"/{name}")),
                    "mirrors": [],
                    "sha256": self.archives.checksums[name],
                }
                for part, name in parts.items()
            }
            for source, parts in self.archives.sources.items()
        }
        local: Changes = {
            "crawl": {"engine_url": f"http://{web.address(SEARCH)}", **CRAWL},
            "fetch": {"tamil": {"source": next(iter(self.archives.sources)), "proxy": None}},
            "train": {name: {"weights": "none"} for name in DATASETS},
        }
        for stage in (local["crawl"], local["fetch"]["tamil"]):
            stage["allow_hosts"] = web.allowed
        return merged(merged(values, local), self.changes)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> Changes:
    """Return nested `values`, updated with nested `changes`."""
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping):
            result[key] = merged(old, change)
        else:
            result[key] = change
    return result


def make_scene(
    seed: int, dances: Path | None = None, tamil: Path | None = None, per_class: int | None = None
) -> Scene:
    """Return a scene: real files if a folder is given, drawn ones if not.

    `per_class` is the most samples to take from real archives for each class and part.
    """
    archives = _drawn_archives(seed) if tamil is None else _real_archives(tamil, per_class)
    images, changes, drawn = _drawn_dances(seed) if dances is None else _real_dances(dances)
    world = World(images, archives.answers)
    return Scene(world, archives, merged(changes, archives.changes), drawn)


def _drawn_archives(seed: int) -> Archives:
    drawn = draw_archives(seed)
    return Archives(
        {
            name: Answer(data, "application/gzip", stumbles="cut" if name == TRAIN_ARCHIVE else "")
            for name, data in drawn.files.items()
        },
        {"online": {"train": TRAIN_ARCHIVE, "test": TEST_ARCHIVE}},
        drawn.checksums,
        {
            "convert": {"tamil": {"per_class": None}},
            "split": {"tamil": {"stratify": "exact"}},  # with 15 writers, "expected" may pick none
            "train": {"tamil": DRAWN_TAMIL_TRAIN},
        },
        drawn,
    )


def _real_archives(root: Path, per_class: int | None) -> Archives:
    paths = find_archives(root)
    files = [path for parts in paths.values() for path in parts.values()]
    return Archives(
        {path.name: Answer(path, "application/gzip") for path in files},
        {
            source: {part: path.name for part, path in parts.items()}
            for source, parts in paths.items()
        },
        {path.name: sha256_of(path) for path in files},
        {
            "convert": {"tamil": {"per_class": per_class}},
            "train": {"tamil": REAL_TAMIL_TRAIN},
        },
        None,
    )


def _drawn_dances(seed: int) -> tuple[Dances, Changes, tuple[str, ...]]:
    names = tuple(figures.STYLES)[:4]
    dances = DrawnDances(seed)
    # Exactly as many as exist: the crawl must store every one and stop by itself.
    some = dances.gallery(names[0])
    assert some is not None
    changes = {
        "dances": {
            name: {
                "label": name.title(),
                "queries": [f"{name} dance", f"{name} dancer on stage"],
            }
            for name in names
        },
        "crawl": {"max_images": some.storable, "min_images": 20},
        "split": {"dances": PAGES},
        "train": {"dances": DRAWN_DANCES_TRAIN},
    }
    return dances, changes, names


def _real_dances(root: Path) -> tuple[Dances, Changes, tuple[str, ...]]:
    dances = read_dances(root)
    changes = {
        "dances": {
            key: {"label": label, "queries": [f"{label} dance"]}
            for key, label in dances.labels.items()
        },
        "crawl": {
            "max_images": max(len(gallery.main) for gallery in dances.galleries.values()),
            "min_images": 1,
        },
        "split": {"dances": PAGES},
        "train": {"dances": REAL_DANCES_TRAIN},
    }
    return dances, changes, ()
