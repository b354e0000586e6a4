"""Whether a letter that is drawn on the page is named as well as the archive's own picture of it.

    python tests/benchmarks/serve.py --data . --dataset tamil --archive test-online.tar.gz
    python tests/benchmarks/serve.py --data . --dataset tamil --archive ... --check

`--data` is a project with a trained model of handwriting. Letters of an archive of pen files, each
chosen by the hash of its id, are named four ways on the same samples: from the picture that
`convert` makes and `evaluate` judges; from their strokes through the API, the tablet's resolution
told; the same untold, so that they get the usual size; and written on the pad of the page with the
mouse of a real browser. `--check` fails where a way is more than a point from the first.
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
    from pipeline.pages.serve.loaded_model import Served

GOAL = 0.01  # of accuracy
FILLS = 0.6  # of the pad's side; people leave a margin


class Way(NamedTuple):
    """How letters were named: a label a letter, and the content ids of what was drawn."""

    name: str
    labels: list[str]
    drawn: list[str]
    seconds: float


def read_letters(archive: Path, count: int) -> tuple[list[Letter], list[Outline]]:
    """Return letters of an archive, and their strokes; the hash of an id says which."""
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


def named_from_pictures(served: Served, letters: Sequence[Letter]) -> Way:
    """Name letters as `convert` and `evaluate` do."""
    import numpy as np

    from pipeline.convert.letters import convert_letters
    from pipeline.model.inputs import decode
    from pipeline.model.network import predict_logits

    assert served.pen is not None
    began = time.perf_counter()
    rows = convert_letters(served.pen.drawing, letters).columns
    pixels = np.stack([decode(each["bytes"], served.card.view)[0] for each in rows["image"]])
    logits = predict_logits(served.network, pixels, served.card, served.device)
    labels = [served.card.classes[place].label for place in logits.argmax(1)]
    return Way("the archive's picture", labels, rows["content_id"], time.perf_counter() - began)


def named_by_api(
    name: str, ask: Callable[[dict[str, Any]], Any], outlines: Sequence[Outline], *, told: bool
) -> Way:
    """Name letters by POST."""
    labels, drawn, began = [], [], time.perf_counter()
    for outline in outlines:
        body: dict[str, Any] = {"strokes": [stroke.tolist() for stroke in outline.strokes]}
        if told:
            body["points_per_inch"] = outline.points_per_inch[0]
        answer = ask(body)
        labels.append(answer["top"][0]["label"])
        drawn.append(answer["content_id"])
    return Way(name, labels, drawn, time.perf_counter() - began)


async def write(page: Page, mouse: CDPSession, outline: Outline) -> Any:
    """Write a letter on the pad with the mouse; return the API's answer to all of it.

    No event waits for the one before: as from a real mouse, many come in a frame.
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
    """Tell whether an answer is to so many strokes."""
    body = answer.request.post_data_json if answer.url.endswith("/strokes") else None
    return body is not None and len(body["strokes"]) == strokes


async def named_on_the_pad(url: str, outlines: Sequence[Outline]) -> Way:
    """Name letters by writing them in a browser."""
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
    """Return what the letters are, and how each way named them; the pad the first few."""
    import httpx
    import torch

    from pipeline.pages.request_guard import TOKEN_HEADER
    from pipeline.pages.serve.app import make_page
    from pipeline.pages.serve.loaded_model import load
    from tests.browsing import served as serving

    served = load(dataset, torch.device("cpu"))
    letters, outlines = read_letters(archive, samples)
    page = make_page([served])
    ways = [named_from_pictures(served, letters)]
    with serving(page) as url, httpx.Client(headers={TOKEN_HEADER: page.token}) as client:

        def ask(body: dict[str, Any]) -> Any:
            answer = client.post(f"{url}/api/{dataset}/strokes", json=body, timeout=60)
            return answer.raise_for_status().json()

        ways.append(named_by_api("strokes, size told", ask, outlines, told=True))
        ways.append(named_by_api("strokes, usual size", ask, outlines, told=False))
        if canvas:
            ways.append(asyncio.run(named_on_the_pad(url, outlines[:canvas])))
    return [letter.class_id for letter in letters], ways


def table(actual: Sequence[str], ways: Sequence[Way]) -> tuple[str, list[str]]:
    """Return a table of the ways, and what is not as it should be."""
    lines = [
        f"{'':22}| letters | right  | first way | same name | same picture | ms a letter",
        "-" * 22 + "|---------|--------|-----------|-----------|--------------|------------",
    ]
    wrong, first = [], ways[0]
    for way in ways:
        count = len(way.labels)

        def share(them: Sequence[str], others: Sequence[str], count: int = count) -> float:
            return sum(a == b for a, b in zip(them[:count], others, strict=False)) / count

        right, own = share(actual, way.labels), share(actual, first.labels)
        cells = (right, own, share(first.labels, way.labels), share(first.drawn, way.drawn))
        shown = [
            f"{100 * cell:{width}.1f}% " for cell, width in zip(cells, (6, 9, 9, 12), strict=True)
        ]
        lines.append(
            f"{way.name:22}| {count:7} |{'|'.join(shown)}| {1000 * way.seconds / count:10.0f}"
        )
        if abs(right - own) > GOAL:
            wrong.append(f"{way.name}: {right:.1%} right, and the first way {own:.1%}")
    if ways[1].drawn != first.drawn:
        wrong.append(f"{ways[1].name}: not the archive's pictures")
    return "\n".join(lines), wrong


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", required=True)
@click.option("--archive", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--samples", default=300, show_default=True)
@click.option("--canvas", default=300, show_default=True, help="So many of them on the pad.")
@click.option("--check", is_flag=True, help="Fail where a way is a point from the first.")
def main(
    data: Path, dataset: str, archive: Path, samples: int, canvas: int, *, check: bool
) -> None:
    """Compare the ways and print a table."""
    archive = archive.resolve()
    os.chdir(data)
    shown, wrong = table(*measure(dataset, archive, samples, canvas))
    click.echo(shown)
    if check and wrong:
        raise click.ClickException("; ".join(wrong))


if __name__ == "__main__":
    main()
