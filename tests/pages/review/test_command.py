"""`kalai review` on the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from pipeline.dataset.decisions import Decision, append_decisions, now, read_decisions
from pipeline.dataset.paths import decisions_path, known_datasets
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.review.command import main
from tests.conftest import ROOT
from tests.reviewing import NAME, content_of, decision


@pytest.mark.slow
def test_answered_decisions_survive_kill_9(root: Path) -> None:
    command = "from pipeline.pages.review.command import main; main()"
    run = [sys.executable, "-c", command, NAME, "--port", "0", "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    content_ids = [content_of(f"kathak/{number}") for number in range(5)]
    path = decisions_path(NAME)
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url is not None, line
        page = httpx.get(url[0], timeout=30).text
        token = re.search(r'name="kalai-token" content="([^"]+)"', page)
        assert token is not None
        for content_id in content_ids:
            answer = httpx.post(
                f"{url[0]}/api/{NAME}/decisions",
                json={"decisions": [decision(content_id, "delete")]},
                headers={TOKEN_HEADER: token[1]},
                timeout=30,
            )
            assert answer.status_code == 200
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    assert [each.content_id for each in read_decisions(path)] == content_ids
    append_decisions(path, [Decision(now(), content_ids[0], "undo")])  # the lock is released


def test_an_unknown_dataset_or_a_wrong_folder_is_one_line(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project()
    result = CliRunner().invoke(main, ["emus"])
    expected = "error: unknown dataset 'emus'; this project has: dances, tamil\n"
    assert result.stderr == expected
    assert known_datasets() == ["dances", "tamil"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = CliRunner().invoke(main, [])
    assert result.stderr.startswith("error: data: folder not found")
    Path("data").mkdir()
    result = CliRunner().invoke(main, [])
    expected = "error: this project has no dataset; add one with `kalai add-dataset`\n"
    assert result.stderr == expected
