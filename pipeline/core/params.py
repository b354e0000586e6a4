"""params.yaml, validated: one model a stage; an unknown key or a wrong value is one clear line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.core.errors import PipelineError, unknown_dataset

PARAMS = Path("params.yaml")

# DVC interpolates keys with dots wrongly, and a key becomes a folder's name.
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=10)]  # a learning rate
Rates = Annotated[list[Rate], Field(min_length=2, max_length=2)]
SWITCHED = {True: "on", False: "off"}  # as YAML reads a bare on and off
Switch = Annotated[
    Literal["auto", "on", "off"],
    BeforeValidator(lambda value: SWITCHED[value] if isinstance(value, bool) else value),
]


class Model(BaseModel):
    """Strict, closed and frozen: a typing mistake in params.yaml never passes silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


EngineName = Literal["bing", "openverse", "wikimedia", "flickr", "urls"]
_REFUSED_ENGINES = {
    "google": "its result pages need a browser, and icrawler's reader of them finds nothing",
    "baidu": "it answers only to cookies of its own pages, which an honest crawler has not visited",
}


def _refuse_engines(names: Any) -> Any:
    for name in names or []:
        if name in _REFUSED_ENGINES:
            allowed = ", ".join(get_args(EngineName))
            raise ValueError(f"no {name}: {_REFUSED_ENGINES[name]}; allowed: {allowed}")
    return names


class Dance(Model):
    """One class of the dances dataset; its key is its label."""

    label: Text  # shown to people
    queries: list[Text] = Field(min_length=1)  # what the search engines are asked
    engines: list[EngineName] | None = Field(default=None, min_length=1)  # null: crawl.engines
    urls: Text | None = None  # a list for the engine "urls": .txt, .csv or .parquet

    _refused = field_validator("engines", mode="before")(_refuse_engines)


class Crawl(Model):
    """How pictures are searched and downloaded; the same for every dance."""

    engines: list[EngineName] = Field(default=["bing"], min_length=1)  # interleaved by rank
    engine_url: str | None = None  # answers in place of every engine; null: their own addresses
    filters: dict[str, str] = {}  # of Bing's search, as icrawler names them: {license: commercial}
    licences: list[Text] = []  # what a picture's may be: [by, by-sa, cc0]; empty: any, and unknown
    max_images: int = Field(gt=0)  # asked of every dance
    min_images: int = Field(ge=0)  # fewer than this fails the stage
    threads: int = Field(default=16, ge=1, le=64)
    min_side: int = Field(default=64, ge=1)  # pixels
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_bytes: int = Field(default=20_000_000, ge=1)
    timeout_s: float = Field(default=30.0, gt=0)  # for one answer, from request to last byte
    tries: int = Field(default=3, ge=1, le=10)  # where a failure may pass
    backoff_s: float = Field(default=0.5, ge=0)  # before the second try; doubles
    max_wait_s: float = Field(default=60.0, ge=0)  # between all tries of one picture
    contact: Text | None = None  # a page or address, told to every host in the user agent
    robots: bool = True  # honour robots.txt of image hosts
    opt_out: bool = True  # honour X-Robots-Tag (noai, noindex, ...) and TDM-Reservation
    per_host: int = Field(default=4, ge=1)  # requests at once to one image host
    host_delay_s: float = Field(default=0.1, ge=0)  # between the starts of requests to one host
    engine_delay_s: float = Field(default=1.0, ge=0)  # between two pages of one engine
    proxy: Text | None = None  # the environment's proxies are not used
    allow_hosts: list[str] = []  # "host:port" of a private network that may be reached: demo, tests

    _refused = field_validator("engines", mode="before")(_refuse_engines)

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
    max_bytes: int = Field(default=2_000_000_000, ge=1)  # of one archive
    timeout_s: float = Field(default=60.0, gt=0)  # of silence, or of under 1 kB/s
    proxy: Text | None = None  # the environment's proxies are not used
    allow_hosts: list[str] = []  # "host:port" of a private network that may be reached: demo, tests

    @model_validator(mode="after")
    def _has_source(self) -> Fetch:
        if self.source not in self.archives:
            raise ValueError(f"source is {self.source} but archives has no {self.source}")
        return self


class Convert(Model):
    """How archive members become samples."""

    classes: Text  # the class table, a CSV: DVC sees what changes in it
    layout: Text = "hp"  # how archives name their members: a key of pipeline/convert/layouts.py
    y_axis: Literal["down", "up"] = "down"
    dpi: int = Field(default=250, ge=10, le=2400)
    pen_width: int = Field(default=2, ge=1, le=16)  # pixels
    per_class: int | None = Field(default=None, ge=1)  # at most so many a class and part; null: all


# The columns of the border that a table can fill; `image` is a path or a URL.
TableColumn = Literal[
    "image",
    "label",
    "label_name",
    "romanised",
    "group",
    "official_part",
    "source_url",
    "page_url",
    "licence",
    "licence_url",
    "creator",
    "attribution",
]


