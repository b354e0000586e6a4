"""Fuzz the readers of handwriting, guided by coverage, for as long as you like.

    pip install atheris
    python tests/fuzz/run.py pens CORPUS -max_total_time=3600
    python tests/fuzz/run.py pictures CORPUS -runs=1000000

CORPUS is a folder for the cases that reach new code; the seeds beside this file come first. A
case that fails is written to the working directory: put it with the seeds once it is mended.
What stands behind the folder goes to libFuzzer.
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
    """Run libFuzzer on a target."""
    name, corpus, *options = sys.argv[1:]
    bounds = [f"-max_len={LARGEST}", "-timeout=10", "-rss_limit_mb=1500"]
    atheris.Setup([sys.argv[0], corpus, str(SEEDS / name), *bounds, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
