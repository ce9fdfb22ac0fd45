"""Clip: the generator's side of one video, or of images that are declared one clip.

The processor makes it, the collator passes it on in the batch's key ``generative_clips``, the adapter takes
it out of its call and encodes it. Every tool between them leaves an object in a list alone or asks it for
``to`` and ``pin_memory``. Two cannot: a batch that is cut up between processes, and a table. Both get an
error from here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vega3d.errors import InputError, MediaError
from vega3d.grid import Links
from vega3d.hosts import MODALITIES, Modality
from vega3d.media.frame_plan import FramePlan
from vega3d.store.feature_store import CacheHit, CacheLookup
from vega3d.store.format import FeatureKey

Planner = Callable[[Sequence[int]], FramePlan]
"""Makes the plan of a clip from the frames that the host sees."""

MoveTensor = Callable[[Tensor], Tensor]
PIXELS: dict[Modality, str] = {"image": "pixel_values", "video": "pixel_values_videos"}
GRIDS: dict[Modality, str] = {"image": "image_grid_thw", "video": "video_grid_thw"}
CLIPS = "generative_clips"
MEDIA = (*PIXELS.values(), *GRIDS.values(), CLIPS)
TENSORS = {
    "generative_images": "images",
    "image_groups": "groups",
    "generative_videos": "videos",
    "generative_plans": "plans",
}
"""Arguments of version 0.1 in place of clips, with their names in ``clips_from_tensors``."""
ACCEPTED = frozenset({*MEDIA, *TENSORS})
CACHES = ("cache", "past_key_values", "cache_params")


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


def is_given(value: Any) -> bool:
    """True for an argument that holds anything; empty lists and tensors without rows do not."""
    return value is not None and len(value) > 0


def take_media(arguments: MutableMapping[str, Any], planner: Planner) -> dict[str, Any]:
    """Take the media out of a call's arguments, with clips in place of tensors of frames.

    Raises:
        InputError: tensors are given beside clips, or do not fit together.
    """
    media = {name: arguments.pop(name, None) for name in MEDIA}
    media[CLIPS] = flat_clips(media[CLIPS])
    given = {name: arguments.pop(name, None) for name in TENSORS}
    given = {name: value for name, value in given.items() if is_given(value)}
    if given:
        media[CLIPS] = _converted(media, given, planner)
    return {name: value for name, value in media.items() if is_given(value)}


def _converted(media: Mapping[str, Any], given: Mapping[str, Any], planner: Planner) -> list[Clip]:
    names = ", ".join(given)
    if media[CLIPS]:
        what, got = f"Invalid {names}: the frames are in {CLIPS} already.", f"{CLIPS} and {names}"
        fix = "declare clips in the messages, or as image_groups= of Vega3DProcessor"
        raise InputError(what, got=got, expected="one of them", fix=fix)
    message = f"{names}: pass {CLIPS}, as Vega3DProcessor returns them. Tensors go with version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=5)
    return clips_from_tensors(planner, **{TENSORS[name]: value for name, value in given.items()})


def clips_of(modality: Modality, media: Mapping[str, Any]) -> list[Clip]:
    """The clips of one modality; empty if there are no media of it.

    Raises:
        InputError: one side is missing, or the sides differ in number.
    """
    pixels, grid = PIXELS[modality], GRIDS[modality]
    clips = [clip for clip in media.get(CLIPS, ()) if clip.modality == modality]
    given = [name for name in (pixels, grid) if name in media] + [CLIPS] * bool(clips)
    for name in (pixels, grid):
        if given and name not in media:
            got, expected = f"only {', '.join(given)}", f"{name} beside them"
            fix = f"pass all that the processor returned; only {grid} may stay for {modality}s in a cache"
            raise InputError(f"Missing {name}.", got=got, expected=expected, fix=fix)
    items = sorted(item for clip in clips for item in clip.items)
    if given and items != list(range(len(media[grid]))):
        what, got = f"Invalid {CLIPS}: they do not fit the host's {modality}s.", f"items {items}"
        expected = f"each of the host's {len(media[grid])} {modality}s once"
        fix = "prepare the batch with Vega3DProcessor, which makes both sides from one decode"
        raise InputError(what, got=got, expected=expected, fix=fix)
    return clips


def require_one_source(media: Mapping[str, Any], encoded: bool, text: Mapping[str, Any]) -> None:
    """Refuse media that reach the host in two ways, of which one would be ignored.

    Raises:
        InputError: there is more than one source.
    """
    ready = ["encoding"] * encoded + ["mm_encoder_outputs"] * bool(text.get("mm_encoder_outputs"))
    beside = [name for name in media if encoded or name in PIXELS.values()]
    if len(ready) + bool(beside) > 1:
        what, got = "Invalid media: they are given twice, encoded and as they are.", ", ".join(ready + beside)
        fix = f"drop {', '.join(beside or ready[1:])} from the call"
        raise InputError(what, got=got, expected="encoding, mm_encoder_outputs, or media", fix=fix)


def consumed_grids(media: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Tensor]:
    """Grids of media that need no pixels: a cache, embeddings or encoder outputs of the call hold them.

    The host makes positions from these grids, so they go to it as they are.
    """
    caches = [text[name] for name in CACHES if text.get(name) is not None]
    is_filled = any(bool(cache.get_seq_length()) for cache in caches)  # by a first turn
    if not (is_filled or text.get("inputs_embeds") is not None or text.get("mm_encoder_outputs")):
        return {}
    alone = [GRIDS[modality] for modality in MODALITIES if PIXELS[modality] not in media]
    return {grid: media[grid] for grid in alone if grid in media}


def with_token_ids(inputs: Tensor | None, keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords of ``generate``, with its ``inputs`` under the name that ``forward`` has for them."""
    if inputs is None:
        return keywords
    if keywords.get("input_ids") is not None:
        what, got = "Invalid token ids: they are given twice.", "inputs and input_ids"
        raise InputError(what, got=got, expected="either of them", fix="drop one of them")
    return keywords | {"input_ids": inputs}


def require_left_padding(attention_mask: Any) -> None:
    """Refuse rows that end in padding: the host would continue the padding, not the row.

    Raises:
        InputError: a row's last entry is 0; it names the rows.
    """
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return
    ends = (attention_mask[:, -1:] == 0).nonzero()[:, 0]  # (n,) rows
    if len(ends):
        what = "Invalid padding: a batch for generate is padded on the right, so answers would continue it."
        got = f"attention_mask ends in 0 in rows {', '.join(map(str, ends.tolist()))}"
        fix = "build the batch with add_generation_prompt=True or padding_side='left'"
        raise InputError(what, got=got, expected="padding on the left", fix=fix)
