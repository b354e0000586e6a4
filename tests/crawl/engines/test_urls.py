"""Lists of URLs: text files, CSV and Parquet files, and files that are none of these."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PipelineError
from pipeline.crawl.engines.engine import Page, Result
from pipeline.crawl.engines.urls import UrlList
from tests.crawling import Ask


def test_a_text_file(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# mine\nhttp://a/1.jpg\n\n  http://a/2.jpg  \n", encoding="utf-8")
    page = ask(UrlList(), query=str(path))
    assert page == Page([Result("http://a/1.jpg"), Result("http://a/2.jpg")], 2, is_last=True)


def test_tables_are_read_page_by_page(ask: Ask, tmp_path: Path) -> None:
    rows = [{"url": f"http://a/{n}", "licence": "by", "creator": None, "n": n} for n in range(700)]
    table = pa.Table.from_pylist([*rows, {"url": None}])
    pq.write_table(table, tmp_path / "list.parquet")
    lines = ["\ufeffurl,licence,n", *(f"http://a/{n},by,{n}" for n in range(700))]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    for name in ("list.parquet", "list.csv"):
        engine = UrlList()
        first = ask(engine, query=str(tmp_path / name))
        second = ask(engine, query=str(tmp_path / name), number=1, offset=500)
        found = [*first.results, *second.results]
        assert found == [Result(f"http://a/{n}", licence="by") for n in range(700)]
        assert (first.is_last, second.is_last) == (False, True)


def test_a_file_without_urls_is_an_error(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("link,licence\nhttp://a,by\n")
    with pytest.raises(PipelineError, match=r"a\.csv: no column 'url'; it has: link, licence"):
        ask(UrlList(), query=str(tmp_path / "a.csv"))
    with pytest.raises(PipelineError, match=r"b\.csv: file not found; dances\.<class>\.urls in"):
        ask(UrlList(), query=str(tmp_path / "b.csv"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(PipelineError, match=r"c\.parquet: cannot be read: "):
        ask(UrlList(), query=str(tmp_path / "c.parquet"))
