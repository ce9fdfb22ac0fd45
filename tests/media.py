"""Videos and pictures for tests, made on the spot."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image


def frame(number: int, width: int = 64, height: int = 48) -> np.ndarray[Any, Any]:
    """A (H, W, 3) picture whose left half is as bright as its number says; it survives compression."""
    picture = np.full((height, width, 3), 40, np.uint8)
    picture[:, : width // 2] = (number * 12) % 256
    picture[: height // 4, width // 2 :] = (200, 30, 90)
    return picture


def number_of(picture: Any) -> int:
    """The number that :func:`frame` painted into a (3, H, W) frame."""
    return round(float(picture[:, :, : picture.shape[2] // 4].float().mean()) / 12)


def write_video(
    path: Path,
    frames: int | Sequence[np.ndarray[Any, Any]] = 12,
    *,
    size: tuple[int, int] = (64, 48),
    fps: int = 8,
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    title: str = "",
    metadata_encoding: str = "utf-8",
) -> str:
    """A video of numbered frames, of the kind its suffix says; ``times`` in seconds vary its rate."""
    pictures = [frame(number, *size) for number in range(frames)] if isinstance(frames, int) else frames
    with av.open(str(path), "w", options=options or {}, metadata_encoding=metadata_encoding) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=fps if times is None else 1000, options=encoder or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for number, picture in enumerate(pictures):
            image = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                image.pts, image.time_base = round(times[number] * 1000), Fraction(1, 1000)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    if rotation:
        _turn(path, rotation)
    return str(path)


def _turn(path: Path, degrees: int) -> None:
    """Write the display matrix of an mp4's track header, since PyAV can do so in its newest versions only."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # after the type, 24 bytes of times and ids, 16 of layer and volume
    cosine, sine = {90: (0, 1), -90: (0, -1), 180: (-1, 0)}[degrees]
    values = [cosine, -sine, 0, sine, cosine, 0, 0, 0]
    data[matrix : matrix + 32] = struct.pack(">8i", *(value << 16 for value in values))
    path.write_bytes(bytes(data))


def write_truncated(path: Path, share: float = 0.6) -> str:
    """An mp4 whose index is at its front and complete, and whose pictures are not all there."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    write_video(path, list(noise), options={"movflags": "faststart"}, encoder={"g": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return str(path)


def write_sound(path: Path) -> str:
    """A second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return str(path)


def write_no_frames(path: Path) -> str:
    """A well-formed file with a video stream that holds nothing."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return str(path)


def photo(width: int = 80, height: int = 60, seed: int = 0, mode: str = "RGB") -> PIL.Image.Image:
    """A smooth coloured picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC).convert(mode)