class Folder(Model):
    """Pictures of your own: a folder a class, or a table of paths or URLs with labels."""

    path: Text  # the folder with the pictures, and the table; DVC sees what changes in it
    layout: Literal["class", "part/class"] = "class"  # how the folders in it are nested
    table: Text | None = None  # a .csv, .tsv or .parquet in it; null: the folders are the labels
    columns: dict[TableColumn, Text] = {}  # what the table calls them, where the names differ
    max_side: int = Field(default=512, ge=16)  # larger pictures are reduced to this (pixels)
    min_side: int = Field(default=1, ge=1)  # pixels
    max_pixels: int = Field(default=50_000_000, ge=1)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Folder:
        if self.table is None and self.columns:
            raise ValueError("columns are those of a table, and table is null")
        if self.table is not None and self.layout != "class":
            raise ValueError("with a table, parts are a column (official_part), not a layout")
        if self.table is not None and (self.table[0] == "/" or ".." in self.table.split("/")):
            raise ValueError("table lies in path, or DVC would not see it change")
        return self


class Dedupe(Model):
    """Which pictures count as the same."""

    method: Literal["phash", "exact"]
    remove_within: int = Field(default=6, ge=0, le=32)  # Hamming distance of 64-bit hashes
    group_within: int = Field(default=10, ge=0, le=32)
    review_within: int = Field(default=12, ge=0, le=32)
    mirror: bool = False  # look for mirror images too; they are grouped, never removed
    crop: bool = False  # look for parts of other pictures, for review alone; 0.2 s a picture

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
    test: Share  # not where the method is official
    group_column: Text | None = None  # a samples column; equal values stay in one part
    group_pattern: Text | None = None  # regex: what it finds in that column (or sample_id) instead
    # expected: a new picture never moves an old one; exact: shares are met, some move
    stratify: Literal["expected", "exact"] = "expected"
    folds: int | None = Field(default=None, ge=2)  # a fold column over train and valid, grouped

    @model_validator(mode="after")
    def _leaves_train(self) -> Split:
        test = 0 if self.method == "official" else self.test
        if self.valid + test >= 1:
            raise ValueError(f"valid {self.valid} + test {test} leave nothing for train")
        if self.group_pattern is not None:
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise ValueError(f"group_pattern {self.group_pattern!r}: {error}") from error
        return self


class Augment(Model):
    """Random changes of training pictures, made on the device; each value is the largest amount."""

    rotate: float = Field(default=0, ge=0, le=180)  # degrees, either way
    zoom: float = Field(default=0, ge=0, lt=1)  # share, larger or smaller
    aspect: float = Field(default=0, ge=0, lt=1)  # share, wider or narrower
    shear: float = Field(default=0, ge=0, lt=1)  # sideways, share of the height
    shift: float = Field(default=0, ge=0, lt=1)  # share of the side
    min_area: float = Field(default=1, gt=0, le=1)  # smallest random crop; 1: none
    flip: float = Field(default=0, ge=0, le=1)  # chance of left for right
    light: float = Field(default=0, ge=0, lt=1)  # contrast and brightness, share
    elastic: float = Field(default=0, ge=0, lt=0.2)  # bends: deviation of 4 x 4 knots, share
    stroke: float = Field(default=0, ge=0, le=1)  # thicker or thinner by up to so many pixels


class Train(Model):
    """The two-stage training."""

    seed: int = 8
    size: int = Field(ge=16, le=1024)  # pixels; what the network sees
    channels: Literal[1, 3] = 3  # 1: a stem for grey; 3: colour, grey is repeated
    fit: Literal["crop", "pad", "squish"] = "crop"  # how a picture becomes square
    margin: int = Field(default=0, ge=0)  # pixels left empty on each side
    trim: bool = False  # cut an empty border away first
    invert: bool = False  # dark on light becomes bright on black
    augment: Augment = Augment()
    batch_size: int = Field(ge=2)
    weights: Text = "none"  # imagenet, none, or a file
    frozen_epochs: int = Field(ge=0)
    unfrozen_epochs: int = Field(ge=0)
    frozen_lr: Rate | Literal["auto"] = 0.003  # auto: what the learning rate finder suggests
    unfrozen_lr: Literal["auto"] | Rates = [1e-5, 1e-4]  # first layers' and last layers'
    scratch_lr: Rate | Literal["auto"] = 0.003  # of both stages where weights are none
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    mixup: float = Field(default=0, ge=0)  # of its Beta distribution; 0: none
    ema: float = Field(default=0, ge=0, lt=1)  # decay of the weights' average, a step; 0: none
    tta: bool = False  # average a few turned, slanted and zoomed looks at a picture in use
    dropout: float = Field(default=0.5, ge=0, lt=1)  # before the last layer
    lr_find_steps: int = Field(default=60, ge=0)  # 0: no learning rate finder
    checkpoint_s: float = Field(default=30, ge=0)  # of work that a kill may cost; each has 260 MB
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    channels_last: Switch = "auto"
    small_maps: Switch = "auto"  # a CPU's 3 x 3 convolutions of few places as matrix products
    fused: Switch = "auto"  # AdamW's step in one kernel
    cudnn_benchmark: Switch = "auto"  # cuDNN tries its kernels; sums' last digits may differ by run
    compile: Switch = "auto"  # torch.compile; auto: off: a CPU needs 95 s to begin, for no gain

    @model_validator(mode="after")
    def _makes_sense(self) -> Train:
        if 2 * self.margin >= self.size:
            raise ValueError(f"margin {self.margin} on both sides leaves nothing of {self.size}")
        if not self.frozen_epochs + self.unfrozen_epochs:
            raise ValueError(
                "frozen_epochs and unfrozen_epochs are both 0: nothing would be trained"
            )
        if "auto" in (self.frozen_lr, self.unfrozen_lr, self.scratch_lr) and not self.lr_find_steps:
            raise ValueError("a learning rate is auto but lr_find_steps is 0")
        return self


