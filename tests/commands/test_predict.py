"""`kalai predict` prints the most probable classes of files, folders, URLs and pen files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.commands.predict import main
from pipeline.convert.letters import draw_pen
from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from tests.loopback import serving
from tests.pens import pen_file
from tests.worlds import draw_shape

CLASSES = (ClassName("000", "அ", "a"), ClassName("001", "ஆ", "ā"), ClassName("disc", "Disc"))
PHOTOS = Card(CLASSES, View(24), (0.5,) * 3, (0.25,) * 3)
INK = Card(
    CLASSES,
    View(32, 1, "pad", margin=2, trim=True, invert=True),
    (0.1,),
    (0.3,),
    drawing=PenSettings(),
)


def predict(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)


def answer(line: str) -> str:
    """Return a line without the image's name."""
    return line.strip().split("  ")[1]


def write_model(root: Path, dataset: str, card: Card) -> Path:
    torch.manual_seed(0)
    folder = root / "data" / dataset / "model"
    save_model(folder, build(len(card.classes), card.view.channels), card)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give a project with a model of photos and one with a model of ink; tests only read them."""
    photos, ink = (tmp_path_factory.mktemp(name) for name in ("photos", "ink"))
    write_model(photos, "letters", PHOTOS)
    write_model(ink, "letters", INK)
    for name, shape, seed in (("b", "disc", 1), ("a", "ring", 2), ("more/c", "bars", 3)):
        path = photos / f"pictures/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_shape(shape, seed))
    return photos, ink


@pytest.fixture
def photos(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(models[0])
    return models[0]


@pytest.fixture
def ink(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(models[1])
    return models[1]


def test_names_are_printed_with_the_most_probable_first(photos: Path) -> None:
    done = predict("pictures/a.png")
    assert done.exit_code == 0 and done.stdout.startswith("pictures/a.png  ")
    assert "அ (a) " in done.stdout and "ஆ (ā) " in done.stdout and "Disc " in done.stdout
    shares = [float(part.split()[-1].rstrip("%")) for part in done.stdout.split(", ")]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)


def test_a_folder_stands_for_its_files_and_json_is_one_object_per_line(photos: Path) -> None:
    done = predict("pictures", "--json", "-k", "2", "-d", "letters")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    names = ["pictures/a.png", "pictures/b.png", "pictures/more/c.png"]
    assert [row["image"] for row in found] == names
    assert all(len(row["top"]) == 2 for row in found)
    assert {"label", "name", "probability"} == set(found[0]["top"][0])


def test_an_image_alone_or_on_standard_input_has_the_answer_that_it_has_among_others(
    photos: Path,
) -> None:
    a, _, c = predict("pictures").stdout.splitlines()
    assert predict("pictures/more/c.png").stdout.strip() == c
    data = (photos / "pictures/a.png").read_bytes()
    assert answer(predict("-", input=data).stdout) == answer(a)


def test_unreadable_files_are_reported_and_the_others_classified(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    whole = (photos / "pictures/a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    (tmp_path / "pen.txt").write_bytes(pen_file("0 0 0, 900 40 1"))
    done = predict("pictures", tmp_path, "nosuch.png")
    assert done.exit_code == 1 and len(done.stdout.splitlines()) == 3
    assert f"{tmp_path}/page.jpg: not-an-image" in done.stderr
    assert f"{tmp_path}/cut.png: truncated" in done.stderr
    pen = "pen-file: UNIPEN strokes, but this model was trained on images"
    assert f"{tmp_path}/pen.txt: {pen}" in done.stderr
    assert "nosuch.png: not-readable: No such file" in done.stderr
    assert "error: 4 of the images could not be read" in done.stderr


def test_a_url_in_a_private_network_needs_allow_host(photos: Path) -> None:
    with serving() as server:
        url = server.serve("/a.png", (photos / "pictures/a.png").read_bytes())
        refused = predict(url)
        assert refused.exit_code == 1 and "private-address" in refused.stderr
        assert server.hits.total() == 0
        allowed = predict(url, "--allow-host", server.host)
        assert answer(allowed.stdout) == answer(predict("pictures/a.png").stdout)


def test_the_answer_does_not_depend_on_the_size_of_the_paper(ink: Path, tmp_path: Path) -> None:
    letter = Image.new("1", (60, 40), 1)
    letter.paste(0, (10, 10, 50, 14))
    letter.paste(0, (28, 10, 32, 34))
    letter.save(tmp_path / "small.tiff")
    page = Image.new("RGB", (200, 300), "white")
    page.paste(letter, (90, 20))
    page.save(tmp_path / "page.png")
    small, large = predict(tmp_path / "small.tiff", tmp_path / "page.png").stdout.splitlines()
    assert answer(small) == answer(large)


def test_a_pen_file_is_drawn_with_the_settings_of_the_training(ink: Path, tmp_path: Path) -> None:
    pen = pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    (tmp_path / "pen.txt").write_bytes(pen)
    card = ink / "data/letters/model/model.json"
    shipped = card.read_text(encoding="utf-8")
    try:
        for drawing in (PenSettings(), PenSettings(dpi=100, pen_width=6)):
            values = json.loads(shipped)
            values["drawing"] |= {"dpi": drawing.dpi, "pen_width": drawing.pen_width}
            card.write_text(json.dumps(values), encoding="utf-8")
            (tmp_path / "drawn.png").write_bytes(draw_pen(pen, drawing))
            done = predict(tmp_path / "pen.txt", tmp_path / "drawn.png")
            by_pen, by_image = map(answer, done.stdout.splitlines())
            assert done.exit_code == 0 and by_pen == by_image
    finally:
        card.write_text(shipped, encoding="utf-8")
    (tmp_path / "broken.txt").write_bytes(pen.replace(b"_POINTS_PER_INCH", b"_POINTS"))
    done = predict(tmp_path / "broken.txt", tmp_path / "drawn.png")
    assert done.exit_code == 1 and "broken.txt: no-resolution" in done.stderr
    assert done.stdout.startswith(f"{tmp_path}/drawn.png  ")


def test_the_dataset_may_be_left_out_if_only_one_has_a_model(
    photos: Path, project: Callable[..., Path]
) -> None:
    image = photos / "pictures/a.png"
    root = project()
    none = predict(image)
    assert none.exit_code == 1 and "error: data: no trained model found" in none.stderr
    shutil.copytree(photos / "data/letters/model", root / "data/tamil/model")
    assert predict(image).exit_code == 0
    other = predict(image, "-d", "dances")
    assert other.exit_code == 1 and "data/dances/model" in other.stderr
    (root / "data/dances/model").mkdir()
    (root / "data/dances/model/model.json").write_text("{}")
    several = predict(image)
    assert several.exit_code == 1
    assert "several datasets have a model: dances, tamil; choose one" in several.stderr
