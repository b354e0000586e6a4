"""Files are replaced atomically."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.files import read_json, replacing, sha256_of, write_csv, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
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


def test_a_csv_has_unix_line_ends_and_quotes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["a", "b"], [["x,y", 'q"']])
    assert (tmp_path / "a.csv").read_bytes() == b'a,b\n"x,y","q"""\n'


def test_a_new_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with replacing(path) as part:
        part.write_bytes(b"x" * 10)
        assert not path.exists()
    assert sha256_of(path) == hashlib.sha256(b"x" * 10).hexdigest()
