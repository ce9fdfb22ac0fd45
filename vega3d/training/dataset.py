"""The rows of all annotation files as one dataset, weighted, in an order that only the seed decides.

Rows are conversations with paths; media are opened by the collator. A weight of 2.5 gives every row twice and
a seeded half of them a third time, so that the rows of an epoch are fixed before it begins; a share is turned
into the weight that makes it so. A stream has no number of rows, so it has no weights either.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from transformers import TrainingArguments

from vega3d.data.annotations import LazyRows, Reader, Row, without_errors
from vega3d.data.conversations import Allowed
from vega3d.data.tables import StreamedGroups, StreamedRows, Table, TableRows
from vega3d.errors import ConfigError, InputError
from vega3d.training.config import DataFile, TrainConfig

T = TypeVar("T")
OnError = Callable[[InputError], None]


class PackedRows(LazyRows):
    """Rows as one piece of memory, from which each is made on access.

    Data workers are forks: reading a Python object writes its reference count, and so copies its page.
    A list of rows would be copied into every worker bit by bit over an epoch.

    Args:
        rows: whose media are paths.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        texts = [json.dumps([row.where, row.messages, row.group]).encode() for row in rows]
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.text = np.frombuffer(b"".join(texts), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def row(self, index: int) -> Row:
        """The row of an index; it was checked before it was packed."""
        start = self.ends[index - 1] if index else 0
        return Row(*json.loads(self.text[start : self.ends[index]].tobytes()))


class MixedRows(LazyRows):
    """Rows of several sources in one order.

    Args:
        sources: their rows.
        chosen: for each source the numbers of its rows.
    """

    def __init__(self, sources: Sequence[Sequence[Row]], chosen: Sequence[Sequence[int]]) -> None:
        self.sources = sources
        places = [(source, row) for source, rows in enumerate(chosen) for row in rows]
        self.places = np.array(places, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.places)

    def row(self, index: int) -> Row:
        """The row of an index."""
        source, number = self.places[index].tolist()
        row: Row = self.sources[source][number]
        return row


def train_rows(config: TrainConfig, arguments: TrainingArguments, seed: int) -> Any:
    """All rows of an epoch, or a stream of them."""
    if config.data[0].streaming:
        return _stream(config, arguments, seed)
    return load_rows(config.data, config.sampling, seed, config.epoch_rows)


def _stream(config: TrainConfig, arguments: TrainingArguments, seed: int) -> Any:
    if arguments.max_steps <= 0 or config.batch_by != "random":
        title = "Invalid settings of a stream: its length is unknown."
        got = f"{arguments.max_steps} steps, batch_by={config.batch_by}"
        fix = "set trainer.max_steps, or download the data set and leave streaming out"
        raise ConfigError(title, got=got, expected="trainer.max_steps and random batches", fix=fix)
    arguments.accelerator_config.dispatch_batches = False  # each process reads; plans cannot be sent
    stream = load_stream(config.data, config.sampling, seed)
    if not arguments.deepspeed:
        return stream
    return StreamedGroups(stream, arguments.train_batch_size * arguments.world_size)


def load_rows(
    files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int, epoch_rows: int | None = None
) -> Sequence[Row]:
    """Rows of one epoch, in the order of the files.

    Args:
        files: the sources.
        sampling: of media that do not state it; a file's own goes before it.
        seed: of the choice among rows whose weight is not a whole number.
        epoch_rows: rows that shares divide up; None is as many as all files hold.

    Raises:
        InputError: a row cannot be understood.
        ConfigError: there are no rows.
    """
    sources = [open_rows(file, sampling) for file in files]
    rows = MixedRows(sources, choose_rows(files, [len(source) for source in sources], seed, epoch_rows))
    if not rows:
        title = "Missing rows: the annotation files hold none."
        expected = "at least one conversation"
        fix = "check the files, or raise a weight that leaves nothing over"
        raise ConfigError(title, got=", ".join(file.source for file in files), expected=expected, fix=fix)
    return rows


def open_rows(file: DataFile, sampling: Mapping[str, Any], on_error: OnError | None = None) -> Sequence[Row]:
    """The rows of a file in memory, or those of a table, which are read when they are asked for.

    Args:
        file: the source.
        sampling: of the run.
        on_error: called with each row that cannot be understood, which is then left out; None raises it.
    """
    if file.file is not None:
        return PackedRows(without_errors(reader_of(file, sampling).rows(Path(file.file)), on_error))
    table = _table(file, sampling)
    rows = TableRows(table)
    if on_error is None:
        return rows
    return list(without_errors(map(rows.tried, range(len(rows))), on_error))


def load_stream(files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int) -> StreamedRows:
    """Rows of streams, mixed by their shares."""
    if any(file.times != 1 for file in files):
        title = "Invalid weight of a stream: its number of rows is unknown."
        got, expected = ", ".join(f"{file.source}: {file.weight}" for file in files), "share, for all entries"
        raise ConfigError(title, got=got, expected=expected, fix="share: 30% instead of weight")
    shares = [file.part for file in files if file.part is not None]
    tables = [_table(file, sampling) for file in files]
    return StreamedRows(tables, shares or None, seed=seed)


def _table(file: DataFile, sampling: Mapping[str, Any]) -> Table:
    return Table(str(file.dataset), file.name, file.split, reader_of(file, sampling))


def reader_of(file: DataFile, sampling: Mapping[str, Any]) -> Reader:
    """How records become rows; the file's own sampling goes before that of the run."""
    beside = Path() if file.file is None else Path(file.file).parent
    base = beside if file.root is None else Path(file.root)
    allowed = Allowed(file.allow_urls, file.allow_outside or file.root is None)
    defaults = {**sampling, **file.sampling}
    return Reader(base, defaults, file.spar, allowed, needs_text=True, group_by=file.group_by)


def choose_rows(
    files: Sequence[DataFile], counts: Sequence[int], seed: int, epoch_rows: int | None = None
) -> list[list[int]]:
    """For each file the numbers of its rows in an epoch.

    Args:
        files: the sources.
        counts: rows of each.
        seed: see ``load_rows``.
        epoch_rows: see ``load_rows``.
    """
    times = how_often(files, counts, epoch_rows)
    return [
        weighted(range(count), often, f"{seed} {file.source}")
        for file, count, often in zip(files, counts, times, strict=True)
    ]


def how_often(files: Sequence[DataFile], counts: Sequence[int], epoch_rows: int | None) -> list[float]:
    """Times that an epoch uses each row of each file, from weights or from shares.

    Args:
        files: the sources.
        counts: rows of each.
        epoch_rows: rows that shares divide up; None is as many as all files hold.
    """
    total = sum(counts) if epoch_rows is None else epoch_rows
    return [
        file.times if file.part is None else file.part * total / max(count, 1)
        for file, count in zip(files, counts, strict=True)
    ]


def weighted(rows: Sequence[T], weight: float, seed: str) -> list[T]:
    """Each row ``weight`` times; of the fraction a choice that only ``seed`` decides."""
    whole = int(weight)
    rest = round((weight - whole) * len(rows))
    chosen = sorted(random.Random(seed).sample(range(len(rows)), rest))
    return [*rows] * whole + [rows[at] for at in chosen]