class Evaluate(Model):
    """What is measured."""

    top_losses: int = Field(default=48, ge=1)  # pictures to look at
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"


class Compute(Model):
    """Where convert, collect, hashing and the pair search run; their results are equal."""

    kind: Literal["local", "dask"] = "local"
    scheduler: Text | None = None  # the address of one that runs; null: workers on this machine
    workers: int = Field(default=2, ge=1)  # processes, where no scheduler is given
    storage: Text | None = None  # a URL for shards; null: data/<dataset>/cache, which workers share

    @model_validator(mode="after")
    def _serves(self) -> Compute:
        if self.kind == "local" and (self.scheduler or self.storage):
            raise ValueError("a scheduler or storage is given, but kind is local and uses none")
        if self.storage is not None:
            protocol, _, rest = self.storage.partition("://")
            if not rest or self.storage.endswith("/"):
                raise ValueError(f"storage is {self.storage!r}, not a URL like s3://bucket/kalai")
            if protocol == "memory":
                raise ValueError("memory:// is of one process, and workers are others")
        return self


class Params(Model):
    """All of params.yaml."""

    dances: dict[Key, Dance] = Field(min_length=1)
    crawl: Crawl
    collect: Collect
    fetch: dict[Key, Fetch]
    convert: dict[Key, Convert]
    folder: dict[Key, Folder]
    dedupe: dict[Key, Dedupe]
    split: dict[Key, Split]
    train: dict[Key, Train]
    evaluate: dict[Key, Evaluate]
    compute: Compute = Compute()

    @property
    def datasets(self) -> set[str]:
        """The names of all datasets of the project."""
        sections = (self.fetch, self.convert, self.folder, self.dedupe, self.split)
        return {"dances"}.union(*sections, self.train, self.evaluate)


def load_params(path: Path = PARAMS) -> Params:
    """Read and validate params.yaml.

    Raises PipelineError: one line with the key, what was found and what is allowed.
    """
    return read_params(path)[1]


def read_params(path: Path = PARAMS) -> tuple[str, Params]:
    """Return the text of params.yaml with what it says; raises as `load_params` does."""
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}; run from the project's root") from error
    except yaml.MarkedYAMLError as error:
        at, what = error.problem_mark, " ".join(filter(None, (error.context, error.problem)))
        where = f"line {at.line + 1}, column {at.column + 1}: " if at else ""
        raise PipelineError(f"{path}: not YAML: {where}{what}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise PipelineError(f"{path}: expected keys and values, found {type(values).__name__}")
    return text, validate(values, str(path))


def validate(values: Mapping[str, Any], name: str = str(PARAMS)) -> Params:
    """Turn a mapping into Params; `name` is the file's, for the error line."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise PipelineError(_one_line(error, name, values)) from error


def section(params: Params, stage: str, dataset: str) -> Any:
    """Return a dataset's entry in the section of a stage.

    Raises PipelineError if the project has no such dataset, or if the section has no entry for it.
    """
    entries: Mapping[str, Any] = getattr(params, stage)
    if dataset in entries:
        return entries[dataset]
    if dataset not in params.datasets:
        raise unknown_dataset(dataset, params.datasets)
    names = ", ".join(entries) or "none"
    raise PipelineError(f"params.yaml: section {stage} has no dataset {dataset!r}; it has: {names}")


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with a value that a model refused, without naming its key."""
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def _one_line(error: ValidationError, name: str, values: Mapping[str, Any]) -> str:
    # A misspelt key that must be there is missing and unknown; the second names what to mend.
    first, *more = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = _key_of(first["loc"], values, is_missing=first["type"] == "missing")
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


def _key_of(location: tuple[int | str, ...], values: Any, *, is_missing: bool) -> str:
    """Return the dotted key; pydantic's location also names the branches of a union."""
    parts = []
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if not is_missing or part != location[-1]:
                continue
        parts.append(str(part))
    return ".".join(parts)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the model at `location` of Params allows."""
    at: Any = Params
    for part in location:
        if isinstance(at, type) and issubclass(at, BaseModel):
            at = at.model_fields[str(part)].annotation
        else:  # dict[...] or list[...]: the type of the values
            at = at.__args__[-1]
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []
