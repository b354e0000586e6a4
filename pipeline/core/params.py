"""The models of params.yaml, one for each section, and the one-line errors for wrong values."""

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
from pydantic_core import ErrorDetails

from pipeline.core.errors import PipelineError, unknown_dataset

PARAMS = Path("params.yaml")

# A key becomes the name of a folder, and DVC cannot interpolate a key that contains a dot.
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=10)]  # a learning rate
Rates = Annotated[list[Rate], Field(min_length=2, max_length=2)]
SWITCHED = {True: "on", False: "off"}  # YAML reads an unquoted on or off as a boolean
Switch = Annotated[
    Literal["auto", "on", "off"],
    BeforeValidator(lambda value: SWITCHED[value] if isinstance(value, bool) else value),
]


class Model(BaseModel):
    """A strict, frozen model that rejects unknown keys, so that no typing error goes unnoticed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# pipeline.crawl.engines.registry has the table of engines; a test compares the two.
EngineName = Literal["bing", "openverse", "wikimedia", "flickr", "urls"]
_REFUSED_ENGINES = {
    "google": "its result pages need a browser, and icrawler's parser finds nothing in them",
    "baidu": "it answers only requests that carry cookies from its own pages",
}


def _check_engines(names: Any) -> Any:
    allowed = get_args(EngineName)
    for name in names if isinstance(names, list) else []:
        if name in _REFUSED_ENGINES:
            why = f"engine {name!r} is not supported: {_REFUSED_ENGINES[name]}"
        elif isinstance(name, str) and name not in allowed:
            why = f"unknown engine {name!r}"
        else:
            continue
        raise ValueError(f"{why}; allowed: {', '.join(allowed)}")
    return names


class Dance(Model):
    """One class of the dances dataset; its key is its label."""

    label: Text  # the name that pages and reports show
    queries: list[Text] = Field(min_length=1)  # sent to each search engine
    engines: list[EngineName] | None = Field(default=None, min_length=1)  # null: crawl.engines
    urls: Text | None = None  # the list of URLs for the engine "urls": .txt, .csv or .parquet

    _known = field_validator("engines", mode="before")(_check_engines)


class Crawl(Model):
    """How images are searched and downloaded, for all dances."""

    engines: list[EngineName] = Field(default=["bing"], min_length=1)  # results alternate by rank
    engine_url: str | None = None  # replaces the address of every engine; null: their own
    filters: dict[str, str] = {}  # for Bing, named as in icrawler: {license: commercial}
    licences: list[Text] = []  # allowed licences: [by, by-sa, cc0]; empty: any licence or none
    max_images: int = Field(gt=0)  # wanted for each dance
    min_images: int = Field(ge=0)  # for each dance; with fewer, the stage fails
    threads: int = Field(default=16, ge=1, le=64)
    min_side: int = Field(default=64, ge=1)  # pixels
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_bytes: int = Field(default=20_000_000, ge=1)
    timeout_s: float = Field(default=30.0, gt=0)  # for one response, from request to last byte
    tries: int = Field(default=3, ge=1, le=10)  # per URL, if the failure may be temporary
    backoff_s: float = Field(default=0.5, ge=0)  # wait before the second try; doubles with each
    max_wait_s: float = Field(default=60.0, ge=0)  # sum of the waits between the tries of one URL
    contact: Text | None = None  # a page or an address, sent to every host in the User-Agent
    robots: bool = True  # obey robots.txt of image hosts
    opt_out: bool = True  # obey X-Robots-Tag (noai, noindex, ...) and TDM-Reservation
    per_host: int = Field(default=4, ge=1)  # concurrent requests to one image host
    host_delay_s: float = Field(default=0.1, ge=0)  # between the starts of requests to one host
    engine_delay_s: float = Field(default=1.0, ge=0)  # between two result pages of one engine
    proxy: Text | None = None  # proxies named in the environment are ignored
    allow_hosts: list[str] = []  # "host:port" in a private network, for the demo and tests

    _known = field_validator("engines", mode="before")(_check_engines)

    @model_validator(mode="after")
    def _enough(self) -> Crawl:
        if self.min_images > self.max_images:
            raise ValueError(
                f"min_images is {self.min_images}, above max_images, which is {self.max_images}"
            )
        return self


class Collect(Model):
    """How crawled files become samples."""

    max_side: int = Field(default=512, ge=16)  # pixels; larger images are reduced to this


class Archive(Model):
    """A published archive and the sha256 that identifies it."""

    url: Text  # http, https, file:// or a local path
    mirrors: list[Text] = []
    sha256: Sha256 | None  # null: the first download is recorded, and a changed file is refused


class Fetch(Model):
    """Which archives of a handwriting dataset are downloaded."""

    source: Literal["online", "offline"]
    archives: dict[Literal["online", "offline"], dict[Literal["train", "test"], Archive]]
    max_bytes: int = Field(default=2_000_000_000, ge=1)  # for one archive
    timeout_s: float = Field(default=60.0, gt=0)  # without data, or with less than 1 kB/s
    proxy: Text | None = None  # proxies named in the environment are ignored
    allow_hosts: list[str] = []  # "host:port" in a private network, for the demo and tests

    @model_validator(mode="after")
    def _has_source(self) -> Fetch:
        if self.source not in self.archives:
            raise ValueError(f"source is {self.source}, but archives has no entry {self.source}")
        return self


class Convert(Model):
    """How archive members become samples."""

    classes: Text  # path of the class table, a CSV, which DVC tracks
    layout: Text = "hp"  # how archives name their members: a key of pipeline/convert/layouts.py
    y_axis: Literal["down", "up"] = "down"
    dpi: int = Field(default=250, ge=10, le=2400)
    pen_width: int = Field(default=2, ge=1, le=16)  # pixels
    per_class: int | None = Field(default=None, ge=1)  # maximum per class and part; null: all


# The columns of samples.parquet that a user's table can fill; `image` is a path or a URL.
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
    """A dataset of the user's images: a folder for each class, or a table of paths or URLs."""

    path: Text  # the folder of the images and the table, which DVC tracks
    layout: Literal["class", "part/class"] = "class"  # how its folders are nested
    table: Text | None = None  # a .csv, .tsv or .parquet in path; null: folders are the labels
    columns: dict[TableColumn, Text] = {}  # their names in the table, if the names differ
    max_side: int = Field(default=512, ge=16)  # pixels; larger images are reduced to this
    min_side: int = Field(default=1, ge=1)  # pixels
    max_pixels: int = Field(default=50_000_000, ge=1)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Folder:
        if self.table is None and self.columns:
            raise ValueError("columns is set, but table is null; set table, or remove columns")
        if self.table is not None and self.layout != "class":
            raise ValueError(
                f"layout is {self.layout}, but table is set; remove layout, and name the parts in "
                "the column official_part"
            )
        if self.table is not None and (self.table[0] == "/" or ".." in self.table.split("/")):
            raise ValueError(
                f"table is {self.table!r}; expected a file inside the folder that `path` names"
            )
        return self


