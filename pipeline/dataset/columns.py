"""Names of the columns of the tables below data/<dataset>/.

All code names a column by one of these constants. The module of a table defines its columns,
their types and their meaning.
"""

from __future__ import annotations

# in samples.parquet, and in each table that refers to its rows
SAMPLE_ID = "sample_id"
CONTENT_ID = "content_id"
LABEL = "label"

# samples.parquet
IMAGE = "image"
LABEL_NAME = "label_name"
ROMANISED = "romanised"
GROUP = "group"
TRIAL = "trial"
OFFICIAL_PART = "official_part"
WIDTH = "width"
HEIGHT = "height"
ORIGINAL_WIDTH = "original_width"
ORIGINAL_HEIGHT = "original_height"
ORIGINAL_BYTES = "original_bytes"
ORIGINAL_FORMAT = "original_format"
NOTES = "notes"
SOURCE_URL = "source_url"
PAGE_URL = "page_url"
ENGINE = "engine"
QUERY = "query"
RANK = "rank"
LICENCE = "licence"
LICENCE_URL = "licence_url"
CREATOR = "creator"
ATTRIBUTION = "attribution"

# dedupe.parquet
PHASH = "phash"
CLUSTER = "cluster"
KEEPER_ID = "keeper_id"
STATUS = "status"
REASON = "reason"  # also in split.csv and rejected.csv
DISTANCE = "distance"  # also in pairs.parquet

# pairs.parquet
A = "a"
B = "b"
KIND = "kind"

# split.csv
PART = "part"  # also in predictions.parquet
FOLD = "fold"  # also in suspects.parquet

# rejected.csv
DETAIL = "detail"
SOURCE = "source"

# arrivals.parquet
ARRIVED = "arrived"

# predictions.parquet
PREDICTED = "predicted"
PROBABILITY = "probability"
LABEL_PROBABILITY = "label_probability"  # also in suspects.parquet
LOSS = "loss"
TOP3 = "top3"

# suspects.parquet
SUGGESTED = "suggested"
SUGGESTED_PROBABILITY = "suggested_probability"
MARGIN = "margin"

# the hash cache
HASHES = "hashes"
