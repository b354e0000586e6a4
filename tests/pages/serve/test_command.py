"""`kalai serve` on the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.dataset.paths import model_folder
from pipeline.pages.serve.command import main
from tests.conftest import ROOT
from tests.worlds import draw_shape


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nosuch"], "unknown dataset 'nosuch'; this project has: dances, tamil"),
        (["../letters"], "unknown dataset '../letters'"),
        (["--token", "short"], "--token: needs 16 or more ASCII characters without spaces"),
        (
            ["--token", "a token of many words"],
            "without spaces; run `openssl rand -hex 16` to make one",
        ),
    ],
)
def test_an_invalid_argument_is_one_line(
    project: Callable[..., Path], arguments: list[str], error: str
) -> None:
    project()
    for dataset in ("letters", "photos"):
        folder = model_folder(dataset)
        folder.mkdir(parents=True)
        (folder / "model.json").write_text("{}")
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1 and done.stderr.startswith("error: ") and error in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_model_the_error_names_the_command(project: Callable[..., Path]) -> None:
    project()
    done = CliRunner().invoke(main, ["--no-browser"])
    assert "error: data: no trained model found; run `dvc repro`" in done.stderr


def documented_requests() -> list[str]:
    """Return the curl commands of docs/serve.md."""
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    return re.findall(r"^curl .*$", text, re.MULTILINE)


@pytest.mark.slow
def test_it_starts_answers_the_documented_requests_and_stops(models_project: Path) -> None:
    root = models_project
    for source, target in (("letters", "tamil"), ("photos", "dances")):
        shutil.copytree(root / "data" / source, root / "data" / target, dirs_exist_ok=True)
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
            lines = documented_requests()
            assert len(lines) == 4
            for line in lines if shutil.which("curl") else ():
                request = line.replace("http://127.0.0.1:8011", found[0])
                answer = subprocess.check_output(["bash", "-c", request], env=environment)
                assert "error" not in json.loads(answer), line
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
