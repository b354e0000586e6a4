"""`kalai unipen`: print the contents of UNIPEN files as text or JSON, and draw them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from pipeline.convert.pen_file import PenFile, Segment
from pipeline.convert.render import MARGIN, MAX_SIDE, Outline, Renderer
from pipeline.convert.unipen import MAX_BYTES, finder, parse
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import replacing
from pipeline.images.bitmap import Bitmap, encode_tiff

CM_PER_INCH = 2.54
FIT = MAX_SIDE // 2  # pixels; the longest side of a drawing if --dpi is not given


class _Folders(Mapping[str, bytes]):
    """Maps a folder's name, a slash, and a path inside the folder to the file there."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = {name: folder.resolve() for name, folder in folders.items()}

    def _path(self, key: str) -> Path | None:
        name, _, inside = key.partition("/")
        if name not in self._folders or not inside:
            return None
        path = (self._folders[name] / inside).resolve()
        return path if path.is_relative_to(self._folders[name]) and path.is_file() else None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._path(key) is not None

    def __getitem__(self, key: str) -> bytes:
        path = self._path(key)
        if path is None:
            raise KeyError(key)
        return _read(path)

    def __iter__(self) -> Iterator[str]:
        return iter(())  # files are read by name, never listed

    def __len__(self) -> int:
        return 0


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)  # `parse` rejects files that are too large
    if b"\0" in data:  # text never has a NUL byte; tar archives and images always do
        raise Rejected("corrupt", "not a text file; extract an archive and pass the pen files")
    return data


def read_pen_file(path: Path, include: Path | None = None) -> PenFile:
    """Read a pen file; its .INCLUDE lines refer to files beside it or below `include`.

    By default, `include` is the nearest folder named "include" in the file's folder or in one above
    it, as UNIPEN archives are laid out. Raises Rejected as `parse` does.
    """
    beside = (parent / "include" for parent in path.resolve().parents)
    root = include or next((folder for folder in beside if folder.is_dir()), None)
    folders = {"here": path.resolve().parent} | ({"include": root} if root else {})
    return parse(_read(path), finder(_Folders(folders)), f"here/{path.name}")


def describe(pen: PenFile) -> dict[str, Any]:
    """Return the contents of a pen file as JSON types."""
    strokes = pen.strokes
    points = np.concatenate(strokes) if strokes else np.empty((0, 2))
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (None, None)
    return {
        "header": {name: list(values) for name, values in pen.header.items()},
        "columns": sorted({" ".join(stream.columns) for stream in pen.streams}),
        "points_per_inch": pen.points_per_inch,
        "pen_down": sum(stream.is_down for stream in pen.streams),
        "pen_up": sum(not stream.is_down for stream in pen.streams),
        "empty": sum(not len(stream.points) for stream in pen.streams),
        "missing_includes": pen.missing,
        "points": len(points),
        "extent": None if low is None else [_plain(low), _plain(high)],
        "segments": [_segment(pen, segment) for segment in pen.segments],
        "strokes": [_plain(stroke) for stroke in strokes],
    }


def _segment(pen: PenFile, segment: Segment) -> dict[str, Any]:
    ink = pen.ink(segment)
    return {
        "level": segment.level,
        "label": segment.label,
        "quality": segment.quality,
        "set": segment.set,
        "strokes": None if ink is None else len(ink),  # null: the segment refers to missing strokes
        "points": None if ink is None else sum(map(len, ink)),
    }


def _plain(values: Any) -> Any:
    """Return an array as lists; whole numbers become integers."""
    if isinstance(values, np.ndarray):
        return [_plain(value) for value in values.tolist()]
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return int(values) if float(values).is_integer() else values


def summary(held: Mapping[str, Any], most_segments: int) -> Iterator[str]:
    """Yield the result of `describe` as lines of text."""
    empty = f", {held['empty']} empty" if held["empty"] else ""
    yield _ink(len(held["strokes"]), held["points"])
    yield f"{held['pen_down']} pen-down and {held['pen_up']} pen-up streams{empty}"
    per_inch, extent = held["points_per_inch"], held["extent"]
    if extent is not None:
        sides = [high - low for low, high in zip(*extent, strict=True)]
        size = f"{sides[0]:g} x {sides[1]:g} points"
        if per_inch:
            cm = [side / per * CM_PER_INCH for side, per in zip(sides, per_inch, strict=True)]
            size += f", {cm[0]:.2f} x {cm[1]:.2f} cm"
            size += f" at {per_inch[0]:g} x {per_inch[1]:g} points per inch"
        yield f"{size}; columns: {' or '.join(held['columns'])}"
    if held["missing_includes"]:
        yield f"{held['missing_includes']} included files not found"
    for name, values in held["header"].items():
        yield f"{name}: {', '.join(values)}"
    segments = held["segments"]
    for segment in segments[:most_segments]:
        label = "" if segment["label"] is None else f" {segment['label']!r}"
        quality = f" ({segment['quality']})" if segment["quality"] else ""
        is_there = segment["strokes"] is not None
        ink = (
            _ink(segment["strokes"], segment["points"]) if is_there else "some strokes are missing"
        )
        yield f"{segment['level'] or 'segment'}{label}{quality}: {ink}"
    if len(segments) > most_segments:
        yield f"... and {len(segments) - most_segments} more segments; see --segments"


