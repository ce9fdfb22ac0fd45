"""What the fusion did to each image and video: who was heard, and what that changed.

A weight alone says little: where a stream is near zero any gate is harmless. So beside the weights stands
what each stream added. This module knows no features and no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vega3d.errors import ConfigError
from vega3d.fusion import Fused
from vega3d.grid import TokenGrid
from vega3d.hosts import Modality


@dataclass(frozen=True)
class StreamReport:
    """What one stream did to one image or video.

    Attributes:
        name: registered name of its encoder; a second of the same name is ``siglip_2``.
        weight: (T, h, w) in 0..1 on the host's token grid; with the gate, all weights of a token sum to 1.
        contribution: (T, h, w) ||term|| / ||S|| of each token: what the stream added.
    """

    name: str
    weight: Tensor
    contribution: Tensor


@dataclass(frozen=True)
class FusionReport:
    """What the fusion did to one image or video.

    Attributes:
        modality: ``image`` or ``video``.
        gate: (T, h, w) in 0..1 on the host's token grid, the host's weight; 1 means that no other is heard.
        contribution: (T, h, w) ||fused - S|| / ||S|| of each token: what all streams changed.
        streams: the generator, then the further streams.
    """

    modality: Modality
    gate: Tensor
    contribution: Tensor
    streams: tuple[StreamReport, ...] = ()


@torch.no_grad()
def report(
    items: Sequence[tuple[Modality, TokenGrid]], semantic: Tensor, fused: Fused, names: Sequence[str]
) -> tuple[FusionReport, ...]:
    """One report for each item.

    Args:
        items: images and videos, in the order of their tokens.
        semantic: (n, D) tokens of the host, of all items.
        fused: what became of them.
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
        raise ConfigError(
            "The fusion does not report all streams.",
            got=f"{len(weights)} weights and {len(parts)} terms a token",
            expected=f"one for each of {', '.join(names)}",
            fix="return Fused(tokens, gate, weights, terms), or leave semantic_streams empty",
        )
    sizes = [grid.n_tokens for _, grid in items]
    columns = torch.split(torch.stack([gate, change, *weights, *parts]), sizes, dim=1)
    return tuple(_of_item(*item, own, names) for item, own in zip(items, columns, strict=True))


def _of_item(modality: Modality, grid: TokenGrid, columns: Tensor, names: Sequence[str]) -> FusionReport:
    """From (2 + 2 K, n_tokens): gate, change, the weight of each stream, the contribution of each."""
    gate, change, *rest = columns.view(len(columns), len(grid.groups), grid.height, grid.width)
    pairs = zip(names, rest[: len(names)], rest[len(names) :], strict=True)
    return FusionReport(modality, gate, change, tuple(StreamReport(*pair) for pair in pairs))
