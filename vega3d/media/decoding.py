"""Open, sample and decode videos; a frame's number is its position in presentation order.

Decoding is sequential PyAV. A header is trusted only where it agrees with the packets in the file; otherwise
frames are counted by decoding. A file that holds less than its header states is an error, never a shorter
video. Sampling repeats qwen-vl-utils, number for number.

FFmpeg also reads lists that name other files (ffconcat, HLS, DASH, SDP) and takes some names for addresses.
Only containers that hold their own pictures are opened here, and only under a local path.
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from vega3d.errors import InputError, MediaError
from vega3d.media.image import MAX_PIXELS, load_image, too_many_pixels
from vega3d.media.source import open_source, shown

Source = str | os.PathLike[str] | io.BytesIO
"""A path, a ``file://`` or ``http(s)://`` address, a folder of pictures, or the bytes of a file."""

DEFAULT_FPS = 2.0  # qwen-vl-utils' rate, both for sampling and for pictures that come without one
# PyAV itself fails with the last two on streams that appear half-way, and on times without a unit.
_BROKEN = (av.error.FFmpegError, LookupError, ArithmeticError)
COPY = "copy or download the file again"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PHOTOS = (*PICTURES, ".jfif", ".tif", ".tiff", ".avif", ".heic")
CONTAINERS = (
    # video
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo"),
    *("flv", "asf", "ogg", "gif", "apng", "mxf", "nut", "ivf", "obu", "h264", "hevc", "m4v", "mjpeg", "dv"),
    *("rm", "wtv", "gxf", "yuv4mpegpipe"),
    # sound alone, for an error that says so
    *("wav", "mp3", "flac", "aac"),
)
"""Demuxers of FFmpeg that read nothing but the file that they are given."""


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video, measured rather than read from its header.

    Attributes:
        path: path or address, for messages.
        n_frames: number of decoded frames in presentation order.
        fps: mean frames a second.
        width: width of an upright frame in pixels.
        height: height of an upright frame in pixels.
    """

    path: str
    n_frames: int
    fps: float
    width: int
    height: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.n_frames / self.fps


def probe(source: Source, *, fps: float | None = None) -> VideoInfo:
    """Measure a video, or a folder of pictures in natural order of their names.

    Args:
        source: the video.
        fps: pictures a second, for a folder only; 2.0 with a warning if left out.

    Raises:
        MediaNotFoundError: no such file, or an address that cannot be reached.
        MediaError: not a video, audio only, no frames, or fewer frames than its header says.
    """
    if (folder := _folder(source)) is not None:
        return _probe_folder(folder, fps)
    with _opened(source) as (container, stream):
        packets = _walk(container, stream)
        _check_complete(packets, container, stream, source)
        height, width = _pixels(packets.first).shape[1:]
        trusted = stream.frames == packets.listed
        stated = float(stream.average_rate or stream.guessed_rate or stream.base_rate or 1)
    if trusted:
        count = packets.shown
    else:
        with _opened(source) as (container, stream):
            count = sum(1 for _ in container.decode(stream))
    rate = _rate(stated, count, packets.last - packets.start)
    return VideoInfo(shown(source).strip("'"), count, rate, width, height)


def read_frames(source: Source, indices: Sequence[int]) -> Tensor:
    """Decode the frames with these numbers, in this order.

    Args:
        source: the video.
        indices: frame numbers in presentation order, from 0; repeats are allowed.

    Returns:
        uint8 (N, 3, H, W), RGB, upright.

    Raises:
        MediaError: a frame is missing or damaged, or the frames differ in size.
        InputError: no indices, or a negative one.
    """
    wanted = {int(index) for index in indices}
    if not wanted or min(wanted) < 0:
        what, fix = f"Cannot read these frames of {shown(source)}.", "use sample_indices(probe(path))"
        raise InputError(what, got=list(indices), expected="one or more frame numbers from 0", fix=fix)
    if (folder := _folder(source)) is not None:
        files = pictures_of(folder)
        frames = {index: load_image(files[index]) for index in wanted if index < len(files)}
    else:
        frames = {}
        with _opened(source) as (container, stream):
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    frames[number] = _pixels(frame)
                if len(frames) == len(wanted):
                    break
    if missing := sorted(wanted - set(frames)):
        got, expected = f"{len(missing)} of {len(wanted)} missing", f"at least {max(wanted) + 1} frames"
        raise _undecodable(source, f"it ends before frame {missing[0]}", got, expected, COPY)
    return stack_frames([frames[int(index)] for index in indices], shown(source))


def stack_frames(frames: Sequence[Tensor], name: str = "the clip") -> Tensor:
    """Frames (3, H, W) of one clip as (N, 3, H, W)."""
    sizes = list(dict.fromkeys((frame.shape[2], frame.shape[1]) for frame in frames))
    if len(sizes) != 1:
        what = f"Invalid clip {name}: " + ("its frames differ in size." if sizes else "it has no frames.")
        got = ", ".join(f"{width}x{height}" for width, height in sizes) or "0 frames"
        expected, fix = "frames of one size", "resize or crop them before, or pass them as separate images"
        raise MediaError(what, got=got, expected=expected, fix=fix)
    return torch.stack(list(frames))


@dataclass
class _Packets:
    listed: int = 0  # all that hold data
    shown: int = 0  # without those that an edit list hides
    damaged: bool = False
    start: float = math.inf  # seconds: when the first frame starts
    last: float = -math.inf  # seconds: when the last frame starts
    first: Any = None  # the first frame, decoded


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream; every failure of the decoder inside becomes a MediaError."""
    file = open_source(source)
    try:
        with open_video(file) as container:
            yield container, _video_stream(container, source)
    except _BROKEN as error:
        size = Path(file).stat().st_size if isinstance(file, str) else file.getbuffer().nbytes
        what = f"Cannot decode {shown(source)} as a video" + ("." if size else ": the file is empty.")
        got = f"{size} bytes; {getattr(error, 'strerror', None) or error}"
        expected = "a complete video file (mp4, mkv, webm, avi, mov, ...), no list of other files"
        fix = "it may be truncated or not a video: copy, download or export it again"
        raise MediaError(what, got=got, expected=expected, fix=fix) from error


