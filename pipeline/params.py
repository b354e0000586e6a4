"""params.yaml, validated: one model a stage; an unknown key or a wrong value is one clear line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from pipeline.errors import PipelineError

PARAMS = Path("params.yaml")

# DVC interpolates keys with dots wrongly, and a key becomes a folder's name.
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, lt=1)]


class Model(BaseModel):
    """Strict, closed and frozen: a typing mistake in params.yaml never passes silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Dance(Model):
    """One class of the dances dataset; its key is its label."""

    label: Text  # shown to people
    queries: list[Text] = Field(min_length=1)  # what the search engine is asked


class Crawl(Model):
    """How pictures are searched and downloaded; the same for every dance."""

    engine_url: str = "https://www.bing.com"
    max_images: int = Field(gt=0)  # asked of every dance
    min_images: int = Field(ge=0)  # fewer than this fails the stage
    threads: int = Field(default=16, ge=1, le=64)
    min_side: int = Field(default=64, ge=1)  # pixels
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_bytes: int = Field(default=20_000_000, ge=1)
    timeout_s: float = Field(default=30.0, gt=0)  # for one picture, from request to last byte
    user_agent: Text = "kalai (dataset crawler)"
    allow_hosts: list[str] = []  # "host:port" of a private network that may be reached: demo, tests

    @model_validator(mode="after")
    def _enough(self) -> Crawl:
        if self.min_images > self.max_images:
            raise ValueError(f"min_images {self.min_images} is above max_images {self.max_images}")
        return self


class Collect(Model):
    """How crawled files become samples."""

    max_side: int = Field(default=512, ge=16)  # larger pictures are reduced to this (pixels)


class Archive(Model):
    """A published archive and how it is recognised."""

    url: Text  # http, https, file:// or a local path
    mirrors: list[Text] = []
    sha256: Sha256 | None  # null: the first download is recorded, a later change refused


class Fetch(Model):
    """Which archives of a handwriting dataset are downloaded."""

    source: Literal["online", "offline"]
    archives: dict[Literal["online", "offline"], dict[Literal["train", "test"], Archive]]
    max_bytes: int = Field(default=2_000_000_000, ge=1)
    timeout_s: float = Field(default=60.0, gt=0)  # of silence
    allow_hosts: list[str] = []

    @model_validator(mode="after")
    def _has_source(self) -> Fetch:
        if self.source not in self.archives:
            raise ValueError(f"source is {self.source} but archives has no {self.source}")
        return self


class Convert(Model):
    """How archive members become samples."""

    classes: Text  # class table: a name that ships with kalai ("tamil") or a CSV's path
    y_axis: Literal["down", "up"] = "down"
    dpi: int = Field(default=250, ge=10, le=2400)
    pen_width: int = Field(default=2, ge=1, le=64)  # pixels
    per_class: int | None = Field(default=None, ge=1)  # at most so many a class and part; null: all


class Dedupe(Model):
    """Which pictures count as the same."""

    method: Literal["phash", "exact"]
    remove_within: int = Field(default=6, ge=0, le=32)  # Hamming distance of 64-bit hashes
    group_within: int = Field(default=10, ge=0, le=32)
    review_within: int = Field(default=12, ge=0, le=32)

    @model_validator(mode="after")
    def _ordered(self) -> Dedupe:
        if not self.remove_within <= self.group_within <= self.review_within:
            raise ValueError("expected remove_within <= group_within <= review_within")
        return self


class Split(Model):
    """Which sample goes to which part."""

    method: Literal["random", "group", "official"]
    seed: int = 8
    valid: Share
    test: Share
    group_column: Text | None = None
    group_pattern: Text | None = None

    @model_validator(mode="after")
    def _leaves_train(self) -> Split:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid {self.valid} + test {self.test} leave nothing for train")
        return self


class Train(Model):
    """The two-stage training."""

    seed: int = 8
    size: int = Field(ge=16, le=1024)
    batch_size: int = Field(ge=2)
    weights: Text = "none"
    frozen_epochs: int = Field(ge=0)
    unfrozen_epochs: int = Field(ge=0)


class Evaluate(Model):
    """What is measured."""

    top_losses: int = Field(default=48, ge=1)


class Params(Model):
    """All of params.yaml."""

    dances: dict[Key, Dance] = Field(min_length=1)
    crawl: Crawl
    collect: Collect
    fetch: dict[Key, Fetch]
    convert: dict[Key, Convert]
    dedupe: dict[Key, Dedupe]
    split: dict[Key, Split]
    train: dict[Key, Train]
    evaluate: dict[Key, Evaluate]


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate params.yaml.

    Raises PipelineError: one line with the key, what was found and what is allowed.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}; run from the project's root") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise PipelineError(f"{path}: expected keys and values, found {type(values).__name__}")
    return validate(values, str(path))


def validate(values: Mapping[str, Any], name: str = str(PARAMS)) -> Params:
    """Turn a mapping into Params; `name` is the file's, for the error line."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise PipelineError(_one_line(error, name)) from error


def section(sections: Mapping[str, Any], dataset: str, stage: str) -> Any:
    """Return a dataset's part of a stage's section.

    Raises PipelineError naming the datasets there are.
    """
    if dataset not in sections:
        known = ", ".join(sections) or "none"
        raise PipelineError(f"params.yaml: {stage}.{dataset} is missing; {stage} has: {known}")
    return sections[dataset]


def _one_line(error: ValidationError, name: str) -> str:
    first, *more = error.errors()
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    found = first["input"]
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), allowed, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
        text = f"unknown key; {hint}"
    elif first["type"] == "missing":
        text = "missing"
    elif "[key]" in first["loc"]:
        text = f"a key may hold a-z, 0-9, _ and - only, found {found!r}"
    elif first["type"] == "value_error":
        text = str(first["ctx"]["error"])
    else:
        shown = repr(found)
        text = f"found {shown if len(shown) < 60 else shown[:57] + '...'}; {first['msg']}"
    others = f" (and {len(more)} more)" if more else ""
    return f"{name}: {key}: {text}{others}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the model at `location` of Params allows."""
    at: Any = Params
    for part in location:
        if isinstance(at, type) and issubclass(at, BaseModel):
            at = at.model_fields[str(part)].annotation
        else:  # dict[...] or list[...]: the type of the values
            at = at.__args__[-1]
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []
