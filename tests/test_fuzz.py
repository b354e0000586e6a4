"""A short fuzz of the readers, from the seeds; `tests/fuzz/run.py` runs as long as asked."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

# tests/fuzz/targets.py reads TIFFs with Pillow, which warns about damaged tags
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

FUZZ = Path(__file__).parent / "fuzz"
SLOWEST_S = 5.0
WORDS = [
    *(b".PEN_DOWN\n", b".PEN_UP\n", b"\n.SEGMENT ", b".COORD X Y T\n", b".INCLUDE a.doc\n"),
    *(b"\r\n", b"\n", b" ", b"-", b".5", b"1e308", b"9" * 30, b"nan", b'"', b"\\", b"\0"),
    *(b"0:1-2,3", b"II*\0", b"MM\0*", b"\x89PNG\r\n\x1a\n", b"\xff\xff\xff\xff"),
    *(b"\0\0\0\1", b"\x01\x01\x04\0"),
]


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """Return a seed that is changed in a few places; a change may also insert words of a format."""
    data = chance.choice(seeds)
    for _ in range(chance.randrange(1, 6)):
        at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        other = chance.choice(seeds)
        data = chance.choice(
            [
                data[:at] + data[to:],
                data[:to] + data[at:],
                data[:at] + other[chance.randrange(len(other) + 1) :],
                data[:at] + chance.randbytes(min(to - at, 8)) + data[min(to, at + 8) :],
                data[:at] + chance.choice(WORDS) + data[at:],
            ]
        )[:20_000]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_readers_survive_mutated_seeds(name: str) -> None:
    seeds = [path.read_bytes() for path in sorted((FUZZ / "seeds" / name).iterdir())]
    assert len(seeds) >= 12
    chance = random.Random(8)
    for data in [*seeds, b"", *(mutated(chance, seeds) for _ in range(1500))]:
        start = time.process_time()
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name}: {data!r}") from error
        assert time.process_time() - start < SLOWEST_S, data


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("name", TARGETS)
def test_readers_survive_a_guided_fuzz(name: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), name, str(tmp_path), "-runs=20000", "-seed=8"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Done 20000" in result.stderr