def _video_stream(container: Any, source: Source) -> Any:
    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        expected, fix = "a file with moving pictures", "check that the right file is passed"
        raise _undecodable(source, "it has no video stream", f"only {kinds}", expected, fix)
    stream = streams[0]
    if stream.codec_context is None:
        expected, fix = "H.264, HEVC, VP9, AV1, MPEG-4, ...", "ffmpeg -i in.mp4 -c:v libx264 out.mp4"
        raise _undecodable(source, "its codec is not available", "an unknown codec", expected, fix)
    if stream.width * stream.height > MAX_PIXELS:
        raise too_many_pixels(shown(source), f"{stream.width}x{stream.height}")
    stream.thread_type = "AUTO"
    return stream


def _walk(container: Any, stream: Any) -> _Packets:
    """Go through the file without decoding more than the first frame."""
    packets = _Packets()
    for packet in container.demux(stream):
        if packets.first is None:
            packets.first = next(iter(packet.decode()), None)
        if not packet.size:
            continue
        packets.listed += 1
        packets.damaged |= packet.is_corrupt
        if not packet.is_discard:
            packets.shown += 1
            time = float((packet.pts or 0) * packet.time_base)
            packets.start, packets.last = min(packets.start, time), max(packets.last, time)
    return packets


def _check_complete(packets: _Packets, container: Any, stream: Any, source: Source) -> None:
    short = packets.listed < stream.frames
    if not stream.frames and len(container.streams) == 1 and container.duration:  # no count, but a length
        short = packets.last < 0.9 * container.duration / av.time_base - 1.0
    if short or packets.damaged:
        is_whole = stream.frames and packets.listed >= stream.frames
        got = f"{packets.listed} frames" + (", the last one damaged" if is_whole else "")
        expected = f"the {stream.frames} frames that its header lists" if stream.frames else "its full length"
        raise _undecodable(source, "it is truncated", got, expected, COPY)
    if packets.first is None:
        raise _undecodable(source, "it has no frames", "0 frames", "at least one frame", "export it again")


def _rate(stated: float, count: int, span: float) -> float:
    """Mean frames a second: as stated where the frames' own times agree within 2 %, else measured."""
    if count < 2 or not 0 < span < math.inf:
        return stated
    measured = (count - 1) / span
    return stated if abs(measured - stated) <= 0.02 * stated else measured


def _undecodable(source: Source, problem: str, got: str, expected: str, fix: str) -> MediaError:
    return MediaError(f"Cannot decode {shown(source)}: {problem}.", got=got, expected=expected, fix=fix)


def _pixels(frame: Any) -> Tensor:
    """uint8 (3, H, W); turned upright by the stream's display matrix."""
    picture = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))  # (H, W, 3) -> (3, H, W)


def _folder(source: Source) -> Path | None:
    if isinstance(source, io.BytesIO) or "://" in (path := os.fspath(source).removeprefix("file://")):
        return None
    return Path(path) if os.path.isdir(path) else None


def is_photo(path: str) -> bool:
    """True for the name of a single picture."""
    return Path(path).suffix.lower() in PHOTOS and not os.path.isdir(path)