class Dedupe(Model):
    """Which images count as duplicates."""

    method: Literal["phash", "exact"]
    remove_within: int = Field(default=6, ge=0, le=32)  # Hamming distance of 64-bit hashes
    group_within: int = Field(default=10, ge=0, le=32)
    review_within: int = Field(default=12, ge=0, le=32)
    mirror: bool = False  # find mirror images, too; they are grouped and never removed
    crop: bool = False  # find crops of other images, for review only; takes 0.2 s per image

    @model_validator(mode="after")
    def _ordered(self) -> Dedupe:
        if not self.remove_within <= self.group_within <= self.review_within:
            raise ValueError(
                f"found {self.remove_within}, {self.group_within} and {self.review_within}; "
                "expected remove_within <= group_within <= review_within"
            )
        return self


class Split(Model):
    """Which samples form the training, validation and test sets."""

    method: Literal["random", "group", "official"]
    seed: int = 8
    valid: Share
    test: Share  # unused if the method is official
    group_column: Text | None = None  # of samples.parquet; rows of one value stay in one part
    group_pattern: Text | None = (
        None  # regex; its match in group_column (or sample_id) is the group
    )
    # expected: a new image never moves an old one; exact: shares are met, and some images move
    stratify: Literal["expected", "exact"] = "expected"
    folds: int | None = Field(default=None, ge=2)  # folds of train and valid; groups stay whole

    @model_validator(mode="after")
    def _leaves_train(self) -> Split:
        test = 0 if self.method == "official" else self.test
        if self.valid + test >= 1:
            raise ValueError(
                f"valid {self.valid:g} + test {test:g} leave nothing for train; expected less "
                "than 1"
            )
        if self.group_pattern is not None:
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise ValueError(
                    f"group_pattern {self.group_pattern!r} is not a regular expression: {error}"
                ) from error
        return self


