"""Requested videos as planned clips: which frames either side needs, and how to read them.

A clip's *plan* counts frames of the source; its *metadata* is what transformers calls ``VideoMetadata`` and
tells the host where in time those frames lie. It is always made here: without it a host's processor takes
frames for 24 a second. Frames are decoded when they are asked for, all at once.

Floating-point frames in 0..255 are what qwen-vl-utils returns. The host's processor gets them as they are, so
that it makes of them what it would have made without us; the generator gets them as uint8.

This module knows no host.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from torch import Tensor

from vega3d.decoding import assume_fps, pictures_of
from vega3d.errors import InputError
from vega3d.given_frames import pixels_of
from vega3d.image import as_tensor, image_size, load_image, open_source, shown
from vega3d.messages import Limits, VideoRequest
from vega3d.store.keys import FeatureKey, IdentityPolicy, identify
from vega3d.store.lookup import picture_keys, video_keys
from vega3d.video import FramePlan, frame_range, probe, read_frames, sample_indices, stack_frames

Planner = Callable[[Sequence[int]], FramePlan]
"""Makes the plan of a clip from the source frames that the host sees."""

Guess = Callable[[int], dict[str, Any]]
"""``VideoMetadata`` that a host's processor assumes of so many frames whose rate is not given."""


@dataclass(frozen=True)
class Frames:
    """Decoded frames of a source.

    Attributes:
        indices: their numbers in the source.
        pixels: uint8 (N, 3, H, W), in that order.
    """

    indices: tuple[int, ...]
    pixels: Tensor

    def pick(self, indices: tuple[int, ...]) -> Tensor:
        """uint8 (n, 3, H, W): the frames with these numbers."""
        if indices == self.indices:
            return self.pixels  # shared, not copied
        place = {index: at for at, index in enumerate(self.indices)}
        return self.pixels[[place[index] for index in indices]]


@dataclass(frozen=True)
class Clip:
    """One video, planned.

    Attributes:
        plan: which of its frames the host sees, which the generator encodes.
        metadata: transformers' ``VideoMetadata`` of the host's frames, as a dict.
        limits: how large the host may see them.
        size: height and width of its frames.
        source: the path of a video or folder, paths of its pictures, a file in memory, or its frames.
        name: what a message calls it.
        given: its frames (T, 3, H, W) as the host's processor gets them, if they are floating in 0..255.
    """

    plan: FramePlan
    metadata: dict[str, Any]
    limits: Limits
    size: tuple[int, int]
    source: str | tuple[str, ...] | io.BytesIO | Tensor
    name: str
    given: Tensor | None = None

    def decode(self, indices: tuple[int, ...] | None = None) -> Frames:
        """Frames by number; by default all that either side needs.

        Raises:
            MediaError: a frame is missing or damaged.
        """
        wanted = self.plan.union if indices is None else indices
        if isinstance(self.source, Tensor):
            every = Frames(tuple(range(len(self.source))), self.source)
            return Frames(wanted, every.pick(wanted))
        if isinstance(self.source, tuple):
            return Frames(wanted, stack_frames([load_image(self.source[at]) for at in wanted], self.name))
        return Frames(wanted, read_frames(self.source, wanted))

    def for_host(self, frames: Frames) -> Tensor:
        """The host's frames (T, 3, H, W) among decoded ones: uint8, or floating point in 0..255 as given."""
        return frames.pick(self.plan.host) if self.given is None else self.given[list(self.plan.host)]

    @property
    def host_metadata(self) -> dict[str, Any]:
        """``VideoMetadata`` of the host's frames with their size; a copy, which a processor may change."""
        height, width = self.size
        frames_indices = list(self.metadata["frames_indices"])
        return {**self.metadata, "height": height, "width": width, "frames_indices": frames_indices}

    @property
    def pictures(self) -> tuple[str, ...] | None:
        """The files of its frames, where each frame is a file."""
        if isinstance(self.source, tuple):
            return self.source
        if isinstance(self.source, str) and Path(self.source).is_dir():
            return tuple(str(path) for path in pictures_of(Path(self.source)))
        return None

    def keys(self, policy: IdentityPolicy) -> list[FeatureKey]:
        """The address of each run of the plan in a store.

        Args:
            policy: how files are identified.
        """
        frames = self.source if isinstance(self.source, Tensor) else self.pictures
        if frames is not None:
            needed = set(self.plan.generative)
            media = [identify(one, policy) if at in needed else "" for at, one in enumerate(frames)]
            return picture_keys(self.plan, media, self.size)
        assert not isinstance(self.source, (Tensor, tuple))
        content = self.source.getvalue() if isinstance(self.source, io.BytesIO) else self.source
        return video_keys(self.plan, identify(content, policy), self.size)


def plan_clip(request: VideoRequest, planner: Planner, factor: int = 2, guess: Guess | None = None) -> Clip:
    """Sample and plan one video; of a file only what is needed to count its frames is read.

    Args:
        request: source, limits and sampling.
        planner: makes the plan from the frames that the host sees.
        factor: frames that the host merges into one time step.
        guess: what the host's processor assumes of floating-point frames in 0..255 without a rate.

    Raises:
        MediaNotFoundError, MediaError: the source is missing or cannot be decoded.
        InputError: the sampling contradicts itself or the source.
    """
    if _is_frames(request.source):
        return _from_frames(request, planner, guess)
    return _from_file(request, planner, factor)


def _is_frames(source: Any) -> bool:
    return isinstance(source, (list, tuple, Tensor, np.ndarray))


