"""params.yaml: what is wrong is named in one line, and every value says why it is what it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from pipeline.core.errors import PipelineError
from pipeline.core.params import Params, load_params, section, validate
from tests.conftest import ROOT

SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(key: tuple[str, ...], value: Any) -> dict[str, Any]:
    values = copy.deepcopy(SHIPPED)
    at = values
    for part in key[:-1]:
        at = at[part]
    at[key[-1]] = value
    return values


def test_a_misspelt_key_is_named_though_it_had_to_be_there() -> None:
    values = copy.deepcopy(SHIPPED)
    dances = values["train"]["dances"]
    dances["batchsize"] = dances.pop("batch_size")
    with pytest.raises(PipelineError, match=r"batchsize: unknown key; did you mean batch_size"):
        validate(values)


def test_the_shipped_file_is_valid_and_has_the_four_dances() -> None:
    params = load_params(ROOT / "params.yaml")
    assert [dance.label for dance in params.dances.values()] == [
        "Bharathanatyam",
        "Kathak",
        "Kathakali",
        "Jagoi (Manipuri)",
    ]
    assert all(2 <= len(dance.queries) <= 3 for dance in params.dances.values())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (("crawl", "thread"), 3, "crawl.thread: unknown key; did you mean threads?"),
        (("crawl", "threads"), "many", "crawl.threads: found 'many'"),
        (("crawl", "threads"), 0, "greater than or equal to 1"),
        (("crawl", "max_images"), True, "crawl.max_images: found True"),
        (("dances", "Kathak!"), {"label": "K", "queries": ["k"]}, "a-z, 0-9, _ and - only"),
        (("dances", "a.b"), {"label": "K", "queries": ["k"]}, "found 'a.b'"),
        (("dances", "kathak", "querys"), [], "dances.kathak.querys: unknown key; did you mean"),
        (("dances", "kathak", "queries"), [], "dances.kathak.queries: found []"),
        (("fetch", "tamil", "source"), "web", "'online' or 'offline'"),
        (("dedupe", "dances", "group_within"), 3, "remove_within <= group_within"),
        (("dedupe", "dances", "method"), "ahash", "dedupe.dances.method: found 'ahash'"),
        (("compute", "kind"), "spark", "'local' or 'dask'"),
        (("compute", "scheduler"), "tcp://host:8786", "but kind is local and uses none"),
        (("compute",), {"kind": "dask", "storage": "/mnt/kalai"}, "not a URL like s3://bucket"),
        (("compute",), {"kind": "dask", "storage": "s3://bucket/"}, "not a URL like s3://bucket"),
        (("compute",), {"kind": "dask", "storage": "memory://x"}, "memory:// is of one process"),
        (("compute",), {"kind": "dask", "storage": "s3://bucket/kalai"}, None),
        (("split", "tamil", "valid"), 0.9999, None),
        (("split", "tamil", "valid"), 1, "less than 1"),
    ],
)
def test_a_wrong_value_is_one_line_with_key_found_and_allowed(
    key: tuple[str, ...], value: Any, said: str | None
) -> None:
    values = changed(key, value)
    if said is None:
        validate(values)
        return
    with pytest.raises(PipelineError) as caught:
        validate(values)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"params.yaml: {key[0]}")
    assert "\n" not in caught.value.message


def test_a_missing_section_is_named() -> None:
    values = copy.deepcopy(SHIPPED)
    del values["crawl"]
    with pytest.raises(PipelineError, match=r"params.yaml: crawl: missing"):
        validate(values)


def test_several_mistakes_are_counted() -> None:
    values = changed(("crawl", "threads"), 0)
    values["crawl"]["min_side"] = 0
    with pytest.raises(PipelineError, match=r"and 1 more"):
        validate(values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML: line 1, column 5: while parsing a flow node"),
        ("a: [1\nb: 2", "line 2, column 2: while parsing a flow sequence expected ',' or ']'"),
        ("- 1", "found list"),
        ("", "found NoneType"),
    ],
)
def test_a_file_that_is_not_a_mapping(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError, match=said):
        load_params(path)
    with pytest.raises(PipelineError, match="project's root"):
        load_params(tmp_path / "absent.yaml")


def test_an_unknown_dataset_names_the_known() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(PipelineError, match=r"split.birds is missing; split has: dances, tamil"):
        section(params, "split", "birds")


def test_every_value_in_the_file_has_a_reason() -> None:
    """A scalar's line, or the line of the mapping that it stands in, carries a comment."""
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for line in lines
        if ": " in line and "#" not in line
        if not line.strip().startswith(("label:", "url:", "mirrors:", "sha256:"))
    ]
    assert bare == []


def test_models_are_closed() -> None:
    def models(kind: type[BaseModel]) -> set[type[BaseModel]]:
        inner = set()
        for field in kind.model_fields.values():
            for part in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                if isinstance(part, type) and issubclass(part, BaseModel):
                    inner |= models(part)
        return inner | {kind}

    found = models(Params)
    assert len(found) > 8
    assert all(model.model_config.get("extra") == "forbid" for model in found)
