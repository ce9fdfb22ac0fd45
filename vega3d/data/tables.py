"""Rows of Hugging Face data sets, read when they are asked for, or as a stream; nothing of them is kept.

``datasets`` does the reading, the shuffling of a stream and the mixing of several. Pictures in a table stay
the bytes of their files until the collator opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset

from vega3d.data.annotations import LazyRows, Row, tried_row
from vega3d.data.conversations import LOCAL, Allowed
from vega3d.data.spar import SparMarks
from vega3d.errors import DependencyError, InputError

BUFFER = 1000  # rows of a stream that are shuffled among each other


class TableRows(LazyRows):
    """Rows of a table on disk.

    Args:
        path: hub id or folder, as ``datasets.load_dataset`` takes it.
        name: of the configuration.
        split: which part.
        base: folder that paths in it start from.
        defaults: as for ``read_rows``.
        spar: as for ``read_rows``.
        allowed: which media its rows may name.

    Raises:
        DependencyError: datasets is not installed.
        InputError: the table cannot be loaded.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        split: str = "train",
        base: Path | None = None,
        defaults: Mapping[str, Any] | None = None,
        spar: SparMarks | None = None,
        allowed: Allowed = LOCAL,
    ) -> None:
        self.table, self.allowed = load_table(path, name, split), allowed
        self.where, self.base, self.defaults, self.spar = path, base or Path(), defaults, spar

    def __len__(self) -> int:
        return len(self.table)

    def row(self, index: int) -> Row:
        """The row of an index.

        Raises:
            InputError: it cannot be understood.
        """
        return _unless_error(self.tried(index))

    def tried(self, index: int) -> Row | InputError:
        """A row, or the error that makes it unusable."""
        where = f"{self.where}, row {index}"
        record = plain(self.table[index])
        return tried_row(record, self.base, where, self.defaults, self.spar, self.allowed)


class StreamedRows(IterableDataset[Row]):
    """Rows of one or several streams, shuffled within a buffer; the same in every run with the same seed.

    Args:
        tables: for each stream its path, name, split, base, defaults, marks and allowed media, as
            ``TableRows`` takes them.
        shares: how much of the mixture each is; None reads one after the other.
        seed: of shuffling and mixing.
    """

    def __init__(
        self, tables: Sequence[tuple[Any, ...]], shares: Sequence[float] | None = None, *, seed: int = 0
    ) -> None:
        datasets = _datasets()
        opened = [
            load_table(path, name, split, streaming=True).map(_numbered(at), features=None)
            for at, (path, name, split, *_) in enumerate(tables)
        ]
        if shares is None:
            mixed = datasets.concatenate_datasets(opened)
        else:
            total = sum(shares)
            mixed = datasets.interleave_datasets(
                opened,
                probabilities=[share / total for share in shares],
                seed=seed,
                stopping_strategy="all_exhausted",
            )
        self.stream = mixed.shuffle(seed=seed, buffer_size=BUFFER)
        self.tables = list(tables)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader; each epoch has an order of its own."""
        self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[Row]:
        """Rows in order.

        Raises:
            InputError: one cannot be understood.
        """
        for record in self.stream:
            path, _, _, base, defaults, spar, allowed = self.tables[record.pop(SOURCE)]
            yield _unless_error(
                tried_row(plain(record), base or Path(), f"a row of {path}", defaults, spar, allowed)
            )


SOURCE = "__source"


def _unless_error(row: Row | InputError) -> Row:
    if isinstance(row, InputError):
        raise row
    return row


def _numbered(number: int) -> Any:
    return lambda record: {**record, SOURCE: number}


def load_table(path: str, name: str | None, split: str, *, streaming: bool = False) -> Any:
    """A table of ``datasets`` whose pictures stay bytes.

    Raises:
        DependencyError: datasets is not installed.
        InputError: it cannot be loaded.
    """
    datasets = _datasets()
    try:
        if Path(path).is_dir() and (Path(path) / "state.json").exists():
            table: Any = datasets.load_from_disk(path)
            table = table.to_iterable_dataset() if streaming else table
        else:
            table = datasets.load_dataset(path, name, split=split, streaming=streaming)
        return table.decode(False) if streaming else _undecoded(table, datasets)
    except (OSError, ValueError, ConnectionError) as error:
        raise InputError(
            f"Cannot load the data set {path!r}.",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            expected="a hub id, or a folder of parquet, JSON or arrow files",
            fix="check dataset, name and split; offline, download it first and name the folder",
        ) from error


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


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DependencyError(
            "Missing package datasets, which data sets of Hugging Face need.",
            got=str(error),
            expected="datasets",
            fix="pip install 'vega3d[train]'",
        ) from error
    return datasets
