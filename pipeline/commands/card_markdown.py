"""A dataset card in Markdown: a section for each thing that a user should know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import yaml

from pipeline.commands.credits import escaped

PARTS = ("train", "valid", "test", "out")
SHOWN = 10  # lines of a table that could have thousands
LEAKS = {  # keys of the audit in split.json -> what they are
    "same_bytes": "the same bytes",
    "near_duplicate": "a near duplicate",
    "mirrored": "its mirror image",
    "crop": "a crop of it, or what it is a crop of",
    "same_group": "a picture of the same group",
    "perhaps": "perhaps a near duplicate",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset; what has not been computed yet is None.

    `samples` has the columns of `card.COLUMNS`, `part` of the split and `status` of dedupe.
    """

    dataset: str
    samples: pd.DataFrame
    rejected: Counter[str]
    policy: Mapping[str, Any] | None  # by which duplicates were found
    dedupe: Mapping[str, Any] | None  # reports
    split: Mapping[str, Any] | None


def card(facts: Facts, sheet: str | None) -> str:
    """Return the card in Markdown, the hub's YAML before it; `sheet` is where the pictures lie."""
    samples = facts.samples
    title = facts.dataset.replace("_", " ").replace("-", " ").title()
    lines = ["---", front_matter(title, samples).strip(), "---", "", f"# {title}", ""]
    lines += [f"{len(samples)} pictures of {samples['label'].nunique()} classes.", ""]
    if sheet is not None:
        lines += [f"![Pictures of each class]({sheet})", ""]
    sections: dict[str, Callable[[Facts], Iterable[str]]] = {
        "Classes": classes,
        "Sources": sources,
        "Licences": licences,
        "Duplicates": duplicates,
        "Splits": splits,
        "Leak audit": leaks,
    }
    for heading, section in sections.items():
        lines += [f"## {heading}", "", *section(facts), ""]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(escaped(str(value)) for value in row)} |"


def counted(what: str, values: pd.Series[Any]) -> Iterator[str]:
    """Yield a table of the most common values, one line for all the others."""
    counts = values.fillna("unknown").value_counts()
    counts = counts.sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    rows: list[tuple[object, object]] = list(counts.head(SHOWN).items())
    if len(counts) > SHOWN:
        rows.append((f"{len(counts) - SHOWN} others", counts.iloc[SHOWN:].sum()))
    yield from table((what, "pictures"), rows)


def classes(facts: Facts) -> Iterator[str]:
    """Yield how many samples each class has, kept of its duplicates and in each part."""
    samples = facts.samples
    columns = [("samples", samples["label"].notna())]
    if samples["status"].notna().any():
        columns.append(("kept", samples["status"] == "keep"))
    if samples["part"].notna().any():
        columns += [(part, samples["part"] == part) for part in PARTS]
    sums = [column.groupby(samples["label"]).sum() for _, column in columns]
    names = samples.groupby("label")["label_name"].first()
    romanised = samples.groupby("label")["romanised"].first()
    rows = [
        (
            label,
            f"{names[label]} ({romanised[label]})" if pd.notna(romanised[label]) else names[label],
            *(int(of_label[label]) for of_label in sums),
        )
        for label in sums[0].index
    ]
    total = ("all", "", *(int(of_label.sum()) for of_label in sums))
    yield from table(("label", "name", *(name for name, _ in columns)), [*rows, total])


def sources(facts: Facts) -> Iterator[str]:
    """Yield where the pictures were found, what they were, and what was not taken in."""
    samples = facts.samples
    pages = samples["page_url"].fillna(samples["source_url"]).dropna()
    if len(pages):
        hosts = pages.map(lambda url: urlsplit(url).hostname or "unknown")
        yield from counted("host", hosts)
        yield ""
    if samples["engine"].notna().any():
        yield from counted("found by", samples["engine"])
        yield ""
    if samples["group"].notna().any():
        known, groups = samples["group"].notna().sum(), samples["group"].nunique()
        yield f"{known} of {len(samples)} pictures are of {groups} known groups (writers, makers)."
        yield ""
    yield from counted("original format", samples["original_format"])
    yield ""
    if facts.rejected:
        reasons = sorted(facts.rejected.items(), key=lambda pair: (-pair[1], pair[0]))
        yield f"Not taken in: {facts.rejected.total()}, each a line in `rejected.csv`."
        yield ""
        yield from table(("reason", "items"), reasons)
    else:
        yield "Nothing was rejected."


