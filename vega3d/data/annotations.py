"""Annotation files: their rows as conversations with pictures and videos. No media are opened."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from vega3d.data.conversations import LOCAL, Allowed, Messages, messages_of, with_sampling
from vega3d.data.spar import SparMarks, with_marks
from vega3d.errors import InputError, Vega3DError
from vega3d.inputs.messages import Conversations, ImageRequest, VideoRequest, parse
from vega3d.media.decoding import PICTURES


@dataclass(frozen=True)
class Row:
    """One row; its media are parsed when they are first asked for.

    Attributes:
        where: file and number of the row, for messages.
        messages: the conversation; its media entries name absolute paths and their sampling.
        group: rows of one group stay in one batch of training; None leaves the row alone.
    """

    where: str
    messages: Messages
    group: str | None = None

    @cached_property
    def _parsed(self) -> Conversations:
        return parse(self.messages)

    @property
    def images(self) -> list[ImageRequest]:
        """Its pictures."""
        return self._parsed.images

    @property
    def videos(self) -> list[VideoRequest]:
        """Its videos."""
        return self._parsed.videos

    @property
    def kind(self) -> tuple[bool, bool]:
        """(has pictures, has videos): the encoders of the host that it calls."""
        return bool(self.images), bool(self.videos)

    @property
    def groups(self) -> list[list[int]]:
        """A partition of its pictures into clips."""
        return self._parsed.groups


class LazyRows(Sequence[Row]):
    """Rows that are made when they are asked for."""

    @abstractmethod
    def row(self, index: int) -> Row:
        """The row of an index in 0..len - 1."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """A row, or several."""
        chosen = range(len(self))[index]
        return self.row(chosen) if isinstance(chosen, int) else [self.row(at) for at in chosen]


@dataclass(frozen=True)
class Reader:
    """How records become rows.

    Attributes:
        base: folder that relative paths of media start from.
        defaults: sampling and limits of media that do not state them: ``nframes``, ``fps``, ``max_pixels``.
        spar: how a field ``spar_info`` is understood; None refuses a row that has marks in it.
        allowed: media that a record may name.
        needs_text: refuse a record that names media alone.
        group_by: key of a record whose value is the group of its row; None groups no rows.
    """

    base: Path = Path()
    defaults: Mapping[str, Any] | None = None
    spar: SparMarks | None = None
    allowed: Allowed = LOCAL
    needs_text: bool = False
    group_by: str | None = None

    def row(self, record: Any, where: str) -> Row | InputError:
        """One record as a row, or as the error that makes it unusable.

        Args:
            record: as a file holds it; an error of the file itself is named and given back.
            where: file and number of the row.
        """
        try:
            if isinstance(record, Vega3DError):
                raise record
            messages = messages_of(record, self.base, self.allowed, needs_text=self.needs_text)
            group = None if self.group_by is None else _group_of(record, self.group_by)
            return row_of(with_marks(messages, record, self.spar), where, self.defaults, group)
        except RecursionError:
            return InputError(f"Invalid row {where}: it is nested too deeply.", fix="correct the row")
        except Vega3DError as error:
            return InputError(
                f"Invalid row {where}: {error.what}", got=error.got, expected=error.expected, fix=error.fix
            )

    def rows(self, file: Path) -> Iterator[Row | InputError]:
        """The records of a JSON or JSONL file, in order; see ``tried_rows``."""
        return (self.row(record, f"{file.name}, row {n}") for n, record in enumerate(_records(file)))


def read_rows(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    spar: SparMarks | None = None,
    **trust: bool,
) -> Iterator[Row]:
    """Rows of a JSON or JSONL file, in order.

    Args:
        path, root, defaults, spar: see ``tried_rows``.
        trust: ``allow_urls`` and ``allow_outside`` of ``tried_rows``.

    Raises:
        InputError: the file or a row cannot be understood; names the row.
    """
    return without_errors(tried_rows(path, root, defaults, spar, **trust))


def tried_rows(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    spar: SparMarks | None = None,
    *,
    allow_urls: bool = False,
    allow_outside: bool = False,
) -> Iterator[Row | InputError]:
    """Rows of a JSON or JSONL file, in order; one that cannot be understood comes as its error.

    Args:
        path: a list of rows, an object whose ``samples``, ``data`` or ``annotations`` is one, or JSON lines.
        root: folder that relative paths of media start from; None is the file's own.
        defaults: see ``Reader``.
        spar: see ``Reader``.
        allow_urls: rows may name ``http://`` and ``https://`` addresses, which are fetched.
        allow_outside: rows may name paths outside ``root``; without a root they always may.

    Raises:
        InputError: the file cannot be read at all.
    """
    file = Path(path)
    base = file.parent if root is None else Path(root)
    allowed = Allowed(allow_urls, allow_outside or root is None)
    return Reader(base, defaults, spar, allowed).rows(file)


def without_errors(
    rows: Iterable[Row | InputError], on_error: Callable[[InputError], None] | None = None
) -> Iterator[Row]:
    """The rows alone.

    Args:
        rows: rows and errors.
        on_error: called with each error; None raises it.
    """
    for row in rows:
        if isinstance(row, Row):
            yield row
        elif on_error is None:
            raise row
        else:
            on_error(row)


def _group_of(record: Any, key: str) -> str:
    """The group of a record.

    Raises:
        InputError: the record does not have one.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        what, fix = f"Missing group under {key!r}.", "name the group in each row, or leave group_by out"
        raise InputError(what, got=value, expected="a text or a whole number", fix=fix)
    return str(value)


def row_of(
    messages: Messages, where: str, defaults: Mapping[str, Any] | None = None, group: str | None = None
) -> Row:
    """A checked conversation; its media state how they are sampled.

    Args:
        messages: as ``messages_of`` gives them.
        where: file and number of the row, for messages.
        defaults: as for ``read_rows``.
        group: of the row, see ``Row``.
    """
    row = Row(where, with_sampling(messages, defaults) if defaults else messages, group)
    _ = row.images  # parses
    return row


def media_rows(sources: Iterable[str], defaults: Mapping[str, Any] | None = None) -> Iterator[Row]:
    """A row for each picture or video that is named itself; folders of frames are videos.

    Args:
        sources: paths or addresses; what ends like a picture is one.
        defaults: as for ``read_rows``.
    """
    for source in sources:
        kind = "image" if Path(source).suffix.lower() in PICTURES else "video"
        yield row_of(messages_of({kind: source}, Path(), Allowed(urls=True)), source, defaults)


def _records(file: Path) -> Iterator[Any]:
    """Records in order; of JSON lines one at a time, a broken line as its error."""
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                yield from (_line(line) for line in lines if line.strip())
            return
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        title = f"Cannot read the annotation file {str(file)!r}."
        expected = "JSON, or JSON lines in a file ending in .jsonl"
        fix = "check the path, or convert the file"
        raise InputError(title, got=f"{type(error).__name__}: {error}", expected=expected, fix=fix) from error
    if isinstance(content, Mapping):
        content = next((content[k] for k in ("samples", "data", "annotations") if k in content), [content])
    if not isinstance(content, list):
        title = f"Invalid annotation file {str(file)!r}: no rows."
        fix = "convert the file"
        raise InputError(title, got=type(content).__name__, expected="a list of objects", fix=fix)
    yield from content


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        title = "Invalid line: not JSON."
        return InputError(title, got=str(error), expected="one JSON object a line", fix="correct the line")
