"""Small ``.sens`` files, written field by field."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOUR, DEPTH = (24, 18), (16, 12)  # width and height


def picture(number: int, codec: int, size: tuple[int, int] = COLOUR) -> bytes:
    """A picture of a frame: raw, PNG or JPEG."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if codec == 0:
        return pixels.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format={1: "PNG", 2: "JPEG"}[codec])
    return buffer.getvalue()


def depth_of(number: int, size: tuple[int, int] = DEPTH) -> np.ndarray:
    """(h, w) uint16 depth of a frame in millimetres."""
    return np.random.default_rng(1000 + number).integers(0, 6000, size[::-1], dtype=np.uint16)


def pose_of(number: int) -> np.ndarray:
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = number, 0.5 * number, 1.25
    return pose


def matrices() -> list[np.ndarray]:
    """Intrinsics of colour, extrinsics of colour, and the same of depth."""
    color, depth = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)
    color[0, 0], depth[0, 0] = 20.5, 14.25
    return [color, np.eye(4, dtype=np.float32), depth, np.eye(4, dtype=np.float32)]


def recording(
    frames: int = 5,
    *,
    version: int = 4,
    color: int = 2,
    depth: int = 1,
    lost: Sequence[int] = (),
    shift: float = 1000.0,
    name: bytes = b"StructureSensor",
    imu: int = 2,
    color_size: tuple[int, int] = COLOUR,
    depth_size: tuple[int, int] = DEPTH,
) -> bytes:
    """The bytes of a recording; frames in ``lost`` have poses of minus infinity."""
    parts = [struct.pack("<IQ", version, len(name)), name]
    parts += [matrix.astype("<f4").tobytes() for matrix in matrices()]
    parts.append(struct.pack("<2i4IfQ", color, depth, *color_size, *depth_size, shift, frames))
    for number in range(frames):
        pose = np.full((4, 4), -np.inf, np.float32) if number in lost else pose_of(number)
        shown = picture(number, color if color in (0, 1, 2) else 2, color_size)
        steps = depth_of(number, depth_size).astype("<u2").tobytes()
        steps = zlib.compress(steps) if depth == 1 else steps
        head = struct.pack("<4Q", 10 * number, 10 * number + 1, len(shown), len(steps))
        parts += [pose.astype("<f4").tobytes(), head, shown, steps]
    parts += [struct.pack("<Q", imu), bytes(128 * imu)]
    return b"".join(parts)


def write(path: Path, **settings: object) -> Path:
    path.write_bytes(recording(**settings))  # type: ignore[arg-type]
    return path
