"""From a batch's media to fused tokens: which frames make a clip, which feature meets which token.

Three small steps, each a function over plain tensors: gather the clips that the encoders are run
on, give each image or video of the host its feature maps, and fuse all tokens of the batch at once.
This module knows no particular host, no files and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vega3d.backbones import Backbone
from vega3d.errors import BackboneError, InputError, MediaError
from vega3d.features import looked_up
from vega3d.fusion import Fusion, FusionContext
from vega3d.fusion.projector import Projector
from vega3d.grid import FeatureMap, Links, TokenGrid, resample
from vega3d.hosts import Modality
from vega3d.report import FusionReport, report
from vega3d.store.lookup import Looked, Stored
from vega3d.video import FramePlan

Planner = Callable[[Sequence[int]], FramePlan]
"""Makes the plan of a clip from the frames that the host sees."""


@dataclass(frozen=True)
class Encoding:
    """Fused media of one batch, ready for any number of ``forward`` or ``generate`` calls.

    Attributes:
        outputs: for ``image`` and ``video``, the host's own encoder output with fused tokens.
        reports: one entry for each image, then one for each video.
        grids: ``image_grid_thw`` and ``video_grid_thw`` of the media.
        maps: the generator's feature map of each clip.
    """

    outputs: dict[str, Any]
    reports: tuple[FusionReport, ...]
    grids: dict[str, Tensor]
    maps: tuple[FeatureMap, ...]

    def fresh(self) -> dict[str, Any]:
        """A copy for one call: beam search expands the object that it is given in place."""
        return {name: type(output)(**dict(output.items())) for name, output in self.outputs.items()}

    def repeated(self, times: int) -> Encoding:
        """The same media for several rows of a batch, row after row; nothing is computed again."""
        if times == 1:
            return self
        outputs = {
            name: type(output)(**{key: _repeated(value, times) for key, value in output.items()})
            for name, output in self.outputs.items()
        }
        grids = {name: torch.cat([grid] * times) for name, grid in self.grids.items()}
        return Encoding(outputs, self.reports * times, grids, self.maps * times)


@dataclass(frozen=True)
class Clip:
    """Frames that the generator sees as one clip, and the host's images or video that they describe.

    Attributes:
        frames: (T, 3, H, W).
        plan: how the frames belong to the host's.
        members: for each image, or the one video, its index and its frames in the plan's ``links``.
        looked: what a look into a store found.
    """

    frames: Tensor
    plan: FramePlan
    members: tuple[tuple[int, Links], ...]
    looked: Looked = None


@dataclass(frozen=True)
class Item:
    """One image or video of the host, with all that meets in the fusion."""

    modality: Modality
    semantic: Tensor  # (n_tokens, D)
    grid: TokenGrid
    maps: tuple[FeatureMap, ...]  # the generator's, then one of each further stream
    links: Links


def _repeated(value: Any, times: int) -> Any:
    """A field of a host's output: one entry an item, a tensor over all tokens, or a list of such."""
    if isinstance(value, tuple):
        return value * times
    if isinstance(value, list):  # one tensor a layer (deepstack)
        return [_repeated(one, times) for one in value]
    return torch.cat([value] * times) if isinstance(value, Tensor) else value


def image_clips(
    images: Sequence[Tensor],
    groups: Sequence[Sequence[int]] | None,
    planner: Planner,
    looked: Sequence[Looked] | None = None,
) -> list[Clip]:
    """Images declared one clip become its frames; every other image is a clip of its own.

    Args:
        images: for each image (3, H, W).
        groups: lists of indices into ``images``, disjoint.
        planner: makes the plan of a clip from its frames.
        looked: what was found in a store, for each group and then for each image that stands alone.

    Raises:
        InputError: an index is out of range or stands in two groups.
        MediaError: images of one clip differ in size.
    """
    grouped = [index for group in groups or () for index in group]
    if len(set(grouped)) != len(grouped) or not all(0 <= index < len(images) for index in grouped):
        raise InputError(
            "image_groups is not a set of disjoint groups of images.",
            got=f"{[list(group) for group in groups or ()]} for {len(images)} images",
            expected=f"each index in 0..{len(images) - 1}, at most once",
            fix="list each image once; images in no group stand alone",
        )
    alone = [[index] for index in range(len(images)) if index not in set(grouped)]
    everyone = [*(groups or ()), *alone]
    clips = []
    for group, found in zip(everyone, looked_up(looked, len(everyone), "image_features"), strict=True):
        sizes = {tuple(images[index].shape) for index in group}
        if len(sizes) != 1:
            raise MediaError(
                f"Images {list(group)} are declared one clip but differ in size.",
                got=", ".join(f"{width}x{height}" for _, height, width in sorted(sizes)),
                expected="one size for all frames of a clip",
                fix="resize the frames to one size, or leave the images separate",
            )
        plan = planner(range(len(group)))
        members = tuple((index, (plan.links[place],)) for place, index in enumerate(group))
        frames = torch.stack([images[index] for index in group])
        clips.append(Clip(frames[list(plan.generative)], plan, members, found))
    return clips