class Augment(Model):
    """Random augmentation of training images, on the device; each value is a maximum."""

    rotate: float = Field(default=0, ge=0, le=180)  # degrees, in either direction
    zoom: float = Field(default=0, ge=0, lt=1)  # share of the size, in or out
    aspect: float = Field(default=0, ge=0, lt=1)  # share of the width, wider or narrower
    shear: float = Field(default=0, ge=0, lt=1)  # horizontal; share of the height
    shift: float = Field(default=0, ge=0, lt=1)  # share of the side
    min_area: float = Field(default=1, gt=0, le=1)  # of a random crop, share; 1: no crop
    flip: float = Field(default=0, ge=0, le=1)  # probability of a horizontal flip
    light: float = Field(default=0, ge=0, lt=1)  # change of contrast and brightness, share
    elastic: float = Field(default=0, ge=0, lt=0.2)  # deviation of 4 x 4 knots, share of the side
    stroke: float = Field(default=0, ge=0, le=1)  # pixels, thicker or thinner


class Train(Model):
    """How the model is trained: first with a frozen body, then as a whole."""

    seed: int = 8
    size: int = Field(ge=16, le=1024)  # pixels; side of the network's input
    channels: Literal[1, 3] = 3  # 1: grey; 3: colour, and grey images are repeated
    fit: Literal["crop", "pad", "squish"] = "crop"  # how an image becomes square
    margin: int = Field(default=0, ge=0)  # empty pixels on each side
    trim: bool = False  # crop to the ink first
    invert: bool = False  # ink becomes bright on a black background
    augment: Augment = Augment()
    batch_size: int = Field(ge=2)
    weights: Text = "none"  # imagenet, none, or the path of a file
    frozen_epochs: int = Field(ge=0)
    unfrozen_epochs: int = Field(ge=0)
    frozen_lr: Rate | Literal["auto"] = 0.003  # auto: from the learning rate finder
    unfrozen_lr: Literal["auto"] | Rates = [1e-5, 1e-4]  # of the first and the last layers
    scratch_lr: Rate | Literal["auto"] = 0.003  # for both phases if weights is none
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0, ge=0, lt=1)
    mixup: float = Field(default=0, ge=0)  # alpha of the Beta distribution; 0: no mixup
    ema: float = Field(default=0, ge=0, lt=1)  # decay per step of the averaged weights; 0: none
    tta: bool = False  # test-time augmentation: average over rotated, sheared and zoomed views
    dropout: float = Field(default=0.5, ge=0, lt=1)  # before the last layer
    lr_find_steps: int = Field(default=60, ge=0)  # of the learning rate finder; 0: off
    checkpoint_s: float = Field(default=30, ge=0)  # between checkpoints, which take 260 MB each
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    channels_last: Switch = "auto"
    small_maps: Switch = "auto"  # on CPUs, 3 x 3 convolutions of small maps as matrix products
    fused: Switch = "auto"  # AdamW in one kernel
    cudnn_benchmark: Switch = (
        "auto"  # cuDNN picks the fastest kernel; runs may differ in last digits
    )
    compile: Switch = "auto"  # torch.compile; auto is off: a CPU needs 95 s to start, without gain

    @model_validator(mode="after")
    def _makes_sense(self) -> Train:
        if 2 * self.margin >= self.size:
            raise ValueError(
                f"margin {self.margin} leaves no pixels at size {self.size}; expected less than "
                "half the size"
            )
        if not self.frozen_epochs + self.unfrozen_epochs:
            raise ValueError(
                "frozen_epochs and unfrozen_epochs are both 0; set one of them to 1 or more"
            )
        if "auto" in (self.frozen_lr, self.unfrozen_lr, self.scratch_lr) and not self.lr_find_steps:
            raise ValueError(
                "a learning rate is auto, but lr_find_steps is 0; set the rate, or raise "
                "lr_find_steps"
            )
        return self


class Evaluate(Model):
    """How the model is evaluated."""

    top_losses: int = Field(default=48, ge=1)  # images on the sheet of largest losses
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"


class Compute(Model):
    """Where convert, collect, hashing and the pair search run; results do not depend on it."""

    kind: Literal["local", "dask"] = "local"
    scheduler: Text | None = None  # address of a running scheduler; null: workers on this machine
    workers: int = Field(default=2, ge=1)  # processes, if scheduler is null
    storage: Text | None = None  # URL for shards; null: data/<dataset>/cache, a shared folder

    @model_validator(mode="after")
    def _serves(self) -> Compute:
        if self.kind == "local" and (self.scheduler or self.storage):
            raise ValueError(
                "scheduler or storage is set, but kind is local; set kind to dask, or remove them"
            )
        if self.storage is not None:
            protocol, _, rest = self.storage.partition("://")
            if not rest or self.storage.endswith("/"):
                raise ValueError(
                    f"storage is {self.storage!r}; expected a URL such as s3://bucket/kalai, with "
                    "no slash at the end"
                )
            if protocol == "memory":
                raise ValueError(
                    "storage is memory://, which other processes cannot read; use a URL that all "
                    "workers reach"
                )
        return self


