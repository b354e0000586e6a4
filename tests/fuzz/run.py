"""Fuzz the readers of handwriting with atheris, which is guided by coverage.

    pip install atheris
    python tests/fuzz/run.py pens CORPUS -max_total_time=3600
    python tests/fuzz/run.py images CORPUS -runs=1000000

CORPUS is a folder for cases that reach new code; the seeds beside this file are used first. A case
that fails is written to the working directory; add it to the seeds after the fix. Further options
are those of libFuzzer.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SEEDS = Path(__file__).parent / "seeds"
sys.path.insert(0, str(ROOT))

import atheris  # noqa: E402

with atheris.instrument_imports(include=["pipeline", "tests.fuzz"]):
    from tests.fuzz.targets import LARGEST, TARGETS


def main() -> None:
    """Run libFuzzer on the target of the command line."""
    name, corpus, *options = sys.argv[1:]
    bounds = [f"-max_len={LARGEST}", "-timeout=10", "-rss_limit_mb=1500"]
    atheris.Setup([sys.argv[0], corpus, str(SEEDS / name), *bounds, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
