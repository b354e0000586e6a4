"""Read and write UNIPEN 1.0 pen files.

The format is that of I. Guyon and others, "UNIPEN project of on-line data exchange and recognizer
benchmarks", ICPR 1994. Further rules come from real files. The reader never returns free text,
because files keep the names of their writers there.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, chain, pairwise

import numpy as np

from pipeline.convert.pen_file import PenFile, Points, Position, Segment, Span, Stream
from pipeline.core.errors import Rejected

Find = Callable[[str, str], tuple[str, bytes] | None]  # (name, including path) -> path, bytes

MAX_DEPTH = 16  # levels of includes; real files have one
MAX_INCLUDES = 1_000
MAX_BYTES = 64_000_000  # in a file and all files that it includes
MAX_LINE = 200  # bytes read of a header's value
MAX_SPANS = 10_000  # characters of a delineation; real ones have about 100
MAX_VALUE = 1e16  # of a coordinate or time; a float cannot hold larger whole numbers
MAX_COLUMNS = 9
_COLUMNS = ("X", "Y", "T", "P", "Z", "B", "RHO", "THETA", "PHI")  # all names that UNIPEN defines

_VOCABULARY = {
    "SEX": "M|F|MALE|FEMALE",
    "HAND": "L|R|LEFT|RIGHT|B|BOTH",
    "SKILL": "BAD|OK|GOOD",
    "STYLE": "PRINTED|CURSIVE|MIXED|NORMAL",
    "HIERARCHY": r"(PAGE|PARAGRAPH|TEXT|LINE|SENTENCE|PHRASE|WORD|CHARACTER|STROKE)"
    r"( (PAGE|PARAGRAPH|TEXT|LINE|SENTENCE|PHRASE|WORD|CHARACTER|STROKE)){0,8}",
}
_NUMBERS = "VERSION DATE AGE X_DIM Y_DIM H_LINE V_LINE POINTS_PER_SECOND X_POINTS_PER_INCH "
_NUMBERS += "Y_POINTS_PER_INCH X_POINTS_PER_MM Y_POINTS_PER_MM"
_HEADER = {name: re.compile(words) for name, words in _VOCABULARY.items()} | {
    name: re.compile(r"[\d ?./+-]{1,60}") for name in _NUMBERS.split()
}
_SEGMENT = re.compile(
    r'(?P<level>[^\s"]+)'
    r"(?:\s+(?P<spans>\d[\d:-]*+(?:\s*,\s*[\d:-]++)*+)(?=\s|$))?"
    r'(?:\s+(?P<quality>[^\s"\d][^\s"]*))?'
    r'(?:\s+"(?P<label>(?:\\.|[^"\\])*+)")?',
    re.DOTALL,
)
_NINES = bytes.maketrans(b"012345678", b"999999999")
_TOO_LONG = b"9" * 16  # a number with so many digits may be above MAX_VALUE
_SPAN = re.compile(r"(\d{1,9})(?::(\d{1,9}))?(?:-(\d{1,9})(?::(\d{1,9}))?)?")


def parse(data: bytes, find: Find | None = None, path: str = "") -> PenFile:
    """Return the content of a pen file.

    `find` returns the file for the name in an `.INCLUDE` (see `finder`). Included files that it
    does not find are counted as missing. Raises Rejected "corrupt" if the file is not UNIPEN, has
    points that are not numbers, or has too many includes, and "truncated" if it ends within a row.
    """
    reader = _Reader(find)
    reader.read(data, path, 0)
    if not reader.keywords:
        raise Rejected("corrupt", "not a UNIPEN file: no keyword in it")
    return reader.finish()


def finder(files: Mapping[str, bytes], root: str = "include") -> Find:
    """Return a `find` for `parse` that searches `files` (path -> bytes) and nothing else.

    `find` looks for a name below `root`, and then in the folder of the including file. Real files
    use names such as `../../x.doc`; below `root`, a leading `../` is ignored.
    """

    def find(name: str, including: str) -> tuple[str, bytes] | None:
        inside = name.replace("\\", "/").lstrip("/")
        while inside.startswith("../"):
            inside = inside[3:]
        folder = posixpath.dirname(including)
        for candidate in (posixpath.join(root, inside), posixpath.join(folder, name)):
            path = posixpath.normpath(candidate)
            if not path.startswith(("../", "/")) and path in files:
                return path, files[path]
        return None

    return find


class _Reader:
    """Collects the streams and segments of a file and of the files that it includes."""

    def __init__(self, find: Find | None) -> None:
        self.find = find
        self.keywords = self.included = self.missing = self.bytes = self.set = 0
        self.columns: tuple[str, ...] | None = None  # None before the first .COORD
        self.first_columns: tuple[str, ...] | None = None
        self.streams: list[tuple[bool, bytes, tuple[str, ...] | None, int]] = []
        self.segments: list[Segment] = []
        self.header: dict[str, dict[str, None]] = {}  # name -> its distinct values in order
        self.is_set_used = False
        self.is_cut = False  # whether the file ends within a line of points

    def read(self, data: bytes, path: str, depth: int) -> None:
        """Read one file, and each included file at the point where it is included."""
        self.bytes += len(data)
        if self.bytes > MAX_BYTES or self.included > MAX_INCLUDES or depth > MAX_DEPTH:
            raise Rejected("corrupt", f"{path}: includes without end")
        text = _unix_text(data)
        keyword = b""
        for keyword, value in _statements(text):
            self.keywords += 1
            if keyword in (b"PEN_DOWN", b"PEN_UP"):
                self.streams.append((keyword == b"PEN_DOWN", value, self.columns, self.set))
                self.is_set_used = True
            elif keyword == b"SEGMENT":
                self.segments.append(_segment(value, self.set))
                self.is_set_used = True
            elif keyword == b"COORD":
                self.columns = _columns(value[:MAX_LINE])
                self.first_columns = self.first_columns or self.columns
            elif keyword == b"START_SET":
                self.set += self.is_set_used
                self.is_set_used = False
            elif keyword == b"INCLUDE":
                self._include(value, path, depth)
            else:
                self._remember(keyword, value)
        self.is_cut = keyword in (b"PEN_DOWN", b"PEN_UP") and not text.endswith(b"\n")

    def _include(self, value: bytes, path: str, depth: int) -> None:
        name = value.split()[0].decode("utf-8", "replace").strip('"') if value.strip() else ""
        found = self.find(name, path) if self.find and name else None
        if found is None:
            self.missing += 1
            return
        self.included += 1
        self.read(found[1], found[0], depth + 1)

    def _remember(self, keyword: bytes, value: bytes) -> None:
        kept = _header_value(keyword, value[:MAX_LINE].partition(b"\n")[0])
        if kept is not None:
            self.header.setdefault(kept[0], {})[kept[1]] = None

    def finish(self) -> PenFile:
        """Return the result. Rows become numbers here, because .COORD may follow them."""
        default = self.first_columns or ("X", "Y")
        names = [columns or default for _, _, columns, _ in self.streams]
        points = _all_points([rows for _, rows, _, _ in self.streams], names, self.is_cut)
        streams = tuple(
            Stream(is_down, values, columns, set_)
            for (is_down, _, _, set_), values, columns in zip(
                self.streams, points, names, strict=True
            )
        )
        header = {name: tuple(values) for name, values in self.header.items()}
        return PenFile(streams, tuple(self.segments), header, self.missing)


@lru_cache(maxsize=4096)
def _header_value(keyword: bytes, line: bytes) -> tuple[str, str] | None:
    """Return a header's name and value, or None if the value is free text."""
    name = keyword.decode("ascii", "replace")
    text = " ".join(line.decode("ascii", "replace").split())
    if name == "WRITER_ID" and text:
        return name, writer_id(text)
    return (name, text) if name in _HEADER and _HEADER[name].fullmatch(text) else None


