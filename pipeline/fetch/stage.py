"""Stage: archives of handwriting, downloaded once and verified on every run.

params.yaml need not give the sha256 of an archive. So the first download records it, beside the
archives and in the report. DVC keeps the first record, git the second; a fresh clone has only the
second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from pipeline import __version__
from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import read_json, sha256_of, write_json
from pipeline.core.params import Archive, Fetch, load_params, section
from pipeline.core.tarballs import check_gzip
from pipeline.dataset.paths import (
    archive_path,
    incoming_folder,
    known_archives_path,
    report_path,
)
from pipeline.http.client import GuardedSession
from pipeline.http.download import download


@dataclass(frozen=True)
class Known:
    """What is recorded about an archive when it is first downloaded."""

    url: str
    sha256: str
    bytes: int


def read_known(path: Path) -> dict[str, Known]:
    """Return what is recorded about archives, by name; empty if there is no file.

    Raises PipelineError if the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return {name: Known(**values) for name, values in read_json(path).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(
            f"{path}: not as fetch wrote it: {error}; restore the file with `git checkout` or "
            "`dvc checkout`"
        ) from error


def expected_sha256(name: str, archive: Archive, records: Sequence[Known]) -> str | None:
    """Return the sha256 that an archive must have, from params.yaml or else from `records`.

    The result is None if neither has one. Raises PipelineError if the records differ.
    """
    if archive.sha256:
        return archive.sha256
    recorded = sorted({known.sha256 for known in records if known.url == archive.url})
    if len(recorded) > 1:
        raise PipelineError(
            f"{name}: the report and the file beside the archives record different sha256 values "
            f"({', '.join(recorded)}); run `dvc checkout`, or set sha256 in params.yaml"
        )
    return recorded[0] if recorded else None


def fetch_archive(
    path: Path, archive: Archive, expected: str | None, incoming: Path, params: Fetch
) -> Known:
    """Make sure that `path` is the archive with the `expected` sha256; return its record.

    If the archive is there and verified, no request is made. An incomplete or wrong archive goes to
    the folder `incoming`. Raises PipelineError if no URL gives the archive.
    """
    name = path.name.removesuffix(".tar.gz")
    if path.exists():
        found = sha256_of(path)
        if expected is None:
            check_gzip(path)
        if expected in (None, found):
            click.echo(f"{name}: verified, {path.stat().st_size / 1e6:.1f} MB")
            return Known(archive.url, found, path.stat().st_size)
        aside = incoming / f"{path.name}.bad-{found[:12]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.replace(aside)
        click.echo(
            f"{name}: the file has sha256 {found}, expected {expected}; "
            f"moved to {aside}, downloading again",
            err=True,
        )
    try:
        done = download(
            archive.url,
            archive.mirrors,
            path,
            sha256=expected,
            max_bytes=params.max_bytes,
            session=GuardedSession(f"kalai/{__version__}", params.allow_hosts, proxy=params.proxy),
            timeout_s=params.timeout_s,
            part_folder=incoming,
            check=check_gzip,
        )
    except PipelineError as error:
        if expected and not archive.sha256:
            raise PipelineError(
                f"{error.message}; the expected sha256 is that of the first download: if the "
                "archive was changed on purpose, set its new sha256 in params.yaml"
            ) from error
        raise
    click.echo(f"{name}: {done.size / 1e6:.1f} MB from {done.source}, sha256 {done.sha256}")
    return Known(archive.url, done.sha256, done.size)


def _as_json(known: Mapping[str, Known]) -> dict[str, Any]:
    return {name: asdict(known[name]) for name in sorted(known)}


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Download a dataset's archives and verify them.

    An interrupted download is resumed, and mirrors are tried in their order. If all archives are
    there and verified, no request is made.

    \b
    Example:
      kalai fetch tamil
    """
    params: Fetch = section(load_params(), "fetch", dataset)
    report, records = report_path(dataset, "fetch"), known_archives_path(dataset)
    reported, known = read_known(report), read_known(records)
    current = {}
    for part, archive in params.archives[params.source].items():
        name = f"{params.source}-{part}"
        path = archive_path(dataset, params.source, part)
        expected = expected_sha256(
            name, archive, [each[name] for each in (reported, known) if name in each]
        )
        known[name] = current[name] = fetch_archive(
            path, archive, expected, incoming_folder(dataset), params
        )
        write_json(records, _as_json(known))
    write_json(report, _as_json(current))
