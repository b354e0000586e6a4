"""`kalai serve`: what the API answers, what it refuses, and how it starts and ends."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
import schemathesis
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.convert.archive import Letter
from pipeline.convert.letters import convert_letters, draw_pen
from pipeline.core.errors import Rejected
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import decode
from pipeline.model.metrics import softmax
from pipeline.model.network import predict_logits
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.local import LocalPage
from pipeline.pages.serve.command import main
from pipeline.pages.serve.loaded_model import Served, load
from pipeline.pages.serve.strokes import Pen
from tests.browsing import served as serving
from tests.conftest import ROOT
from tests.pens import pen_file
from tests.serving import page, served, write_models
from tests.worlds import draw_shape

__all__ = ["page", "served"]  # fixtures

Project = Callable[..., Path]
CROSS = [[[0, 50], [100, 50]], [[50, 0], [50, 100]]]


@pytest.fixture(scope="module")
def client(page: LocalPage) -> Iterator[httpx.Client]:
    """Give a client that carries the token."""
    with serving(page) as url:
        headers = {TOKEN_HEADER: page.token}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            yield client


def ask(client: httpx.Client, strokes: Any = CROSS, **values: Any) -> httpx.Response:
    return client.post("/api/letters/strokes", json={"strokes": strokes, **values})


def pixels(picture: dict[str, Any]) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(picture["png"])))
    assert image.size == (picture["width"], picture["height"])
    return np.asarray(image)


# what it answers


def test_strokes_of_a_known_resolution_are_drawn_as_convert_draws_them(
    client: httpx.Client, served: Mapping[str, Served]
) -> None:
    data = pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    row = convert_letters(PenSettings(), [Letter("1", "disc", None, None, "", data)]).columns
    strokes = [[[0, 0], [900, 40], [950, 800]], [[300, 500]]]
    answer = ask(client, strokes, points_per_inch=2500).json()
    assert answer["content_id"] == row["content_id"][0]
    letters, stored = served["letters"], row["image"][0]["bytes"]
    seen = decode(stored, letters.card.view)[0]
    assert np.array_equal(pixels(answer["seen"]), seen[0])
    assert np.array_equal(pixels(answer["drawn"]), np.asarray(Image.open(io.BytesIO(stored))))
    logits = predict_logits(letters.network, seen[None], letters.card, torch.device("cpu"))
    found = {guess["label"]: guess["probability"] for guess in answer["top"]}
    probabilities = softmax(logits, letters.card.temperature)[0]
    expected = {
        known.label: pytest.approx(sure)
        for known, sure in zip(letters.card.classes, probabilities, strict=True)
    }
    assert found == expected
    assert [g["probability"] for g in answer["top"]] == sorted(found.values(), reverse=True)


_coordinate = st.integers(-4000, 4000)
_strokes = st.lists(
    st.lists(st.tuples(_coordinate, _coordinate), min_size=1, max_size=6), min_size=1, max_size=4
)


@given(_strokes, st.sampled_from([0.25, 1, 2, 64]), _coordinate, _coordinate)
@settings(max_examples=60)
def test_a_letter_of_no_resolution_is_alike_wherever_and_however_large_it_is_written(
    strokes: list[list[tuple[int, int]]], scale: float, x: int, y: int
) -> None:
    points = np.concatenate([np.array(stroke) for stroke in strokes])
    assume((points.max(0) > points.min(0)).any())
    pen = Pen(PenSettings(), 0.5)
    plain = pen.draw(strokes, None)
    moved = pen.draw([[[px * scale + x, py * scale + y] for px, py in s] for s in strokes], None)
    assert moved.content_id == plain.content_id
    assert max(plain.width, plain.height) - 10 in (124, 125)  # half an inch, rounded down


@given(_strokes)
@settings(max_examples=30)
def test_a_letter_written_at_the_usual_size_needs_no_resolution(
    strokes: list[list[tuple[int, int]]],
) -> None:
    points = np.concatenate([np.array(stroke) for stroke in strokes])
    extent = float((points.max(0) - points.min(0)).max())
    assume(extent > 0)
    pen = Pen(PenSettings(), 0.5)
    assert pen.draw(strokes, None).content_id == pen.draw(strokes, extent / 0.5).content_id


def test_the_usual_size_is_the_median_of_the_samples() -> None:
    sizes = np.array([[60, 20], [30, 110], [35, 40]])
    assert Pen.of_samples(PenSettings(), sizes).usual_in == 50 / 250
    for none in (None, sizes[:0]):
        assert Pen.of_samples(PenSettings(), none).usual_in == 0.5


def test_dots_alone_are_drawn() -> None:
    assert Pen(PenSettings()).draw([[[7, 7]]], None).has_ink
    with pytest.raises(Rejected, match="no-ink"):
        Pen(PenSettings()).draw([[]], None)


def test_a_picture_gets_what_kalai_predict_gives_it(
    client: httpx.Client, served: Mapping[str, Served]
) -> None:
    data = draw_shape("ring", 3)
    answer = client.post("/api/photos/picture", content=data).json()
    photos = served["photos"]
    seen = decode(data, photos.card.view)[0]
    assert np.array_equal(pixels(answer["seen"]).transpose(2, 0, 1), seen)
    assert {guess["label"] for guess in answer["top"]} == {"disc", "ring"}
    assert sum(guess["probability"] for guess in answer["top"]) == pytest.approx(1)


def test_a_picture_is_turned_upright_whatever_type_its_body_claims(client: httpx.Client) -> None:
    upright = Image.open(io.BytesIO(draw_shape("cross", 5, (40, 64))))
    files = []
    for image, orientation in ((upright, 1), (upright.transpose(Image.Transpose.ROTATE_90), 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        image.save(buffer, "PNG", exif=exif)
        files.append(buffer.getvalue())
    kinds = ("image/png", "application/json", "text/html")
    answers = [
        client.post("/api/photos/picture", content=data, headers={"Content-Type": kind}).json()
        for data in files
        for kind in kinds
    ]
    assert all(answer == answers[0] for answer in answers)


def test_letters_are_taken_as_pictures_too(client: httpx.Client) -> None:
    drawn = ask(client).json()
    by_file = client.post("/api/letters/picture", content=base64.b64decode(drawn["drawn"]["png"]))
    assert by_file.json() == {"top": drawn["top"], "seen": drawn["seen"]}


def test_models_and_classes_with_samples_by_content_id(client: httpx.Client) -> None:
    models = client.get("/api/models").json()
    assert [(each["dataset"], each["takes"]) for each in models] == [
        ("letters", ["strokes", "picture"]),
        ("photos", ["picture"]),
    ]
    for known in client.get("/api/letters/classes").json():
        assert len(known["samples"]) == 6 and known["romanised"]
        for content_id in known["samples"]:
            sample = client.get(f"/api/letters/samples/{content_id}")
            assert sample.headers["Content-Type"] == "image/png"
            assert "immutable" in sample.headers["Cache-Control"]
            assert Image.open(io.BytesIO(sample.content)).size == (48, 40)


def test_only_what_was_learned_from_is_shown(
    client: httpx.Client, served: Mapping[str, Served]
) -> None:
    shown = served["letters"].pictures
    assert len(shown) == 18
    classes = client.get("/api/letters/classes").json()
    assert {content_id for known in classes for content_id in known["samples"]} == set(shown)


def test_a_pen_file_is_read_where_letters_were_drawn(client: httpx.Client) -> None:
    pen = pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    drawn = draw_pen(pen, PenSettings())
    by_pen, by_picture = (
        client.post("/api/letters/picture", content=data).json() for data in (pen, drawn)
    )
    assert by_pen == by_picture and by_pen["top"]
    refused = client.post("/api/photos/picture", content=pen)
    assert refused.status_code == 422 and "pen-file" in refused.text


def test_how_many_are_named_can_be_told(client: httpx.Client) -> None:
    data = draw_shape("ring", 3)
    one = client.post("/api/letters/picture?top=1", content=data).json()["top"]
    all_of_them = client.post("/api/letters/picture?top=20", content=data).json()["top"]
    assert len(one) == 1 and len(all_of_them) == 3 and all_of_them[0] == one[0]


def test_the_page_escapes_names_and_describes_its_model(client: httpx.Client) -> None:
    photos = client.get("/try/photos").text
    assert "<b>Ring</b>" not in photos and "&lt;b&gt;Ring&lt;/b&gt; &amp; more" in photos
    assert 'id="pad"' not in photos and 'id="pad"' in client.get("/try/letters").text
    assert client.get("/").text == client.get("/try/letters").text


def test_a_model_alone_is_served_without_samples(project: Project) -> None:
    root = project()
    write_models(root)
    for name in ("samples.parquet", "split.csv"):
        (root / "data" / "letters" / name).unlink()
    alone = load("letters", torch.device("cpu"))
    assert alone.pen == Pen(PenSettings()) and not alone.samples and alone.right is None


def test_nothing_is_unpickled(project: Project) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (Path("exploded"),)

    root = project()
    write_models(root)
    (root / "data" / "letters" / "model" / "export.pkl").write_bytes(pickle.dumps(Bomb()))
    load("letters", torch.device("cpu"))
    assert not (root / "exploded").exists()


# what it refuses


def refused(answer: httpx.Response, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert re.search(said, answer.json()["error"]), answer.text
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("", 422, "body"),
        ("{", 422, "body"),
        ("[]", 422, "body"),
        ('{"strokes": []}', 422, "body.strokes: .*at least 1"),
        ('{"strokes": [[]]}', 422, "body.strokes.0: .*at least 1"),
        ('{"strokes": [[[1]]]}', 422, "body.strokes.0.0: .*at least 2"),
        ('{"strokes": [[[1, 2, 3]]]}', 422, "body.strokes.0.0: .*at most 2"),
        ('{"strokes": [[[1, "2"]]]}', 422, "body.strokes.0.0.1: .*number"),
        ('{"strokes": [[[1, null]]]}', 422, "body.strokes.0.0.1: .*number"),
        ('{"strokes": [[[1, NaN]]]}', 422, "body.strokes.0.0.1: .*finite"),
        ('{"strokes": [[[1, -Infinity]]]}', 422, "body.strokes.0.0.1: "),
        ('{"strokes": [[[1, 1e999]]]}', 422, "body.strokes.0.0.1: "),
        ('{"strokes": [[[1, 1e300]]]}', 422, "body.strokes.0.0.1: .*less than"),
        ('{"strokes": [[[1, 1]]], "points_per_inch": 0}', 422, "points_per_inch: "),
        ('{"strokes": [[[1, 1]]], "points_per_inch": NaN}', 422, "points_per_inch: "),
        ('{"strokes": [[[1, 1]]], "points_per_inch": true}', 422, "points_per_inch: "),
        ('{"strokes": [[[1, 1]]], "path": "/etc/passwd"}', 422, "body.path: "),
        ('{"strokes": [[[0, 0], [1e7, 1]]], "points_per_inch": 1}', 422, "too-many-pixels"),
        ('{"strokes": [[[0, 0]' + ", [9, 9]" * 20_000 + "]]}", 422, "at most 20000"),
        ('{"strokes": [[[0, 0]]' + ", [[9, 9]]" * 500 + "]}", 422, "at most 500"),
        ('{"strokes": ' + "[" * 100_000, 400, "body"),
        ('{"strokes": [[[1, 1]]]' + " " * 2_000_000 + "}", 413, "more than 2000000 bytes"),
    ],
)
def test_strokes_that_are_none_are_refused(
    client: httpx.Client, body: str, status: int, said: str
) -> None:
    headers = {"Content-Type": "application/json"}
    refused(client.post("/api/letters/strokes", content=body, headers=headers), status, said)


def test_many_strokes_of_many_points_are_refused_together(client: httpx.Client) -> None:
    refused(ask(client, [[[0, 0], [9, 9]] * 2000] * 6), 422, "24000 points, at most 20000")


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header is all that is true of it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0" * 1000), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<html>", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "format: SVG"),
        (png_of_size(8_000, 8_000), "too-many-pixels: 8000x8000, at most 50000000"),
        (png_of_size(30_000, 30_000), "too-many-pixels: .*bomb"),
        (png_of_size(1000, 1000), "truncated"),
        (draw_shape("disc", 1)[:-40], "truncated"),
        (pickle.dumps({}), "not-an-image"),
    ],
    ids=["empty", "html", "svg", "large", "bomb", "short", "cut", "pickle"],
)
@pytest.mark.parametrize("dataset", ["letters", "photos"])
def test_pictures_that_are_none_are_refused_with_the_reason(
    client: httpx.Client, dataset: str, data: bytes, said: str
) -> None:
    refused(client.post(f"/api/{dataset}/picture", content=data), 422, said)


def test_a_body_of_too_many_bytes_is_refused(client: httpx.Client) -> None:
    refused(client.post("/api/photos/picture", content=b"x" * 20_000_001), 413, "20000000")
    refused(client.post("/api/photos/picture", content=iter([b"x" * 9**7] * 5)), 413, "20000000")
    body = iter([b"[" * 100_000] * 30)
    refused(client.post("/api/letters/strokes", content=body), 413, "2000000")


@pytest.mark.parametrize("path", ["/api/letters/strokes", "/api/photos/picture"])
def test_who_has_no_token_or_comes_from_elsewhere_is_refused(
    client: httpx.Client, path: str
) -> None:
    evil = {"Origin": "http://evil.example"}
    for headers in ({TOKEN_HEADER: "x" * 43}, {TOKEN_HEADER: ""}, evil):
        refused(client.post(path, content=b"{}", headers=headers), 403, "token|Token|other pages")
    refused(client.get("/api/models", headers=evil), 403, "other pages")
    refused(client.get("/api/models", headers={"Host": "evil.example"}), 421, "host")


@pytest.mark.parametrize(
    "path",
    [
        "/api/letters/samples/" + "0" * 64,
        "/api/letters/samples/..%2F..%2Fmodel%2Fmodel.json",
        "/api/letters/samples/../../model/model.json",
        "/api/..%2F..%2Fletters/classes",
        "/api/nosuch/classes",
        "/api/photos/strokes",
        "/try/..%2f..%2fetc%2fpasswd",
        "/try/nosuch",
        "/static/page/..%2ftemplates%2ftry.html",
        "/static/page/%2e%2e/served.py",
        "/data/letters/model/model.json",
        "//etc/passwd",
    ],
)
def test_no_path_of_a_request_reaches_the_disk(client: httpx.Client, path: str) -> None:
    url = httpx.URL(str(client.base_url), raw_path=path.encode())
    assert client.get(url).status_code in (404, 405, 422)


def test_a_sample_of_one_dataset_is_not_had_by_another(
    client: httpx.Client, served: Mapping[str, Served]
) -> None:
    own = next(iter(set(served["photos"].pictures) - set(served["letters"].pictures)))
    refused(client.get(f"/api/letters/samples/{own}"), 404, "no such sample")
    refused(client.get(f"/api/letters/samples/{own.upper()}"), 422, "content_id")


def test_who_hangs_up_in_the_middle_hurts_nobody(client: httpx.Client, page: LocalPage) -> None:
    host, port = client.base_url.host, client.base_url.port
    assert port is not None
    for path in ("letters/strokes", "photos/picture"):
        with socket.create_connection((host, port)) as connection:
            head = f"POST /api/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 500\r\n"
            connection.sendall(f"{head}{TOKEN_HEADER}: {page.token}\r\n\r\n{{".encode())
    assert ask(client).status_code == 200


# what it says of itself


def test_the_document_tells_all_routes_and_that_they_need_a_token(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/models",
        "/api/letters/classes",
        "/api/letters/samples/{content_id}",
        "/api/letters/picture",
        "/api/letters/strokes",
        "/api/photos/classes",
        "/api/photos/samples/{content_id}",
        "/api/photos/picture",
    }
    for path, methods in document["paths"].items():
        assert ("security" in next(iter(methods.values()))) == path.endswith(("picture", "strokes"))


class Carrier(requests.auth.AuthBase):
    """Carries the token, as schemathesis wants to know: it asks without as well."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[TOKEN_HEADER] = self.token
        return request