class Params(Model):
    """The whole of params.yaml."""

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
        """The names of the project's datasets."""
        sections = (self.fetch, self.convert, self.folder, self.dedupe, self.split)
        return {"dances"}.union(*sections, self.train, self.evaluate)


def load_params(path: Path = PARAMS) -> Params:
    """Return the validated params.yaml.

    Raises PipelineError if the file is missing, is not YAML, or has an unknown key, a wrong value
    or a missing key. The message names the key, the value and what is allowed.
    """
    return read_params(path)[1]


def read_params(path: Path = PARAMS) -> tuple[str, Params]:
    """Return the text of params.yaml and its values. Raises PipelineError as `load_params` does."""
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise PipelineError(
            f"{path}: {error.strerror}; run this in the project's root folder"
        ) from error
    except yaml.MarkedYAMLError as error:
        at, what = error.problem_mark, " ".join(filter(None, (error.context, error.problem)))
        where = f"line {at.line + 1}, column {at.column + 1}: " if at else ""
        raise PipelineError(f"{path}: not YAML: {where}{what}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise PipelineError(f"{path}: expected a mapping of keys to values, found {_kind(values)}")
    return text, validate(values, str(path))


def validate(values: Mapping[str, Any], name: str = str(PARAMS)) -> Params:
    """Return a mapping as Params; `name` is the name of the file in the error line.

    Raises a PipelineError that describes the first wrong key or value and counts the others.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise PipelineError(_error_line(error, name, values)) from error


def section(params: Params, stage: str, dataset: str) -> Any:
    """Return a dataset's entry in the section of a stage.

    Raises PipelineError if the project has no such dataset or the section has no entry for it.
    """
    entries: Mapping[str, Any] = getattr(params, stage)
    if dataset in entries:
        return entries[dataset]
    if dataset not in params.datasets:
        raise unknown_dataset(dataset, params.datasets)
    names = ", ".join(entries) or "none"
    raise PipelineError(f"params.yaml: section {stage} has no dataset {dataset!r}; it has: {names}")


def first_problem(error: ValidationError) -> str:
    """Return what is wrong with the first value that a model refused; the text omits the key."""
    return _problem(error.errors()[0], error.title)


def _error_line(error: ValidationError, name: str, values: Mapping[str, Any]) -> str:
    # pydantic reports a misspelt required key twice, as unknown and as missing. Only the first of
    # the two names the key that must be corrected, so it comes first.
    first, *more = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = _key_of(first["loc"], values, is_missing=first["type"] == "missing")
    others = f" (and {len(more)} more error{'s' if more[1:] else ''})" if more else ""
    return f"{name}: {key}: {_problem(first, error.title)}{others}"


def _problem(first: ErrorDetails, model: str) -> str:
    found = first["input"]
    match first["type"]:
        case "extra_forbidden":
            allowed = _fields_at(first["loc"][:-1], model)
            near = difflib.get_close_matches(str(first["loc"][-1]), allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(allowed)}"
            return f"unknown key; {hint}"
        case "missing":
            return "key is missing"
        case "value_error":
            return str(first["ctx"]["error"])
        case "string_pattern_mismatch" if "[key]" in first["loc"]:
            return f"found key {found!r}; expected only a-z, 0-9, _ and -"
    what = "key " if "[key]" in first["loc"] else ""
    shown = repr(found) if len(repr(found)) < 60 else repr(found)[:57] + "..."
    return f"found {what}{shown}; {_expected(first['msg'])}"


def _expected(message: str) -> str:
    """Return pydantic's "Input should be a valid integer" as "expected a valid integer"."""
    text = re.sub(r"^\w+ should (be|have|match)", "expected", message)
    return re.sub(r" after validation, not \d+$", "", text)


def _kind(value: Any) -> str:
    """Return the name of a YAML value's type."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _key_of(location: tuple[int | str, ...], values: Any, *, is_missing: bool) -> str:
    """Return the dotted key of the wrong value, without the names that pydantic adds for unions."""
    parts = []
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if not is_missing or part != location[-1]:
                continue
        parts.append(str(part))
    return ".".join(parts)


def _fields_at(location: tuple[int | str, ...], model: str) -> list[str]:
    """Return the keys that are allowed at a location within the model named `model`."""
    at: Any = next(kind for kind in Model.__subclasses__() if kind.__name__ == model)
    for part in location:
        if isinstance(at, type) and issubclass(at, BaseModel):
            at = at.model_fields[str(part)].annotation
        else:  # of dict[...] or list[...]: the type of the values
            at = at.__args__[-1]
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []
