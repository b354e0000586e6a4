"""A drawn dataset that fills every tab of the review page."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import httpx
import yaml
from click.testing import CliRunner
from PIL import Image, ImageOps

from pipeline.dataset.decisions import append_decisions
from pipeline.dataset.ledger import Attempt, Ledger
from pipeline.dataset.paths import crawl_folder, decisions_path
from pipeline.dataset.predictions import write_predictions
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.split_table import SplitRow, read_split
from pipeline.dataset.suspects_table import write_suspects
from pipeline.dedupe import stage as dedupe
from pipeline.demo import figures
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.split import stage as split
from tests.conftest import ROOT
from tests.tables import encoded, picture, write

NAME = "dancers"
WHO = "Anna <anna@example.org>"
LABELS = {"kathak": "Kathak", "odissi": "Oḍissi", "jagoi": "<b>Jagoi</b> & more"}
EACH = 12  # images of a class without a fault
PARAMS = {
    f"dedupe.{NAME}": {"method": "phash", "remove_within": 4, "mirror": True},
    f"split.{NAME}": {"method": "group", "valid": 0.2, "test": 0.2},
}
QUERY = '"><script>alert(1)</script>'


def drawn(label: str, number: int) -> Image.Image:
    """Draw a dancer."""
    return figures.draw(figures.STYLES[label], random.Random(f"{label} {number}"))


def row(label: str, number: object, image: Image.Image, **more: Any) -> dict[str, Any]:
    """Return a sample that was found on a web page of its own."""
    page = f"https://photos.example/{label}/{number}"
    return picture(
        str(number),
        image,
        label,
        label_name=LABELS[label],
        query=QUERY if label == "jagoi" else f"{label} dance",
        engine="bing",
        rank=1,
        page_url=f"{page}.html",
        source_url=f"{page}.jpg",
        licence="by-sa",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        creator="Meera =SUM(1)",
        **more,
    )


def sample_rows() -> list[dict[str, Any]]:
    """Return faultless images, a near-duplicate, a mirror image and one image with two labels."""
    rows = [row(label, number, drawn(label, number)) for label in LABELS for number in range(EACH)]
    first = drawn("kathak", 0)
    near = first.resize((first.width * 3 // 4, first.height * 3 // 4))
    rows.append(row("kathak", "near", near, quality=70))
    rows.append(row("odissi", "mirrored", ImageOps.mirror(drawn("odissi", 1))))
    twice = next(each for each in rows if each["sample_id"] == "jagoi/3")
    rows.append(twice | {"sample_id": "odissi/twice", "label": "odissi", "label_name": "Oḍissi"})
    return rows


def write_review_project(root: Path) -> None:
    """Write a project into `root`, the current folder: the dataset and all that the tabs show."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for dotted, value in PARAMS.items():
        section, name = dotted.split(".")
        params[section][name] = value
    text = yaml.safe_dump(params, allow_unicode=True, sort_keys=False)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    write(NAME, sample_rows())
    append_decisions(decisions_path(NAME), [])
    for stage in (dedupe.main, split.main):
        result = CliRunner().invoke(stage, [NAME])
        assert result.exit_code == 0, result.output
    write_judged()
    write_rejects()


def held_out() -> list[SplitRow]:
    """Return the validation and test images."""
    return [row for row in read_split(NAME) if row.part in ("valid", "test")]


def content_of(sample_id: str) -> str:
    """Return a sample's content id."""
    return {row.sample_id: row.content_id for row in read_split(NAME)}[sample_id]


def write_judged() -> None:
    """Write predictions, every third one wrong, and the wrong ones as suspects. No model runs."""
    labels = list(LABELS)
    predictions: list[dict[str, Any]] = []
    suspects: list[dict[str, Any]] = []
    for number, row in enumerate(held_out()):
        wrong = labels[(labels.index(row.label) + 1) % 3]
        predicted = wrong if number % 3 == 0 else row.label
        ids = {"sample_id": row.sample_id, "content_id": row.content_id, "label": row.label}
        probability, own = (0.8, 0.1 - number / 1000) if predicted == wrong else (0.7, 0.7)
        predictions.append(
            ids
            | {"part": row.part, "predicted": predicted, "probability": probability}
            | {"label_probability": own, "loss": 5 - own * 6, "top3": [predicted, *labels[:2]]}
        )
        if predicted == wrong:
            chances: dict[str, Any] = {
                "label_probability": own,
                "suggested_probability": probability,
                "margin": probability - own,
            }
            suspects.append(
                ids | chances | {"suggested": wrong, "fold": 0, "rank": len(suspects) + 1}
            )
    columns = {name: [each[name] for each in predictions] for name in predictions[0]}
    write_predictions(NAME, columns)
    write_suspects(NAME, suspects)


def write_rejects() -> None:
    """Write rejects: a URL, a cut file, a file that can be shown, and two attacks."""
    folder = crawl_folder(NAME) / "kathak"
    url = "https://photos.example/kathak/gone.jpg"
    with Ledger(folder) as ledger:
        gone = Attempt("kathak", "bing", "kathak dance", 9, url, f"{url}.html", reason="http-404")
        ledger.add(gone)
    tiny = encoded(drawn("kathak", 99).resize((40, 50)))
    (folder / "images" / "tiny.jpg").write_bytes(tiny)
    (folder / "images" / "cut.jpg").write_bytes(tiny[: len(tiny) // 2])
    Path("secret.jpg").write_bytes(encoded(drawn("kathak", 98)))
    (folder / "images" / "link.jpg").symlink_to(Path("secret.jpg").resolve())
    own = f"data/{NAME}/crawl/kathak/images"
    write_rejected(
        NAME,
        [
            ("", "kathak", "http-404", "Not Found", url),
            ("kathak/tiny.jpg", "kathak", "too-small", "40x50", f"{own}/tiny.jpg"),
            ("kathak/cut.jpg", "kathak", "truncated", "at the end", f"{own}/cut.jpg"),
            ("kathak/../../../../../secret.jpg", "kathak", "odd", "a path outside", "secret.jpg"),
            ("kathak/link.jpg", "kathak", "odd", "a link to outside", "secret.jpg"),
        ],
    )


def sha256(path: str | Path) -> str:
    """Return the content id of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Client:
    """Sends requests as the page's own script does."""

    def __init__(self, http: httpx.Client, token: str) -> None:
        self.http = http
        self.headers = {TOKEN_HEADER: token}

    @property
    def origin(self) -> str:
        """Return the server's address, without a slash at the end."""
        return f"http://{self.http.base_url.netloc.decode()}"

    def get(self, path: str) -> Any:
        """Return the JSON of a path of the dataset's API."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send JSON with the token."""
        return self.http.post(path, json=body, headers=self.headers)

    def decide(self, *decisions: dict[str, str]) -> httpx.Response:
        """Send one step of decisions."""
        return self.post("/decisions", {"decisions": list(decisions)})


def decision(content_id: str, action: str, label: str = "", reason: str = "") -> dict[str, str]:
    """Return a decision for a request."""
    return {"content_id": content_id, "action": action, "label": label, "reason": reason}
