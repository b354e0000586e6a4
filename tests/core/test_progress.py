"""Progress: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from pipeline.core import progress as module
from pipeline.core.progress import Progress


def test_lines_show_count_rate_and_time_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    with Progress("hash", total=4) as progress:
        progress.advance(2, note="1 refused")
        progress.write("half way")
        progress.advance(2)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"hash: 2/4 img, [\d.]+ img/s, \d+ s left, 1 refused", lines[0])
    assert lines[1] == "half way"
    assert re.fullmatch(r"hash: 4/4 img, [\d.]+ img/s, 1 refused", lines[-1])
    assert "\r" not in "".join(lines)


def test_a_short_run_prints_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("hash") as progress:
        for _ in range(1000):
            progress.advance()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("hash: 1000 img, ")


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "from pipeline.core.progress import Progress\n"
        "with Progress('hash', total=3) as p:\n"
        "    p.advance(1)\n    p.write('half way')\n    p.advance(2, note='done')"
    )
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    child = subprocess.Popen([sys.executable, "-c", code], stderr=follower)
    child.wait(timeout=60)
    os.close(follower)
    shown = ""
    with contextlib.suppress(OSError):  # a closed terminal ends so
        while chunk := os.read(leader, 10_000):
            shown += chunk.decode()
    os.close(leader)
    assert "3/3" in shown and "hash" in shown and "\r" in shown
    assert "half way" in re.split(r"[\r\n]+", shown)  # on its own line