def licences(facts: Facts) -> Iterator[str]:
    """Yield under what the pictures may be used."""
    yield from counted("licence", facts.samples["licence"])
    if unknown := int(facts.samples["licence"].isna().sum()):
        yield ""
        yield (
            f"Of {unknown} pictures the licence is unknown: they may be looked at here, and not "
            "be published without asking who made them."
        )


def duplicates(facts: Facts) -> Iterator[str]:
    """Yield what is the same as something else, and by what rule."""
    if facts.dedupe is None or facts.policy is None:
        yield "Not looked for yet."
        return
    report, policy = facts.dedupe, facts.policy
    rule = "the same bytes"
    if policy["method"] != "exact":
        rule = (
            f"perceptual hashes of 64 bits, removed within {policy['remove_within']} of a keeper, "
            f"kept in one part within {policy['group_within']}, for a person to judge within "
            f"{policy['review_within']}"
        )
    yield f"{report['kept']} of {report['samples']} samples are kept. Found by {rule}."
    yield ""
    conflicts = report["conflicts"]
    rows = [(reason, count) for reason, count in report["removed"].items()]
    rows.append(("label-conflict", conflicts["samples"]))
    yield from table(("out because of", "samples"), rows)


def splits(facts: Facts) -> Iterator[str]:
    """Yield the parts and how they were chosen."""
    if facts.split is None:
        yield "Not split yet."
        return
    report = facts.split
    together = "by chance alone" if report["method"] == "random" else "no group is in two parts"
    yield f"Method: {report['method']}, {together}. `split.csv` has the part of each sample."
    yield ""
    names = ("samples", "share", "groups", "classes", "smallest_class")
    rows = [
        (part, *(percent(about[name]) if name == "share" else about[name] for name in names))
        for part, about in report["parts"].items()
    ]
    yield from table(("part", *(name.replace("_", " ") for name in names)), rows)
    if report["out"]:
        yield ""
        yield f"Out: {', '.join(f'{why} {count}' for why, count in report['out'].items())}."


def leaks(facts: Facts) -> Iterator[str]:
    """Yield what of validation and test was seen in training, by a plain split and by this one."""
    if facts.split is None:
        yield "Not audited yet."
        return
    before, after = facts.split["leak"]["before"], facts.split["leak"]["after"]
    rows = [
        (
            LEAKS.get(name, name.replace("_", " ")),
            f"{percent(before[name]['mean'])} ± {100 * before[name]['sd']:.1f}",
            *(percent(part[name]) for part in after.values()),
        )
        for name in before
    ]
    yield "The share of pictures that have in train:"
    yield ""
    yield from table(("", "before, in a random split", *(f"now, {part}" for part in after)), rows)
    yield ""
    yield f"What remains: {escaped(facts.split['leak']['residual_method'])}."


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.1f}%"


HUB_LICENCES = {  # https://huggingface.co/docs/hub/repositories-licenses, of Creative Commons
    "cc0": ("1.0",),
    "cc-by": ("2.0", "2.5", "3.0", "4.0"),
    "cc-by-sa": ("3.0", "4.0"),
    "cc-by-nd": ("4.0",),
    "cc-by-nc": ("2.0", "3.0", "4.0"),
    "cc-by-nc-sa": ("2.0", "3.0", "4.0"),
    "cc-by-nc-nd": ("3.0", "4.0"),
}


def front_matter(title: str, samples: pd.DataFrame) -> str:
    """Return what the hub reads: licence, size, task, and where the samples are."""
    pairs = samples[["licence", "licence_url"]].drop_duplicates().itertuples(index=False)
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
                "data_files": [{"split": "samples", "path": "samples.parquet"}],
            }
        ],
    }
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)


def hub_licence(name: str | None, url: str | None) -> str:
    """Return a licence as the hub calls it: "cc-by-4.0", "unknown", "other" for what it has not."""
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
    """Return the hub's word for a number of samples."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    for power, (low, high) in enumerate(zip(("", *names[:-1]), names, strict=True), start=3):
        if count < 10**power:
            return f"{low}<n<{high}" if low else f"n<{high}"
    return "n>1T"
