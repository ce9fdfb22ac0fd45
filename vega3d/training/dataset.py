"""The rows of all annotation files as one dataset, weighted, in an order that only the seed decides.

Rows are conversations with paths; media are opened by the collator. A weight of 2.5 gives every row twice and
a seeded half of them a third time, so that the rows of an epoch are fixed before it begins; a share is turned
into the weight that makes it so. A stream has no number of rows, so it has no weights either.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vega3d.data import Allowed, LazyRows, Row, SparMarks, tried_rows
from vega3d.data.tables import StreamedRows, TableRows
from vega3d.errors import ConfigError, InputError
from vega3d.training.config import DataFile, fraction

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
        texts = [json.dumps([row.where, row.messages]).encode() for row in rows]
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.text = np.frombuffer(b"".join(texts), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def row(self, index: int) -> Row:
        """The row of an index; it was checked before it was packed."""
        start = self.ends[index - 1] if index else 0
        where, messages = json.loads(self.text[start : self.ends[index]].tobytes())
        return Row(where, messages)


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
        source, row = self.places[index].tolist()
        found: Row = self.sources[source][row]
        return found


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
        raise ConfigError(
            "Missing rows: the annotation files hold none.",
            got=", ".join(file.source for file in files),
            expected="at least one conversation",
            fix="check the files, or raise a weight that leaves nothing over",
        )
    return rows


def open_rows(file: DataFile, sampling: Mapping[str, Any], on_error: OnError | None = None) -> Sequence[Row]:
    """The rows of a file in memory, or those of a table, which are read when they are asked for.

    Args:
        file: the source.
        sampling: of the run.
        on_error: called with each row that cannot be understood, which is then left out; None raises it.

    Raises:
        InputError: the file, or a row, cannot be read.
    """
    defaults = file.defaults(sampling)
    if file.file is not None:
        rows = tried_rows(file.file, file.root, defaults, spar_of(file), **file.trust)
        return PackedRows(_understood(rows, on_error))
    table = TableRows(*_table(file, defaults))
    if on_error is None:
        return table
    return list(_understood(map(table.tried, range(len(table))), on_error))


def _understood(rows: Iterable[Row | InputError], on_error: OnError | None) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Row):
            yield row
        elif on_error is None:
            raise row
        else:
            on_error(row)


def load_stream(files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int) -> StreamedRows:
    """Rows of streams, mixed by their shares.

    Raises:
        ConfigError: an entry has a weight, which has no meaning where the number of rows is unknown.
    """
    if any(file.times != 1 for file in files):
        raise ConfigError(
            "Invalid weight of a stream: its number of rows is unknown.",
            got=", ".join(f"{file.source}: {file.weight}" for file in files),
            expected="share, for all entries",
            fix="share: 30% instead of weight",
        )
    shares = [fraction(file.share) for file in files if file.share is not None]
    return StreamedRows([_table(file, file.defaults(sampling)) for file in files], shares or None, seed=seed)


def _table(file: DataFile, defaults: Mapping[str, Any]) -> tuple[Any, ...]:
    base = Path(file.root) if file.root is not None else None
    allowed = Allowed(file.allow_urls, file.allow_outside or base is None)
    return file.dataset, file.name, file.split, base, defaults, spar_of(file), allowed


def spar_of(file: DataFile) -> SparMarks | None:
    """Meaning of a file's ``spar_info``; None if the config does not state it."""
    return SparMarks(file.spar.unit, file.spar.order) if file.spar is not None else None


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
        file.times if file.share is None else fraction(file.share) * total / max(count, 1)
        for file, count in zip(files, counts, strict=True)
    ]


def weighted(rows: Sequence[T], weight: float, seed: str) -> list[T]:
    """Each row ``weight`` times; of the fraction a choice that only ``seed`` decides."""
    whole = int(weight)
    rest = round((weight - whole) * len(rows))
    chosen = sorted(random.Random(seed).sample(range(len(rows)), rest))
    return [*rows] * whole + [rows[at] for at in chosen]
