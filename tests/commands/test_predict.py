from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pipeline.commands.predict import main
from pipeline.convert.letters import draw_pen
from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from tests.pens import pen_file
from tests.worlds import draw_shape

Project = Callable[..., Path]
CLASSES = (ClassName("000", "அ", "a"), ClassName("001", "ஆ", "ā"), ClassName("disc", "Disc"))

INK = View(32, 1, "pad", margin=2, trim=True, invert=True)


@pytest.fixture
def folder(project: Project) -> Iterator[Path]:
    root = project()
    torch.manual_seed(0)
    card = Card(CLASSES, View(24), (0.5,) * 3, (0.25,) * 3)
    save_model(root / "data" / "letters" / "model", build(3), card)
    pictures = root / "pictures"
    (pictures / "more").mkdir(parents=True)
    (pictures / "b.png").write_bytes(draw_shape("disc", 1))
    (pictures / "a.png").write_bytes(draw_shape("ring", 2))
    (pictures / "more" / "c.png").write_bytes(draw_shape("bars", 3))
    yield root


def test_a_table_for_people_has_unicode_names_and_the_surest_first(folder: Path) -> None:
    done = CliRunner().invoke(main, ["pictures/a.png"])
    assert done.exit_code == 0 and done.stdout.startswith("pictures/a.png  ")
    assert "அ (a) " in done.stdout and "ஆ (ā) " in done.stdout and "Disc " in done.stdout
    shares = [float(part.split()[-1].rstrip("%")) for part in done.stdout.split(", ")]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=0.2)


def test_folders_give_their_files_in_order_and_json_a_line_each(folder: Path) -> None:
    done = CliRunner().invoke(main, ["pictures", "--json", "-k", "2", "-d", "letters"])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    names = ["pictures/a.png", "pictures/b.png", "pictures/more/c.png"]
    assert [row["image"] for row in found] == names
    assert all(len(row["top"]) == 2 for row in found)
    assert {"label", "name", "probability"} == set(found[0]["top"][0])


def test_one_picture_alone_gets_what_it_gets_among_others(folder: Path) -> None:
    together = CliRunner().invoke(main, ["pictures"]).stdout.splitlines()
    for line in together:
        name = line.split("  ")[0]
        assert CliRunner().invoke(main, [name]).stdout.strip() == line


def test_a_picture_comes_by_standard_input_too(folder: Path) -> None:
    data = (folder / "pictures" / "a.png").read_bytes()
    done = CliRunner().invoke(main, ["-"], input=data)
    by_name = CliRunner().invoke(main, ["pictures/a.png"]).stdout
    assert done.stdout.split("  ")[1] == by_name.split("  ")[1]


def test_what_cannot_be_read_is_named_and_the_rest_is_done(folder: Path) -> None:
    (folder / "pictures" / "page.jpg").write_text("<html>")
    cut = (folder / "pictures" / "a.png").read_bytes()[:-40]
    (folder / "pictures" / "cut.png").write_bytes(cut)
    done = CliRunner().invoke(main, ["pictures", "nosuch.png"])
    assert done.exit_code == 1 and len(done.stdout.splitlines()) == 3
    assert "pictures/page.jpg: not-an-image" in done.stderr
    assert "pictures/cut.png: truncated" in done.stderr
    assert "nosuch.png: not-readable: No such file" in done.stderr
    assert "error: 3 of the pictures could not be read" in done.stderr


def test_a_private_address_is_refused_unless_it_is_allowed(folder: Path) -> None:
    data = (folder / "pictures" / "a.png").read_bytes()

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{server.server_port}"
        done = CliRunner().invoke(main, [f"http://{where}/a.png"])
        assert done.exit_code == 1 and "private-address" in done.stderr
        done = CliRunner().invoke(main, [f"http://{where}/a.png", "--allow-host", where])
        assert done.exit_code == 0 and done.stdout.count("%") == 3
        server.shutdown()


def test_ink_of_any_paper_size_is_seen_alike(project: Project) -> None:
    root = project()
    torch.manual_seed(0)
    card = Card(CLASSES, INK, (0.1,), (0.3,))
    save_model(root / "data" / "letters" / "model", build(3, channels=1), card)
    letter = Image.new("1", (60, 40), 1)
    letter.paste(0, (10, 10, 50, 14))
    letter.paste(0, (28, 10, 32, 34))
    letter.save(root / "small.tiff")
    page = Image.new("RGB", (200, 300), "white")
    page.paste(letter, (90, 20))
    page.save(root / "page.png")
    said = CliRunner().invoke(main, ["small.tiff", "page.png"]).stdout.splitlines()
    assert said[0].split("  ")[1] == said[1].split("  ")[1]


def test_a_pen_file_is_drawn_as_what_the_model_learned_from(project: Project) -> None:
    root, pen = project(), pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    (root / "pen.txt").write_bytes(pen)
    for drawing in (PenSettings(), PenSettings(dpi=100, pen_width=6)):
        torch.manual_seed(0)
        card = Card(CLASSES, INK, (0.1,), (0.3,), drawing=drawing)
        save_model(root / "data" / "letters" / "model", build(3, channels=1), card)
        (root / "drawn.png").write_bytes(draw_pen(pen, drawing))
        done = CliRunner().invoke(main, ["pen.txt", "drawn.png"])
        by_pen, by_picture = (line.split("  ")[1] for line in done.stdout.splitlines())
        assert done.exit_code == 0 and by_pen == by_picture
    (root / "broken.txt").write_bytes(pen.replace(b"_POINTS_PER_INCH", b"_POINTS"))
    done = CliRunner().invoke(main, ["broken.txt", "drawn.png"])
    assert done.exit_code == 1 and "broken.txt: no-resolution" in done.stderr
    assert done.stdout.startswith("drawn.png  ")


def test_a_pen_file_is_refused_where_the_model_learned_from_pictures(folder: Path) -> None:
    (folder / "pen.txt").write_bytes(pen_file("0 0 0, 900 40 1"))
    done = CliRunner().invoke(main, ["pen.txt", "pictures/a.png"])
    assert done.exit_code == 1 and "pen.txt: pen-file: strokes of a pen" in done.stderr
    assert done.stdout.startswith("pictures/a.png  ")


def test_whose_model_is_asked_where_there_are_more_or_none(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data" / "photos").mkdir()
    (folder / "data" / "letters" / "model").rename(folder / "data" / "photos" / "model")
    assert CliRunner().invoke(main, ["pictures/a.png"]).exit_code == 0
    done = CliRunner().invoke(main, ["pictures/a.png", "-d", "letters"])
    assert "no trained model" in done.stderr
    (folder / "data" / "letters" / "model").mkdir()
    (folder / "data" / "letters" / "model" / "model.json").write_text("{}")
    done = CliRunner().invoke(main, ["pictures/a.png"])
    assert "there are models of letters, photos: say which with --dataset" in done.stderr
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    done = CliRunner().invoke(main, ["a.png"])
    assert done.exit_code == 1 and "no trained model under data" in done.stderr
