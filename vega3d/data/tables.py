"""Rows of Hugging Face data sets, read when they are asked for, or as a stream; nothing of them is kept.

``datasets`` does the reading, the shuffling of a stream and the mixing of several. Pictures in a table stay
the bytes of their files until the collator opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from vega3d._utils.packages import imported
from vega3d.data.annotations import LazyRows, Reader, Row, without_errors
from vega3d.errors import InputError

BUFFER = 1000  # rows of a stream that are shuffled among each other


NEEDED, SOURCE = "data sets of Hugging Face need", "__source"


@dataclass(frozen=True)
class Table:
    """A table of ``datasets``.

    Attributes:
        path: hub id or folder, as ``datasets.load_dataset`` takes it.
        name: of the configuration.
        split: which part.
        reader: of its records.
    """

    path: str
    name: str | None = None
    split: str = "train"
    reader: Reader = field(default_factory=Reader)

    def load(self, *, streaming: bool = False) -> Any:
        """Load it so that its pictures stay bytes."""
        datasets, path = imported("datasets", NEEDED), self.path
        try:
            if Path(path).is_dir() and (Path(path) / "state.json").exists():
                table: Any = datasets.load_from_disk(path)
                table = table.to_iterable_dataset() if streaming else table
            else:
                table = datasets.load_dataset(path, self.name, split=self.split, streaming=streaming)
            return table.decode(False) if streaming else _undecoded(table, datasets)
        except (OSError, ValueError, ConnectionError) as error:
            raise InputError(
                f"Cannot load the data set {path!r}.",
                got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
                expected="a hub id, or a folder of parquet, JSON or arrow files",
                fix="check dataset, name and split; offline, download it first and name the folder",
            ) from error


class TableRows(LazyRows):
    """Rows of a table on disk.

    Args:
        table: as ``Table.load`` loads it, with its errors.
    """

    def __init__(self, table: Table) -> None:
        self.table, self.records = table, table.load()

    def __len__(self) -> int:
        return len(self.records)

    def row(self, index: int) -> Row:
        """The row of an index."""
        return next(without_errors([self.tried(index)]))

    def tried(self, index: int) -> Row | InputError:
        """A row, or the error that makes it unusable."""
        return self.table.reader.row(plain(self.records[index]), f"{self.table.path}, row {index}")


class StreamedRows(IterableDataset[Row]):
    """Rows of one or several streams, shuffled within a buffer; the same in every run with the same seed.

    Args:
        tables: the streams.
        shares: how much of the mixture each is; None reads one after the other.
        seed: of shuffling and mixing.
    """

    def __init__(
        self, tables: Sequence[Table], shares: Sequence[float] | None = None, *, seed: int = 0
    ) -> None:
        datasets = imported("datasets", NEEDED)
        opened = [
            table.load(streaming=True).map(_numbered(number), features=None)
            for number, table in enumerate(tables)
        ]
        if shares is None:
            mixed = datasets.concatenate_datasets(opened)
        else:
            chances = [share / sum(shares) for share in shares]
            mixed = datasets.interleave_datasets(
                opened, probabilities=chances, seed=seed, stopping_strategy="all_exhausted"
            )
        self.stream = mixed.shuffle(seed=seed, buffer_size=BUFFER)
        self.tables = list(tables)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader; each epoch has an order of its own."""
        self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[Row]:
        """Rows in order."""
        return without_errors(self._tried(record) for record in self.stream)

    def _tried(self, record: dict[str, Any]) -> Row | InputError:
        table: Table = self.tables[record.pop(SOURCE)]
        return table.reader.row(plain(record), f"a row of {table.path}")


class StreamedGroups(IterableDataset[Row]):
    """Rows of a stream in blocks of one kind: as ``GroupedSampler`` orders rows that are known.

    A row waits until a block of its kind is full. At the end of the stream a block that is not full repeats
    its own rows.

    Args:
        rows: the stream; an epoch is passed on to it.
        block: rows that all processes take together in one micro-step.
    """

    def __init__(self, rows: StreamedRows, block: int) -> None:
        self.rows, self.block = rows, block

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader; each epoch has an order of its own."""
        self.rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[Row]:
        """Every row at least once."""
        waiting: dict[tuple[bool, bool], list[Row]] = {}
        for row in self.rows:
            group = waiting.setdefault(row.kind, [])
            group.append(row)
            if len(group) == self.block:
                yield from group
                group.clear()
        for group in waiting.values():
            yield from islice(cycle(group), self.block)


def _numbered(number: int) -> Any:
    return lambda record: {**record, SOURCE: number}


def _undecoded(table: Any, datasets: Any) -> Any:
    """Columns of pictures, and of lists of pictures, as the bytes of their files."""
    for column, feature in table.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            table = table.cast_column(column, type(feature)(datasets.Image(decode=False)))
    return table


def plain(value: Any) -> Any:
    """A record without the keys that a table has only because other rows have them; files as their bytes."""
    if isinstance(value, Mapping):
        if set(value) == {"bytes", "path"}:
            return value["bytes"] if value["bytes"] is not None else value["path"]
        return {key: plain(one) for key, one in value.items() if one is not None}
    return [plain(one) for one in value] if isinstance(value, list) else value
