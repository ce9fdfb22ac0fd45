"""Positions of features in picture and time, and their resampling to a host's tokens.

A ``FeatureMap`` covers a picture, or a part of it, with h x w cells; a ``TokenGrid`` covers the same
picture with other cells. Resampling is by area: a token takes the mean of the map over exactly its own
part of the picture. That is antialiased, needs no kernel choice, and puts an object on the same token on
both sides. If a map ends before the picture does, its edge cells extend to the picture's edge.
``bilinear`` repeats the released code (arXiv 2603.19235, spatial branch), for comparison.

Every weighted mean is a sum in a fixed order, made of element-wise products and sums. The rounding of a
matrix product depends on the size of its operands, the number of threads and the make of the processor; that
of these sums does not.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vega3d.errors import InputError

# The generator's frames that describe each frame of the host.
Links = Sequence[Sequence[int]]

# Top, left, bottom and right of a part of the picture, as fractions of its height and width.
Extent = tuple[float, float, float, float]

WHOLE: Extent = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class TokenGrid:
    """The visual tokens of one image or video of a host, in raster order, time outermost.

    Attributes:
        groups: for each time step, the host's frames (positions in the clip) that it covers.
        height: rows of tokens in one time step.
        width: columns of tokens in one time step.
        cells: patches on one side of a token (Qwen merges 2 x 2 patches into one token).
    """

    groups: tuple[tuple[int, ...], ...]
    height: int
    width: int
    cells: int = 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens: time steps x rows x columns."""
        return len(self.groups) * self.height * self.width


@dataclass(frozen=True)
class FeatureMap:
    """Features of one clip on a regular grid over the picture.

    Attributes:
        features: (C, T, h, w), floating.
        frames: for each of the T steps, the generator's frames (positions in its clip) that it describes.
        resampling: method of resampling to other grids: ``area``, or ``bilinear`` for maps that the released
            code would stretch.
        extent: the part of the picture that the cells cover. A tower whose patches do not fill its picture
            (384 = 27 x 14 + 6) leaves a strip at the bottom and at the right.

    Raises:
        InputError: shape and frames disagree, or ``extent`` is not a part of the picture.
    """

    features: Tensor
    frames: tuple[tuple[int, ...], ...]
    resampling: Literal["area", "bilinear"] = "area"
    extent: Extent = WHOLE

    def __post_init__(self) -> None:
        top, left, bottom, right = self.extent
        is_part = 0 <= top < bottom <= 1 and 0 <= left < right <= 1
        if not is_part or (self.resampling == "bilinear" and self.extent != WHOLE):
            expected = "0 <= top < bottom <= 1 and 0 <= left < right <= 1; WHOLE with resampling='bilinear'"
            fix = "give fractions of the picture's height and width, or leave it out"
            raise InputError("Invalid extent of a feature map.", got=self.extent, expected=expected, fix=fix)
        shape, steps = tuple(self.features.shape), len(self.frames)
        if self.features.ndim != 4 or shape[1] != steps:
            title, got = "Invalid feature map: its shape and its frames disagree.", f"{shape}, {steps} steps"
            expected, fix = "features (C, T, h, w)", "give frames one tuple of positions for each step"
            raise InputError(title, got=got, expected=expected, fix=fix)


def resample(feature_map: FeatureMap, grid: TokenGrid, links: Links, cells: int = 1) -> Tensor:
    """Resample a feature map to a host's tokens.

    Args:
        feature_map: (C, T, h, w).
        grid: the tokens to fill.
        links: for each frame of the host, the generator's frames that describe it.
        cells: 1 gives one vector for each token; ``grid.cells`` gives one for each patch of a token.

    Returns:
        (n_tokens, cells * cells, C), float32 or wider; tokens, and patches inside one, in raster order.
    """
    wide = torch.promote_types(feature_map.features.dtype, torch.float32)
    features = feature_map.features.to(wide).permute(1, 2, 3, 0)  # (T, h, w, C)
    features = _weighted_sums(features, time_weights(feature_map.frames, grid.groups, links), dim=0)
    rows, columns = grid.height * cells, grid.width * cells
    if feature_map.resampling == "area":
        placed = _resize_area(features, rows, columns, feature_map.extent)
    else:
        placed = _stretch(features, grid, rows, columns)
    split = placed.reshape(-1, grid.height, cells, grid.width, cells, placed.shape[-1])
    # (G, H, cells, W, cells, C) -> (G, H, W, cells, cells, C) -> (tokens, patches, C)
    return split.transpose(2, 3).reshape(grid.n_tokens, cells * cells, -1)


def resize_area(maps: Tensor, rows: int, columns: int, extent: Extent = WHOLE) -> Tensor:
    """Area-weighted resize of (N, C, h, w) to (N, C, rows, columns); exact for any pair of sizes.

    Args:
        maps: features on the part ``extent`` of a picture.
        rows: of the whole picture.
        columns: of the whole picture.
        extent: the part of the picture that ``maps`` covers; the rest takes the nearest cell.
    """
    return _resize_area(maps.permute(0, 2, 3, 1), rows, columns, extent).permute(0, 3, 1, 2)


