"""The rows of all annotation files as one dataset, weighted, in an order that only the seed decides.

Rows are conversations with paths; media are opened by the collator. A weight of 2.5 gives every row twice and
a seeded half of them a third time, so that what an epoch holds is known before it begins; a share is turned
into the weight that makes it so. A stream has no number of rows, so it has no weights either, and nothing of
it is known before. This module knows no processor and no model.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from vega3d.data import Allowed, Row, SparMarks, read_rows, row_of
from vega3d.data.tables import StreamedRows, TableRows
from vega3d.errors import ConfigError
from vega3d.training.config import DataFile, fraction

T = TypeVar("T")
RATES = ("fps", "nframes", "num_frames")
FOR_PICTURES = ("min_pixels", "max_pixels")


class Packed(Sequence[Row]):
    """Rows as one piece of memory, from which each is made when it is asked for.

    Data workers are forks: to look at a Python object writes its count of references, and so copies its page.
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

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """A row, or several."""
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        where, messages = json.loads(self.text[self.ends[at - 1] if at else 0 : self.ends[at]].tobytes())
        return row_of(messages, where)


class Joined(Sequence[Row]):
    """Rows of several sources in one order; each is made when it is asked for.

    Args:
        parts: the sources.
        places: for each row its source and its number there.
        defaults: sampling of each source.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[Row]],
        places: Sequence[tuple[int, int]],
        defaults: Sequence[Mapping[str, Any]],
    ) -> None:
        self.parts, self.defaults = parts, defaults
        self.places = np.array(places, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """A row, or several."""
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        part, number = self.places[place].tolist()
        return sampled(self.parts[part][number], self.defaults[part])


def load_rows(
    files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int, epoch_rows: int | None = None
) -> Sequence[Row]:
    """Rows of one epoch, in the order of the files.

    Args:
        files: what to read.
        sampling: of media that do not state it; a file's own goes before it.
        seed: of the choice among rows whose weight is no whole number.
        epoch_rows: rows that shares divide up; None is as many as all files hold.

    Raises:
        InputError: a row cannot be understood.
        ConfigError: there are no rows.
    """
    defaults = [{**sampling, **one.sampling} for one in files]
    parts = [opened(one, own) for one, own in zip(files, defaults, strict=True)]
    times = how_often(files, [len(part) for part in parts], epoch_rows)
    places = [
        (number, row)
        for number, (one, part, often) in enumerate(zip(files, parts, times, strict=True))
        for row in weighted(range(len(part)), often, f"{seed} {one.source}")
    ]
    if not places:
        raise ConfigError(
            "The annotation files hold no rows.",
            got=", ".join(one.source for one in files),
            expected="at least one conversation",
            fix="check the files, or raise a weight that leaves nothing over",
        )
    return Joined(parts, places, defaults)


def opened(one: DataFile, defaults: Mapping[str, Any]) -> Sequence[Row]:
    """The rows of a file, or those of a table, which are read when they are asked for.

    Raises:
        InputError: it cannot be read.
    """
    if one.file is not None:
        return Packed(read_rows(one.file, one.root, defaults, spar_of(one), **one.trust))
    return TableRows(*_table(one, defaults))


def load_stream(files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int) -> StreamedRows:
    """Rows of streams, mixed by their shares; a weight has no meaning where nobody knows how many there are.

    Raises:
        ConfigError: an entry has a weight.
    """
    if any(one.times != 1 for one in files):
        raise ConfigError(
            "A stream has no weight: nobody knows how many rows it has.",
            got=", ".join(f"{one.source}: {one.weight}" for one in files),
            expected="share, for all entries",
            fix="share: 30% instead of weight",
        )
    tables = [_table(one, {**sampling, **one.sampling}) for one in files]
    shares = [fraction(one.share) for one in files if one.share is not None]
    return StreamedRows(tables, shares or None, seed=seed)


def _table(one: DataFile, defaults: Mapping[str, Any]) -> tuple[Any, ...]:
    base = Path(one.root) if one.root is not None else None
    allowed = Allowed(one.allow_urls, one.allow_outside or base is None)
    return one.dataset, one.name, one.split, base, defaults, spar_of(one), allowed


def spar_of(one: DataFile) -> SparMarks | None:
    """How a file's ``spar_info`` is understood, if that was said."""
    return SparMarks(one.spar.unit, one.spar.order) if one.spar is not None else None


def how_often(files: Sequence[DataFile], counts: Sequence[int], epoch_rows: int | None) -> list[float]:
    """How often an epoch sees each row of each file, from weights or from shares.

    Args:
        files: what was read.
        counts: rows of each.
        epoch_rows: rows that shares divide up; None is as many as all files hold.
    """
    total = sum(counts) if epoch_rows is None else epoch_rows
    return [
        one.times if one.share is None else fraction(one.share) * total / max(count, 1)
        for one, count in zip(files, counts, strict=True)
    ]


def weighted(rows: Sequence[T], weight: float, seed: str) -> list[T]:
    """Each row ``weight`` times; of the fraction a choice that only ``seed`` decides."""
    whole = int(weight)
    rest = round((weight - whole) * len(rows))
    chosen = sorted(random.Random(seed).sample(range(len(rows)), rest))
    return [*rows] * whole + [rows[at] for at in chosen]


def sampled(row: Row, defaults: Mapping[str, Any]) -> Row:
    """A row whose media state how they are sampled: a batch may mix files with different defaults."""
    messages = [
        {**message, "content": [_stated(entry, defaults) for entry in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in row.messages
    ]
    return row_of(messages, row.where)


def _stated(entry: Any, defaults: Mapping[str, Any]) -> Any:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind == "image":
        return {**{name: defaults[name] for name in FOR_PICTURES if name in defaults}, **entry}
    if kind != "video":
        return entry
    rated = any(name in entry for name in RATES)
    return {**{k: v for k, v in defaults.items() if not (rated and k in RATES)}, **entry}