def video_clips(
    videos: Sequence[Tensor],
    plans: Sequence[FramePlan] | None,
    planner: Planner,
    looked: Sequence[Looked] | None = None,
) -> list[Clip]:
    """Each video is one clip; without a plan host and generator see the same frames.

    Args:
        videos: for each video (T, 3, H, W).
        plans: one for each video.
        planner: makes a plan where there is none.
        looked: what was found in a store, for each video; stored ones need no frames.

    Raises:
        InputError: the number of plans, or of a plan's frames, does not fit.
    """
    plans = plans if plans is not None else [planner(range(len(video))) for video in videos]
    if len(plans) != len(videos):
        raise InputError(
            "generative_plans does not fit generative_videos.",
            got=f"{len(plans)} plans for {len(videos)} videos",
            expected="one plan for each video",
            fix="pass both as Vega3DProcessor returned them",
        )
    found = looked_up(looked, len(videos), "video_features")
    for index, (video, plan) in enumerate(zip(videos, plans, strict=True)):
        if len(video) != len(plan.generative) and (len(video) or not isinstance(found[index], Stored)):
            raise InputError(
                f"Video {index} does not have the frames of its plan.",
                got=f"{len(video)} frames",
                expected=f"{len(plan.generative)} frames",
                fix="pass generative_videos and generative_plans as Vega3DProcessor returned them",
            )
    return [
        Clip(video, plan, ((index, plan.links),), found[index])
        for index, (video, plan) in enumerate(zip(videos, plans, strict=True))
    ]


def stream_maps(stream: Backbone, clips: Sequence[Clip]) -> list[FeatureMap]:
    """Maps of a further stream: it sees the frames that describe the host's, not what lies between them."""
    seen = [sorted({at for link in clip.plan.links for at in link}) for clip in clips]
    if not all(len(clip.frames) for clip in clips):
        raise InputError(
            "The frames that a further stream has to see are missing.",
            got="the generator's stored features without frames",
            expected="frames, because features of further streams are not stored",
            fix="give the processor the adapter's config, which has semantic_streams",
        )
    maps = stream([clip.frames[places] for clip, places in zip(clips, seen, strict=True)])
    return [
        replace(one, frames=tuple(tuple(places[at] for at in step) for step in one.frames))
        for one, places in zip(maps, seen, strict=True)
    ]


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """``siglip``, ``siglip_2``, ... for encoders of one name."""
    return tuple(
        name if name not in names[:at] else f"{name}_{1 + names[:at].count(name)}"
        for at, name in enumerate(names)
    )


def no_streams(expected: int, got: int) -> BackboneError:
    """The error for further streams that the fusion expects and nobody encodes."""
    return BackboneError(
        "There are images or videos, but not the encoders of all semantic streams.",
        got=f"{got} streams",
        expected=f"{expected} loaded streams, as in config.semantic_streams",
        fix="adapter.streams = load_streams(adapter.vega3d_config), from vega3d.adapter",
    )


def fuse_items(
    items: Sequence[Item],
    projector: torch.nn.Module,
    fusion: torch.nn.Module,
    cells: int,
    names: Sequence[str],
) -> tuple[list[Tensor], tuple[FusionReport, ...]]:
    """Fuse the tokens of all items in one call.

    Projector and fusion run in the precision of their own parameters, outside autocast; the result is
    cast once to the dtype of the host's tokens.

    Args:
        items: all images and videos of the batch.
        projector: of the generator.
        fusion: with the projectors of the further streams.
        cells: patches on one side of a token that the projectors see.
        names: of the generator and of the further streams.

    Returns:
        For each item its (n_tokens, D) fused tokens and its report.

    Raises:
        ConfigError: the fusion does not report the further streams.
    """
    semantic = torch.cat([item.semantic for item in items])  # (n, D), n of the whole batch
    features, *extra = (  # each (n, cells * cells, C)
        torch.cat([resample(i.maps[at], i.grid, i.links, cells).to(semantic.device) for i in items])
        for at in range(len(names))
    )
    lengths = tuple(item.grid.n_tokens for item in items)
    wide = semantic.to(next(fusion.parameters()).dtype)
    with torch.autocast(semantic.device.type, enabled=False):
        fused = fusion(wide, projector(features), FusionContext(lengths, tuple(extra)))
    return list(fused.tokens.to(semantic.dtype).split(lengths)), report(
        [(item.modality, item.grid) for item in items], wide, fused, names
    )


def zero_term(
    projector: Projector, fusion: Fusion, channels: int, cells: int, extra: Sequence[int] = ()
) -> Tensor:
    """A scalar zero that gives every parameter of projector and fusion a gradient of zero.

    In a micro-batch without media they would have none, and a rank would wait for ever in DDP or ZeRO.

    Args:
        projector: of the generator.
        fusion: with the projectors of the further streams.
        channels: C of the generator.
        cells: patches on one side of a token that the projectors see.
        extra: C of each further stream.
    """
    device = next(projector.parameters()).device
    features, *others = (torch.zeros(1, cells * cells, wide, device=device) for wide in (channels, *extra))
    with torch.autocast(device.type, enabled=False):
        generative = projector(features)  # (1, D)
        fused = fusion(torch.zeros_like(generative), generative, FusionContext((1,), tuple(others)))
    zero: Tensor = fused.tokens.sum() * 0.0
    return zero
