"""Encoding of a batch's clips, one fusion of all their tokens, and a report of each image and video.

Cached features are used as they are. Others are computed and cast to the precision of the store, so that a
feature is the same whether it was read or computed. If a generator is loaded, cached features must come from
that generator.

A weight alone is not informative: where a stream is near zero, any gate is harmless. So the contribution of
each stream is reported beside its weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vega3d.backbones import Backbone
from vega3d.errors import BackboneError, ConfigError, InputError, StoreError
from vega3d.fusion.base import Fused, Fusion, FusionContext, Projector
from vega3d.grid import FeatureMap, Links, TokenGrid, resample
from vega3d.hosts.base import Modality
from vega3d.inputs.clip import Clip
from vega3d.store.feature_store import CacheHit, CacheLookup, CacheMiss

SHOWN = 8  # reports in the text of an encoding


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        more = len(self.reports) - SHOWN
        lines = [f"Encoding({len(self.reports)} media", *(f"  {report!r}" for report in self.reports[:SHOWN])]
        return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])]) + ")"

    def fresh(self) -> dict[str, Any]:
        """Copy the outputs for one call, because beam search expands them in place."""
        return {name: type(output)(**dict(output.items())) for name, output in self.outputs.items()}

    def repeated(self, times: int) -> Encoding:
        """Repeat the media for several rows of a batch, row after row, without encoding them again."""
        if times == 1:
            return self
        outputs = {
            name: type(output)(**{key: _repeated(value, times) for key, value in output.items()})
            for name, output in self.outputs.items()
        }
        grids = {name: torch.cat([grid] * times) for name, grid in self.grids.items()}
        return Encoding(outputs, self.reports * times, grids, self.maps * times)


@dataclass(frozen=True)
class Item:
    """One image or video of the host, with all inputs of its fusion."""

    modality: Modality
    semantic: Tensor  # (n_tokens, D)
    grid: TokenGrid
    maps: tuple[FeatureMap, ...]  # the generator's, then one of each further stream
    links: Links


def _repeated(value: Any, times: int) -> Any:
    """Repeat a field of a host's output: one entry an item, a tensor over all tokens, or a list of such."""
    if isinstance(value, tuple):
        return value * times
    if isinstance(value, list):  # one tensor a layer (deepstack)
        return [_repeated(layer, times) for layer in value]
    return torch.cat([value] * times) if isinstance(value, Tensor) else value


def generator_maps(backbone: Backbone | None, clips: Sequence[Clip]) -> list[FeatureMap]:
    """Feature maps of the generator, one for each clip.

    Args:
        backbone: the loaded generator; None is allowed if all features are cached.
        clips: with the result of the cache lookup, if a store is used.

    Raises:
        BackboneError: features must be computed and no generator is loaded.
        StoreError: a store belongs to another generator.
    """
    for clip in clips:
        if clip.cached and backbone is not None and clip.cached.fingerprint != backbone.fingerprint():
            title = f"Invalid store {clip.cached.store}: its features come from another generator."
            expected = f"fingerprint {backbone.fingerprint()[:12]} of the loaded {backbone.spec.name}"
            got = f"fingerprint {clip.cached.fingerprint[:12]} in the store"
            fix = "load the generator that the store was built with, or leave the store out"
            raise StoreError(title, got=got, expected=expected, fix=fix)
    missing = [clip for clip in clips if not isinstance(clip.cached, CacheHit)]
    computed: list[FeatureMap] = []
    if missing and backbone is not None:
        computed = backbone([clip.frames for clip in missing], [clip.plan for clip in missing])
    elif missing:
        raise _cannot_compute(missing[0].cached)
    following = iter(computed)
    return [_feature_map(clip.cached, following) for clip in clips]


def _feature_map(cached: CacheLookup, computed: Iterator[FeatureMap]) -> FeatureMap:
    if isinstance(cached, CacheHit):
        return cached.feature_map
    return next(computed) if cached is None else cached.format.cast(next(computed))


def _cannot_compute(cached: CacheLookup) -> BackboneError:
    if not isinstance(cached, CacheMiss):
        title, got = "Missing backbone: the batch has images or videos to encode.", "backbone=None, no store"
        expected = "a loaded backbone, or a processor with a store that holds the features"
        fix = "adapter.backbone = WanBackbone.from_pretrained(path, config=...), or use a store"
        return BackboneError(title, got=got, expected=expected, fix=fix)
    title = f"Missing features of {cached.source} in the store, and no backbone to compute them."
    got = f"no {cached.key.digest} (frames {list(cached.key.frames)}) in {cached.store}"
    fix = f"vega3d cache build {cached.store} --media {cached.source}"
    return BackboneError(title, got=got, expected="its features stored, or a loaded backbone", fix=fix)


