"""Rows of Hugging Face data sets are the rows of the files that they were made from."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from tests import media
from vega3d.data import Allowed, read_rows
from vega3d.data.annotations import Reader
from vega3d.data.tables import StreamedRows, Table, TableRows, plain
from vega3d.errors import InputError
from vega3d.media.image import load_image


def conversation(number: int, **media_of: Any) -> dict[str, Any]:
    asked = "<image>What?" if media_of else f"What is {number}?"
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": f"answer {number}"}]
    return {**media_of, "conversations": turns}


def write(folder: Path, name: str, count: int, first: int = 0) -> Path:
    file = folder / f"{name}.jsonl"
    rows = [conversation(first + number) for number in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def answer_of(row: Any) -> str:
    content = row.messages[-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def folder_of(tmp_path: Path, name: str, count: int, first: int = 0) -> str:
    folder = tmp_path / name
    folder.mkdir()
    write(folder, "rows", count, first)
    return str(folder)


def test_a_table_has_the_rows_of_its_file(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a", 5)
    table = TableRows(Table(folder))
    own = list(read_rows(Path(folder) / "rows.jsonl"))
    assert [row.messages for row in table] == [row.messages for row in own]
    assert [answer_of(row) for row in table[1:3]] == ["answer 1", "answer 2"]


def test_pictures_of_a_table_stay_bytes_until_they_are_opened(tmp_path: Path) -> None:
    picture, data = media.photo(32, 24), io.BytesIO()
    picture.save(data, "PNG")
    records = [conversation(0, image={"bytes": data.getvalue(), "path": None})]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "conversations": [{"from": datasets.Value("string"), "value": datasets.Value("string")}],
        }
    )
    datasets.Dataset.from_list(records, features=features).save_to_disk(tmp_path / "table")
    row = TableRows(Table(str(tmp_path / "table")))[0]
    source = row.images[0].source
    assert isinstance(source, bytes)
    assert torch.equal(load_image(source), load_image(picture))


def test_keys_that_other_rows_need_are_left_out() -> None:
    record = {"a": None, "b": [{"c": 1, "d": None}], "e": {"bytes": None, "path": "x.png"}}
    assert plain(record) == {"b": [{"c": 1}], "e": "x.png"}


def test_a_stream_gives_each_row_once_an_epoch_in_an_order_of_its_seed(tmp_path: Path) -> None:
    tables = [Table(folder_of(tmp_path, "a", 20))]
    one = [answer_of(row) for row in StreamedRows(tables, seed=1)]
    again = [answer_of(row) for row in StreamedRows(tables, seed=1)]
    other = [answer_of(row) for row in StreamedRows(tables, seed=2)]
    assert one == again != other
    assert Counter(one) == {f"answer {number}": 1 for number in range(20)}


def test_each_epoch_of_a_stream_has_an_order_of_its_own(tmp_path: Path) -> None:
    stream = StreamedRows([Table(folder_of(tmp_path, "a", 20))], seed=1)
    first = [answer_of(row) for row in stream]
    stream.set_epoch(1)
    assert [answer_of(row) for row in stream] != first


def test_streams_are_mixed_by_their_shares(tmp_path: Path) -> None:
    tables = [Table(folder_of(tmp_path, name, 300, first)) for name, first in (("a", 0), ("b", 1000))]
    stream = iter(StreamedRows(tables, [0.2, 0.8], seed=0))
    seen = [int(answer_of(next(stream)).split()[1]) for _ in range(250)]
    assert 0.7 < sum(number >= 1000 for number in seen) / len(seen) < 0.9


def test_a_row_of_a_table_that_cannot_be_read_names_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows.jsonl").write_text(json.dumps({"conversations": [{"from": "x", "value": "a"}]}))
    table = TableRows(Table(str(tmp_path / "a")))
    with pytest.raises(InputError, match="row 0"):
        table[0]
    assert isinstance(table.tried(0), InputError)


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        TableRows(Table(str(tmp_path / "nowhere")))


@pytest.mark.parametrize("source", ["http://127.0.0.1/a.png", "../a.png"])
def test_a_row_of_a_table_names_no_address_and_does_not_leave_the_root(tmp_path: Path, source: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows.jsonl").write_text(json.dumps(conversation(0, image=source)))
    strict = Table(str(tmp_path / "a"), reader=Reader(tmp_path / "a", allowed=Allowed(outside=False)))
    with pytest.raises(InputError, match=r"row 0[\s\S]*allow_"):
        TableRows(strict)[0]
    with pytest.raises(InputError, match="allow_"):
        list(StreamedRows([strict]))
    trusting = Reader(tmp_path / "a", allowed=Allowed(urls=True))
    assert TableRows(Table(str(tmp_path / "a"), reader=trusting))[0].images