def _ink(strokes: int, points: int) -> str:
    many = "" if strokes == 1 else "s"
    return f"{strokes} stroke{many}, {points} points"


def draw(
    pen: PenFile, segment: int | None, dpi: float | None, pen_width: int, y_axis: str
) -> Bitmap:
    """Draw all strokes, or those of a segment.

    Without `dpi`, the resolution is 250 dpi, or less if a side would have more than FIT pixels.

    Raises Rejected: "no-ink" or "too-many-pixels".
    """
    strokes = pen.strokes
    if segment is not None:
        if segment >= len(pen.segments):
            raise Rejected(
                "no-ink", f"no segment {segment}; the file has {len(pen.segments)}, numbered from 0"
            )
        strokes = pen.ink(pen.segments[segment]) or []
    per_inch = pen.points_per_inch or (1.0, 1.0)
    if dpi is None and strokes:
        points = np.concatenate(strokes)
        inches = ((points.max(axis=0) - points.min(axis=0)) / per_inch).max()
        fitting = (FIT - 2 * MARGIN) / inches if inches else 250.0
        dpi = min(250.0, fitting) if pen.points_per_inch else fitting
    (drawn,) = Renderer(dpi or 250, pen_width, y_axis).draw([Outline(strokes, per_inch)])
    if isinstance(drawn, Rejected):
        raise drawn
    return drawn


@click.command(cls=Stage)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--draw",
    "target",
    type=click.Path(path_type=Path),
    help="Draw to this .png or .tiff, or to PNGs in this folder. Several FILES need a folder.",
)
@click.option(
    "--dpi",
    type=click.FloatRange(1, 9600),
    metavar="DPI",
    help="Resolution. [default: 250, or less to fit]",
)
@click.option(
    "--pen-width",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    metavar="PIXELS",
    help="Width of the drawn lines.",
)
@click.option(
    "--y-axis",
    type=click.Choice(["down", "up"]),
    default="down",
    show_default=True,
    help="Direction of y, which files do not state. HP Labs: down; most UNIPEN corpora: up.",
)
@click.option(
    "--include",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of included files. [default: the nearest folder named include]",
)
@click.option(
    "--segment", type=click.IntRange(min=0), help="Draw this segment only, counted from 0."
)
@click.option(
    "--segments", "most_segments", default=20, show_default=True, help="Segments to print at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON with every point.")
def main(  # noqa: PLR0917 (one argument per option)
    files: tuple[Path, ...],
    target: Path | None,
    dpi: float | None,
    pen_width: int,
    y_axis: str,
    include: Path | None,
    segment: int | None,
    most_segments: int,
    as_json: bool,
) -> None:
    """Print the contents of UNIPEN pen files, or draw them.

    Prints strokes, points, labelled segments and the header. Free text, in which some files name
    their writers, is never printed.

    \b
    Examples:
      kalai unipen 042t01.txt
      kalai unipen 042t01.txt --draw letter.png
      kalai unipen page.dat --y-axis up --segment 3 --draw word.png
      kalai unipen usr_16/*.txt --draw drawn --json > letters.json
    """
    drawing = partial(draw, segment=segment, dpi=dpi, pen_width=pen_width, y_axis=y_axis)
    into_folder = target is not None and (len(files) > 1 or target.is_dir())
    described: list[dict[str, Any]] = []
    errors = 0
    for file in files:
        try:
            pen = read_pen_file(file, include)
            held = {"file": str(file)} | describe(pen)
            described.append(held)
            if not as_json:
                lines = summary(held, most_segments)
                click.echo(f"{file}\n" + "".join(f"  {line}\n" for line in lines))
            if target is not None:
                path = target / f"{file.stem}.png" if into_folder else target
                held["drawn"] = _draw_to(path, pen, drawing)
        except Rejected as verdict:
            errors += 1
            PipelineError(f"{file}: {verdict}").show()
    if as_json:
        click.echo(json.dumps(described, ensure_ascii=False, allow_nan=False))
    if errors:
        raise PipelineError(f"{errors} of {len(files)} files could not be read or drawn")


def _draw_to(target: Path, pen: PenFile, drawing: Callable[[PenFile], Bitmap]) -> dict[str, Any]:
    bitmap = drawing(pen)
    is_tiff = target.suffix.lower() in (".tif", ".tiff")
    with replacing(target) as temporary:
        temporary.write_bytes(encode_tiff(bitmap) if is_tiff else bitmap.png)
    return {"path": str(target), "width": bitmap.width, "height": bitmap.height}
