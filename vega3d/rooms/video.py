"""Rooms as mp4 files: H.264 written atomically, and a tag by which a rooms video is recognised.

PyAV is imported inside the functions, so that `vega3d.rooms` needs numpy alone. Of a video only the tag of
its container is read; `vega3d.media.decoding` reads frames.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vega3d._utils.files import make_folder, write_whole
from vega3d.errors import InputError
from vega3d.rooms.scene import ROOMS_VERSION

Frames = NDArray[np.uint8]
_INTER, _INTRA = {"crf": "12", "bf": "0"}, {"qp": "12", "g": "1"}  # settings of x264
_TAG = re.compile(r"^vega3d-rooms/(\d+)/(\d+)$")


def rooms_tag(seed: int, version: int = ROOMS_VERSION) -> str:
    """The container comment of a clip of this room."""
    return f"vega3d-rooms/{version}/{seed}"


def write_mp4(
    path: str | Path, frames: Frames, fps: float, *, comment: str | None = None, intra: bool = False
) -> None:
    """Write frames (T, H, W, 3) uint8 RGB as H.264; a reader never sees half a file.

    Height and width must be even (yuv420p). ``comment`` becomes the container's comment tag. With
    ``intra`` every frame is coded by itself at one quantiser: equal frames stay equal.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or len(frames) == 0:
        got = (frames.shape, frames.dtype)
        raise InputError("Invalid frames of a video.", got=got, expected="(T, H, W, 3) uint8")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        expected = "even height and width, as H.264 needs them"
        raise InputError("Invalid size of a video.", got=frames.shape[1:3], expected=expected)
    target = Path(path)
    make_folder(target.parent)
    write_whole(target, lambda part: _encode(str(part), frames, fps, comment, intra))


def rooms_source(path: str | Path) -> tuple[int, int] | None:
    """(seed, version) that `make_room` takes to make the room of a rooms video, or None for other files."""
    import av

    from vega3d.media.decoding import open_video

    try:
        with open_video(path) as container:
            match = _TAG.match(container.metadata.get("comment", ""))
    except (OSError, ValueError, av.FFmpegError):
        return None
    return (int(match.group(2)), int(match.group(1))) if match else None


def _encode(path: str, frames: Frames, fps: float, comment: str | None, intra: bool) -> None:
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(path, "w", format="mp4") as container:
        if comment is not None:
            container.metadata["comment"] = comment
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        # One thread, and no B frames: x264 chooses those differently from run to run, and with several
        # threads from machine to machine.
        h264 = {"preset": "veryfast", "threads": "1"} | (_INTRA if intra else _INTER)
        stream.options = h264 if codec == "libx264" else {"q": "2"}
        for frame in np.ascontiguousarray(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