def pictures_of(folder: Path) -> list[Path]:
    """Files of a folder that are pictures, 2.png before 10.png."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES]
    return sorted(
        files, key=lambda file: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", file.name)]
    )


def _probe_folder(folder: Path, fps: float | None) -> VideoInfo:
    files = pictures_of(folder)
    if not files:
        what, got = f"Invalid folder {str(folder)!r}: it has no pictures.", sorted(os.listdir(folder))[:3]
        expected, fix = "files ending in " + ", ".join(PICTURES), "pass the folder that holds the frames"
        raise MediaError(what, got=got, expected=expected, fix=fix)
    height, width = load_image(files[0]).shape[1:]
    rate = fps if fps is not None else assume_fps(f"the folder {str(folder)!r}")
    return VideoInfo(str(folder), len(files), rate, width, height)


def assume_fps(name: str) -> float:
    """2.0 frames a second for pictures that come without a rate, with a warning that says so."""
    warnings.warn(
        f"No frame rate was given for {name}: {DEFAULT_FPS} frames a second are assumed, as qwen-vl-utils"
        " does. Times that the host sees depend on it; pass fps (a list of frames) or raw_fps (a folder).",
        UserWarning,
        stacklevel=2,
    )
    return DEFAULT_FPS


def open_video(file: str | os.PathLike[str] | io.BytesIO) -> Any:
    """Open a container of ``av`` for reading; titles that are not UTF-8 are replaced.

    Raises:
        av.error.FFmpegError: the file is not a video, or its container is not among ``CONTAINERS``.
    """
    # A log callback in Python (older torchvision asks PyAV for one) needs the interpreter's lock, which
    # the thread that closes a decoder holds while it waits for the decoder's threads: a deadlock.
    av.logging.set_level(None)
    # An absolute path begins with no protocol: "concat:a|b" in the current folder is a file of that name.
    source = file if isinstance(file, io.BytesIO) else os.path.abspath(file)
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    return av.open(source, metadata_errors="replace", container_options=options)


def frame_range(info: VideoInfo, start: float | None = None, end: float | None = None) -> range:
    """The frames between two times in seconds, both included; all frames without them."""
    first = math.ceil(max(0.0, min(start, info.duration)) * info.fps) if start is not None else 0
    last = math.floor(max(0.0, min(end, info.duration)) * info.fps) if end is not None else info.n_frames
    last = min(last, info.n_frames - 1)
    if first > last:
        what, got = f"Invalid start and end: no frame of {info.path}.", f"start {start} s, end {end} s"
        expected = f"times within 0..{info.duration:.2f} s, a frame ({1 / info.fps:.3f} s) apart or more"
        raise InputError(what, got=got, expected=expected, fix="widen the range")
    return range(first, last + 1)


def sample_indices(
    info: VideoInfo,
    *,
    fps: float | None = None,
    nframes: int | None = None,
    min_frames: int = 4,
    max_frames: int = 768,
    factor: int = 2,
    start: float | None = None,
    end: float | None = None,
) -> tuple[int, ...]:
    """Evenly spaced frame numbers, as qwen-vl-utils picks them.

    Args:
        info: the video.
        fps: frames to take for each second; 2.0 if neither it nor ``nframes`` is given.
        nframes: frames to take in all, rounded to a multiple of ``factor`` unless it is smaller.
        min_frames: at least so many under ``fps``, where the video has them.
        max_frames: at most so many under ``fps``.
        factor: frames that the host merges into one time step.
        start: seconds; earlier frames are left out.
        end: seconds; later frames are left out.

    Returns:
        Frame numbers in order. A video of fewer than ``factor`` frames gives all of its frames; fewer than
        ``factor`` for ``nframes`` gives the middle of as many parts of the video.

    Raises:
        InputError: contradicting arguments, or more frames asked for than there are.
    """
    span = frame_range(info, start, end)
    if nframes is not None and fps is not None:
        raise _bad_sampling(f"fps={fps}, nframes={nframes}", "fps or nframes, not both", "drop one of them")
    if fps is not None and not fps > 0:
        raise _bad_sampling(f"fps={fps}", "a positive number of frames a second", "pass fps=2.0")
    if len(span) < factor and (nframes is None or 1 <= nframes <= len(span)):
        return tuple(span)
    if nframes is not None and 1 <= nframes < factor:  # the host repeats the last one to a whole time step
        return tuple(span[(2 * part + 1) * len(span) // (2 * nframes)] for part in range(nframes))
    if nframes is not None:
        count = round(nframes / factor) * factor
    else:
        low = math.ceil(min_frames / factor) * factor
        high = math.floor(min(max_frames, len(span)) / factor) * factor
        asked = len(span) / info.fps * (fps if fps is not None else DEFAULT_FPS)
        count = math.floor(min(max(asked, low), high, len(span)) / factor) * factor
    if not factor <= count <= len(span):
        got = f"{count} of {len(span)} frames"
        expected = f"{factor} to {len(span)} frames: {info.path} has no more in that range"
        raise _bad_sampling(got, expected, "lower nframes, or pass fps instead")
    return tuple(torch.linspace(span[0], span[-1], count).round().long().tolist())


def _bad_sampling(got: str, expected: str, fix: str) -> InputError:
    return InputError(f"Invalid sampling: {got}.", got=got, expected=expected, fix=fix)
