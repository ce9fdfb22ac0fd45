"""ScanNet's recordings: a streaming reader of ``.sens`` files of version 4.

Frames are read one at a time. Bodies that are not needed are skipped by seeking. Every size is compared with
the file before it is read, so a damaged file costs no memory.

A file (little endian) has its version, a name, four 4 x 4 matrices, codecs, sizes, the unit of depth, and the
frames. Measurements of motion follow, which are not read.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vega3d.errors import MediaError, MediaNotFoundError

VERSION = 4
COLOUR_CODECS = {0: "raw", 1: "png", 2: "jpeg"}
DEPTH_CODECS = {0: "raw_ushort", 1: "zlib_ushort", 2: "occi_ushort"}
_HEAD = struct.Struct("<64s4Q")  # of a frame: pose, two times, two sizes
_LONGEST_NAME = 4096
_LARGEST_SIDE = 16_384
_MATRIX = 64  # bytes

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class SensHeader:
    """The head of a recording.

    Attributes:
        sensor: name of the device.
        cameras: four (4, 4) matrices: intrinsics and extrinsics of colour, then those of depth.
        color_codec, depth_codec: names of the codecs.
        color_size, depth_size: width and height in pixels.
        depth_shift: steps of depth in a metre.
        frames: number of frames.
    """

    sensor: str
    cameras: tuple[Matrix, Matrix, Matrix, Matrix]
    color_codec: str
    depth_codec: str
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    frames: int


@dataclass(frozen=True)
class SensFrame:
    """One frame of a recording, as it is stored.

    Attributes:
        number: from 0, in the recording.
        pose: (4, 4) camera to world, not aligned to the axes of the scene.
        times: of colour and depth, in the device's unit.
        color: encoded picture.
        depth: encoded depth.
    """

    number: int
    pose: Matrix
    times: tuple[int, int]
    color: bytes
    depth: bytes

    @property
    def is_tracked(self) -> bool:
        """True if the pose is finite."""
        return bool(np.isfinite(self.pose).all())


class SensReader:
    """A recording, opened for reading; a context manager.

    Args:
        path: of the file.

    Attributes:
        header: its head.

    Raises:
        MediaNotFoundError: there is no such file.
        MediaError: it is damaged, or has another version or an unknown codec.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MediaNotFoundError(f"Missing file {str(path)!r}.", got="no file", expected="a .sens file")
        self._size = self.path.stat().st_size
        self._file: IO[bytes] = self.path.open("rb")
        with contextlib.ExitStack() as on_error:
            on_error.callback(self._file.close)
            self.header = self._read_header()
            on_error.pop_all()  # read: the file stays open
        self._start = self._file.tell()

    def __enter__(self) -> SensReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def frames(self, every: int = 1) -> Iterator[SensFrame]:
        """Frames 0, ``every``, 2 ``every``, …; bodies between them are skipped.

        Raises:
            MediaError: the file ends early.
        """
        self._file.seek(self._start)
        for number in range(self.header.frames):
            pose, *numbers = _HEAD.unpack(self._take(_HEAD.size, f"frame {number}"))
            *times, color, depth = numbers
            self._require(color + depth, f"frame {number}")
            if number % every:
                self._file.seek(color + depth, os.SEEK_CUR)
                continue
            matrix = np.frombuffer(pose, "<f4").reshape(4, 4).copy()
            bodies = self._take(color, "a picture"), self._take(depth, "a depth map")
            yield SensFrame(number, matrix, (times[0], times[1]), *bodies)

    def decode_depth(self, frame: SensFrame) -> NDArray[np.uint16]:
        """(h, w) depth of a frame in millimetres; 0 means that there is none.

        Raises:
            MediaError: it is damaged.
        """
        width, height = self.header.depth_size
        size, data = 2 * width * height, frame.depth
        if self.header.depth_codec == "zlib_ushort":
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(data, size + 1)  # never more than a depth map
            except zlib.error as error:
                raise self._damaged(f"depth of frame {frame.number}", str(error), "zlib data") from error
        if len(data) != size:
            expected = f"{size} bytes of {width} x {height} pixels"
            raise self._damaged(f"depth of frame {frame.number}", f"{len(data)} bytes", expected)
        steps = np.frombuffer(data, "<u2").reshape(height, width)
        if self.header.depth_shift == 1000:
            return steps
        millimetres = np.round(steps * (1000 / self.header.depth_shift))
        return np.minimum(millimetres, np.iinfo(np.uint16).max).astype(np.uint16)

    def encode_color(self, frame: SensFrame) -> bytes:
        """The picture of a frame as JPEG; one that is stored as JPEG is given as it is.

        Raises:
            MediaError: it is damaged.
        """
        what, size = f"picture of frame {frame.number}", self.header.color_size
        if self.header.color_codec == "raw":
            if len(frame.color) != 3 * size[0] * size[1]:
                expected = f"{3 * size[0] * size[1]} bytes of {size[0]} x {size[1]} pixels"
                raise self._damaged(what, f"{len(frame.color)} bytes", expected)
            return _jpeg(Image.frombytes("RGB", size, frame.color))
        try:
            with Image.open(io.BytesIO(frame.color), formats=[self.header.color_codec]) as picture:
                if picture.size != size:
                    got, expected = (f"{a} x {b} pixels" for a, b in (picture.size, size))
                    raise self._damaged(what, got, expected)
                return frame.color if self.header.color_codec == "jpeg" else _jpeg(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, MediaError):
                raise
            raise self._damaged(what, str(error), self.header.color_codec) from error

    def _read_header(self) -> SensHeader:
        (version,) = self._numbers("<I", "its version")
        if version != VERSION:
            raise self._damaged("version", version, VERSION)
        (length,) = self._numbers("<Q", "its head")
        if length > _LONGEST_NAME:
            raise self._damaged("head", f"a name of {length} letters", f"at most {_LONGEST_NAME}")
        sensor = self._take(length, "its head").decode("utf-8", "replace").rstrip("\0")
        matrices = [self._take(_MATRIX, "its head") for _ in range(4)]
        cameras = [np.frombuffer(matrix, "<f4").reshape(4, 4).copy() for matrix in matrices]
        color, depth, *sides = self._numbers("<2i4I", "its head")
        shift, frames = *self._numbers("<f", "its head"), *self._numbers("<Q", "its head")
        if color not in COLOUR_CODECS:
            raise self._damaged("codec of colour", color, ", ".join(COLOUR_CODECS.values()))
        if DEPTH_CODECS.get(depth, "occi_ushort") == "occi_ushort":  # its decoder is not published
            raise self._damaged("codec of depth", DEPTH_CODECS.get(depth, depth), "raw_ushort or zlib_ushort")
        if not all(0 < side <= _LARGEST_SIDE for side in sides):
            raise self._damaged("size", sides, f"1 to {_LARGEST_SIDE} pixels a side")
        if not (np.isfinite(shift) and shift > 0):
            raise self._damaged("unit of depth", shift, "steps in a metre, above 0")
        self._require(frames * _HEAD.size, f"{frames} frames")
        return SensHeader(
            sensor=sensor,
            cameras=(cameras[0], cameras[1], cameras[2], cameras[3]),
            color_codec=COLOUR_CODECS[color],
            depth_codec=DEPTH_CODECS[depth],
            color_size=(sides[0], sides[1]),
            depth_size=(sides[2], sides[3]),
            depth_shift=shift,
            frames=frames,
        )

    def _numbers(self, form: str, what: str) -> tuple[Any, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form), what))

    def _take(self, count: int, what: str) -> bytes:
        self._require(count, what)
        return self._file.read(count)

    def _require(self, count: int, what: str) -> None:
        left = self._size - self._file.tell()
        if count > left:
            raise self._damaged("end", f"{left} bytes for {what}", f"{count} bytes")

    def _damaged(self, what: str, got: object, expected: object) -> MediaError:
        fix = "download the file again, and compare its size with the source's"
        return MediaError(f"Invalid {what} of {str(self.path)!r}.", got=got, expected=expected, fix=fix)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()
