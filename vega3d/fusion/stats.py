"""Statistics of the fusion for each image and video: weights of the streams, and their contributions.

A weight alone is not informative: where a stream is near zero, any gate is harmless. So the contribution of
each stream is reported beside its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vega3d.errors import ConfigError
from vega3d.fusion.base import Fused
from vega3d.grid import TokenGrid
from vega3d.hosts.base import Modality


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
