"""The stage fetch: archives are downloaded once, verified, resumed and never swapped."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.core.tarballs import members
from pipeline.fetch.stage import main
from tests.archiving import HOSTILE, entry, sha256
from tests.conftest import ROOT
from tests.loopback import Exchange, Server, ranged, serving, status

Project = Callable[..., Path]
RNG = random.Random(8)
TRAIN = gzip.compress(entry("usr_1/000t01.txt", RNG.randbytes(40_000)) + bytes(1024))
TEST = gzip.compress(entry("test/00000.txt", RNG.randbytes(20_000)) + bytes(1024))
CHANGED = gzip.compress(entry("usr_1/000t01.txt", b"another") + bytes(1024))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        running.serve("/train.tar.gz", TRAIN)
        running.serve("/test.tar.gz", TEST)
        yield running


@pytest.fixture
def fetching(project: Project, server: Server) -> Callable[..., Path]:
    """Give a function that makes a project whose two archives lie on the server."""

    def make(pinned: bool = False, **changes: Any) -> Path:
        archives: dict[str, dict[str, Any]] = {
            part: {
                "url": f"{server.url}/{part}.tar.gz",
                "mirrors": [],
                "sha256": sha256(data) if pinned else None,
            }
            for part, data in (("train", TRAIN), ("test", TEST))
        }
        fetch = {"source": "online", "archives": {"online": archives}, "timeout_s": 5.0}
        fetch |= {"allow_hosts": [server.host]} | changes
        return project(**{"fetch.tamil": fetch})

    return make


def edit(root: Path, part: str, **values: Any) -> None:
    """Change an archive's params."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["fetch"]["tamil"]["archives"]["online"][part] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def fetch() -> Result:
    return CliRunner().invoke(main, ["tamil"])


def known(root: Path) -> dict[str, Any]:
    return json.loads((root / "data/tamil/archives/known.json").read_text())


def report(root: Path) -> dict[str, Any]:
    return json.loads((root / "data/tamil/reports/fetch.json").read_text())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("pinned", [True, False])
def test_archives_are_downloaded_once_and_verified_on_every_run(
    fetching: Callable[..., Path], server: Server, pinned: bool
) -> None:
    root = fetching(pinned)
    first = fetch()
    assert first.exit_code == 0, first.output
    folder = root / "data/tamil/archives"
    assert files(folder) == ["known.json", "online-test.tar.gz", "online-train.tar.gz"]
    assert (folder / "online-train.tar.gz").read_bytes() == TRAIN
    assert report(root) == known(root) == {
        f"online-{part}": {
            "url": f"{server.url}/{part}.tar.gz", "sha256": sha256(data), "bytes": len(data)
        }
        for part, data in (("test", TEST), ("train", TRAIN))
    }  # fmt: skip
    assert files(root / "data/tamil/incoming") == []
    assert ("http without a sha256" in first.output) == (not pinned)
    before = (folder / "known.json").read_bytes(), server.hits.total()
    again = fetch()
    assert again.exit_code == 0
    assert again.output.count(": verified, ") == 2
    assert ((folder / "known.json").read_bytes(), server.hits.total()) == before


def test_a_later_change_of_an_unpinned_archive_is_refused(
    fetching: Callable[..., Path], server: Server
) -> None:
    root = fetching()
    assert fetch().exit_code == 0
    for gone in ("archives/online-train.tar.gz", "archives/known.json"):  # a fresh clone has none
        (root / "data/tamil" / gone).unlink()
    server.serve("/train.tar.gz", CHANGED)
    result = fetch()
    assert result.exit_code == 1
    assert f"its sha256 is {sha256(CHANGED)}, expected {sha256(TRAIN)}" in result.output
    assert "set its new sha256 in params.yaml" in result.output
    assert not (root / "data/tamil/archives/online-train.tar.gz").exists()
    bad = root / f"data/tamil/incoming/online-train.tar.gz.bad-{sha256(CHANGED)[:12]}"
    assert bad.read_bytes() == CHANGED
    assert report(root)["online-train"]["sha256"] == sha256(TRAIN)


def test_a_new_url_is_a_new_archive(fetching: Callable[..., Path], server: Server) -> None:
    root = fetching()
    assert fetch().exit_code == 0
    edit(root, "train", url=server.serve("/train-2.tar.gz", CHANGED))
    (root / "data/tamil/archives/online-train.tar.gz").unlink()
    assert fetch().exit_code == 0
    assert known(root)["online-train"]["sha256"] == sha256(CHANGED)


