"""Clip: the generator's side of one video, or of images that are declared one clip.

The processor makes it, the collator passes it on in the batch's key ``generative_clips``, the adapter encodes
it. Every tool between them leaves an object in a list alone or asks it for ``to`` and ``pin_memory``. Two
cannot: a batch that is cut up between processes, and a table. Both get an error from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vega3d.errors import InputError, MediaError
from vega3d.grid import Links
from vega3d.hosts import MODALITIES, Modality
from vega3d.media.frame_plan import FramePlan
from vega3d.store.keys import FeatureKey
from vega3d.store.lookup import CacheHit, CacheLookup

Planner = Callable[[Sequence[int]], FramePlan]
"""Makes the plan of a clip from the frames that the host sees."""

MoveTensor = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Clip:
    """One video, or images that are declared one clip.

    Attributes:
        frames: (T, 3, H, W) decoded frames of the generator; uint8, or float in [0, 1]. T is 0 where
            they are not needed: ``cached`` is a hit, and there is no further stream.
        plan: how the frames belong to the host's.
        items: index of the video among the batch's videos; or, for each frame of the host, of the image among
            the batch's images.
        size: height and width of the decoded frames.
        keys: address in a store of each run of the plan; empty if no store is used.
        cached: result of the cache lookup; None if no store is used.
        modality: what the items are.

    Raises:
        InputError: the frames are not those of the plan.
    """

    frames: Tensor
    plan: FramePlan
    items: tuple[int, ...]
    size: tuple[int, int]
    keys: tuple[FeatureKey, ...] = ()
    cached: CacheLookup = None
    modality: Modality = "video"

    def __post_init__(self) -> None:
        given, planned = len(self.frames), len(self.plan.generative)
        if given not in (0, planned):
            what = f"Invalid clip: {self.modality} {self.items[0]} does not have the frames of its plan."
            fix = "pass the clips that Vega3DProcessor returned"
            raise InputError(what, got=f"{given} frames", expected=f"{planned} frames", fix=fix)

    @property
    def members(self) -> tuple[tuple[int, Links], ...]:
        """For each image, or the one video, its index and the frames that describe it."""
        described = self.plan.host_to_generator
        if self.modality == "video":
            return ((self.items[0], described),)
        return tuple((item, (link,)) for item, link in zip(self.items, described, strict=True))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Clip:
        """The clip with its tensors on a device; their type stays."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Clip:
        """The clip in page-locked memory, as ``DataLoader(pin_memory=True)`` asks for it."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def _moved(self, move: MoveTensor) -> Clip:
        frames, cached = move(self.frames), self.cached
        if isinstance(cached, CacheHit):
            features = replace(cached.feature_map, features=move(cached.feature_map.features))
            cached = CacheHit(features, cached.fingerprint, cached.store)
        return replace(self, frames=frames, cached=cached)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse to become an array: a table of ``datasets`` cannot hold clips."""
        what, expected = "Invalid use of a clip: an array cannot hold it.", "clips made when a batch is made"
        got = "Vega3DProcessor inside Dataset.map, or a conversion of its output to numpy"
        fix = "use Dataset.with_transform, IterableDataset.map or vega3d's Collator"
        raise InputError(what, got=got, expected=expected, fix=fix)

    def __repr__(self) -> str:
        return f"Clip({self.modality} {list(self.items)}, {len(self.frames)} frames, {self.cached!r:.60})"


def flat_clips(clips: Any) -> list[Clip]:
    """The clips of a batch in one list; lists of several samples are joined and their items counted on."""
    flat: list[Clip] = []
    for sample in clips if clips is not None else ():
        if isinstance(sample, Clip):
            flat.append(sample)
            continue
        counts = {kind: sum(len(clip.items) for clip in flat if clip.modality == kind) for kind in MODALITIES}
        if not isinstance(sample, (list, tuple)) or not all(isinstance(clip, Clip) for clip in sample):
            got, expected = f"{type(sample).__name__} among them", "clips as Vega3DProcessor returned them"
            fix = "pass the batch as it is; the key holds no tensors"
            raise InputError("Invalid generative_clips.", got=got, expected=expected, fix=fix)
        for clip in sample:
            items = tuple(counts[clip.modality] + item for item in clip.items)
            flat.append(replace(clip, items=items))
    return flat


def clips_from_tensors(
    planner: Planner,
    images: Sequence[Tensor] = (),
    videos: Sequence[Tensor] = (),
    groups: Sequence[Sequence[int]] = (),
    plans: Sequence[FramePlan] | None = None,
) -> list[Clip]:
    """Clips from decoded frames.

    Args:
        planner: makes a plan where there is none.
        images: for each image (3, H, W).
        videos: for each video the generator's frames (T, 3, H, W).
        groups: images declared one clip, as lists of indices; the others stand alone.
        plans: one for each video.

    Raises:
        InputError: ``groups`` or ``plans`` do not fit the media.
        MediaError: images of one clip differ in size.
    """
    plans = plans if plans is not None else [planner(range(len(video))) for video in videos]
    if len(plans) != len(videos):
        got, expected = f"{len(plans)} plans for {len(videos)} videos", "one plan for each video"
        what, fix = "Invalid generative_plans: they do not fit generative_videos.", "leave the plans out"
        raise InputError(what, got=got, expected=expected, fix=fix)
    clips = [_of_images(planner, images, group) for group in partition(len(images), groups)]
    for number, (video, plan) in enumerate(zip(videos, plans, strict=True)):
        clips.append(Clip(video, plan, (number,), (video.shape[2], video.shape[3])))
    return clips


def partition(count: int, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """All images in groups: the given ones, then each other image alone.

    Raises:
        InputError: a group is empty, repeats an image or names one that does not exist.
    """
    given = [[int(index) for index in group] for group in groups]
    grouped = [index for group in given for index in group]
    if len(set(grouped)) != len(grouped) or not all(given) or not set(grouped) <= set(range(count)):
        what, got = "Invalid image_groups: they do not fit the images.", f"{given} for {count} images"
        expected = f"each index in 0..{count - 1}, in at most one group"
        fix = "list the indices of each clip's images, for example image_groups=[[0, 1, 2]]"
        raise InputError(what, got=got, expected=expected, fix=fix)
    return given + [[index] for index in range(count) if index not in set(grouped)]


def require_one_size(group: Sequence[int], sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse images of one clip that differ in size.

    Raises:
        MediaError: they differ.
    """
    differing = sorted({sizes[index] for index in group})
    if len(differing) > 1:
        what = f"Invalid clip: images {list(group)} are declared one clip but differ in size."
        got = ", ".join(f"{width}x{height}" for height, width in differing)
        expected, fix = "images of one size", "resize or crop them before, or do not declare them one clip"
        raise MediaError(what, got=got, expected=expected, fix=fix)


def _of_images(planner: Planner, images: Sequence[Tensor], group: Sequence[int]) -> Clip:
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    require_one_size(group, sizes)
    plan = planner(range(len(group)))
    frames = torch.stack([images[group[position]] for position in plan.generative])
    return Clip(frames, plan, tuple(group), sizes[group[0]], modality="image")