def area_weights(source: int, target: int, start: float = 0.0, end: float = 1.0) -> Tensor:
    """(target, source) float64: the share of each source cell in each target cell. Rows sum to 1.

    The source covers ``start`` to ``end`` of the target's length; its outer cells extend to the ends.
    """
    edges_in = start + (end - start) * (torch.arange(source + 1, dtype=torch.float64) / source)
    edges_in[0], edges_in[-1] = 0.0, 1.0
    edges_out = torch.arange(target + 1, dtype=torch.float64) / target
    low = torch.maximum(edges_out[:-1, None], edges_in[None, :-1])
    high = torch.minimum(edges_out[1:, None], edges_in[None, 1:])
    overlap = (high - low).clamp_min(0.0)
    return overlap / edges_out.diff()[:, None]  # the source covers each target cell


def bilinear_weights(source: int, target: int) -> Tensor:
    """(target, source) float64: the two nearest source cells of each target cell. Rows sum to 1.

    The same as ``torch.nn.functional.interpolate`` with ``align_corners=False``.
    """
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    distances = centres.clamp(0, source - 1)[:, None] - torch.arange(source)
    return (1.0 - distances.abs()).clamp_min(0.0)


def time_weights(frames: Links, groups: Links, links: Links) -> Tensor:
    """(G, T) float64 weights of feature steps for each time step of the host. Rows sum to 1.

    A host frame takes the mean of the steps that describe its generator frames; a host group takes the
    mean of its frames.

    Raises:
        InputError: a frame of the host has no feature.
    """
    weights = torch.zeros(len(groups), len(frames), dtype=torch.float64)
    for row, group in enumerate(groups):
        for frame in group:
            wanted = set(links[frame]) if frame < len(links) else set()
            steps = [step for step, described in enumerate(frames) if wanted & set(described)]
            if not steps:
                title = f"Missing generative feature of frame {frame} of the host."
                got = f"features of {len(frames)} steps, links for {len(links)} frames"
                expected = "every frame of the host linked to at least one frame of the generator"
                fix = "pass the frames and the plan that Vega3DProcessor returned together"
                raise InputError(title, got=got, expected=expected, fix=fix)
            weights[row, steps] += 1.0 / (len(steps) * len(group))
    return weights


def _resize_area(maps: Tensor, rows: int, columns: int, extent: Extent = WHOLE) -> Tensor:
    """(N, h, w, C) to (N, rows, columns, C)."""
    top, left, bottom, right = extent
    rows_only = _weighted_sums(maps, area_weights(maps.shape[1], rows, top, bottom), dim=1)
    return _weighted_sums(rows_only, area_weights(maps.shape[2], columns, left, right), dim=2)


def _stretch(maps: Tensor, grid: TokenGrid, rows: int, columns: int) -> Tensor:
    """Stretch bilinearly to the host's patch grid, as released, then average to ``rows`` x ``columns``."""
    height, width = grid.height * grid.cells, grid.width * grid.cells
    stretched = _weighted_sums(maps, bilinear_weights(maps.shape[1], height), dim=1)
    stretched = _weighted_sums(stretched, bilinear_weights(maps.shape[2], width), dim=2)
    return _resize_area(stretched, rows, columns)


def _weighted_sums(maps: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Weighted sums along one dimension, with the same bits for any shape, thread count and processor.

    Each number is a sum of products in ascending order of the source, and each product and each sum is
    rounded by itself: there is no fused multiply-add and no matrix product.

    Args:
        maps: any shape, with ``source`` entries along ``dim``.
        weights: (target, source) float64, on the CPU.
        dim: dimension of the source.

    Returns:
        The shape of ``maps`` with ``target`` entries along ``dim``; ``maps`` itself if nothing changes.
    """
    sources, shares = _terms(weights)
    if shares.shape[1] == 1 and bool((shares == 1).all()):
        if torch.equal(sources[:, 0], torch.arange(maps.shape[dim])):
            return maps
        return maps.index_select(dim, sources[:, 0].to(maps.device))
    along = [1] * maps.ndim
    along[dim] = -1
    terms = (
        maps.index_select(dim, source).mul_(share.view(along))
        for source, share in zip(sources.T.to(maps.device), shares.T.to(maps), strict=True)
    )
    return functools.reduce(Tensor.add_, terms)


def _terms(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of each row that are not zero, in order, as (target, terms) indices and weights.

    A short row is padded with its own first entry at weight 0, so that an infinite value elsewhere does not
    affect it.
    """
    used = weights != 0
    count = int(used.sum(dim=1).max())
    sources = used.byte().argsort(dim=1, descending=True, stable=True)[:, :count]
    shares = weights.gather(1, sources)
    return torch.where(shares == 0, sources[:, :1], sources), shares