def _from_file(request: VideoRequest, planner: Planner, factor: int) -> Clip:
    if request.metadata is not None:
        raise _wrong_key("video_metadata", request, "frames that were already sampled", "pass fps or nframes")
    wanted = dict(request.sampling)
    for key in ("sample_fps",):
        if key in wanted:
            raise _wrong_key(key, request, "a list of frames", "pass fps, the rate to sample at")
    source = open_source(request.source)  # an address is fetched once
    info = probe(source, fps=wanted.pop("raw_fps", None))
    start, end = wanted.pop("video_start", None), wanted.pop("video_end", None)
    host = sample_indices(info, factor=factor, start=start, end=end, **wanted)
    metadata = _metadata(host, len(frame_range(info, start, end)), info.fps)
    return Clip(planner(host), metadata, request.limits, (info.height, info.width), source, info.path)


def _from_frames(request: VideoRequest, planner: Planner, guess: Guess | None) -> Clip:
    paths = _paths(request.source)
    frames, given = (paths, None) if paths is not None else _stacked(request.source)
    for key in request.sampling:
        if key not in ("fps", "sample_fps", "raw_fps"):
            raise _wrong_key(key, request, "a video file", "pick the frames before passing them")
    size = image_size(frames[0]) if isinstance(frames, tuple) else (frames.shape[2], frames.shape[3])
    host: Sequence[int] = range(len(frames))
    if request.metadata is not None:
        metadata = _given_metadata(request.metadata, len(frames))
    elif given is not None and guess is not None and not request.sampling:
        metadata = guess(len(frames))
        host = metadata["frames_indices"]
    else:
        metadata = _rated_metadata(request.sampling, len(frames), _shown(request.source))
    return Clip(planner(host), metadata, request.limits, size, frames, _shown(request.source), given)


def _rated_metadata(sampling: Mapping[str, Any], count: int, name: str) -> dict[str, Any]:
    fps = sampling.get("sample_fps", sampling.get("fps"))
    fps = float(fps) if fps is not None else assume_fps(f"a clip of {count} frames")
    raw = float(sampling.get("raw_fps", fps))
    if not (0 < fps < math.inf and 0 < raw < math.inf):
        raise InputError(
            f"Invalid rate of {name}.",
            got=f"fps {fps}, raw_fps {raw}",
            expected="positive numbers of frames a second",
            fix="pass the rate at which the frames were taken",
        )
    return _metadata([round(at * raw / fps) for at in range(count)], count / fps * raw, raw)


def _metadata(places: Sequence[int], total: float, fps: float) -> dict[str, Any]:
    return {
        "total_num_frames": total,
        "fps": fps,
        "duration": total / fps,
        "frames_indices": list(places),
        "video_backend": "pyav",
    }


def _given_metadata(metadata: Mapping[str, Any], count: int) -> dict[str, Any]:
    given = {key: value for key, value in dict(metadata).items() if value is not None}
    try:
        places = [int(at) for at in given.get("frames_indices", range(count))]
        fps = float(given.get("fps", 0.0))
    except (TypeError, ValueError, OverflowError):
        places, fps = [], 0.0
    if len(places) != count or not 0 < fps < math.inf:
        raise InputError(
            "video_metadata does not describe the frames.",
            got=f"fps {given.get('fps')}, {len(places)} frames_indices for {count} frames",
            expected="fps of the source and the number in it of every frame",
            fix='pass {"fps": 30.0, "total_num_frames": 300, "frames_indices": [...]}, or fps= instead',
        )
    return {"total_num_frames": count, **given, "frames_indices": places}


def _paths(source: Any) -> tuple[str, ...] | None:
    """Local files of a clip's frames, all of which exist; they are read when they are needed."""
    is_list = isinstance(source, (list, tuple))
    if not is_list or not all(isinstance(one, (str, os.PathLike)) for one in source):
        return None
    opened = [open_source(one) for one in source if not str(one).startswith(("http", "data:"))]
    return tuple(map(str, opened)) if len(opened) == len(source) and opened else None


def _stacked(source: Any) -> tuple[Tensor, Tensor | None]:
    """uint8 (T, 3, H, W) from an array or a list of pictures; and the array if it is floating in 0..255."""
    if isinstance(source, (list, tuple)):
        return stack_frames([load_image(frame) for frame in source]), None
    array = as_tensor(source)
    if array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]) or not array.numel():
        raise InputError(
            "An array is no video.",
            got=f"shape {tuple(array.shape)}",
            expected="(T, 3, H, W) or (T, H, W, 3), RGB, at least one frame",
            fix="stack the frames along a new first axis",
        )
    channels_first = array if array.shape[1] == 3 else array.permute(0, 3, 1, 2)
    pixels, given = pixels_of(channels_first)
    return pixels.cpu().contiguous(), given


def _wrong_key(key: str, request: VideoRequest, meant_for: str, fix: str) -> InputError:
    return InputError(
        f"{key} does not apply to {_shown(request.source)}.",
        got=f"{key} with {_shown(request.source)}",
        expected=f"{key} only for {meant_for}",
        fix=fix,
    )


def _shown(source: Any) -> str:
    return f"a clip of {len(source)} frames" if _is_frames(source) else shown(source)


def is_picture(item: Any) -> bool:
    """Whether an object is one decoded picture, so that a list of such is one clip."""
    return isinstance(item, PIL.Image.Image) or (isinstance(item, (Tensor, np.ndarray)) and item.ndim <= 3)
