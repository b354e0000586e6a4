"""Progress: a bar on a terminal, plain lines elsewhere."""

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


def test_plain_lines_say_count_rate_and_time_left(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    with Progress("hash", total=4) as progress:
        progress.advance(2, note="1 refused")
        progress.say("half way")
        progress.advance(2)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"hash: 2/4 img, [\d.]+ img/s, \d+ s left, 1 refused", lines[0])
    assert lines[1] == "half way"
    assert re.fullmatch(r"hash: 4/4 img, [\d.]+ img/s, 1 refused", lines[-1])
    assert "\r" not in "".join(lines)


def test_lines_are_few(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("hash") as progress:
        for _ in range(1000):
            progress.advance()
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "from pipeline.core.progress import Progress\n"
        "with Progress('hash', total=3) as p:\n"
        "    p.advance(1)\n    p.say('half way')\n    p.advance(2, note='done')"
    )
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    child = subprocess.Popen([sys.executable, "-c", code], stderr=follower)
    child.wait(timeout=60)
    os.close(follower)
    shown = ""
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while chunk := os.read(leader, 10_000):
            shown += chunk.decode()
    os.close(leader)
    assert "3/3" in shown and "hash" in shown and "\r" in shown
    assert "half way" in re.split(r"[\r\n]+", shown)  # not at the end of the bar
