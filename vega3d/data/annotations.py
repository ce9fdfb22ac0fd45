"""Annotation files: their rows as conversations with pictures and videos. No media are opened."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """

    where: str
    messages: Messages

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


def read_rows(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    spar: SparMarks | None = None,
    *,
    allow_urls: bool = False,
    allow_outside: bool = False,
) -> Iterator[Row]:
    """Rows of a JSON or JSONL file, in order.

    Args:
        path: a list of rows, an object whose ``samples``, ``data`` or ``annotations`` is one, or JSON lines.
        root: folder that relative paths of media start from; None is the file's own.
        defaults: sampling and limits of media that do not state them: ``nframes``, ``fps``, ``max_pixels``.
        spar: how a field ``spar_info`` is understood; None refuses a row that has marks in it.
        allow_urls: rows may name ``http://`` and ``https://`` addresses, which are fetched.
        allow_outside: rows may name paths outside ``root``; without a root they always may.

    Raises:
        InputError: the file or a row cannot be understood; names the row.
    """
    for row in tried_rows(path, root, defaults, spar, allow_urls=allow_urls, allow_outside=allow_outside):
        if isinstance(row, Vega3DError):
            raise row
        yield row


def tried_rows(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    spar: SparMarks | None = None,
    *,
    allow_urls: bool = False,
    allow_outside: bool = False,
) -> Iterator[Row | InputError]:
    """As ``read_rows``, but a row that cannot be understood comes as its error, and the next ones follow.

    Raises:
        InputError: the file cannot be read at all.
    """
    file = Path(path)
    base = Path(root) if root is not None else file.parent
    allowed = Allowed(allow_urls, allow_outside or root is None)
    for number, record in enumerate(_records(file)):
        yield tried_row(record, base, f"{file.name}, row {number}", defaults, spar, allowed)


def tried_row(
    record: Any,
    base: Path,
    where: str,
    defaults: Mapping[str, Any] | None = None,
    spar: SparMarks | None = None,
    allowed: Allowed = LOCAL,
) -> Row | InputError:
    """One record as a row, or as the error that makes it unusable.

    Args:
        record: as a file holds it; an error of the file itself is named and given back.
        base: folder that relative paths start from.
        where: file and number of the row.
        defaults: as for ``read_rows``.
        spar: as for ``read_rows``.
        allowed: which media it may name.
    """
    try:
        if isinstance(record, Vega3DError):
            raise record
        return row_of(with_marks(messages_of(record, base, allowed), record, spar), where, defaults)
    except RecursionError:
        return InputError(f"Invalid row {where}: it is nested too deeply.", fix="correct the row")
    except Vega3DError as error:
        return InputError(
            f"Invalid row {where}: {error.what}", got=error.got, expected=error.expected, fix=error.fix
        )


def row_of(messages: Messages, where: str, defaults: Mapping[str, Any] | None = None) -> Row:
    """A checked conversation; its media state how they are sampled.

    Args:
        messages: as ``messages_of`` gives them.
        where: file and number of the row, for messages.
        defaults: as for ``read_rows``.

    Raises:
        InputError: a media entry cannot be understood.
    """
    row = Row(where, with_sampling(messages, defaults) if defaults else messages)
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
        raise InputError(
            f"Cannot read the annotation file {str(file)!r}.",
            got=f"{type(error).__name__}: {error}",
            expected="JSON, or JSON lines in a file ending in .jsonl",
            fix="check the path, or convert the file",
        ) from error
    if isinstance(content, Mapping):
        content = next((content[k] for k in ("samples", "data", "annotations") if k in content), [content])
    if not isinstance(content, list):
        raise InputError(
            f"Invalid annotation file {str(file)!r}: no rows.",
            got=type(content).__name__,
            expected="a list of objects",
            fix="convert the file",
        )
    yield from content


def _line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return InputError(
            "Invalid line: not JSON.",
            got=str(error),
            expected="one JSON object a line",
            fix="correct the line",
        )
