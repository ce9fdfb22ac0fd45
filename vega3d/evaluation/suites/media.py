"""What a question is about, by place: nothing is opened before somebody asks for pixels.

A *path* is a video or a folder of pictures. *Pictures* are named one by one, since a scan's folder also holds
depth, and since some benchmarks keep pictures inside a parquet file: such a place is written
``file.parquet#row/column`` (``#`` after a parquet file's name means nothing else here). Pictures are the
frames of one clip, or stand alone.

This module knows no benchmark and no model.
"""

from __future__ import annotations

import importlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vega3d.decoding import probe, read_frames
from vega3d.errors import DependencyError, MediaError, MediaNotFoundError
from vega3d.files import inside
from vega3d.image import load_image

FIX = "correct the record; if you set the link yourself, pass --follow-links"
EMBEDDED = re.compile(r"(?P<file>.+\.parquet)#(?P<row>\d+)/(?P<column>.+)")


@dataclass(frozen=True)
class Pictures:
    """Pictures, in order.

    Attributes:
        places: paths of files, or ``file.parquet#row/column``.
        clip: whether they are frames of one clip; otherwise each stands alone.
    """

    places: tuple[str, ...]
    clip: bool = True


Media = Path | Pictures


def length(media: Media) -> int:
    """How many frames or pictures there are.

    Raises:
        MediaError, MediaNotFoundError: a video is broken or not there.
    """
    if isinstance(media, Pictures):
        return len(media.places)
    return probe(media, fps=2.0 if media.is_dir() else None).n_frames  # pictures have no rate of their own


def spread(count: int, most: int) -> list[int]:
    """Evenly spaced numbers, both ends included, truncated: the published ``linspace(0, n - 1, k)``."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, most))]


def sampled(media: Media, most: int) -> list[int]:
    """Numbers of the frames that are seen; pictures that stand alone are all seen."""
    alone = isinstance(media, Pictures) and not media.clip
    return list(range(length(media))) if alone else spread(length(media), most)


def read(media: Media, places: Sequence[int]) -> list[Tensor]:
    """These frames or pictures, each uint8 (3, H, W).

    Raises:
        MediaError, MediaNotFoundError: one of them cannot be read.
    """
    if isinstance(media, Path):
        return list(read_frames(media, places))
    return [load_image(source(media.places[place])) for place in places]


def source(place: str) -> str | bytes | io.BytesIO:
    """What `load_image` takes: a path as it is, a picture inside a parquet file as its bytes.

    Raises:
        MediaError: the file holds no such picture.
        MediaNotFoundError: there is no such file.
        DependencyError: pyarrow is not installed.
    """
    found = EMBEDDED.fullmatch(place)
    return io.BytesIO(_bytes(found["file"], int(found["row"]), found["column"])) if found else place


def missing(media: Media) -> list[str]:
    """Places that are not there; files are not opened."""
    if isinstance(media, Path):
        return [] if media.exists() else [str(media)]
    files = (EMBEDDED.fullmatch(place) for place in media.places)
    return [p for p, f in zip(media.places, files, strict=True) if not Path(f["file"] if f else p).exists()]


def named(root: Path, name: str, *, follow_links: bool = False) -> Path:
    """Place below a folder that a record names; of a folder of pictures, each of them is below it, too.

    Args:
        root: folder of media; it may be a link.
        name: as the record gives it; it need not exist.
        follow_links: follow links that lead out of the folder.

    Raises:
        InputError: the place is outside the folder.
    """
    options: dict[str, Any] = {"follow_links": follow_links, "fix": FIX}
    place = inside(root, name, **options)
    if place.is_dir() and not follow_links:
        with os.scandir(place) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
        for link in links:
            inside(root, f"{name}/{link}", **options)
    return place


def named_pictures(
    root: Path, names: Sequence[str], *, clip: bool = True, follow_links: bool = False
) -> Pictures:
    """Pictures below a folder that a record names one by one.

    Raises:
        InputError: one of them is outside the folder.
    """
    for name in names:
        found = EMBEDDED.fullmatch(name)
        named(root, found["file"] if found else name, follow_links=follow_links)
    return Pictures(tuple(str(root / os.path.normpath(name)) for name in names), clip)


def written(media: Media) -> str | list[str]:
    """The media as JSON, for `from_written`."""
    return str(media) if isinstance(media, Path) else list(media.places)


def from_written(value: str | list[str]) -> Media:
    """The media that were written so; whether pictures are a clip is not kept."""
    return Path(value) if isinstance(value, str) else Pictures(tuple(value))


def signature(media: Media) -> list[Any]:
    """Names and sizes of the files, without reading them, for a digest of the data."""
    places = [str(media)] if isinstance(media, Path) else list(media.places)
    files = [Path(found["file"]) if (found := EMBEDDED.fullmatch(p)) else Path(p) for p in places]
    names = [Path(place).name for place in places]
    return [[n, f.stat().st_size if f.is_file() else None] for n, f in zip(names, files, strict=True)]


def parquet() -> Any:
    """pyarrow's reader.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow.parquet")  # it has no types
    except ImportError:
        raise DependencyError(
            "A parquet file cannot be read without pyarrow.",
            got="pyarrow is not installed",
            expected="pyarrow, or the same rows as JSON Lines",
            fix="pip install 'vega3d[eval]'",
        ) from None


def _bytes(file: str, row: int, column: str) -> bytes:
    try:
        cell = _column(file, column)[row].as_py()
    except FileNotFoundError:
        raise MediaNotFoundError(f"{file} is not there.", expected="a parquet file", fix="get it") from None
    except (KeyError, IndexError, OSError, ValueError) as error:
        raise MediaError(f"{file} cannot be read.", got=f"{type(error).__name__}: {error}") from None
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(found, bytes):
        raise MediaError(
            f"Row {row} of {Path(file).name} holds no picture.",
            got=type(found).__name__,
            expected=f"bytes under {column!r}",
            fix="get the file again",
        )
    return found


@lru_cache(maxsize=2)
def _column(file: str, column: str) -> Any:
    """A column of a file, as an Arrow array; kept, since a benchmark asks for it row by row."""
    return parquet().read_table(file, columns=[column.split(".")[0]])[column]
