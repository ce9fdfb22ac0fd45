"""Media of a sample, by place: nothing is opened before pixels are read.

A *path* is a video or a folder of pictures. *Pictures* are named one by one, since a scan's folder also holds
depth, and since some benchmarks keep pictures inside a parquet file: such a place is written
``file.parquet#row/column`` (``#`` after a parquet file's name means nothing else here). Pictures are the
frames of one clip, or stand alone.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vega3d.errors import DependencyError, MediaError, MediaNotFoundError

if TYPE_CHECKING:  # listing and scoring benchmarks needs no torch
    from torch import Tensor

PICTURE = "{image}"
EMBEDDED = re.compile(r"(?P<file>.+\.parquet)#(?P<row>\d+)/(?P<column>.+)")


@dataclass(frozen=True)
class Pictures:
    """Pictures, in order.

    Attributes:
        places: paths of files, or ``file.parquet#row/column``.
        clip: they are frames of one clip; otherwise each stands alone.
    """

    places: tuple[str, ...]
    clip: bool = True


Media = Path | Pictures


@dataclass(frozen=True)
class MediaFormat:
    """Form in which the media of a benchmark are sent.

    Attributes:
        frames: number of frames; evenly spaced, ends included, truncated to whole numbers.
        all_frames: the answer names frames by number, so that all of the record's have to be sent.
        send: frames as pictures of one clip, or as one video; ``eval run --send`` overrides it.
        label: text of one picture in a message: ``{image}`` is the picture, ``{n}`` its number from 0.
    """

    frames: int = 32
    all_frames: bool = False
    label: str = PICTURE
    send: Literal["images", "video"] = "images"


def length(media: Media) -> int:
    """Number of frames or pictures.

    Raises:
        MediaError, MediaNotFoundError: a video is broken or not there.
    """
    if isinstance(media, Pictures):
        return len(media.places)
    from vega3d.media.decoding import probe

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
    from vega3d.media.decoding import read_frames
    from vega3d.media.image import load_image

    if isinstance(media, Path):
        return list(read_frames(media, places))
    return [load_image(source(media.places[place])) for place in places]


def source(path: str) -> str | io.BytesIO:
    """Input of `load_image`: a path as it is, a picture inside a parquet file as its bytes.

    Raises:
        MediaError: the file holds no such picture.
        MediaNotFoundError: there is no such file.
        DependencyError: pyarrow is not installed.
    """
    if (cell := EMBEDDED.fullmatch(path)) is None:
        return path
    file, row, column = cell.groups()
    try:
        value = _column(file, column)[int(row)].as_py()
    except FileNotFoundError:
        raise MediaNotFoundError(f"Missing file {file}.", expected="a parquet file", fix="get it") from None
    except (KeyError, IndexError, OSError, ValueError) as error:
        raise MediaError(f"Cannot read {file}.", got=f"{type(error).__name__}: {error}") from None
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        return io.BytesIO(content)
    what, got = f"Missing picture in row {row} of {Path(file).name}.", type(content).__name__
    raise MediaError(what, got=got, expected=f"bytes under {column!r}", fix="get the file again")


def missing(media: Media) -> list[str]:
    """Places that are not there; files are not opened."""
    return [place for place in _places(media) if not _file_of(place).exists()]


def written(media: Media) -> str | list[str]:
    """The media as JSON, for `from_written`."""
    return str(media) if isinstance(media, Path) else list(media.places)


def from_written(value: str | list[str]) -> Media:
    """The media that were written so; whether pictures are a clip is not kept."""
    return Path(value) if isinstance(value, str) else Pictures(tuple(value))


def signature(media: Media) -> list[Any]:
    """Names and sizes of the files, without reading them, for a digest of the data."""
    files = [(Path(place).name, _file_of(place)) for place in _places(media)]
    return [[name, file.stat().st_size if file.is_file() else None] for name, file in files]


def _places(media: Media) -> Sequence[str]:
    return [str(media)] if isinstance(media, Path) else media.places


def _file_of(path: str) -> Path:
    """The file of a path: the parquet file of an embedded picture."""
    cell = EMBEDDED.fullmatch(path)
    return Path(cell["file"] if cell else path)


def parquet() -> Any:
    """pyarrow's reader.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow.parquet")  # it has no types
    except ImportError:
        what, got = "Cannot read a parquet file: pyarrow is missing.", "pyarrow is not installed"
        expected, fix = "pyarrow, or the same rows as JSON Lines", "pip install 'vega3d[eval]'"
        raise DependencyError(what, got=got, expected=expected, fix=fix) from None


@lru_cache(maxsize=2)
def _column(file: str, column: str) -> Any:
    """A column of a file, as an Arrow array; kept, since a benchmark asks for it row by row."""
    return parquet().read_table(file, columns=[column.split(".")[0]])[column]
