"""Measure whether letters drawn on the page are predicted as well as the archive's own images.

    python tests/benchmarks/serve.py --data . --dataset tamil --archive test-online.tar.gz
    python tests/benchmarks/serve.py --data . --dataset tamil --archive ... --check

`--data` is a project with a trained model of handwriting. Letters of an archive of pen files,
chosen by the hash of their ids, are predicted in four ways: from the image that `convert` makes and
`evaluate` judges; from their strokes through the API, with the tablet's resolution; the same
without it, so that they get the median size; and written on the page's pad with the mouse of a real
browser.
`--check` fails if the accuracy of a way differs from the first by more than 1 percentage point.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Page, Response

    from pipeline.convert.archive import Letter
    from pipeline.convert.render import Outline
    from pipeline.pages.serve.loaded_model import LoadedModel

GOAL = 0.01  # the largest difference in accuracy
FILLS = 0.6  # of the pad's side; people leave a margin


class Way(NamedTuple):
    """One way to predict letters: the label and the drawing's content id of each letter."""

    name: str
    labels: list[str]
    drawn: list[str]
    seconds: float


def read_letters(archive: Path, count: int) -> tuple[list[Letter], list[Outline]]:
    """Return the letters with the smallest hashes of their ids, and their strokes."""
    from pipeline.convert.archive import Letter, read_member, walk
    from pipeline.convert.hp_archive import HpLayout
    from pipeline.convert.letters import read_pen
    from pipeline.core.errors import Rejected

    layout, found = HpLayout(archive), []
    for member in walk(archive):
        try:
            letter = read_member(layout, member)
            if isinstance(letter, Letter):
                found.append((letter, read_pen(letter.data)))
        except Rejected:
            continue
    found.sort(key=lambda pair: hashlib.sha256(pair[0].sample_id.encode()).digest())
    return [letter for letter, _ in found[:count]], [outline for _, outline in found[:count]]


def predict_images(model: LoadedModel, letters: Sequence[Letter]) -> Way:
    """Predict letters as `convert` and `evaluate` do."""
    import numpy as np

    from pipeline.convert.letters import convert_letters
    from pipeline.model.inputs import decode
    from pipeline.model.network import predict_logits

    assert model.pen is not None
    began = time.perf_counter()
    rows = convert_letters(model.pen.drawing, letters).columns
    pixels = np.stack([decode(each["bytes"], model.card.view)[0] for each in rows["image"]])
    logits = predict_logits(model.network, pixels, model.card, model.device)
    labels = [model.card.classes[place].label for place in logits.argmax(1)]
    return Way("the archive's image", labels, rows["content_id"], time.perf_counter() - began)


def predict_by_api(
    name: str,
    ask: Callable[[dict[str, Any]], Any],
    outlines: Sequence[Outline],
    *,
    has_resolution: bool,
) -> Way:
    """Predict letters by POST."""
    labels, drawn, began = [], [], time.perf_counter()
    for outline in outlines:
        body: dict[str, Any] = {"strokes": [stroke.tolist() for stroke in outline.strokes]}
        if has_resolution:
            body["points_per_inch"] = outline.points_per_inch[0]
        answer = ask(body)
        labels.append(answer["top"][0]["label"])
        drawn.append(answer["content_id"])
    return Way(name, labels, drawn, time.perf_counter() - began)


async def write(page: Page, mouse: CDPSession, outline: Outline) -> Any:
    """Write a letter on the pad with the mouse; return the API's answer to the whole letter.

    Events do not wait for each other: as with a real mouse, many come in one frame.
    """
    import numpy as np

    box = await page.locator("#pad").bounding_box()
    assert box
    points = np.concatenate(list(outline.strokes))
    low, extent = points.min(0), np.ptp(points, 0)
    scale = FILLS * box["width"] / max(extent.max(), 1)
    corner = (box["x"], box["y"]) + (box["width"] - extent * scale) / 2
    events: list[dict[str, Any]] = []
    for stroke in outline.strokes:
        places = [{"x": x, "y": y} for x, y in ((stroke - low) * scale + corner).tolist()]
        held = {"button": "left", "buttons": 1}
        events += [
            {"type": "mousePressed", "clickCount": 1} | held | places[0],
            *({"type": "mouseMoved"} | held | place for place in places[1:]),
            {"type": "mouseReleased", "clickCount": 1, "button": "left"} | places[-1],
        ]
    async with page.expect_response(lambda it: is_whole(it, len(outline.strokes))) as response:
        await asyncio.gather(*(mouse.send("Input.dispatchMouseEvent", each) for each in events))
    answer = await (await response.value).json()
    label = answer["top"][0]["label"]
    await page.locator(f'#guesses li:first-child [data-label="{label}"]').wait_for()
    return answer