def test_it_answers_all_that_its_document_allows_and_refuses_the_rest(
    client: httpx.Client, page: LocalPage
) -> None:
    schema = schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))
    schema.auth.set_from_requests(Carrier(page.token))
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    cases = st.one_of([schema.as_strategy(mode) for mode in modes])

    @given(case=cases)
    @settings(max_examples=150, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def agrees(case: schemathesis.Case[Any]) -> None:
        # What the document calls bytes need not be a picture, and points may be too far apart.
        excluded: list[Any] = [positive_data_acceptance]
        case.call_and_validate(excluded_checks=excluded)

    agrees()


# the command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "unknown dataset 'nosuch'; this project has: dances, tamil"),
        (["../letters"], "unknown dataset '../letters'"),
        (["--token", "short"], "16 characters or more"),
        (["--token", "a token of many words"], "no blanks"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    project: Project, arguments: list[str], said: str
) -> None:
    for dataset in ("letters", "photos"):
        folder = project() / "data" / dataset / "model"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text("{}")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and done.stderr.startswith("error: ") and said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_model_it_says_what_to_do(project: Project) -> None:
    project()
    done = CliRunner().invoke(main, ["--no-browser"])
    assert "error: data: no trained model found; run `dvc repro`" in done.stderr


def documented() -> list[str]:
    """Return the lines of docs/serve.md that ask by curl."""
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    return re.findall(r"^curl .*$", text, re.MULTILINE)


def test_it_starts_answers_what_the_docs_ask_and_ends(project: Project) -> None:
    root = project()
    write_models(root)
    for ours, theirs in (("letters", "tamil"), ("photos", "dances")):
        shutil.copytree(root / "data" / ours, root / "data" / theirs, dirs_exist_ok=True)
    (root / "photo.jpg").write_bytes(draw_shape("disc", 2))
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve"]
    environment = os.environ | {"KALAI_TOKEN": "a-token-for-tests", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "dances", "tamil", "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert found
            lines = documented()
            assert len(lines) == 4
            for line in lines if shutil.which("curl") else ():
                asked = line.replace("http://127.0.0.1:8011", found[0])
                said = subprocess.check_output(["bash", "-c", asked], env=environment)
                assert "error" not in json.loads(said), line
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