def test_a_damaged_file_is_moved_aside_and_downloaded_again(
    fetching: Callable[..., Path], server: Server
) -> None:
    root = fetching()
    assert fetch().exit_code == 0
    path = root / "data/tamil/archives/online-train.tar.gz"
    path.write_bytes(TRAIN[:-5])
    result = fetch()
    assert result.exit_code == 0
    aside = f"online-train.tar.gz.bad-{sha256(TRAIN[:-5])[:12]}"
    line = f"online-train: the file has sha256 {sha256(TRAIN[:-5])}, expected {sha256(TRAIN)}; "
    assert f"{line}moved to data/tamil/incoming/{aside}, downloading again\n" in result.output
    assert path.read_bytes() == TRAIN
    assert files(root / "data/tamil/incoming") == [aside]
    assert server.hits == {"/train.tar.gz": 2, "/test.tar.gz": 1}


def test_two_records_that_differ_are_an_error(fetching: Callable[..., Path]) -> None:
    root = fetching()
    assert fetch().exit_code == 0
    path = root / "data/tamil/reports/fetch.json"
    path.write_text(path.read_text().replace(sha256(TRAIN), "0" * 64))
    result = fetch()
    assert result.exit_code == 1
    assert (
        "online-train: the report and the file beside the archives record different sha256"
        in result.output
    )
    recorded = ", ".join(sorted((sha256(TRAIN), "0" * 64)))
    assert f"({recorded}); run `dvc checkout`, or set sha256 in params.yaml" in result.output
    path.write_text("[1]")
    result = fetch()
    assert (result.exit_code, "fetch.json: not as fetch wrote it: " in result.output) == (
        1,
        True,
    )


def test_an_html_page_is_not_recorded_as_an_archive(
    fetching: Callable[..., Path], server: Server
) -> None:
    root = fetching()
    server.serve("/train.tar.gz", b"<html>please log in</html>")
    result = fetch()
    assert result.exit_code == 1
    assert "not a gzip archive; it begins with '<html>please" in result.output
    server.serve("/train.tar.gz", TRAIN)
    assert fetch().exit_code == 0
    assert known(root)["online-train"]["sha256"] == sha256(TRAIN)


def test_a_cut_archive_without_a_content_length_is_not_recorded(
    fetching: Callable[..., Path], server: Server
) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.close_connection = True
        exchange.send_response(200)
        exchange.end_headers()
        exchange.wfile.write(TRAIN[:-100])

    fetching()
    server.answers["/train.tar.gz"] = cut
    result = fetch()
    assert result.exit_code == 1
    assert "Compressed file ended before" in result.output


def test_an_archive_that_you_put_there_is_verified(
    fetching: Callable[..., Path], server: Server
) -> None:
    root = fetching(pinned=True)
    for name, data in (("train", TRAIN), ("test", TEST)):
        path = root / f"data/tamil/archives/online-{name}.tar.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert fetch().exit_code == 0
    assert server.hits.total() == 0


def test_local_archives_and_mirrors(fetching: Callable[..., Path], server: Server) -> None:
    root = fetching()
    (root / "mine.tar.gz").write_bytes(TRAIN)
    mirrors = [f"{server.url}/404", f"{server.url}/test.tar.gz"]
    edit(root, "train", url=(root / "mine.tar.gz").as_uri())
    edit(root, "test", url="gone.tar.gz", mirrors=mirrors)
    result = fetch()
    assert result.exit_code == 0, result.output
    assert server.hits == {"/404": 1, "/test.tar.gz": 1}
    assert (root / "data/tamil/archives/online-train.tar.gz").read_bytes() == TRAIN


def test_a_hostile_archive_writes_nothing_outside(
    fetching: Callable[..., Path], server: Server, tmp_path: Path
) -> None:
    root = fetching()
    hostile = b"".join(HOSTILE.values())
    server.serve("/train.tar.gz", gzip.compress(entry("a") + hostile + entry("z") + bytes(1024)))
    around = sorted(str(path) for path in tmp_path.parent.rglob("*"))
    assert fetch().exit_code == 0
    found = list(members(root / "data/tamil/archives/online-train.tar.gz"))
    assert [m.data for m in found if m.rejected is None] == [b"ink", b"ink"]
    assert sum(m.rejected is not None for m in found) == len(HOSTILE)
    new = {str(path) for path in tmp_path.parent.rglob("*")} - set(around)
    inside = str(root / "data/tamil")
    assert all(path.startswith(inside) for path in new)


