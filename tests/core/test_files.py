"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.files import read_json, replacing, sha256_of, write_csv, write_json, write_text


def test_what_fails_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"ஆ": 1})
    assert "ஆ" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(ZeroDivisionError):
        write_csv(path, ["a"], ([1 // 0] for _ in range(1)))
    assert read_json(path) == {"ஆ": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\n")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.core.files import replacing\n"
        f"with replacing(Path({str(path)!r})) as part:\n"
        "    part.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert path.read_text() == "old\n"


def test_newlines_are_what_was_written(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["a", "b"], [["x,y", 'q"']])
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\n"x,y","q"""\n'


def test_a_replacement_is_never_seen_half(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as part:
        part.write_bytes(b"x" * 10)
        time.sleep(0)
        assert not path.exists()
    assert sha256_of(path) == hashlib.sha256(b"x" * 10).hexdigest()
