"""Stage: convert archived handwriting to samples. Archives are streamed, never unpacked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.convert.archive import Letter
from pipeline.convert.archive_reader import ArchiveReader, Batch, PartCounts
from pipeline.convert.classes import class_table
from pipeline.convert.layouts import layout_named
from pipeline.convert.letters import Converted, convert_letters
from pipeline.convert.on_dask import LETTERS, converted_on
from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Convert, Fetch, load_params, section
from pipeline.core.processes import map_processes
from pipeline.core.progress import Progress
from pipeline.dataset.columns import LABEL, LABEL_NAME, OFFICIAL_PART, ROMANISED
from pipeline.dataset.paths import archive_path, missing_file, report_path, samples_path
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.scale.dask import Cluster, workers

ALONE_BELOW = 2_000_000  # bytes of archives; for fewer, starting processes costs more than it saves


def convert(
    dataset: str,
    reader: ArchiveReader,
    drawing: PenSettings,
    processes: int | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Write samples.parquet and rejected.csv of a dataset and return the report.

    The work runs on `cluster` if it is given, else in `processes` worker processes. With 0, this
    process does it alone; with None, the number suits the archives. The files are the same in every
    case. Raises PipelineError if an archive is damaged or has no sample; samples.parquet then stays
    as it was.
    """
    kilobytes = sum(path.stat().st_size // 1000 for path in reader.archives.values())
    if processes is None:
        processes = 0 if kilobytes * 1000 < ALONE_BELOW else min(os.cpu_count() or 1, 4)
    with (
        Progress(f"convert {dataset}", total=kilobytes, unit="kB") as progress,
        writing_samples(samples_path(dataset), about=drawing.metadata) as writer,
    ):
        if cluster is None:
            results = _converted(reader.batches(progress), drawing, processes)
        else:
            results = converted_on(cluster, dataset, reader.batches(progress, LETTERS), drawing)
        for part, name, converted in results:
            part.add(converted)
            reader.rejected += converted.rejected
            labels = [reader.classes[label] for label in converted.columns[LABEL]]
            writer.add_columns(
                converted.columns
                | {
                    LABEL_NAME: [label.unicode for label in labels],
                    ROMANISED: [label.iso15919 for label in labels],
                    OFFICIAL_PART: [name] * len(labels),
                }
            )
            progress.advance(0, note=f"{writer.count} letters, {len(reader.rejected)} rejected")
        if not writer.count:
            raise _no_letter(reader)
    write_rejected(dataset, sorted(reader.rejected))  # they arrive in a different order on each run
    return {
        "samples": writer.count,
        "classes": len(reader.classes),
        "parts": {name: part.report() for name, part in reader.parts.items()},
    }


def _converted(
    batches: Iterable[Batch], drawing: PenSettings, processes: int
) -> Iterator[tuple[PartCounts, str, Converted]]:
    """Convert batches in their order, in this process or in others."""
    sent: deque[tuple[PartCounts, str]] = deque()

    def letters() -> Iterator[list[Letter]]:
        for part, name, batch in batches:
            sent.append((part, name))
            yield batch

    work = partial(convert_letters, drawing)
    results = map_processes(work, letters(), processes) if processes else map(work, letters())
    for converted in results:
        yield *sent.popleft(), converted


def _no_letter(reader: ArchiveReader) -> PipelineError:
    archives = ", ".join(map(str, reader.archives.values()))
    first = ""
    if reader.rejected:
        row = reader.rejected[0]
        first = f"; the first rejected member is {row.sample_id}: {row.reason}: {row.detail}"
    return PipelineError(f"{archives}: no readable letter found{first}")


def drawing_by(params: Convert) -> PenSettings:
    """Return the settings with which pen files are drawn."""
    return PenSettings(params.dpi, params.pen_width, params.y_axis)


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Convert archived handwriting to samples.

    Reads the archives that `fetch` downloaded, draws pen files and reads image files, and writes
    samples.parquet. A member that cannot be read becomes a row of rejected.csv with a reason.

    \b
    Example:
      kalai convert tamil
    """
    params = load_params()
    settings: Convert = section(params, "convert", dataset)
    source: Fetch = section(params, "fetch", dataset)
    archives: dict[str, Path] = {
        part: archive_path(dataset, source.source, part)
        for part in sorted(source.archives[source.source], reverse=True)
    }
    for path in archives.values():
        if not path.exists():
            raise missing_file(path, "fetch")
    layout = layout_named(settings.layout, dataset)
    classes = class_table(Path(settings.classes))
    reader = ArchiveReader(archives, classes, layout, settings.per_class)
    with workers(params.compute) as cluster:
        report = convert(dataset, reader, drawing_by(settings), cluster=cluster)
    write_json(report_path(dataset, "convert"), report)
    click.echo(f"{dataset}: {report['samples']} samples, {len(reader.rejected)} rejected")
