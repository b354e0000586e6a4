"""Archives: real ones are read to the end, unsafe members are rejected, damage is an error."""

from __future__ import annotations

import gzip
import io
import random
import resource
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.tarballs import Member, check_gzip, members, printable
from tests.archiving import BLOCK, HOSTILE, entry, header
from tests.conftest import ROOT


def packed(path: Path, *entries: bytes, end: bytes = b"\0" * 1024) -> Path:
    path.write_bytes(gzip.compress(b"".join(entries) + end, 1))
    return path


def pax(**records: str) -> bytes:
    body = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        while length != len(str(length)) + len(line):
            length = len(str(length)) + len(line)
        body += str(length).encode() + line
    return entry("PaxHeaders/x", body, b"x")


def walk(path: Path, **limits: int) -> dict[str, str]:
    """Return by name each member's bytes as text, or the reason to reject it."""
    return {
        m.name: m.rejected.reason if m.rejected else m.data.decode()
        for m in members(path, **limits)
    }


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_common_tar_is_read_in_its_order(tmp_path: Path, kind: int) -> None:
    names = ["usr_1/000t01.txt", "usr_1/எழுத்து.txt", "deep/" * 30 + "a.txt", "z", "a"]
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", format=kind) as tar:
        folder = tarfile.TarInfo("usr_1")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = number * 700
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    found = list(members(path))
    assert [m.name for m in found] == names
    assert [len(m.data) for m in found] == [0, 700, 1400, 2100, 2800]
    assert all(m.rejected is None for m in found)
    assert [m.read_bytes for m in found] == sorted(m.read_bytes for m in found)
    assert found[-1].read_bytes <= path.stat().st_size


