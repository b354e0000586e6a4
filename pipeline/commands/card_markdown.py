"""A dataset card in Markdown: front matter for the Hugging Face hub, then one section per topic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pandas as pd
import yaml

from pipeline.commands.markdown import escaped, table
from pipeline.core.params import Dedupe
from pipeline.dataset.columns import (
    ENGINE,
    GROUP,
    LABEL,
    LICENCE,
    LICENCE_URL,
    ORIGINAL_FORMAT,
    PAGE_URL,
    PART,
    SOURCE_URL,
    STATUS,
)
from pipeline.dataset.dedupe_result import KEEP, LABEL_CONFLICT
from pipeline.dataset.labels import ClassNames
from pipeline.dataset.paths import report_path, samples_path
from pipeline.dataset.reports import reading
from pipeline.dataset.split_table import OUT, PARTS
from pipeline.report.wording import (
    SETS,
    counts,
    leak_name,
    mean_and_sd,
    method_line,
    unknown_licences,
)

SHOWN = 10  # rows of a table that could have thousands


@dataclass(frozen=True)
class Facts:
    """What is known about a dataset; None or an empty column if a stage has not run yet.

    `samples` has the columns in `card.COLUMNS`, plus `part` from split.csv and `status` from
    dedupe.parquet.
    """

    dataset: str
    samples: pd.DataFrame
    names: ClassNames
    rejected: Counter[str]
    policy: Dedupe | None  # params that the duplicates were found with
    dedupe: Mapping[str, Any] | None  # reports
    split: Mapping[str, Any] | None


class Section(NamedTuple):
    """A section of the card; `stage` is the stage whose report it reads."""

    heading: str
    lines: Callable[[Facts], Iterable[str]]
    stage: str | None = None


def card(facts: Facts, sheet: str | None) -> str:
    """Return the card in Markdown; `sheet` is the address of the contact sheet.

    Raises PipelineError if a report is damaged.
    """
    samples = facts.samples
    title = facts.dataset.replace("_", " ").replace("-", " ").title()
    lines = [
        "---",
        front_matter(facts.dataset, title, samples).strip(),
        "---",
        "",
        f"# {title}",
        "",
    ]
    lines += [f"{len(samples)} images of {samples[LABEL].nunique()} classes.", ""]
    if sheet is not None:
        lines += [f"![Images of each class]({sheet})", ""]
    for section in SECTIONS:
        lines += [f"## {section.heading}", ""]
        if section.stage is None:
            lines += section.lines(facts)
        else:
            with reading(report_path(facts.dataset, section.stage)):
                lines += section.lines(facts)
        lines.append("")
    return "\n".join(lines)


def counted(what: str, values: pd.Series[Any]) -> Iterator[str]:
    """Yield a table of the most frequent values; one row sums up all others."""
    counts = values.fillna("unknown").value_counts()
    counts = counts.sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    rows: list[tuple[object, object]] = list(counts.head(SHOWN).items())
    if len(counts) > SHOWN:
        rows.append((f"{len(counts) - SHOWN} others", counts.iloc[SHOWN:].sum()))
    yield from table((what, "images"), rows)


def classes(facts: Facts) -> Iterator[str]:
    """Yield a table of sample counts, a row for each class: all, kept, and in each part."""
    samples = facts.samples
    columns = [("samples", samples[LABEL].notna())]
    if samples[STATUS].notna().any():
        columns.append(("kept", samples[STATUS] == KEEP))
    if samples[PART].notna().any():
        columns += [(part, samples[PART] == part) for part in (*PARTS, OUT)]
    sums = [column.groupby(samples[LABEL]).sum() for _, column in columns]
    rows = []
    for label in sums[0].index:
        known = facts.names[label]
        name = known.name if known.romanised is None else f"{known.name} ({known.romanised})"
        rows.append((label, name, *(int(of_label[label]) for of_label in sums)))
    total = ("all", "", *(int(of_label.sum()) for of_label in sums))
    yield from table(("label", "name", *(name for name, _ in columns)), [*rows, total])


def sources(facts: Facts) -> Iterator[str]:
    """Yield tables of hosts, search engines, file formats and rejected files."""
    samples = facts.samples
    pages = samples[PAGE_URL].fillna(samples[SOURCE_URL]).dropna()
    if len(pages):
        hosts = pages.map(lambda url: urlsplit(url).hostname or "unknown")
        yield from counted("host", hosts)
        yield ""
    if samples[ENGINE].notna().any():
        yield from counted("search engine", samples[ENGINE])
        yield ""
    if samples[GROUP].notna().any():
        known, groups = samples[GROUP].notna().sum(), samples[GROUP].nunique()
        yield (
            f"{known} of {len(samples)} images have a known group (writer or maker); "
            f"there are {groups} groups."
        )
        yield ""
    yield from counted("original format", samples[ORIGINAL_FORMAT])
    yield ""
    if facts.rejected:
        reasons = sorted(facts.rejected.items(), key=lambda pair: (-pair[1], pair[0]))
        yield f"Rejected files: {facts.rejected.total()}, listed in `rejected.csv`."
        yield ""
        yield from table(("reason", "files"), reasons)
    else:
        yield "Rejected files: none."


def licences(facts: Facts) -> Iterator[str]:
    """Yield a table of the licences."""
    yield from counted("licence", facts.samples[LICENCE])
    if unknown := int(facts.samples[LICENCE].isna().sum()):
        yield ""
        yield unknown_licences(unknown)


def duplicates(facts: Facts) -> Iterator[str]:
    """Yield how duplicates were found and how many samples were left out."""
    if facts.dedupe is None or facts.policy is None:
        yield "Duplicates have not been searched for yet."
        return
    report, policy = facts.dedupe, facts.policy
    yield f"{report['kept']} of {report['samples']} samples are kept."
    if policy.method == "exact":
        yield "Duplicates are images with identical bytes."
    else:
        yield (
            "Duplicates are found by 64-bit perceptual hashes. An image is removed if it differs "
            f"from a kept one in at most {policy.remove_within} bits. Images stay in one part if "
            f"they differ in at most {policy.group_within}. A person reviews pairs up to "
            f"{policy.review_within}."
        )
    yield ""
    rows = [*report["removed"].items(), (LABEL_CONFLICT, report["conflicts"]["samples"])]
    yield from table(("left out because", "samples"), rows)


def splits(facts: Facts) -> Iterator[str]:
    """Yield the method of the split and a table of its parts."""
    if facts.split is None:
        yield "The dataset has not been split yet."
        return
    report = facts.split
    yield f"{method_line(report['method'])} `split.csv` has the part of each sample."
    yield ""
    names = ("samples", "share", "groups", "classes", "smallest_class")
    rows = [
        (part, *(f"{of[name]:.1%}" if name == "share" else of[name] for name in names))
        for part, of in report["parts"].items()
    ]
    yield from table(("part", *(name.replace("_", " ") for name in names)), rows)
    if report["out"]:
        yield ""
        yield f"Left out: {counts(report['out'])}."


def leaks(facts: Facts) -> Iterator[str]:
    """Yield the share of held-out images with a match in the training set, by kind of match."""
    if facts.split is None:
        yield "The split has not been audited yet."
        return
    leak = facts.split["leak"]
    before, after = leak["before"], leak["after"]
    rows = [
        (
            leak_name(key),
            mean_and_sd(before[key]),
            *(f"{part[key]:.1%}" for part in after.values()),
        )
        for key in before
    ]
    yield "Share of held-out images for which the training set holds a match (lower is better):"
    yield ""
    yield from table(("match", "random splits", *(SETS.get(part, part) for part in after)), rows)
    yield ""
    yield f"Limits: {escaped(leak['residual_method'])}."


SECTIONS: Sequence[Section] = (
    Section("Classes", classes),
    Section("Sources", sources),
    Section("Licences", licences),
    Section("Duplicates", duplicates, "dedupe"),
    Section("Splits", splits, "split"),
    Section("Leak audit", leaks, "split"),
)


HUB_LICENCES = {  # Creative Commons only: https://huggingface.co/docs/hub/repositories-licenses
    "cc0": ("1.0",),
    "cc-by": ("2.0", "2.5", "3.0", "4.0"),
    "cc-by-sa": ("3.0", "4.0"),
    "cc-by-nd": ("4.0",),
    "cc-by-nc": ("2.0", "3.0", "4.0"),
    "cc-by-nc-sa": ("2.0", "3.0", "4.0"),
    "cc-by-nc-nd": ("3.0", "4.0"),
}


def front_matter(dataset: str, title: str, samples: pd.DataFrame) -> str:
    """Return the YAML that the hub reads: licence, size, task, and the file of samples."""
    pairs = samples[[LICENCE, LICENCE_URL]].drop_duplicates().itertuples(index=False)
    licences = {
        hub_licence(*(None if pd.isna(value) else value for value in pair)) for pair in pairs
    }
    values = {
        "pretty_name": title,
        "license": licences.pop() if len(licences) == 1 else "other",
        "task_categories": ["image-classification"],
        "size_categories": [size_category(len(samples))],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "samples", "path": samples_path(dataset).name}],
            }
        ],
    }
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def hub_licence(name: str | None, url: str | None) -> str:
    """Return the hub's identifier of a licence, such as "cc-by-4.0"; "other" if it has none."""
    if name is None and url is None:
        return "unknown"
    text = re.sub(r"[\s_]+", "-", (name or "").strip().lower())
    if match := re.search(
        r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)", url or ""
    ):
        text = f"{match[2].replace('zero', 'cc0')}-{match[3]}"
    elif text == "cc0":
        text = "cc0-1.0"
    kind, _, version = text.rpartition("-")
    kind = kind if kind.startswith("cc") else f"cc-{kind}"
    return f"{kind}-{version}" if version in HUB_LICENCES.get(kind, ()) else "other"


def size_category(count: int) -> str:
    """Return the hub's size category for a number of samples."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    for power, (low, high) in enumerate(zip(("", *names[:-1]), names, strict=True), start=3):
        if count < 10**power:
            return f"{low}<n<{high}" if low else f"n<{high}"
    return "n>1T"
