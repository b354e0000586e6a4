"""Compare the throughput of `kalai predict` with that of a plain loop of torch.

    python tests/benchmarks/predict.py                       drawn photos, 224 pixels
    python tests/benchmarks/predict.py --check               fail if the loop is faster
    python tests/benchmarks/predict.py --folder DIR          images of a folder

The plain loop opens a file, prepares the image as the model needs it, runs the network and prints
the best three classes, one image at a time. Both classify the same files with the same untrained
ResNet34 in float32. They take turns in one process; a turn includes loading the model. The result
is the median over the rounds. On a busy machine use `--threads 1`, so that torch's threads do not
wait for each other, and compare the rates by processor time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

CLASSES = 4


def write_model(size: int) -> None:
    """Write an untrained model into the current folder."""
    import torch

    from pipeline.dataset.labels import ClassName
    from pipeline.model.architectures import IMAGENET
    from pipeline.model.inputs import View
    from pipeline.model.network import Card, build, save_model

    torch.manual_seed(0)
    classes = tuple(ClassName(str(place), str(place)) for place in range(CLASSES))
    save_model(Path("data/drawn/model"), build(CLASSES), Card(classes, View(size), *IMAGENET))


def draw_photos(folder: Path, count: int) -> None:
    """Draw JPEGs as large and as smooth as photos."""
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for place in range(count):
        small = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        photo = Image.fromarray(small).resize((1024, 768), Image.Resampling.BICUBIC)
        photo.save(folder / f"{place:04}.jpg", quality=90)


def ours(folder: Path, device: str) -> int:
    """Classify all images with `kalai predict`; return how many."""
    from click.testing import CliRunner

    from pipeline.commands.predict import main

    done = CliRunner().invoke(main, [str(folder), "--json", "--device", device])
    return len(done.stdout.splitlines())


def plain(folder: Path, device: str) -> int:
    """Classify all images one by one; return how many."""
    import torch
    from PIL import Image

    from pipeline.model.inputs import prepare
    from pipeline.model.network import load_model, normaliser

    network, card = load_model(Path("data/drawn/model"))
    network.to(device)
    scale, shift = normaliser(card, torch.device(device))
    lines = []
    with torch.inference_mode():
        for path in sorted(folder.iterdir()):
            with Image.open(path) as image:
                pixels, _ = prepare(image, card.view)
            batch = torch.from_numpy(pixels)[None].to(device)
            shares = network(batch * scale + shift).softmax(1)[0].cpu()
            lines.append(f"{path.name} {shares.topk(3)}")
    return len(lines)


def timed(act: Callable[[Path, str], int], folder: Path, device: str) -> tuple[int, float, float]:
    """Return the number of images, images per second, and images per second of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    count = act(folder, device)
    return count, count / (time.perf_counter() - clock), count / (time.process_time() - processor)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--images", default=192, show_default=True, help="Images to draw, without --folder.")
@click.option("--size", default=224, show_default=True, help="Side of the input in pixels.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of torch.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option("--check", is_flag=True, help="Fail if the plain loop is faster.")
def main(**options: Any) -> None:
    """Print the throughput of both sides."""
    import torch

    from pipeline.model.device import pick_device

    device = str(pick_device(options["device"]))
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    given = options["folder"].resolve() if options["folder"] else None
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)
        write_model(options["size"])
        if given is None:
            draw_photos(Path("photos"), options["images"])
        folder = given or Path("photos")
        sides = {"kalai predict": ours, "plain loop": plain}
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(options["rounds"]):
            for name, act in sides.items():
                count, *found = timed(act, folder, device)
                rates[name].append((found[0], found[1]))
        os.chdir(ROOT)
    print(f"{count} images at {options['size']} pixels on {device}, {options['rounds']} rounds")
    middle = {
        name: [median(each) for each in zip(*found, strict=True)] for name, found in rates.items()
    }
    for name, (clock, processor) in middle.items():
        print(f"{name:14} {clock:7.1f} img/s, {processor:7.1f} img/s of processor time")
    times = [ours / loop for ours, loop in zip(*middle.values(), strict=True)]
    print(f"kalai is {times[0]:.2f} times as fast; by processor time {times[1]:.2f} times")
    if options["check"] and times[0] < 1:
        sys.exit("FAILED: the plain loop is faster")


if __name__ == "__main__":
    main()