def test_redundant_path_parts_are_dropped(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "a.tar.gz", *map(entry, ["./a/b", "./././c", "d//e", "f/./g", ".h/.i"])
    )
    assert list(walk(path)) == ["a/b", "c", "d/e", "f/g", ".h/.i"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_rejected_with_a_reason(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "a.tar.gz", entry("before"), HOSTILE[name], entry("after"))
    found = list(members(path))
    assert [m.name for m in found] == ["before", name, "after"]
    bad = found[1]
    assert bad.rejected is not None
    assert bad.rejected.reason == "hostile-member"
    assert bad.rejected.detail
    assert bad.data == b""
    assert [m.data for m in (found[0], found[2])] == [b"ink", b"ink"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar.gz"]


def test_a_name_in_an_extension_header_is_checked_too(tmp_path: Path) -> None:
    long = entry("././@LongLink", b"../" * 50 + b"up\0", b"L")
    path = packed(
        tmp_path / "a.tar.gz", long, entry("x"), pax(path="../../pax"), entry("y"), entry("z")
    )
    assert list(walk(path).values()) == ["hostile-member", "hostile-member", "ink"]


def test_sparse_files_are_rejected(tmp_path: Path) -> None:
    # the old GNU form and a PAX form, each with a hole of a terabyte
    records = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,3", "GNU.sparse.name": "holes"}
    old = bytearray(header("old", 3, b"S"))
    old[386:410] = b"00000000000\x0000000000003\0"
    old[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    path = packed(
        tmp_path / "a.tar.gz", bytes(old) + b"ink".ljust(BLOCK, b"\0"),
        pax(**records), entry("x"), entry("after"),
    )  # fmt: skip
    reasons = list(walk(path).values())
    assert reasons == ["hostile-member", "hostile-member", "ink"]


def test_a_huge_member_is_skipped_in_little_memory(tmp_path: Path) -> None:
    size = 300_000_000
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    path = tmp_path / "a.tar.gz"
    with path.open("wb") as file:
        file.write(packer.compress(header("endless", size)))
        for _ in range(300):
            file.write(packer.compress(bytes(1_000_000)))
        file.write(packer.compress(bytes(-size % BLOCK) + entry("after") + bytes(1024)))
        file.write(packer.flush())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert walk(path) == {"endless": "too-large", "after": "ink"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    with pytest.raises(
        PipelineError,
        match=r"a\.tar\.gz: archive is damaged or unsafe after 1 members: more than 1000000",
    ):
        walk(path, max_total_bytes=1_000_000)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([header("././@LongLink", 1 << 30, b"L")], "header of 1073741824 bytes; at most 65536"),
        ([header("PaxHeaders/x", 1 << 33, b"x")], "header of 8589934592 bytes; at most 65536"),
        ([header("back", -1024)], "a member of negative size"),
        ([header("loop", -1024, b"Q")], "a member of negative size"),
        ([pax(size="-512"), entry("back")], "a member of negative size"),
        ([pax(path="x")] * 3000 + [entry("deep")], "recursion"),
        ([b"\x07" * BLOCK], "damaged header"),
        ([header("short", 5000), b"only this"], "truncated within short"),
        ([entry("y")[:-200]], "truncated within a member"),
        ([header("z")[:100]], "damaged header"),
    ],
)
def test_an_unsafe_archive_is_an_error_of_one_line(
    tmp_path: Path, entries: list[bytes], complaint: str
) -> None:
    path = packed(tmp_path / "a.tar.gz", entry("first"), *entries, end=b"")
    seen: list[Member] = []
    with pytest.raises(PipelineError) as caught:
        seen.extend(members(path))
    assert complaint in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_too_many_members_are_an_error(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", *[entry(f"m{n}", b"") for n in range(11)])
    assert len(walk(path, max_members=11)) == 11
    with pytest.raises(PipelineError, match="more than 10 members"):
        walk(path, max_members=10)


def test_an_archive_without_end_blocks_is_read(tmp_path: Path) -> None:
    assert walk(packed(tmp_path / "a.tar.gz", entry("a"), end=b"")) == {"a": "ink"}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not a gzip archive"),
        (b"<html><b>503</b>", "begins with '<html>"),
        (b"PK\x03\x04", "not a gzip archive"),
        (gzip.compress(b"", mtime=0), "empty file"),
        (gzip.compress(b"<html>" * 200, mtime=0), "damaged header"),
    ],
)
def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(PipelineError, match=complaint):
        walk(path)


def test_truncation_anywhere_is_an_error(tmp_path: Path) -> None:
    rng = random.Random(8)
    whole = packed(tmp_path / "a.tar.gz", *[entry(f"m{n}", rng.randbytes(900)) for n in range(20)])
    data = whole.read_bytes()
    check_gzip(whole)
    for end in [*range(2, len(data), 211), len(data) - 1, len(data) - 8]:
        whole.write_bytes(data[:end])
        with pytest.raises(PipelineError):
            list(members(whole))
        with pytest.raises(PipelineError):
            check_gzip(whole)


def test_a_flipped_bit_never_changes_data_unnoticed(tmp_path: Path) -> None:
    rng = random.Random(5)
    bodies = [rng.randbytes(600) for _ in range(6)]
    plain = b"".join(entry(f"m{n}", body) for n, body in enumerate(bodies)) + bytes(1024)
    compressed = gzip.compress(plain, 6)
    path = tmp_path / "a.tar.gz"
    for trial in range(400):
        inside = trial % 2  # in the tar, with a right gzip checksum, or in the gzip
        data = bytearray(plain if inside else compressed)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(10, len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(gzip.compress(bytes(data), 1) if inside else data)
        try:
            found = list(members(path))
        except PipelineError:
            continue
        assert len(found) <= 6
        if not inside:
            assert [m.data for m in found] == bodies


def test_printable_names_are_short_and_on_one_line() -> None:
    assert printable("எழுத்து") == "எழுத்து"
    assert printable("a\x1b[2J\u202eb\udcff") == "a?[2J?b?"
    assert len(printable("x" * 5000)) == 200


@pytest.mark.parametrize(
    ("name", "files", "apple_doubles"),
    [
        pytest.param("hpl-tamil-iwfhr06-train-offline.tar.gz", 50_688, 523, marks=pytest.mark.slow),
        pytest.param("hpl-tamil-iwfhr06-train-online.tar.gz", 50_683, 523, marks=pytest.mark.slow),
        ("hpl-tamil-iwfhr06-test-offline-part1.tar.gz", 13_464, 0),
        ("hpl-tamil-iwfhr06-test-online-part1.tar.gz", 13_464, 0),
    ],
)
def test_real_archives(shared: Path, name: str, files: int, apple_doubles: int) -> None:
    found = apples = 0
    for member in members(shared / "tamil" / name):
        assert member.rejected is None
        if member.name.rpartition("/")[2].startswith("._"):
            apples += 1
        else:
            found += 1
    assert (found, apples) == (files, apple_doubles)


MEASURE = """
import sys
from pathlib import Path
from pipeline.core.tarballs import members
for path in sys.argv[1:]:
    count = sum(1 for _ in members(Path(path)))
    print(count, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_does_not_grow_with_the_number_of_members(tmp_path: Path) -> None:
    """Peak memory after 50,000 members is that after 5,000; their headers alone take 22 MB."""
    paths = []
    for count in (5_000, 50_000):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        paths.append(tmp_path / f"{count}.tar.gz")
        with paths[-1].open("wb") as file:
            for _ in range(count // 1000):
                file.write(packer.compress(header("tiny") * 1000))
            file.write(packer.compress(bytes(1024)) + packer.flush())
    # in its own process, whose peak nothing else has raised
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout.split()  # fmt: skip
    few, peak_of_few, many, peak_of_many = map(int, out)  # peaks in kB
    assert (few, many) == (5_000, 50_000)
    assert peak_of_many - peak_of_few < 2_000


def test_header_by_hand_is_a_header() -> None:
    info = tarfile.TarInfo.frombuf(header("a/b", 77), "utf-8", "strict")
    assert (info.name, info.size, info.isreg()) == ("a/b", 77, True)
    assert struct.calcsize("512s") == len(header("x"))
