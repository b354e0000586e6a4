"""Names of the columns of the tables below data/<dataset>/.

Code names a column by these constants. Each table's own module says which columns it has, in
which types, and what they hold.
"""

from __future__ import annotations

# identity: of samples.parquet, and of every table that refers to its rows
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
REASON = "reason"  # also of split.csv and rejected.csv
DISTANCE = "distance"  # also of pairs.parquet

# pairs.parquet
A = "a"
B = "b"
KIND = "kind"

# split.csv
PART = "part"  # also of predictions.parquet
FOLD = "fold"  # also of suspects.parquet

# rejected.csv
DETAIL = "detail"
SOURCE = "source"

# arrivals.parquet
ARRIVED = "arrived"

# predictions.parquet
PREDICTED = "predicted"
PROBABILITY = "probability"
LABEL_PROBABILITY = "label_probability"  # also of suspects.parquet
LOSS = "loss"
TOP3 = "top3"

# suspects.parquet
SUGGESTED = "suggested"
SUGGESTED_PROBABILITY = "suggested_probability"
MARGIN = "margin"

# the hash cache
HASHES = "hashes"
