"""params.yaml: an error is one line that names the key; every value in the file has a reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from pipeline.core.errors import PipelineError
from pipeline.core.params import Folder, Params, first_problem, load_params, section, validate
from tests.conftest import ROOT

SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def changed(key: tuple[str, ...], value: Any) -> dict[str, Any]:
    values = copy.deepcopy(SHIPPED)
    at = values
    for part in key[:-1]:
        at = at[part]
    at[key[-1]] = value
    return values


def test_a_misspelt_required_key_is_named() -> None:
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
    ("key", "value", "expected"),
    [
        (("crawl", "thread"), 3, "crawl.thread: unknown key; did you mean threads?"),
        (("crawl", "threads"), "many", "crawl.threads: found 'many'; expected a valid integer"),
        (("crawl", "threads"), 0, "found 0; expected greater than or equal to 1"),
        (("crawl", "max_images"), True, "crawl.max_images: found True"),
        (
            ("dances", "Kathak!"),
            {"label": "K", "queries": ["k"]},
            "key 'Kathak!'; expected only a-z, 0-9, _ and -",
        ),
        (("dances", "a.b"), {"label": "K", "queries": ["k"]}, "found key 'a.b'"),
        (("dances", "kathak", "querys"), [], "dances.kathak.querys: unknown key; did you mean"),
        (("dances", "kathak", "queries"), [], "queries: found []; expected at least 1 item"),
        (("fetch", "tamil", "source"), "web", "'online' or 'offline'"),
        (("dedupe", "dances", "group_within"), 3, "remove_within <= group_within"),
        (("dedupe", "dances", "method"), "ahash", "dedupe.dances.method: found 'ahash'"),
        (("compute", "kind"), "spark", "'local' or 'dask'"),
        (("compute", "scheduler"), "tcp://host:8786", "kind is local; set kind to dask"),
        (("compute",), {"kind": "dask", "storage": "/mnt/kalai"}, "expected a URL such as s3://"),
        (("compute",), {"kind": "dask", "storage": "s3://bucket/"}, "with no slash at the end"),
        (
            ("compute",),
            {"kind": "dask", "storage": "memory://x"},
            "which other processes cannot read",
        ),
        (("compute",), {"kind": "dask", "storage": "s3://bucket/kalai"}, None),
        (("split", "tamil", "valid"), 0.9999, None),
        (("split", "tamil", "valid"), 1, "less than 1"),
    ],
)
def test_an_error_names_the_key_the_value_and_what_is_allowed(
    key: tuple[str, ...], value: Any, expected: str | None
) -> None:
    values = changed(key, value)
    if expected is None:
        validate(values)
        return
    with pytest.raises(PipelineError) as caught:
        validate(values)
    assert expected in caught.value.message
    assert caught.value.message.startswith(f"params.yaml: {key[0]}")
    assert "\n" not in caught.value.message


def test_a_missing_section_is_named() -> None:
    values = copy.deepcopy(SHIPPED)
    del values["crawl"]
    with pytest.raises(PipelineError, match=r"^params.yaml: crawl: key is missing$"):
        validate(values)


def test_several_mistakes_are_counted() -> None:
    values = changed(("crawl", "threads"), 0)
    values["crawl"]["min_side"] = 0
    with pytest.raises(PipelineError, match=r"\(and 1 more error\)$"):
        validate(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not YAML: line 1, column 5: while parsing a flow node"),
        ("a: [1\nb: 2", "line 2, column 2: while parsing a flow sequence expected ',' or ']'"),
        ("- 1", "expected a mapping of keys to values, found a list"),
        ("", "found nothing"),
    ],
)
def test_a_file_that_is_not_a_mapping(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError, match=expected):
        load_params(path)
    with pytest.raises(PipelineError, match=r"No such file .*; run this in the project's root"):
        load_params(tmp_path / "absent.yaml")


def test_an_error_for_an_unknown_dataset_lists_the_datasets() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(PipelineError) as caught:
        section(params, "split", "birds")
    assert caught.value.message == "unknown dataset 'birds'; this project has: dances, tamil"


def test_an_error_for_a_dataset_without_a_section_lists_those_with_one() -> None:
    params = load_params(ROOT / "params.yaml")
    assert section(params, "fetch", "tamil") is params.fetch["tamil"]
    with pytest.raises(PipelineError) as caught:
        section(params, "fetch", "dances")
    expected = "params.yaml: section fetch has no dataset 'dances'; it has: tamil"
    assert caught.value.message == expected


def test_the_first_problem_of_a_model_needs_no_key() -> None:
    def problem(**values: Any) -> str:
        with pytest.raises(ValidationError) as caught:
            Folder.model_validate({"path": "birds"} | values)
        return first_problem(caught.value)

    assert problem(max_side=3) == "found 3; expected greater than or equal to 16"
    assert problem(tabel="x.csv") == "unknown key; did you mean table?"
    assert problem(columns={"label": "x"}) == (
        "columns is set, but table is null; set table, or remove columns"
    )
    colour = problem(table="x.csv", columns={"colour": "x"})
    assert colour.startswith("found key 'colour'; expected 'image', 'label', 'label_name'")


def test_every_value_in_the_file_has_a_reason() -> None:
    """The line of a value, or of the mapping around it, ends in a comment."""
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
