"""Convert the arguments of a direct processor call to requests: flat lists of pictures, videos and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
from torch import Tensor

from vega3d.errors import InputError
from vega3d.inputs.clip import partition
from vega3d.inputs.messages import VideoRequest, limits_of, named_groups, sampling_of


def flat_images(images: Any) -> list[Any]:
    """Pictures of the whole batch in order, from one picture, a list, or a list for each row."""
    if images is None:
        return []
    if not isinstance(images, (list, tuple)):
        return [images]
    return [picture for item in images for picture in flat_images(item)]


def video_requests(
    videos: Any,
    metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    fps: float | Sequence[float] | None,
    defaults: Mapping[str, Any],
) -> list[VideoRequest]:
    """One request for each video.

    Args:
        videos: one video or a list of them; a list of decoded pictures is one video. A video may be a pair of
            its frames and their metadata.
        metadata: transformers' ``VideoMetadata``, one a video.
        fps: one rate for all videos, or one a video.
        defaults: further keys of media entries, for all videos.

    Raises:
        InputError: ``metadata`` or ``fps`` are not one a video, or a video has metadata of its own too.
    """
    pairs = [tuple(video) if _is_described(video) else (video, None) for video in _video_list(videos)]
    sources, described = [video for video, _ in pairs], [about for _, about in pairs]
    if metadata is not None and any(about is not None for about in described):
        what, got = "Invalid video_metadata: a video is described twice.", "pairs, and video_metadata"
        fix = "leave video_metadata out, or split the pairs: videos, video_metadata = zip(*videos)"
        raise InputError(what, got=got, expected="one of the two", fix=fix)
    if metadata is not None:
        described = [metadata] if isinstance(metadata, Mapping) else list(metadata)
    rates = list(fps) if isinstance(fps, Sequence) else [fps] * len(sources)
    for name, values in (("video_metadata", described), ("fps", rates)):
        if len(values) != len(sources):
            what, got = f"Invalid {name}: it must have one entry for each video.", f"{len(values)} entries"
            raise InputError(what, got=got, expected=f"{len(sources)} entries", fix="pass one for each video")
    limits = limits_of(defaults, video=True)
    return [
        VideoRequest(source, limits, sampling_of({"fps": rate}, defaults), about)
        for source, about, rate in zip(sources, described, rates, strict=True)
    ]


def _video_list(videos: Any) -> list[Any]:
    if videos is None:
        return []
    if not isinstance(videos, (list, tuple)):
        if getattr(videos, "ndim", 4) == 5:  # (B, T, 3, H, W)
            return list(videos)
        return [videos]
    return [videos] if videos and all(_is_picture(item) for item in videos) else list(videos)


def _is_picture(item: Any) -> bool:
    """True for one decoded picture: a list of such is one video."""
    return isinstance(item, PIL.Image.Image) or (isinstance(item, (Tensor, np.ndarray)) and item.ndim <= 3)


def _is_described(video: Any) -> bool:
    """True if a video is a pair of frames and metadata, as qwen-vl-utils returns them."""
    is_pair = isinstance(video, (list, tuple)) and len(video) == 2
    return is_pair and isinstance(video[1], Mapping) and getattr(video[0], "ndim", 0) == 4


def image_groups(
    count: int, groups: Sequence[Sequence[int]] | None, names: Sequence[str | None] | None
) -> list[list[int]]:
    """A partition of the images into clips; an image that no clip claims is a group of one.

    Args:
        count: number of images.
        groups: clips as lists of indices.
        names: clips as a name (or None) for each image; instead of ``groups``.

    Raises:
        InputError: both are given, a group is empty, or it names an image twice or a missing one.
    """
    if names is None:
        return sorted(partition(count, groups or []), key=min)
    if groups is not None or len(names) != count:
        what, fix = "Invalid clips: the images cannot be grouped.", "pass image_groups=[[0, 1, 2]] instead"
        got = f"{len(names)} names in clips for {count} images" + ", and image_groups" * (groups is not None)
        raise InputError(what, got=got, expected="a name or None an image, or image_groups", fix=fix)
    return named_groups(names)
