"""What the Hugging Face hub reads of a dataset card: the YAML before the text."""

from __future__ import annotations

import re

import pandas as pd
import yaml

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
