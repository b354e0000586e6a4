from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.core.errors import PipelineError
from pipeline.dataset.stored_images import read_images
from pipeline.model.inputs import View, decode, decoded_images, prepare
from tests.worlds import write_world

Project = Callable[..., Path]


def ink(width: int, height: int, border: int = 0) -> Image.Image:
    """Dark ink that touches all four sides of its box, on white paper with a border."""
    image = Image.new("1", (width + 2 * border, height + 2 * border), 1)
    pen = ImageDraw.Draw(image)
    pen.rectangle((border, border, border + width - 1, border + height - 1), outline=0, width=3)
    return image


@pytest.mark.parametrize("fit", ["crop", "pad", "squish"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(100, 40), (40, 100), (7, 5), (1, 300), (64, 64)])
def test_every_image_gets_the_shape_of_the_view(
    fit: str, channels: int, size: tuple[int, int]
) -> None:
    view = View(32, channels, fit)  # type: ignore[arg-type]
    pixels, aspect = prepare(Image.new("RGB", size, "white"), view)
    assert pixels.shape == view.shape and pixels.dtype == np.uint8 and aspect == 1
    assert pixels.max() == 255


def test_padding_keeps_the_aspect_and_adds_black() -> None:
    pixels, _ = prepare(ink(80, 40), View(64, 1, "pad", margin=2, invert=True))
    rows, columns = np.nonzero(pixels[0].max(1))[0], np.nonzero(pixels[0].max(0))[0]
    assert (columns[0], columns[-1]) == (2, 61)
    assert rows[-1] - rows[0] + 1 == 30
    assert pixels[0, 0].max() == 0


def test_trimming_removes_any_empty_border() -> None:
    view = View(64, 1, "pad", margin=2, trim=True, invert=True)
    tight, loose = (prepare(ink(80, 40, border), view)[0] for border in (0, 37))
    assert (tight == loose).all()


def test_an_empty_image_is_not_trimmed() -> None:
    view = View(32, 1, "pad", trim=True, invert=True)
    assert prepare(Image.new("L", (20, 30), 255), view)[0].max() == 0


def test_shrinking_keeps_the_share_of_ink() -> None:
    image = ink(512, 512)
    share = (np.asarray(image.convert("L")) == 0).mean()
    pixels, _ = prepare(image, View(32, 1, "pad", invert=True))
    assert pixels.mean() / 255 == pytest.approx(share, rel=0.05)


def test_a_crop_takes_the_middle_and_a_whole_image_keeps_its_aspect_ratio() -> None:
    image = Image.new("RGB", (90, 30), "red")
    image.paste(Image.new("RGB", (30, 30), "blue"), (30, 0))
    view = View(16, 3, "crop")
    middle, _ = prepare(image, view)
    assert (middle[2] == 255).all() and (middle[0] == 0).all()
    whole, aspect = prepare(image, view, whole=24)
    assert whole.shape == (3, 24, 24) and aspect == 3
    assert (whole[0, :, :8] == 255).all() and (whole[2, :, 8:16] == 255).all()


def test_a_large_jpeg_that_is_shrunk_while_decoding_is_nearly_the_same() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((1600, 1200))
    buffer = io.BytesIO()
    smooth.save(buffer, "JPEG", quality=95)
    view = View(32, 3, "squish")
    ours, _ = decode(buffer.getvalue(), view)
    plain, _ = prepare(Image.open(buffer), view)
    assert np.abs(ours.astype(int) - plain).mean() < 2


def test_images_come_in_the_given_order_and_the_second_time_from_the_cache(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 5}, "ring": {"train": 5}})
    ids = ["ring/0007", "disc/0002", "ring/0010"]
    view = View(24)
    first = decoded_images("shapes", "train", ids, view)
    assert "decode train: 3/3" in capsys.readouterr().err
    images = read_images("shapes", ids)
    for place, name in enumerate(ids):
        assert (first.pixels[place] == decode(images[name], view)[0]).all()
    again = decoded_images("shapes", "train", ids, view)
    assert "decode" not in capsys.readouterr().err
    assert (again.pixels == first.pixels).all()
    for changed in (ids[::-1], ids[:2]):
        decoded_images("shapes", "train", changed, view)
        assert "decode train" in capsys.readouterr().err
    decoded_images("shapes", "train", changed, View(24, invert=True))
    assert "decode train" in capsys.readouterr().err
    assert len(list((root / "data" / "shapes" / "cache").iterdir())) == 2  # old ones are gone


def test_images_for_random_crops_are_stored_whole(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 2}})
    stored = decoded_images("shapes", "train", ["disc/0001"], View(20), whole=30)
    assert stored.pixels.shape == (1, 3, 30, 30) and stored.aspects[0] == pytest.approx(48 / 40)
    padded = decoded_images("shapes", "train", ["disc/0001"], View(20, fit="pad"), whole=30)
    assert padded.pixels.shape == (1, 3, 20, 20) and padded.aspects[0] == 1


def test_no_images_are_an_empty_array(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 2}})
    assert decoded_images("shapes", "valid", [], View(20)).pixels.shape == (0, 3, 20, 20)


def test_a_disk_that_is_too_full_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 2}})
    full = shutil.disk_usage(root)._replace(free=9999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    ids = ["disc/0001", "disc/0002"]
    said = r"cache: disk is too full: the decoded images of train take 0\.0 GB, 0\.0 GB are free"
    with pytest.raises(PipelineError, match=said):
        decoded_images("shapes", "train", ids, View(100))
    assert len(decoded_images("shapes", "train", ids, View(40)).pixels) == 2


def test_a_missing_sample_or_dataset_is_an_error(project: Project) -> None:
    root = project()
    with pytest.raises(PipelineError, match="unknown dataset"):
        decoded_images("shapes", "train", ["a"], View(20))
    write_world(root, "shapes", {"disc": {"train": 2}})
    with pytest.raises(PipelineError, match=r"sample disc/0009 of split\.csv is missing"):
        decoded_images("shapes", "train", ["disc/0009"], View(20))
    assert not list((root / "data" / "shapes" / "cache").iterdir())