def writer_id(text: str) -> str:
    """Return a number unchanged, and a digest of any other text, which may be a name."""
    if re.fullmatch(r"\d{1,9}", text) or re.fullmatch(r"w-[0-9a-f]{12}", text):
        return text
    return "w-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _unix_text(data: bytes) -> bytes:
    """Return the text with `\\n` line ends; UTF-16 becomes UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    elif data[:1] == b"." and data[1:2] == data[3:4] == b"\0":
        data = data.decode("utf-16-le", "replace").encode()
    elif data[:2] == b"\0." and data[2:3] == b"\0":
        data = data.decode("utf-16-be", "replace").encode()
    if data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _statements(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each keyword with the text up to the next keyword.

    A keyword is a `.` in column 0 followed by an upper-case word.
    """
    keyword = b""
    parts: list[bytes] = []
    for chunk in (b"\n" + text).split(b"\n.")[1:]:
        name = chunk[:64].split(None, 1)[0] if chunk[:1].isalpha() else b""
        if name.isupper():
            if keyword:
                yield keyword, b"\n.".join(parts) if len(parts) > 1 else parts[0]
            keyword, parts = name, [chunk[len(name) + 1 :]]
        else:
            parts.append(chunk)
    if keyword:
        yield keyword, b"\n.".join(parts)


@lru_cache(maxsize=64)
def _columns(value: bytes) -> tuple[str, ...]:
    words = value.decode("ascii", "replace").upper().split()[:MAX_COLUMNS]
    names = tuple(word if word in _COLUMNS else "?" for word in words)
    if "X" not in names or "Y" not in names:
        raise Rejected("corrupt", f".COORD {' '.join(names)[:60]!r} lacks X or Y")
    return names


def _segment(value: bytes, set_: int) -> Segment:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    match = _SEGMENT.match(text.strip())
    if match is None:
        return Segment("", None, set=set_)
    label = match["label"]
    return Segment(
        match["level"],
        _spans(match["spans"] or ""),
        match["quality"],
        None if label is None else re.sub(r"\\(.)", r"\1", label, flags=re.DOTALL),
        set_,
    )