def test_an_unknown_dataset_and_a_refused_download(
    fetching: Callable[..., Path], server: Server
) -> None:
    fetching()
    result = CliRunner().invoke(main, ["sanskrit"])
    assert (result.exit_code, result.output.strip()) == (
        1, "error: unknown dataset 'sanskrit'; this project has: dances, tamil",
    )  # fmt: skip
    server.answers["/train.tar.gz"] = status(403)
    result = fetch()
    assert result.exit_code == 1
    url = f"{server.url}/train.tar.gz"
    last = f"error: online-train.tar.gz: download failed: {url}: http-403: Forbidden"
    assert result.output.splitlines()[-1] == last


def start(root: Path, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.fetch", "tamil"],
        cwd=root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_download_is_resumed(
    fetching: Callable[..., Path], server: Server, blow: signal.Signals
) -> None:
    big = gzip.compress(entry("a", RNG.randbytes(3_000_000)) + bytes(1024), 1)
    root = fetching()
    sent = 0

    def slow(exchange: Exchange) -> None:
        nonlocal sent
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(big)))
        exchange.send_header("ETag", '"one"')
        exchange.end_headers()
        for at in range(0, len(big), 100_000):
            exchange.wfile.write(big[at : at + 100_000])
            sent = at + 100_000
            exchange.server.released.wait(0.05)

    server.answers["/train.tar.gz"] = slow
    part = root / "data/tamil/incoming/online-train.tar.gz.part"
    process = start(root)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 500_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(blow)
    _, errors = process.communicate(timeout=10)
    assert process.returncode not in (0, None)
    assert "Traceback" not in errors
    held = part.stat().st_size
    assert 500_000 < held < len(big)
    archives = root / "data/tamil/archives"
    assert not archives.exists() or files(archives) == []
    server.answers["/train.tar.gz"] = ranged(big, '"one"')
    assert fetch().exit_code == 0
    assert (root / "data/tamil/archives/online-train.tar.gz").read_bytes() == big
    resumed = [h.get("Range") for _, path, h in server.requests if path == "/train.tar.gz"]
    assert resumed == [None, f"bytes={held}-"]
    assert files(root / "data/tamil/incoming") == []


def test_a_write_that_fails_is_one_line_and_loses_nothing(
    fetching: Callable[..., Path], server: Server
) -> None:
    big = gzip.compress(entry("a", RNG.randbytes(3_000_000)) + bytes(1024), 1)
    root = fetching()
    server.answers["/train.tar.gz"] = ranged(big)

    def limit() -> None:
        # Beyond this a write fails as on a full disk (Python ignores the signal that goes with it)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = start(root, preexec_fn=limit)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    part = "data/tamil/incoming/online-train.tar.gz.part"
    assert errors.splitlines()[-1] == f"error: {part}: File too large"
    assert (root / part).stat().st_size > 500_000
    assert fetch().exit_code == 0
    assert server.requests[1][2]["Range"].startswith("bytes=")
    assert (root / "data/tamil/archives/online-train.tar.gz").read_bytes() == big


def test_a_full_disk_keeps_the_first_bytes_for_the_next_run(
    fetching: Callable[..., Path], server: Server, small_disk: Callable[[Path, str], None]
) -> None:
    big = gzip.compress(entry("a", RNG.randbytes(3_000_000)) + bytes(1024), 1)
    root = fetching()
    server.answers["/train.tar.gz"] = ranged(big)
    small_disk(root / "data/tamil", "size=1m")
    result = fetch()
    assert result.exit_code == 1
    part = "data/tamil/incoming/online-train.tar.gz.part"
    assert result.output.splitlines()[-1] == f"error: {part}: No space left on device"
    held = (root / part).stat().st_size
    assert 500_000 < held < 1_100_000
    subprocess.run(["mount", "-o", "remount,size=9m", str(root / "data/tamil")], check=True)
    assert fetch().exit_code == 0
    assert server.requests[1][2]["Range"] == f"bytes={held}-"
    assert (root / "data/tamil/archives/online-train.tar.gz").read_bytes() == big


def test_a_read_only_folder_is_one_line_and_no_request(
    fetching: Callable[..., Path], server: Server, small_disk: Callable[[Path, str], None]
) -> None:
    root = fetching()
    small_disk(root / "data/tamil", "ro")
    result = fetch()
    assert result.exit_code == 1
    assert result.output == "error: data/tamil/incoming: Read-only file system\n"
    assert not server.requests


def test_an_archive_larger_than_max_bytes_is_refused(
    fetching: Callable[..., Path], server: Server
) -> None:
    root = fetching(max_bytes=len(TRAIN) - 1)
    result = fetch()
    assert result.exit_code == 1
    assert f"too-large: {len(TRAIN)} bytes; the limit is {len(TRAIN) - 1}" in result.output
    assert files(root / "data/tamil/incoming") == []
