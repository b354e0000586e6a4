"""The API of `kalai serve`: predictions, and requests that are refused."""

from __future__ import annotations

import base64
import io
import pickle
import re
import socket
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest
import requests
import schemathesis
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.convert.archive import Letter
from pipeline.convert.letters import convert_letters, draw_pen
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import decode
from pipeline.model.metrics import softmax
from pipeline.model.network import predict_logits
from pipeline.pages.local import LocalPage
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.serve.loaded_model import LoadedModel
from tests.pens import pen_file
from tests.worlds import draw_shape

CROSS = [[[0, 50], [100, 50]], [[50, 0], [50, 100]]]


def ask(client: httpx.Client, strokes: Any = CROSS, **values: Any) -> httpx.Response:
    """Send strokes to the model of letters."""
    return client.post("/api/letters/strokes", json={"strokes": strokes, **values})


def pixels(answered: dict[str, Any]) -> np.ndarray:
    """Return the pixels of an image in an answer."""
    image = Image.open(io.BytesIO(base64.b64decode(answered["png"])))
    assert image.size == (answered["width"], answered["height"])
    return np.asarray(image)


# predictions


def test_strokes_of_a_known_resolution_are_drawn_as_convert_draws_them(
    serve_client: httpx.Client, models: Mapping[str, LoadedModel]
) -> None:
    data = pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    row = convert_letters(PenSettings(), [Letter("1", "disc", None, None, "", data)]).columns
    strokes = [[[0, 0], [900, 40], [950, 800]], [[300, 500]]]
    answer = ask(serve_client, strokes, points_per_inch=2500).json()
    assert answer["content_id"] == row["content_id"][0]
    letters, stored = models["letters"], row["image"][0]["bytes"]
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


def test_an_image_gets_the_prediction_of_kalai_predict(
    serve_client: httpx.Client, models: Mapping[str, LoadedModel]
) -> None:
    data = draw_shape("ring", 3)
    answer = serve_client.post("/api/photos/picture", content=data).json()
    photos = models["photos"]
    seen = decode(data, photos.card.view)[0]
    assert np.array_equal(pixels(answer["seen"]).transpose(2, 0, 1), seen)
    assert {guess["label"] for guess in answer["top"]} == {"disc", "ring"}
    assert sum(guess["probability"] for guess in answer["top"]) == pytest.approx(1)


def test_an_image_is_turned_upright_whatever_the_media_type(serve_client: httpx.Client) -> None:
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
        serve_client.post(
            "/api/photos/picture", content=data, headers={"Content-Type": kind}
        ).json()
        for data in files
        for kind in kinds
    ]
    assert all(answer == answers[0] for answer in answers)


def test_a_drawn_letter_is_accepted_as_an_image(serve_client: httpx.Client) -> None:
    drawn = ask(serve_client).json()
    as_image = serve_client.post(
        "/api/letters/picture", content=base64.b64decode(drawn["drawn"]["png"])
    )
    assert as_image.json() == {"top": drawn["top"], "seen": drawn["seen"]}


def test_models_and_classes_are_listed_with_samples(
    serve_client: httpx.Client, models: Mapping[str, LoadedModel]
) -> None:
    listed = serve_client.get("/api/models").json()
    assert [(each["dataset"], each["takes"]) for each in listed] == [
        ("letters", ["strokes", "picture"]),
        ("photos", ["picture"]),
    ]
    classes = serve_client.get("/api/letters/classes").json()
    shown = {content_id for known in classes for content_id in known["samples"]}
    assert shown == set(models["letters"].images)
    for known in classes:
        assert len(known["samples"]) == 6 and known["romanised"]
        for content_id in known["samples"]:
            sample = serve_client.get(f"/api/letters/samples/{content_id}")
            assert sample.headers["Content-Type"] == "image/png"
            assert "immutable" in sample.headers["Cache-Control"]
            assert Image.open(io.BytesIO(sample.content)).size == (48, 40)


def test_a_pen_file_is_accepted_if_the_model_knows_drawn_letters(
    serve_client: httpx.Client,
) -> None:
    pen = pen_file("0 0 0, 900 40 1, 950 800 2", "300 500 3")
    drawn = draw_pen(pen, PenSettings())
    of_pen, of_image = (
        serve_client.post("/api/letters/picture", content=data).json() for data in (pen, drawn)
    )
    assert of_pen == of_image and of_pen["top"]
    refused = serve_client.post("/api/photos/picture", content=pen)
    assert refused.status_code == 422 and "pen-file" in refused.text


def test_top_is_the_number_of_classes(serve_client: httpx.Client) -> None:
    data = draw_shape("ring", 3)
    one = serve_client.post("/api/letters/picture?top=1", content=data).json()["top"]
    every_class = serve_client.post("/api/letters/picture?top=20", content=data).json()["top"]
    assert len(one) == 1 and len(every_class) == 3 and every_class[0] == one[0]


def test_the_page_escapes_names_and_describes_its_model(serve_client: httpx.Client) -> None:
    photos = serve_client.get("/try/photos").text
    assert "<b>Ring</b>" not in photos and "&lt;b&gt;Ring&lt;/b&gt; &amp; more" in photos
    assert 'id="pad"' not in photos and 'id="pad"' in serve_client.get("/try/letters").text
    assert serve_client.get("/").text == serve_client.get("/try/letters").text


# refused requests


