"""Media of one clip, sampled and planned: the frames that either side needs, and how to read them.

A clip's *plan* counts frames of the source; its *metadata* is what transformers calls ``VideoMetadata`` and
gives the host the times of those frames. It is always made here: without it a host's processor takes
frames for 24 a second. Frames are decoded when they are asked for, all at once.

Floating-point frames in 0..255, already resized, are what ``process_vision_info`` of qwen-vl-utils returns.
The host's processor gets them untouched, with the times that it assumes if none are given, so that its inputs
stay the same as without vega3d; the generator gets them as uint8.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vega3d.errors import InputError
from vega3d.hosts import Modality
from vega3d.inputs.clip import Clip, Planner
from vega3d.inputs.messages import ImageRequest, VideoRequest
from vega3d.media.decoding import (
    assume_fps,
    frame_range,
    pictures_of,
    probe,
    read_frames,
    sample_indices,
    stack_frames,
)
from vega3d.media.frame_plan import FramePlan
from vega3d.media.image import as_tensor, image_size, load_image, to_uint8
from vega3d.media.overlays import Marks, identify_drawn
from vega3d.media.source import open_source, shown
from vega3d.store import FeatureStore
from vega3d.store.feature_store import look_up
from vega3d.store.format import FeatureKey, IdentityPolicy, identify, picture_key

FRAMES = (list, tuple, Tensor, np.ndarray)
Guess = Callable[[int], dict[str, Any]]
"""``VideoMetadata`` that a host's processor assumes of so many frames whose rate is not given."""