def _spans(text: str) -> tuple[Span, ...] | None:
    if len(text) > MAX_SPANS:
        return None
    spans: list[Span] = []
    for part in text.split(",") if text else ():
        match = _SPAN.fullmatch(part.strip())
        if match is None:
            return None
        component, point, last, last_point = (None if g is None else int(g) for g in match.groups())
        assert component is not None
        start = (component, point)
        spans.append((start, start if last is None else (last, last_point)))
    return tuple(spans)


def _all_points(rows: list[bytes], names: list[tuple[str, ...]], is_cut: bool) -> list[Points]:
    """Return each stream's numbers, (n, columns).

    One call parses all streams with equal columns.
    """
    texts = [text.strip() for text in rows]
    if len(set(names)) == 1:
        table = _whole_numbers(b"\n".join(filter(None, texts)), len(names[0]))
        if table is not None:
            ends = accumulate(text.count(b"\n") + 1 if text else 0 for text in texts)
            return [table[start:end] for start, end in pairwise(chain((0,), ends))]
    last = len(rows) - 1
    return [
        points_of(text, columns, is_cut and number == last)
        for number, (text, columns) in enumerate(zip(texts, names, strict=True))
    ]


def points_of(text: bytes, columns: tuple[str, ...], is_cut: bool) -> Points:
    """Return the numbers of one stream's rows."""
    table = _whole_numbers(text, len(columns))
    return points_by_row(text, columns, is_cut) if table is None else table


def _whole_numbers(text: bytes, width: int) -> Points | None:
    """Return the rows if they are whole numbers separated by single spaces, else None.

    In that form, the text between the numbers is the same in all rows, so one C call can read them.
    """
    if not text:
        return np.empty((0, width))
    count = text.count(b"\n") + 1
    between = b" " * (width - 1)
    if text.translate(None, b"-0123456789") != (between + b"\n") * (count - 1) + between:
        return None
    if _TOO_LONG in text.translate(_NINES):
        return None
    try:
        values = np.fromstring(text, np.int64, sep=" ")
    except ValueError:
        return None
    return values.reshape(count, width).astype(np.float64) if len(values) == count * width else None


def points_by_row(text: bytes, columns: tuple[str, ...], is_cut: bool) -> Points:
    """Return the numbers of rows in any form; some rows may lack values."""
    width = len(columns)
    table = [row for line in text.split(b"\n") if (row := line.split()[:width])]
    try:
        values = np.array([float(value) for row in table for value in row], np.float64)
    except ValueError as error:
        raise Rejected("corrupt", "points that are not numbers") from error
    if not (np.abs(values) < MAX_VALUE).all():
        raise Rejected("corrupt", f"a value of {values[~(np.abs(values) < MAX_VALUE)][0]}")
    if is_cut and len(table[-1]) < width:
        raise Rejected("truncated", f"ends within a row, {len(table[-1])} of {width} values in it")
    if len(values) == len(table) * width:
        return values.reshape(-1, width)
    lengths = [len(row) for row in table]
    if min(lengths) <= max(columns.index("X"), columns.index("Y")):
        raise Rejected("corrupt", f"a row of {min(lengths)} values, without X or Y")
    points = np.full((len(table), width), np.nan)
    points[np.arange(width) < np.array(lengths)[:, None]] = values
    return points


def write(pen: PenFile) -> bytes:
    """Return the bytes of a pen file, so that `parse(write(pen)) == pen`."""
    lines: list[str] = []
    for name, values in pen.header.items():
        lines += [f".{name} {value}" for value in values]
    columns: tuple[str, ...] | None = None
    sets = {stream.set for stream in pen.streams} | {segment.set for segment in pen.segments}
    for number in sorted(sets):
        lines += [".START_SET"] if number else []
        for stream in pen.streams:
            if stream.set != number:
                continue
            if stream.columns != columns:
                columns = stream.columns
                lines.append(f".COORD {' '.join(columns)}")
            lines.append(".PEN_DOWN" if stream.is_down else ".PEN_UP")
            lines += [" ".join(map(_number, row[~np.isnan(row)])) for row in stream.points]
        lines += [_segment_line(segment) for segment in pen.segments if segment.set == number]
    return "".join(f"{line}\n" for line in lines or [".COMMENT"]).encode()


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(float(value))


def _segment_line(segment: Segment) -> str:
    if not segment.level:
        return ".SEGMENT"
    parts = [f".SEGMENT {segment.level}"]
    if segment.spans is None:
        parts.append("0-")  # a delineation that is invalid when it is read again
    elif segment.spans:
        parts.append(",".join(f"{_position(a)}-{_position(b)}" for a, b in segment.spans))
    if segment.quality is not None:
        parts.append(segment.quality)
    if segment.label is not None:
        # a backslash before a dot at a line's start, so that the line starts no keyword
        label = re.sub(r'[\\"@]|(?<=\n)\.', r"\\\g<0>", segment.label)
        parts.append(f'"{label}"')
    return " ".join(parts)


def _position(position: Position) -> str:
    component, point = position
    return str(component) if point is None else f"{component}:{point}"
