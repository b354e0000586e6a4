"""Stage: archives of handwriting, downloaded once and verified every time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from pipeline import __version__
from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import read_json, sha256_of, write_json
from pipeline.core.params import Archive, Fetch, load_params, section
from pipeline.core.tarballs import check_gzip
from pipeline.dataset.paths import archives_folder, incoming_folder, report_path
from pipeline.http.client import GuardedSession
from pipeline.http.download import download


@dataclass(frozen=True)
class Known:
    """An archive as it was when it was first downloaded."""

    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Places:
    """Where a dataset's archives lie.

    What is known of them is kept twice: beside them, where DVC carries it along, and in the
    report, where git does, since a fresh clone has no archives.
    """

    dataset: str

    @property
    def archives(self) -> Path:
        """The stage's output: whole and verified archives only."""
        return archives_folder(self.dataset)

    @property
    def incoming(self) -> Path:
        """What is not whole yet, and what was not what it should be."""
        return incoming_folder(self.dataset)

    @property
    def known(self) -> Path:
        """What is known of every archive that was ever downloaded."""
        return self.archives / "known.json"

    @property
    def report(self) -> Path:
        """The same of the archives in use: the stage's metrics."""
        return report_path(self.dataset, "fetch")


def read_known(path: Path) -> dict[str, Known]:
    """Return what is known of archives, by name; nothing where there is no file."""
    if not path.exists():
        return {}
    try:
        return {name: Known(**values) for name, values in read_json(path).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(f"{path}: not what fetch writes: {error}; restore it") from error


def expected_sha256(name: str, archive: Archive, known: list[Known]) -> str | None:
    """Return the sha256 that an archive must have: what params say, else what it had before.

    Raises PipelineError where it is `known` to have had two.
    """
    if archive.sha256:
        return archive.sha256
    before = sorted({each.sha256 for each in known if each.url == archive.url})
    if len(before) > 1:
        raise PipelineError(
            f"{name}: its report in git and the file beside the archives know it by other sha256 "
            f"({', '.join(before)}); run `dvc checkout`, or give the right one in params.yaml"
        )
    return before[0] if before else None


def fetch_archive(
    name: str, archive: Archive, expected: str | None, places: Places, params: Fetch
) -> Known:
    """Make sure that an archive is there and is the one `expected`; return what it is.

    One that is there and right costs no request. Raises PipelineError.
    """
    path = places.archives / f"{name}.tar.gz"
    if path.exists():
        found = sha256_of(path)
        if expected is None:
            check_gzip(path)
        if expected in (None, found):
            click.echo(f"{name}: here and verified, {path.stat().st_size / 1e6:.1f} MB")
            return Known(archive.url, found, path.stat().st_size)
        aside = places.incoming / f"{path.name}.bad-{found[:12]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)
        click.echo(f"{name}: the one here is another (sha256 {found}); kept as {aside}", err=True)
    try:
        done = download(
            archive.url,
            archive.mirrors,
            path,
            sha256=expected,
            max_bytes=params.max_bytes,
            session=GuardedSession(f"kalai/{__version__}", params.allow_hosts, proxy=params.proxy),
            timeout_s=params.timeout_s,
            part_folder=places.incoming,
            check=check_gzip,
        )
    except PipelineError as error:
        if expected and not archive.sha256:
            raise PipelineError(
                f"{error.message}; the sha256 expected is that of the first download: where a "
                "change is right, give the new one in params.yaml"
            ) from error
        raise
    click.echo(f"{name}: {done.size / 1e6:.1f} MB from {done.source}, sha256 {done.sha256}")
    return Known(archive.url, done.sha256, done.size)


def _values(known: dict[str, Known]) -> dict[str, Any]:
    return {name: asdict(known[name]) for name in sorted(known)}


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Download a dataset's archives and verify them.

    Goes on where an earlier run was cut, asks the mirrors in their order, and makes no request
    when all is here and verified. Example:

    \b
      python -m pipeline.fetch tamil
    """
    params: Fetch = section(load_params(), "fetch", dataset)
    places = Places(dataset)
    reported, known = read_known(places.report), read_known(places.known)
    current = {}
    for part, archive in params.archives[params.source].items():
        name = f"{params.source}-{part}"
        before = [each[name] for each in (reported, known) if name in each]
        expected = expected_sha256(name, archive, before)
        known[name] = current[name] = fetch_archive(name, archive, expected, places, params)
        write_json(places.known, _values(known))
    write_json(places.report, _values(current))