def stream_maps(stream: Backbone, clips: Sequence[Clip]) -> list[FeatureMap]:
    """Feature maps of a further stream, from the frames linked to the host's, without those in between."""
    linked = [sorted({index for link in clip.plan.host_to_generator for index in link}) for clip in clips]
    if not all(len(clip.frames) for clip in clips):
        expected = "frames, because features of further streams are not stored"
        fix = "give the processor the adapter's config, which has semantic_streams"
        raise InputError("Missing frames of a stream.", got="stored features", expected=expected, fix=fix)
    maps = stream([clip.frames[positions] for clip, positions in zip(clips, linked, strict=True)])
    renumbered = []
    for feature_map, positions in zip(maps, linked, strict=True):
        steps = tuple(tuple(positions[index] for index in step) for step in feature_map.frames)
        renumbered.append(replace(feature_map, frames=steps))
    return renumbered


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Number repeated names of encoders: ``siglip``, ``siglip_2``, ..."""
    return tuple(
        name if name not in names[:index] else f"{name}_{1 + names[:index].count(name)}"
        for index, name in enumerate(names)
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
        cells: patches on one side of a token that the projectors take separately.
        names: of the generator and of the further streams; repeated ones are numbered.

    Returns:
        For each item its (n_tokens, D) fused tokens and its report.

    Raises:
        ConfigError: the fusion does not report the further streams.
    """
    semantic = torch.cat([item.semantic for item in items])  # (n, D), n of the whole batch
    features, *extra = (  # each (n, cells * cells, C)
        torch.cat([resample(i.maps[index], i.grid, i.links, cells).to(semantic.device) for i in items])
        for index in range(len(names))
    )
    lengths = tuple(item.grid.n_tokens for item in items)
    wide = semantic.to(next(fusion.parameters()).dtype)
    with torch.autocast(semantic.device.type, enabled=False):
        fused = fusion(wide, projector(features), FusionContext(lengths, tuple(extra)))
    reports = report([(item.modality, item.grid) for item in items], wide, fused, unique_names(names))
    return list(fused.tokens.to(semantic.dtype).split(lengths)), reports


def zero_term(
    projector: Projector, fusion: Fusion, channels: int, cells: int, extra: Sequence[int] = ()
) -> Tensor:
    """Scalar zero that gives every parameter of projector and fusion a gradient of zero.

    In a micro-batch without media they would have no gradient, and DDP or ZeRO would hang.

    Args:
        projector: of the generator.
        fusion: with the projectors of the further streams.
        channels: C of the generator.
        cells: patches on one side of a token that the projectors take separately.
        extra: C of each further stream.
    """
    device = next(projector.parameters()).device
    features, *others = (torch.zeros(1, cells * cells, wide, device=device) for wide in (channels, *extra))
    with torch.autocast(device.type, enabled=False):
        generative = projector(features)  # (1, D)
        fused = fusion(torch.zeros_like(generative), generative, FusionContext((1,), tuple(others)))
    zero: Tensor = fused.tokens.sum() * 0.0
    return zero


@dataclass(frozen=True, repr=False)
class StreamReport:
    """Effect of one stream on one image or video.

    Attributes:
        name: registered name of its encoder; a second one of the same name is ``siglip_2``.
        weight: (T, h, w) in 0..1 on the host's token grid; all weights of a token and its gate sum to 1.
        contribution: (T, h, w), norm of the added term relative to that of the token: ||term|| / ||S||.
    """

    name: str
    weight: Tensor
    contribution: Tensor

    def __repr__(self) -> str:
        means = (
            f"weight {self.weight.float().mean():.3f}, contribution {self.contribution.float().mean():.3f}"
        )
        return f"{self.name} ({means})"


@dataclass(frozen=True, repr=False)
class FusionReport:
    """Effect of the fusion on one image or video.

    Attributes:
        modality: ``image`` or ``video``.
        gate: (T, h, w) in 0..1 on the host's token grid, weight of the host; 1 means that only it is used.
        contribution: (T, h, w), relative change of each token by all streams: ||fused - S|| / ||S||.
        streams: reports of the generator, then of the further streams.
    """

    modality: Modality
    gate: Tensor
    contribution: Tensor
    streams: tuple[StreamReport, ...] = ()

    def __repr__(self) -> str:
        size, gate = " x ".join(map(str, self.gate.shape)), self.gate.float().mean()
        streams = ", ".join(map(repr, self.streams))
        change = f"contribution {self.contribution.float().mean():.3f}"
        return f"FusionReport({self.modality}, {size} tokens, gate {gate:.3f}, {change}; {streams})"


@torch.no_grad()
def report(
    items: Sequence[tuple[Modality, TokenGrid]], semantic: Tensor, fused: Fused, names: Sequence[str]
) -> tuple[FusionReport, ...]:
    """Reports of all items.

    Args:
        items: images and videos, in the order of their tokens.
        semantic: (n, D) tokens of the host, of all items.
        fused: result of the fusion.
        names: of the generator and of the further streams.

    Raises:
        ConfigError: the fusion does not report the further streams.
    """
    size = semantic.norm(dim=-1).clamp_min(1e-12)  # (n,)
    change = (fused.tokens - semantic).norm(dim=-1) / size
    gate = fused.gate.detach().to(change)
    weights, parts = [1 - gate], [change]
    if fused.weights is not None and fused.terms is not None:
        weights = list(fused.weights.detach()[:, 1:].unbind(dim=-1))  # K of (n,)
        parts = [term.norm(dim=-1) / size for term in fused.terms]
    if not len(names) == len(weights) == len(parts):
        title = "Invalid result of the fusion: it does not report all streams."
        got = f"{len(weights)} weights and {len(parts)} terms a token"
        expected = f"one for each of {', '.join(names)}"
        fix = "return Fused(tokens, gate, weights, terms), or leave semantic_streams empty"
        raise ConfigError(title, got=got, expected=expected, fix=fix)
    sizes = [grid.n_tokens for _, grid in items]
    columns = torch.split(torch.stack([gate, change, *weights, *parts]), sizes, dim=1)
    return tuple(_of_item(*item, rows, names) for item, rows in zip(items, columns, strict=True))


def _of_item(modality: Modality, grid: TokenGrid, columns: Tensor, names: Sequence[str]) -> FusionReport:
    """Report of rows (2 + 2 K, n_tokens): gate, change, the weights of all streams, their contributions."""
    gate, change, *rest = columns.view(len(columns), len(grid.groups), grid.height, grid.width)
    pairs = zip(names, rest[: len(names)], rest[len(names) :], strict=True)
    return FusionReport(modality, gate, change, tuple(StreamReport(*pair) for pair in pairs))
