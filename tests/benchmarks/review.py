"""Measure how soon the review page shows its first row of many images, in a real Chromium.

    python tests/benchmarks/review.py                   10,000 drawn images
    python tests/benchmarks/review.py --check           fail above the goal
    python tests/benchmarks/review.py --images 100000

The time is from the request of the page until the first row's images are painted. Each round uses
a new window with an empty cache. The server is new in the first round and warm in the others, of
which the median counts.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

GOAL_S = 2.0
WINDOW: Any = {"width": 1280, "height": 800}


def make_project(count: int) -> None:
    """Write a dataset of drawn images into the current folder."""
    from tests.tables import drawn, encoded, sample, write

    (Path("params.yaml")).write_bytes((ROOT / "params.yaml").read_bytes())
    images = [{"bytes": encoded(drawn(n, (320, 240))), "path": f"{n}.jpg"} for n in range(64)]
    rows = [sample(n, f"class {n % 40:02}", image=images[n % 64]) for n in range(count)]
    write("dances", rows)


def first_row_s(rounds: int) -> list[float]:
    """Open the page `rounds` times; return the seconds of each."""
    from playwright.sync_api import sync_playwright

    from pipeline.pages.review.app import make_page
    from tests.browsing import ARGUMENTS, chromium_path, served

    found = []
    with sync_playwright() as playwright, served(make_page(["dances"], "benchmark")) as url:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
        for _ in range(rounds):
            page = browser.new_context(viewport=WINDOW).new_page()
            began = time.perf_counter()
            page.goto(f"{url}/#all")
            page.wait_for_function(
                "() => { const found = [...document.querySelectorAll('.item img')].slice(0, 5);"
                " return found.length === 5 && found.every((one) => one.naturalWidth > 0); }"
            )
            found.append(time.perf_counter() - began)
            page.context.close()
        browser.close()
    return found


@click.command(help=__doc__)
@click.option("--images", default=10_000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--check", is_flag=True, help="Fail above the goal.")
def main(images: int, rounds: int, check: bool) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make_project(images)
        cold, *warm = first_row_s(1 + rounds)
        os.chdir(ROOT)
    click.echo("| images | server | first row |\n| ---: | --- | ---: |")
    click.echo(f"| {images} | new | {cold:.2f} s |")
    click.echo(f"| {images} | warm | {statistics.median(warm):.2f} s |")
    worst = max(cold, statistics.median(warm))
    click.echo(f"first row of {images} images after {worst:.2f} s (goal {GOAL_S:.0f} s)")
    if check and worst > GOAL_S:
        raise click.ClickException(f"{worst:.2f} s is above {GOAL_S}")


if __name__ == "__main__":
    main()