def check_refusal(answer: httpx.Response, status: int, error: str) -> None:
    """Check an error answer: one line that matches a pattern."""
    assert answer.status_code == status, answer.text
    assert re.search(error, answer.json()["error"]), answer.text
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
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
        ('{"strokes": [[[1, 1]]]' + " " * 2_000_000 + "}", 413, "at most 2000000 bytes"),
    ],
)
def test_invalid_strokes_are_refused(
    serve_client: httpx.Client, body: str, status: int, error: str
) -> None:
    headers = {"Content-Type": "application/json"}
    check_refusal(
        serve_client.post("/api/letters/strokes", content=body, headers=headers), status, error
    )


def test_points_are_counted_over_all_strokes(serve_client: httpx.Client) -> None:
    check_refusal(
        ask(serve_client, [[[0, 0], [9, 9]] * 2000] * 6),
        422,
        "24000 points; at most 20000 are allowed",
    )


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG with a correct header and too few pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0" * 1000), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "empty"),
        (b"<html>", "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "format: SVG"),
        (png_of_size(8_000, 8_000), "too-many-pixels: 8000x8000"),
        (png_of_size(30_000, 30_000), "too-many-pixels: .*bomb"),
        (png_of_size(1000, 1000), "truncated"),
        (draw_shape("disc", 1)[:-40], "truncated"),
        (pickle.dumps({}), "not-an-image"),
    ],
    ids=["empty", "html", "svg", "large", "bomb", "short", "cut", "pickle"],
)
@pytest.mark.parametrize("dataset", ["letters", "photos"])
def test_a_file_that_is_no_image_is_refused_with_the_reason(
    serve_client: httpx.Client, dataset: str, data: bytes, error: str
) -> None:
    check_refusal(serve_client.post(f"/api/{dataset}/picture", content=data), 422, error)


def test_a_body_that_is_too_large_is_refused(serve_client: httpx.Client) -> None:
    check_refusal(
        serve_client.post("/api/photos/picture", content=b"x" * 20_000_001), 413, "20000000"
    )
    check_refusal(
        serve_client.post("/api/photos/picture", content=iter([b"x" * 9**7] * 5)), 413, "20000000"
    )
    body = iter([b"[" * 100_000] * 30)
    check_refusal(serve_client.post("/api/letters/strokes", content=body), 413, "2000000")


@pytest.mark.parametrize("path", ["/api/letters/strokes", "/api/photos/picture"])
def test_a_request_without_the_token_or_from_another_page_is_refused(
    serve_client: httpx.Client, path: str
) -> None:
    evil = {"Origin": "http://evil.example"}
    for headers in ({TOKEN_HEADER: "x" * 43}, {TOKEN_HEADER: ""}, evil):
        check_refusal(
            serve_client.post(path, content=b"{}", headers=headers), 403, "Token|another site"
        )
    check_refusal(serve_client.get("/api/models", headers=evil), 403, "another site")
    check_refusal(
        serve_client.get("/api/models", headers={"Host": "evil.example"}),
        421,
        "Host is not this server",
    )


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
        "/static/page/%2e%2e/loaded_model.py",
        "/data/letters/model/model.json",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(serve_client: httpx.Client, path: str) -> None:
    url = httpx.URL(str(serve_client.base_url), raw_path=path.encode())
    assert serve_client.get(url).status_code in (404, 405, 422)


def test_a_sample_of_another_dataset_is_unknown(
    serve_client: httpx.Client, models: Mapping[str, LoadedModel]
) -> None:
    own = next(iter(set(models["photos"].images) - set(models["letters"].images)))
    check_refusal(serve_client.get(f"/api/letters/samples/{own}"), 404, "unknown sample")
    check_refusal(serve_client.get(f"/api/letters/samples/{own.upper()}"), 422, "content_id")


def test_a_request_that_breaks_off_does_no_harm(
    serve_client: httpx.Client, serve_page: LocalPage
) -> None:
    host, port = serve_client.base_url.host, serve_client.base_url.port
    assert port is not None
    for path in ("letters/strokes", "photos/picture"):
        with socket.create_connection((host, port)) as connection:
            head = f"POST /api/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 500\r\n"
            connection.sendall(f"{head}{TOKEN_HEADER}: {serve_page.token}\r\n\r\n{{".encode())
    assert ask(serve_client).status_code == 200


# the OpenAPI document


def test_the_document_lists_all_routes_and_which_need_the_token(serve_client: httpx.Client) -> None:
    document = serve_client.get("/openapi.json").json()
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


class TokenAuth(requests.auth.AuthBase):
    """Adds the token; schemathesis sends requests without it, too."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[TOKEN_HEADER] = self.token
        return request


@pytest.mark.slow
def test_every_answer_agrees_with_the_openapi_document(
    serve_client: httpx.Client, serve_page: LocalPage
) -> None:
    schema = schemathesis.openapi.from_url(str(serve_client.base_url.join("/openapi.json")))
    schema.auth.set_from_requests(TokenAuth(serve_page.token))
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    cases = st.one_of([schema.as_strategy(mode) for mode in modes])

    @given(case=cases)
    @settings(max_examples=150, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def agrees(case: schemathesis.Case[Any]) -> None:
        # valid bytes need not be an image, and valid points may be too far apart
        excluded: list[Any] = [positive_data_acceptance]
        case.call_and_validate(excluded_checks=excluded)

    agrees()