def is_whole(answer: Response, strokes: int) -> bool:
    """Return whether an answer is to a request with this number of strokes."""
    body = answer.request.post_data_json if answer.url.endswith("/strokes") else None
    return body is not None and len(body["strokes"]) == strokes


async def predict_on_the_pad(url: str, outlines: Sequence[Outline]) -> Way:
    """Predict letters by writing them in a browser."""
    from playwright.async_api import async_playwright

    from tests.browsing import ARGUMENTS

    labels, drawn = [], []
    async with async_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = await browser.new_page()
        await page.goto(url)
        mouse = await page.context.new_cdp_session(page)
        began = time.perf_counter()
        for outline in outlines:
            answer = await write(page, mouse, outline)
            labels.append(answer["top"][0]["label"])
            drawn.append(answer["content_id"])
            await page.locator("#clear").click()
        seconds = time.perf_counter() - began
        await browser.close()
    return Way("the pad, by mouse", labels, drawn, seconds)


def measure(dataset: str, archive: Path, samples: int, canvas: int) -> tuple[list[str], list[Way]]:
    """Return the letters' labels and each way's predictions; the pad gets the first `canvas`."""
    import httpx
    import torch

    from pipeline.pages.request_guard import TOKEN_HEADER
    from pipeline.pages.serve.app import make_page
    from pipeline.pages.serve.loaded_model import load
    from tests.browsing import served

    model = load(dataset, torch.device("cpu"))
    letters, outlines = read_letters(archive, samples)
    page = make_page([model])
    ways = [predict_images(model, letters)]
    with served(page) as url, httpx.Client(headers={TOKEN_HEADER: page.token}) as client:

        def ask(body: dict[str, Any]) -> Any:
            answer = client.post(f"{url}/api/{dataset}/strokes", json=body, timeout=60)
            return answer.raise_for_status().json()

        ways.append(predict_by_api("strokes, resolution", ask, outlines, has_resolution=True))
        ways.append(predict_by_api("strokes, median size", ask, outlines, has_resolution=False))
        if canvas:
            ways.append(asyncio.run(predict_on_the_pad(url, outlines[:canvas])))
    return [letter.class_id for letter in letters], ways


def table(actual: Sequence[str], ways: Sequence[Way]) -> tuple[str, list[str]]:
    """Return a table of the ways, and the failures."""
    lines = [
        f"{'':22}| letters | accuracy | first way | same label | same image | ms per letter",
        "-" * 22 + "|---------|----------|-----------|------------|------------|--------------",
    ]
    failures, first = [], ways[0]
    for way in ways:
        count = len(way.labels)

        def share(them: Sequence[str], others: Sequence[str], count: int = count) -> float:
            return sum(a == b for a, b in zip(them[:count], others, strict=False)) / count

        right, own = share(actual, way.labels), share(actual, first.labels)
        cells = (right, own, share(first.labels, way.labels), share(first.drawn, way.drawn))
        shown = [
            f"{100 * cell:{width}.1f}% " for cell, width in zip(cells, (8, 9, 10, 10), strict=True)
        ]
        lines.append(
            f"{way.name:22}| {count:7} |{'|'.join(shown)}| {1000 * way.seconds / count:12.0f}"
        )
        if abs(right - own) > GOAL:
            failures.append(f"{way.name}: accuracy {right:.1%}, and {own:.1%} of the first way")
    if ways[1].drawn != first.drawn:
        failures.append(f"{ways[1].name}: not the archive's images")
    return "\n".join(lines), failures


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", required=True)
@click.option("--archive", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--samples", default=300, show_default=True)
@click.option(
    "--canvas", default=300, show_default=True, help="How many of them are written on the pad."
)
@click.option(
    "--check",
    is_flag=True,
    help="Fail if the accuracy of a way differs from the first by over a point.",
)
def main(
    data: Path, dataset: str, archive: Path, samples: int, canvas: int, *, check: bool
) -> None:
    """Compare the ways and print a table."""
    archive = archive.resolve()
    os.chdir(data)
    shown, failures = table(*measure(dataset, archive, samples, canvas))
    click.echo(shown)
    if check and failures:
        raise click.ClickException("; ".join(failures))


if __name__ == "__main__":
    main()