@dataclass(frozen=True)
class ClipSource:
    """Media of one clip, planned and not decoded.

    Attributes:
        plan: frames of the host and of the generator.
        size: height and width of its frames in pixels.
        media: the path of a video or of a folder of frames; a video in memory; or its frames, each as a path
            or as pixels (3, H, W).
        name: name in messages.
        address: path or address under which a video can be opened again; None if it is in memory.
        marks: marks that the generator gets drawn on each picture; empty if there are none.
        metadata: transformers' ``VideoMetadata`` of the host's frames, as a dict.
        given: frames (T, 3, H, W) for the host's processor if they are floating in 0..255; else None.
    """

    plan: FramePlan
    size: tuple[int, int]
    media: str | io.BytesIO | tuple[str | Tensor, ...] | Tensor
    name: str
    address: str | None = None
    marks: tuple[Marks, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    given: Tensor | None = None

    @cached_property
    def pictures(self) -> tuple[str | Tensor, ...] | Tensor | None:
        """Its frames, where each frame is a file or in memory; None for a video file."""
        if isinstance(self.media, (tuple, Tensor)):
            return self.media
        if isinstance(self.media, str) and Path(self.media).is_dir():
            return tuple(str(path) for path in pictures_of(Path(self.media)))
        return None

    def frames_of(self, run: Sequence[int]) -> tuple[int, ...]:
        """Source frame numbers of a run of the plan."""
        return tuple(self.plan.generative[position] for position in run)

    def keys(
        self, policy: IdentityPolicy | None = "content", runs: Collection[int] | None = None
    ) -> tuple[FeatureKey, ...]:
        """The address of runs of the plan in a store.

        Args:
            policy: policy by which files are identified; None uses their paths.
            runs: numbers of the runs; None takes all. Files of others are not read.
        """
        chosen = self.plan.runs if runs is None else [self.plan.runs[number] for number in runs]
        numbers = [self.frames_of(run) for run in chosen]
        if not numbers:
            return ()
        if self.pictures is None:
            video: Any = self.media.getvalue() if isinstance(self.media, io.BytesIO) else self.media
            media = str(self.address) if policy is None else identify(video, policy)
            return tuple(FeatureKey(media, frames, self.size) for frames in numbers)
        identities = {index: self._picture_identity(index, policy) for index in sorted({*sum(numbers, ())})}
        return tuple(picture_key([identities[index] for index in frames], self.size) for frames in numbers)

    def clip(self, modality: Modality, items: Sequence[int], store: FeatureStore | None = None) -> Clip:
        """The clip with its cache lookup and without frames."""
        keys = self.keys(store.identity) if store is not None else ()
        cached = look_up(store, self.plan, keys, self.name) if store is not None else None
        frames = torch.empty(0, 3, *self.size, dtype=torch.uint8)
        return Clip(frames, self.plan, tuple(items), self.size, keys, cached, modality)

    def decode(self, generative: bool = True) -> tuple[Tensor, Tensor]:
        """Frames (T, 3, H, W) of the host and of the generator, all decoded at once.

        Args:
            generative: False leaves the generator's frames out: T = 0.

        Returns:
            The host's are uint8, or floating point in 0..255 as they were given; the generator's are uint8.
        """
        plan = self.plan
        wanted = plan.union if generative else plan.host
        if isinstance(self.media, Tensor):
            pixels = _picked(self.media, tuple(range(len(self.media))), wanted)
        elif isinstance(self.media, tuple):
            pixels = stack_frames([load_image(self.media[index]) for index in wanted], self.name)
        else:
            pixels = read_frames(self.media, wanted)
        host = _picked(pixels, wanted, plan.host) if self.given is None else self.given[list(plan.host)]
        return host, _picked(pixels, wanted, plan.generative) if generative else pixels[:0].clone()

    def _picture_identity(self, index: int, policy: IdentityPolicy | None) -> str:
        assert self.pictures is not None
        picture = self.pictures[index]
        media = str(picture) if policy is None else identify(picture, policy)
        return identify_drawn(media, self.marks[index] if self.marks else ())


def _picked(pixels: Tensor, numbers: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """The frames with the wanted numbers, of frames with these numbers."""
    if wanted == numbers:
        return pixels  # shared, not copied
    positions = {number: position for position, number in enumerate(numbers)}
    return pixels[[positions[number] for number in wanted]]


def plan_images(
    requests: Sequence[ImageRequest],
    planner: Planner,
    *,
    drawn: bool = False,
    pixels: Sequence[Tensor] | None = None,
) -> ClipSource:
    """Plan images that are one clip, in the order of the host's frames.

    Args:
        requests: the images.
        planner: makes the plan from the frames that the host sees.
        drawn: True if the generator gets the marks drawn on them.
        pixels: their decoded pixels (3, H, W), without marks; they identify images that are not files.
    """
    sources = [request.source for request in requests]
    if pixels is None:
        size = image_size(sources[0])
    else:
        size = (pixels[0].shape[1], pixels[0].shape[2])
        sources = [_file_of(source) or decoded for source, decoded in zip(sources, pixels, strict=True)]
    marks = tuple(request.marks for request in requests) if drawn else ()
    plan = planner(range(len(requests)))
    return ClipSource(plan, size, tuple(sources), shown(requests[0].source), marks=marks)


def _file_of(source: Any) -> str | None:
    name = os.fspath(source).removeprefix("file://") if isinstance(source, (str, os.PathLike)) else ""
    return name if os.path.isfile(name) else None


def plan_video(
    request: VideoRequest, planner: Planner, factor: int = 2, guess: Guess | None = None
) -> ClipSource:
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
    if isinstance(request.source, FRAMES):
        return _from_frames(request, planner, guess)
    if request.metadata is not None:
        raise _wrong_key("video_metadata", request, "frames that were already sampled", "pass fps or nframes")
    wanted = dict(request.sampling)
    if "sample_fps" in wanted:
        raise _wrong_key("sample_fps", request, "a list of frames", "pass fps, the rate to sample at")
    source = open_source(request.source)  # an address is fetched once
    info = probe(source, fps=wanted.pop("raw_fps", None))
    start, end = wanted.pop("video_start", None), wanted.pop("video_end", None)
    host = sample_indices(info, factor=factor, start=start, end=end, **wanted)
    metadata = _metadata(host, len(frame_range(info, start, end)), info.fps)
    address, size = request.source if isinstance(request.source, str) else None, (info.height, info.width)
    return ClipSource(planner(host), size, source, info.path, address, metadata=metadata)


def _from_frames(request: VideoRequest, planner: Planner, guess: Guess | None) -> ClipSource:
    paths, name = _paths(request.source), _shown(request.source)
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
        metadata = _rated_metadata(request.sampling, len(frames), name)
    return ClipSource(planner(host), size, frames, name, metadata=metadata, given=given)


def _rated_metadata(sampling: Mapping[str, Any], count: int, name: str) -> dict[str, Any]:
    fps = sampling.get("sample_fps", sampling.get("fps"))
    fps = float(fps) if fps is not None else assume_fps(f"a clip of {count} frames")
    raw = float(sampling.get("raw_fps", fps))
    if not (0 < fps < math.inf and 0 < raw < math.inf):
        got, fix = f"fps {fps}, raw_fps {raw}", "pass the rate at which the frames were taken"
        raise InputError(f"Invalid rate of {name}.", got=got, expected="positive numbers", fix=fix)
    return _metadata([round(number * raw / fps) for number in range(count)], count / fps * raw, raw)


def _metadata(indices: Sequence[int], total: float, fps: float) -> dict[str, Any]:
    named = {"total_num_frames": total, "fps": fps, "duration": total / fps}
    return {**named, "frames_indices": list(indices), "video_backend": "pyav"}


def _given_metadata(metadata: Mapping[str, Any], count: int) -> dict[str, Any]:
    given = {key: value for key, value in dict(metadata).items() if value is not None}
    try:
        indices = [int(index) for index in given.get("frames_indices", range(count))]
        fps = float(given.get("fps", 0.0))
    except (TypeError, ValueError, OverflowError):
        indices, fps = [], 0.0
    if len(indices) != count or not 0 < fps < math.inf:
        what = "Invalid video_metadata: it does not describe the frames."
        got = f"fps {given.get('fps')}, {len(indices)} frames_indices for {count} frames"
        fix = 'pass {"fps": 30.0, "total_num_frames": 300, "frames_indices": [...]}, or fps= instead'
        raise InputError(what, got=got, expected="fps, and the number of every frame in its source", fix=fix)
    return {"total_num_frames": count, **given, "frames_indices": indices}


def _paths(source: Any) -> tuple[str, ...] | None:
    """Local files of a clip's frames, all of which exist; they are read when they are needed."""
    is_list = isinstance(source, (list, tuple))
    if not is_list or not all(isinstance(item, (str, os.PathLike)) for item in source):
        return None
    opened = [open_source(item) for item in source if not str(item).startswith(("http", "data:"))]
    return tuple(map(str, opened)) if len(opened) == len(source) and opened else None


def _stacked(source: Any) -> tuple[Tensor, Tensor | None]:
    """uint8 (T, 3, H, W) from an array or a list of pictures; and the array if it is floating in 0..255."""
    if isinstance(source, (list, tuple)):
        return stack_frames([load_image(frame) for frame in source]), None
    array = as_tensor(source)
    if array.ndim != 4 or 3 not in (array.shape[1], array.shape[3]) or not array.numel():
        got, expected = f"shape {tuple(array.shape)}", "(T, 3, H, W) or (T, H, W, 3), RGB, one frame or more"
        fix = "stack the frames along a new first axis"
        raise InputError("Invalid video array.", got=got, expected=expected, fix=fix)
    array = array if array.shape[1] == 3 else array.permute(0, 3, 1, 2)
    if _in_255(array):
        return array.round().to(torch.uint8).cpu().contiguous(), array
    return to_uint8(array).cpu().contiguous(), None


def _in_255(array: Tensor) -> bool:
    """True for floating values in 0..255, False for 0..1: there at least one value has to be a fraction.

    qwen-vl-utils returns whole numbers. So a clip of nothing but 0 and 1 is taken for one that is nearly
    black, as a host's own processor would take it.
    """
    if not array.is_floating_point():
        return False
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= 255 or (high <= 1 and bool((array != array.round()).any())):
        return False
    if 0 < high <= 1:
        warnings.warn(
            "A floating-point clip has no values but 0 and 1. They are taken for 0..255, nearly black, as the"
            " host's processor does. Pass uint8 if 1 means white.",
            UserWarning,
            stacklevel=2,
        )
    return True


def _wrong_key(key: str, request: VideoRequest, meant_for: str, fix: str) -> InputError:
    name = _shown(request.source)
    what, got = f"Invalid {key}: it does not apply to {name}.", f"{key} with {name}"
    return InputError(what, got=got, expected=f"{key} only for {meant_for}", fix=fix)


def _shown(source: Any) -> str:
    return f"a clip of {len(source)} frames" if isinstance(source, FRAMES) else shown(source)
